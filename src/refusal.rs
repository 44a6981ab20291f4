//! Every way to say no: status, reason code, words for the client, words for the log. One table.
//!
//! 401 means "who are you", 403 "not you", 503 "cannot tell". They never mix: each error of each room is named here, and
//! there is no arm for the rest, so a new way to fail does not compile until somebody has decided what it means.
//! What a client reads never holds a cause, a token, or anything of another request.

mod denied;
mod form;
mod head;
mod inquiry;
mod outage;
mod surface;

use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::assertion::AssertionError;
use crate::body::Body;
use crate::csrf::Forged;
use crate::head::HeadError;
use crate::headers::HeaderError;
use crate::inquiry::InquiryError;
use crate::limit::{self, Slowed, TooMany};
use crate::oidc::OidcError;
use crate::policy::Denied;
use crate::route::RouteError;
use crate::sessions::{LoginError, RefreshError};
use crate::store::StoreError;
use crate::token::TokenError;
use crate::upstream::UpstreamError;

pub use self::form::{Audience, Form, wants_html};
use self::outage::{store, store_unavailable, upstream};
pub use self::surface::Unserved;

/// A request that is not answered by an upstream, and why.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its head can be read in more than one way.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// Another proxy asks about it, but may not, or not so.
    #[error(transparent)]
    Inquiry(#[from] InquiryError),
    /// It came over a connection that was opened for another host.
    #[error("the connection was opened for another host")]
    Misdirected,
    /// There are too many requests under way in this process.
    #[error("there are too many requests under way")]
    Overloaded,
    /// No rule for it.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// It asks to switch protocols and carries a body.
    #[error("a request to switch protocols must not carry a body")]
    UpgradeWithBody,
    /// Its client or user sends too many.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Its client sends one unknown token after the other.
    #[error(transparent)]
    Slowed(#[from] Slowed),
    /// Nobody could tell whether there are too many, and the limit denies then.
    #[error("a shared rate limit could not be asked")]
    Uncounted(#[source] StoreError),
    /// It carries tokens that contradict each other.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nobody could tell whether its token is good.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The policy said no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Its user's identity cannot be told to the upstream.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Its body is larger than the route allows.
    #[error(transparent)]
    Body(#[from] crate::body::BodyTooLarge),
    /// A page of another site has sent it.
    #[error(transparent)]
    Forged(#[from] Forged),
    /// Its upstream has found a user to be the right one, but there is no session.
    #[error("the login came to nothing")]
    Login(#[from] LoginError),
    /// Its refresh token is worth nothing.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// Its logout token is worth nothing.
    #[error(transparent)]
    Oidc(#[from] OidcError),
    /// One of our own endpoints cannot serve it.
    #[error(transparent)]
    Unserved(#[from] Unserved),
    /// There is no answer from upstream.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// What the client is told.
#[derive(Debug, Clone, Copy)]
struct Answer {
    status: StatusCode,
    /// Stable, for programs.
    code: &'static str,
    /// For people.
    detail: &'static str,
}

const fn answer(status: StatusCode, code: &'static str, detail: &'static str) -> Answer {
    Answer {
        status,
        code,
        detail,
    }
}

const MISDIRECTED: Answer = answer(
    StatusCode::MISDIRECTED_REQUEST,
    "misdirected_request",
    "This connection was opened for another host. Open a new one.",
);
const OVERLOADED: Answer = answer(
    StatusCode::SERVICE_UNAVAILABLE,
    "overloaded",
    "There are too many requests right now. Try again.",
);
const TOO_MANY: Answer = answer(
    StatusCode::TOO_MANY_REQUESTS,
    "rate_limited",
    "Too many requests. Try again later.",
);
const SLOWED: Answer = answer(
    StatusCode::TOO_MANY_REQUESTS,
    "unknown_tokens",
    "Too many unknown tokens came from this address. Try again later.",
);
const UNCOUNTED: Answer = answer(
    StatusCode::SERVICE_UNAVAILABLE,
    "rate_limit_unavailable",
    "Whether there are too many requests cannot be told right now. Try again.",
);

/// Seconds until a client may try again when the session store or an upstream is away.
const RETRY_AFTER_OUTAGE: u64 = 1;

impl Refusal {
    /// The table.
    fn answer(&self) -> Answer {
        use StatusCode as S;
        match self {
            Self::Head(error) => head::answer_to(*error),
            Self::Inquiry(error) => inquiry::answer_to(*error),
            Self::Misdirected => MISDIRECTED,
            Self::Overloaded => OVERLOADED,
            Self::Route(RouteError::NotFound) => answer(
                S::NOT_FOUND,
                "route_not_found",
                "There is nothing at this host and path.",
            ),
            Self::Route(RouteError::Method { .. }) => answer(
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This path does not take this method.",
            ),
            Self::UpgradeWithBody => answer(
                S::BAD_REQUEST,
                "bad_request",
                "A request to switch protocols must not carry a body.",
            ),
            Self::TooMany(_) => TOO_MANY,
            Self::Slowed(_) => SLOWED,
            Self::Uncounted(_) => UNCOUNTED,
            Self::Token(TokenError::Conflict) => answer(
                S::UNAUTHORIZED,
                "token_malformed",
                "The request carries two different tokens.",
            ),
            Self::Token(TokenError::Length | TokenError::Charset | TokenError::Seal) => {
                denied::MALFORMED
            }
            Self::Token(TokenError::NoRandomness) => store_unavailable(),
            Self::Store(error) => store(error),
            Self::Denied(reason) => denied::answer_to(reason),
            Self::Header(
                HeaderError::Unencodable
                | HeaderError::TooLong
                | HeaderError::Assertion(AssertionError::TooLong | AssertionError::Unsigned),
            ) => answer(
                S::INTERNAL_SERVER_ERROR,
                "identity_unusable",
                "The session has a value that cannot be passed on.",
            ),
            Self::Body(_) | Self::Upstream(UpstreamError::BodyTooLarge) => answer(
                S::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The request body is larger than this path allows.",
            ),
            Self::Upstream(error) => upstream(error),
            Self::Forged(_) => surface::FORGED,
            Self::Login(error) => surface::login(error),
            Self::Refresh(error) => surface::refresh(error),
            Self::Oidc(error) => surface::oidc(error),
            Self::Unserved(why) => surface::unserved(*why),
        }
    }

    /// Whether a new session would help: there is none, or none any more. Not so where the user has to prove again who they
    /// are, or contradicts themselves.
    pub fn may_be_mended_by_signing_in(&self) -> bool {
        match self.denied() {
            Some(
                Denied::TokenMissing
                | Denied::TokenMalformed
                | Denied::TokenInvalid
                | Denied::Ended(_),
            ) => self.status() == StatusCode::UNAUTHORIZED,
            Some(Denied::Disabled(_) | Denied::ServiceDisabled(_) | Denied::Unmet(_)) | None => {
                false
            }
        }
    }

    /// The reason code, for logs and counters.
    pub fn code(&self) -> &'static str {
        self.answer().code
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.answer().status
    }

    /// The response: HTML for a browser that asks for a page, a status of gRPC for its clients, a problem document
    /// (RFC 9457) for everybody else.
    pub fn into_response(self, form: Form, request_id: &HeaderValue) -> Response<Body> {
        let answer = self.answer();
        let title = answer.status.canonical_reason().unwrap_or("Refused");
        let id = request_id.to_str().unwrap_or_default();
        let (kind, body) = match form {
            Form::Page => (
                "text/html; charset=utf-8",
                Body::text(form::page(answer, title, id)),
            ),
            Form::Problem => {
                let more = self.denied().map(denied::more).unwrap_or_default();
                let text = form::problem(answer, title, id, more);
                ("application/problem+json", Body::text(text))
            }
            Form::Grpc => ("application/grpc", Body::Empty),
        };
        let mut response = Response::new(body);
        *response.status_mut() = match form {
            Form::Page | Form::Problem => answer.status,
            // Else a client would take its guess at what went wrong.
            Form::Grpc => StatusCode::OK,
        };
        let headers = response.headers_mut();
        if form == Form::Grpc {
            let status = form::grpc_status(answer.status).into();
            headers.insert(HeaderName::from_static("grpc-status"), status);
            let message = form::grpc_message(answer);
            headers.insert(HeaderName::from_static("grpc-message"), message);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(HeaderName::from_static("x-request-id"), request_id.clone());
        self.add_fields(answer, headers);
        response
    }

    /// Nothing where no other token would help.
    fn challenge(&self, answer: Answer) -> Option<HeaderValue> {
        match self.denied() {
            Some(reason) => Some(denied::challenge(reason, answer)),
            None if answer.status == StatusCode::FORBIDDEN => None,
            None => Some(HeaderValue::from_static(denied::INVALID)),
        }
    }

    fn denied(&self) -> Option<&Denied> {
        if let Self::Denied(reason) = self {
            return Some(reason);
        }
        None
    }

    /// The fields that a status calls for.
    fn add_fields(&self, answer: Answer, headers: &mut HeaderMap) {
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let challenge = self.challenge(answer);
                headers.extend(challenge.map(|challenge| (WWW_AUTHENTICATE, challenge)));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, RETRY_AFTER_OUTAGE.into());
            }
            _ => {}
        }
        // Whatever follows on this connection may be the rest of something that was never understood.
        let lost = matches!(
            answer.status,
            StatusCode::BAD_REQUEST | StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE
        );
        if lost || matches!(self, Self::Head(_)) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        match self {
            Self::Route(RouteError::Method { allow }) => {
                let allow: Vec<&str> = allow.iter().map(http::Method::as_str).collect();
                headers.extend(
                    HeaderValue::try_from(allow.join(", "))
                        .ok()
                        .map(|allow| (ALLOW, allow)),
                );
            }
            // RFC 9110 section 15.5.6 wants the field; which methods the path takes is not known here.
            Self::Head(HeadError::Method) => {
                headers.insert(
                    ALLOW,
                    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
                );
            }
            Self::TooMany(TooMany {
                retry_after, told, ..
            }) => {
                headers.insert(RETRY_AFTER, limit::seconds(*retry_after).max(1).into());
                told.clone().write(headers);
            }
            Self::Slowed(Slowed { retry_after }) => {
                headers.insert(RETRY_AFTER, limit::seconds(*retry_after).max(1).into());
            }
            Self::Head(_)
            | Self::Inquiry(_)
            | Self::Misdirected
            | Self::Overloaded
            | Self::Route(RouteError::NotFound)
            | Self::UpgradeWithBody
            | Self::Uncounted(_)
            | Self::Token(_)
            | Self::Store(_)
            | Self::Denied(_)
            | Self::Header(_)
            | Self::Body(_)
            | Self::Upstream(_)
            | Self::Forged(_)
            | Self::Login(_)
            | Self::Refresh(_)
            | Self::Oidc(_)
            | Self::Unserved(_) => {}
        }
    }
}

/// Sends a browser to a page where its user can sign in: 302.
pub fn to_signin(page: HeaderValue, request_id: &HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.insert(LOCATION, page);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-request-id"), request_id.clone());
    response
}

#[cfg(test)]
mod tests;
