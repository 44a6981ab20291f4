//! A small document from elsewhere, such as the keys of an issuer.
//!
//! One GET over a connection of its own; redirects are not followed, because the place that is configured is the one
//! that is trusted. What comes back is bounded in size, and all of it in time.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::tls::{Tls, Trust};
use crate::config::UpstreamTls;
use crate::config::fault::Fault;
use crate::config::value::Origin;
use crate::socket::Socket;

/// Where a document is.
#[derive(Debug)]
pub struct Document {
    host: String,
    port: u16,
    authority: String,
    path: String,
    tls: Option<Tls>,
}

/// Why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// No connection, or it broke.
    #[error("the connection failed")]
    Connection(#[source] io::Error),
    /// Not HTTP, or a body that is broken off or too large.
    #[error("the answer cannot be used: {0}")]
    Answer(String),
    /// Another status than 200.
    #[error("the answer was {0}")]
    Status(StatusCode),
}

impl Document {
    /// A document at this place; `tls` says whom to trust if the place is `https`.
    ///
    /// # Errors
    /// If the authorities cannot be read, or no certificate can be checked for the host.
    pub fn new(origin: &Origin, path: &str, tls: &UpstreamTls) -> Result<Self, Fault> {
        let encrypted = origin.tls.then(|| Trust::load(tls)).transpose()?;
        let tls = match encrypted {
            None => None,
            Some(trust) => Some(trust.towards(&origin.host).ok_or_else(|| {
                Fault::error(
                    None,
                    format!("no certificate can be checked for `{}`", origin.host),
                )
            })?),
        };
        Ok(Self {
            host: origin.host.clone(),
            port: origin.port,
            authority: origin.authority(),
            path: path.to_owned(),
            tls,
        })
    }

    /// Fetches it: at most `max` bytes, within `patience`.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch(&self, max: usize, patience: Duration) -> Result<Bytes, FetchError> {
        tokio::time::timeout(patience, self.get(max))
            .await
            .map_err(|_| FetchError::Late(patience))?
    }

    async fn get(&self, max: usize) -> Result<Bytes, FetchError> {
        let dial = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = dial.and_then(Socket::new).map_err(FetchError::Connection)?;
        match &self.tls {
            None => self.ask(stream, max).await,
            Some(tls) => {
                let stream = tls.connect(stream).await.map_err(FetchError::Connection)?;
                self.ask(stream, max).await
            }
        }
    }

    async fn ask<T>(&self, io: T, max: usize) -> Result<Bytes, FetchError>
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let unusable = |error: &dyn std::fmt::Display| FetchError::Answer(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(io))
            .await
            .map_err(|error| unusable(&error))?;
        // Ends with the sender, at the end of this function.
        tokio::spawn(connection);
        let request = Request::get(self.path.as_str())
            .header(HOST, self.authority.as_str())
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .body(Empty::<Bytes>::new())
            .map_err(|error| unusable(&error))?;
        let reply = sender
            .send_request(request)
            .await
            .map_err(|error| unusable(&error))?;
        if reply.status() != StatusCode::OK {
            return Err(FetchError::Status(reply.status()));
        }
        let body = Limited::new(reply.into_body(), max);
        #[expect(clippy::disallowed_methods, reason = "it is capped in the line above")]
        let body = body.collect().await;
        body.map(http_body_util::Collected::to_bytes)
            .map_err(|error| unusable(&error))
    }
}
