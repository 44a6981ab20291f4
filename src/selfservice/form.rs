//! Small forms: as a body (JSON or form-urlencoded), or as a query.

use std::time::Duration;

use axum::extract::{FromRequest as _, Query};
use axum::{Form, Json};
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::body::{BodyTooLarge, Incoming};
use crate::refusal::{Refusal, Unserved};

/// The largest body that is read: a logout token with room around it.
const MAX_BODY: usize = 32 << 10;
/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fields by name; none of them is there twice.
#[derive(Debug)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// A field, if it is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        let found = fields.find(|(found, _)| found == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The fields of a query.
    ///
    /// # Errors
    /// [`Refusal::Request`].
    pub(super) fn of_query(parts: &Parts) -> Result<Self, Refusal> {
        let Query(fields) = Query::try_from_uri(&parts.uri)
            .map_err(|_| Unserved::Request("The query cannot be read."))?;
        Self::new(fields)
    }

    /// The fields of a body; none if it has no body.
    ///
    /// # Errors
    /// [`Refusal::Body`], [`Refusal::Request`].
    pub(super) async fn of_body(parts: &Parts, body: Incoming) -> Result<Self, Refusal> {
        let body = Limited::new(body, MAX_BODY);
        #[expect(clippy::disallowed_methods, reason = "it is capped in the line above")]
        let read = tokio::time::timeout(PATIENCE, body.collect());
        let bytes = match read.await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(BodyTooLarge.into()),
            Ok(Err(_)) | Err(_) => {
                return Err(Unserved::Request("The request body broke off.").into());
            }
        };
        if bytes.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let mut request = http::Request::new(axum::body::Body::from(bytes));
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = parts.headers.clone();
        let json = parts
            .headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|kind| {
                kind.as_bytes()
                    .to_ascii_lowercase()
                    .starts_with(b"application/json")
            });
        let fields = match json {
            true => Json::<serde_json::Map<String, serde_json::Value>>::from_request(request, &())
                .await
                .ok()
                .and_then(|Json(members)| texts(members)),
            false => Form::<Vec<(String, String)>>::from_request(request, &())
                .await
                .ok()
                .map(|Form(fields)| fields),
        };
        Self::new(fields.ok_or(Unserved::Request(
            "The request body is neither a JSON object of texts nor a form.",
        ))?)
    }

    fn new(fields: Vec<(String, String)>) -> Result<Self, Refusal> {
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Unserved::Request("A field is there twice.").into());
        }
        Ok(Self(fields))
    }
}

fn texts(members: serde_json::Map<String, serde_json::Value>) -> Option<Vec<(String, String)>> {
    let text = |(name, value): (String, serde_json::Value)| {
        value.as_str().map(|text| (name, text.to_owned()))
    };
    members.into_iter().map(text).collect()
}
