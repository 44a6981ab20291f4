//! A call of our own, outside the path of requests: the command line's to a gateway's admin API.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connect::dial;
use super::tls::{Tls, Trust};
use crate::body::Body;
use crate::config::value::Origin;

/// From dialling to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer that is read.
const MAX_ANSWER: usize = 8 << 20;

/// A server that we call ourselves.
#[derive(Debug)]
pub struct Direct {
    origin: Origin,
    tls: Option<Tls>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DirectError {
    /// Nobody there, or the handshake failed.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    /// The conversation broke off, or what came was no HTTP. The request may have been carried out.
    #[error("no usable answer: {0}")]
    Broken(String),
    /// Not there in time. The request may have been carried out.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
}

impl Direct {
    /// The server at this origin. For TLS: the authorities in the file `ca` are trusted, or the system's, and the
    /// certificate (file, file of its key) is shown if the server asks for one.
    ///
    /// # Errors
    /// If a file or the host's name cannot be used; the text says which and why.
    pub fn new(
        origin: Origin,
        ca: Option<&Path>,
        identity: Option<(&Path, &Path)>,
    ) -> Result<Self, String> {
        if !origin.tls {
            return Ok(Self { origin, tls: None });
        }
        let trust = Trust::with_identity(ca, identity)?;
        let tls = trust.towards(&origin.host);
        let tls = tls.ok_or_else(|| format!("`{}` is no name for a certificate", origin.host))?;
        Ok(Self {
            origin,
            tls: Some(tls),
        })
    }

    /// Asks, over a connection of its own.
    ///
    /// # Errors
    /// If there is no whole answer.
    pub async fn send(&self, request: Request<String>) -> Result<Response<Bytes>, DirectError> {
        let answer = tokio::time::timeout(PATIENCE, self.ask(request)).await;
        answer.unwrap_or(Err(DirectError::Late))
    }

    #[expect(clippy::disallowed_methods, reason = "it is wrapped in `Limited`")]
    async fn ask(&self, request: Request<String>) -> Result<Response<Bytes>, DirectError> {
        let broken = |error: hyper::Error| DirectError::Broken(error.to_string());
        let mut request = request.map(Body::text);
        let host = HeaderValue::try_from(self.origin.authority());
        let host = host.map_err(|error| DirectError::Broken(error.to_string()))?;
        request.headers_mut().insert(header::HOST, host);
        let socket = dial(&self.origin.host, self.origin.port).await?;
        let mut sender = match &self.tls {
            Some(tls) => speak(tls.connect(socket).await?).await,
            None => speak(socket).await,
        }
        .map_err(broken)?;
        let (parts, body) = sender
            .send_request(request)
            .await
            .map_err(broken)?
            .into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| DirectError::Broken(error.to_string()))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

/// Starts HTTP/1.1. The task that drives the connection ends when the sender is dropped.
async fn speak<T>(io: T) -> Result<SendRequest<Body>, hyper::Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
