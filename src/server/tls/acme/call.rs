//! How an authority is called: with what the gateway calls others with, too.

use std::path::PathBuf;
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::config::Acme;
use crate::config::value::Origin;
use crate::upstream::Direct;

/// Calls, believing these authorities (a PEM file) or the system's.
#[derive(Debug)]
pub(super) struct Caller {
    ca: Option<PathBuf>,
}

impl Caller {
    pub(super) fn new(acme: &Acme) -> Box<Self> {
        Box::new(Self {
            ca: acme.ca.as_ref().map(|ca| ca.get_ref().clone()),
        })
    }
}

impl HttpClient for Caller {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let called = call(request, self.ca.clone());
        Box::pin(async move { called.await.map_err(|error| Error::Other(error.into())) })
    }
}

async fn call(
    request: Request<BodyWrapper<Bytes>>,
    ca: Option<PathBuf>,
) -> anyhow::Result<BytesResponse> {
    let (mut parts, body) = request.into_parts();
    let (origin, path) = split(&parts.uri)?;
    let host = origin.host.clone();
    let server = Direct::new(origin, ca.as_deref(), None).map_err(anyhow::Error::msg)?;
    parts.uri = path;
    #[expect(
        clippy::disallowed_methods,
        reason = "it is what we have written ourselves"
    )]
    let body = body.collect().await?.to_bytes();
    let request = Request::from_parts(parts, String::from_utf8(body.to_vec())?);
    let answer = server.send(request).await;
    let (parts, body) = answer
        .map_err(|error| anyhow::anyhow!("{host}: {error}"))?
        .into_parts();
    Ok(BytesResponse {
        parts,
        body: Box::new(body),
    })
}

/// Where to connect, and what to ask for there.
fn split(url: &Uri) -> anyhow::Result<(Origin, Uri)> {
    // RFC 8555 section 6.1: over TLS only, wherever the directory leads.
    let (Some("https"), Some(authority)) = (url.scheme_str(), url.authority()) else {
        anyhow::bail!("the directory leads to a place that is not https");
    };
    let origin = Origin::try_from(format!("https://{authority}")).map_err(anyhow::Error::msg)?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    Ok((origin, path.parse()?))
}
