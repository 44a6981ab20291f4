//! Envoy's questions over gRPC: `envoy.service.auth.v3.Authorization/Check`.
//!
//! What cannot be told is an `error_response`, never a denial: Envoy counts it as an error of the gateway, and what
//! becomes of the request is what its operator has set (`failure_mode_allow`, `status_on_error`).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue as Field, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use envoy_types::pb::google::rpc;
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Collected, Limited};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::Gateway;
use super::inquiry::{Answered, Passed, Refused};
use crate::body::{Body, BodyError, Bounds, Incoming};
use crate::config::ForwardAuth;
use crate::inquiry::{self, InquiryError};
use crate::peer::Peer;
use crate::refusal::{self, Form, Refusal};

/// The one method that there is.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The largest message. It holds a request's head, and some of its body where Envoy was told to send it.
const MAX_MESSAGE: usize = 1 << 20;

/// Between two pieces of a message.
const PATIENCE: Duration = Duration::from_secs(5);

impl Gateway {
    /// Answers a question that comes as a message.
    pub(super) async fn reply_to_message(
        &self,
        asks: &ForwardAuth,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Response<Body> {
        let known = request.uri().path() == CHECK && request.version() == Version::HTTP_2;
        let body = |incoming| {
            let bounds = Bounds {
                // The frame that it comes in.
                max: MAX_MESSAGE as u64 + 5,
                idle: PATIENCE,
                pace: self.pace,
            };
            Body::from_client(incoming, bounds, Arc::new(|_: &mut HeaderMap| {}))
        };
        let (head, incoming) = request.into_parts();
        let answer = match (known, body(incoming)) {
            (true, Ok(body)) => {
                let codec = ProstCodec::<CheckResponse, CheckRequest>::default();
                let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE);
                let check = Check {
                    gateway: self,
                    asks,
                    peer,
                };
                grpc.unary(check, Request::from_parts(head, body)).await
            }
            (true, Err(_)) => Status::resource_exhausted("the message is too large").into_http(),
            (false, _) => Status::unimplemented(CHECK).into_http(),
        };
        answer.map(|body| Body::stream(body.map_err(BodyError::from)))
    }
}

/// The service, for one question.
struct Check<'a> {
    gateway: &'a Gateway,
    asks: &'a ForwardAuth,
    peer: &'a Peer,
}

impl<'a> UnaryService<CheckRequest> for Check<'a> {
    type Response = CheckResponse;
    type Future =
        Pin<Box<dyn Future<Output = Result<tonic::Response<CheckResponse>, Status>> + Send + 'a>>;

    fn call(&mut self, question: tonic::Request<CheckRequest>) -> Self::Future {
        let Self {
            gateway,
            asks,
            peer,
        } = *self;
        Box::pin(async move {
            let asked = parse(&question.into_inner());
            let answered = gateway.inquire(asks, asked, peer).await;
            Ok(tonic::Response::new(respond(answered).await))
        })
    }
}

/// The request, or one that nobody has sent and why.
fn parse(question: &CheckRequest) -> (Parts, Option<Refusal>) {
    let attributes = question.attributes.as_ref();
    let asked = attributes.ok_or(InquiryError::Missing("a request"));
    match asked.and_then(inquiry::from_message) {
        Ok(parts) => (parts, None),
        Err(error) => (Request::new(()).into_parts().0, Some(error.into())),
    }
}

async fn respond(answered: Answered) -> CheckResponse {
    let Answered { verdict, id } = answered;
    let request_id = id.to_str().unwrap_or_default().to_owned();
    match verdict {
        Ok(passed) => allow(passed, request_id),
        Err(refused) => refuse(refused, &id, request_id).await,
    }
}

fn allow(passed: Passed, request_id: String) -> CheckResponse {
    let Passed {
        instructions,
        told,
        route,
        user,
    } = passed;
    let mut for_client = HeaderMap::new();
    told.write(&mut for_client);
    let cookie = instructions.cookie.map(|cookie| (COOKIE, cookie));
    let set = instructions.identity.into_iter().chain(cookie);
    let facts = [
        ("verdict", "allowed".to_owned()),
        ("route", (*route).to_owned()),
        ("user", user.unwrap_or_default()),
        ("request_id", request_id),
    ];
    let removed = instructions.removed.iter();
    CheckResponse {
        status: Some(status(Code::Ok)),
        dynamic_metadata: Some(metadata(facts)),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers: set.map(|(name, value)| field(&name, &value)).collect(),
            headers_to_remove: removed.map(|name| name.as_str().to_owned()).collect(),
            response_headers_to_add: fields(&for_client),
            ..OkHttpResponse::default()
        })),
    }
}

async fn refuse(refused: Refused, id: &HeaderValue, request_id: String) -> CheckResponse {
    let Refused {
        refusal,
        signin,
        wants_html,
    } = refused;
    let (meant, code) = (refusal.status(), refusal.code());
    let response = match signin {
        Some(page) => refusal::to_signin(page, id),
        None => refusal.into_response(Form::page_if(wants_html), id),
    };
    let (mut head, body) = response.into_parts();
    head.headers.remove(CONNECTION);
    head.headers.remove(CONTENT_LENGTH);
    #[expect(clippy::disallowed_methods, reason = "it is capped in the same line")]
    let body = Limited::new(body, MAX_MESSAGE).collect().await;
    let body = body.map(Collected::to_bytes).unwrap_or_default();
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus {
            code: head.status.as_u16().into(),
        }),
        headers: fields(&head.headers),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let facts = [
        ("verdict", "refused".to_owned()),
        ("code", code.to_owned()),
        ("request_id", request_id),
    ];
    CheckResponse {
        status: Some(status(grpc_code(meant))),
        dynamic_metadata: Some(metadata(facts)),
        http_response: Some(match meant.is_server_error() {
            true => HttpResponse::ErrorResponse(denied),
            false => HttpResponse::DeniedResponse(denied),
        }),
    }
}

/// What a status is called in gRPC.
fn grpc_code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        status if status.is_server_error() => Code::Internal,
        _ => Code::InvalidArgument,
    }
}

fn status(code: Code) -> rpc::Status {
    rpc::Status {
        code: code.into(),
        ..rpc::Status::default()
    }
}

fn fields(headers: &HeaderMap) -> Vec<HeaderValueOption> {
    headers
        .iter()
        .map(|(name, value)| field(name, value))
        .collect()
}

/// A header in place of all others of its name.
fn field(name: &HeaderName, value: &HeaderValue) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(Field {
            key: name.as_str().to_owned(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            ..Field::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        keep_empty_value: true,
        ..HeaderValueOption::default()
    }
}

fn metadata<const N: usize>(facts: [(&str, String); N]) -> Struct {
    let value = |text| Value {
        kind: Some(Kind::StringValue(text)),
    };
    let facts = facts.into_iter();
    Struct {
        fields: facts
            .map(|(name, text)| (name.to_owned(), value(text)))
            .collect(),
    }
}
