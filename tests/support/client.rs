//! A polite client: HTTP/1.1 and HTTP/2, in the clear and over TLS.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body::{Body, Frame};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig};

use super::gateway::Gateway;
use super::soon;

type CallBody = BoxBody<Bytes, Infallible>;

/// A request to be sent.
#[derive(Debug)]
pub(crate) struct Call {
    method: Method,
    target: String,
    host: String,
    headers: HeaderMap,
    body: CallBody,
}

impl Call {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.parse().unwrap(),
            target: target.to_owned(),
            host: "a.test".to_owned(),
            headers: HeaderMap::new(),
            body: Empty::new().boxed(),
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.headers
            .append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Full::new(body.into()).boxed();
        self
    }

    /// A body whose pieces, and at last perhaps trailers, come through a channel.
    pub(crate) fn stream(mut self) -> (Self, mpsc::Sender<Frame<Bytes>>) {
        let (sender, pieces) = mpsc::channel(1);
        self.body = Pieces(pieces).boxed();
        (self, sender)
    }
}

struct Pieces(mpsc::Receiver<Frame<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
    /// Whether the body came to its proper end.
    pub(crate) whole: bool,
}

impl Reply {
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (parts, mut body) = response.into_parts();
        let mut reply = Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: Bytes::new(),
            trailers: HeaderMap::new(),
            whole: true,
        };
        let mut bytes = Vec::new();
        while let Some(frame) = soon("a piece of the answer", body.frame()).await {
            let Ok(frame) = frame else {
                reply.whole = false;
                break;
            };
            match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => reply.trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
        reply.body = bytes.into();
        reply
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        Some(value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// Asserts that this is a refusal with this status and reason code, in the form that all of them have.
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["code"], code);
        for member in ["type", "title", "detail"] {
            assert!(
                problem[member].is_string(),
                "{member} is missing: {problem}"
            );
        }
    }
}

/// A connection to the gateway.
#[derive(Debug)]
pub(crate) enum Connection {
    H1(http1::SendRequest<CallBody>),
    H2(http2::SendRequest<CallBody>),
}

impl Connection {
    /// HTTP/1.1 in the clear.
    pub(crate) async fn plain(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.plain()).await.unwrap();
        Self::h1_over(stream).await
    }

    /// HTTP/1.1 over TLS.
    pub(crate) async fn tls(gateway: &Gateway, name: &str) -> Self {
        let config = gateway
            .authority()
            .client(&["http/1.1"], None, ALL_VERSIONS);
        Self::h1_over(shake_hands(gateway, name, config).await.unwrap()).await
    }

    /// HTTP/2 over TLS.
    pub(crate) async fn h2(gateway: &Gateway, name: &str) -> Self {
        let config = gateway.authority().client(&["h2"], None, ALL_VERSIONS);
        let stream = shake_hands(gateway, name, config).await.unwrap();
        Self::h2_over(stream).await
    }

    pub(crate) async fn h1_over(stream: impl super::upstream::Io + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self::H1(sender)
    }

    pub(crate) async fn h2_over(stream: TlsStream<TcpStream>) -> Self {
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self::H2(sender)
    }

    /// Sends and waits for the whole answer.
    pub(crate) async fn send(&mut self, call: Call) -> Reply {
        let response = soon("an answer", self.begin(call)).await;
        Reply::read(response.expect("the gateway answers")).await
    }

    /// Sends and waits for the head of the answer.
    pub(crate) async fn begin(&mut self, call: Call) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::new(call.body);
        *request.method_mut() = call.method;
        *request.headers_mut() = call.headers;
        match self {
            Self::H1(sender) => {
                *request.uri_mut() = call.target.parse().unwrap();
                let host = HeaderValue::from_str(&call.host).unwrap();
                request.headers_mut().insert("host", host);
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::H2(sender) => {
                let uri = format!("https://{}{}", call.host, call.target);
                *request.uri_mut() = uri.parse::<Uri>().unwrap();
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// TLS with the gateway's first secure listener. The name is also the one that is asked for (SNI).
pub(crate) async fn shake_hands(
    gateway: &Gateway,
    name: &str,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    shake_hands_at(gateway.secure(), name, config).await
}

/// TLS with whoever is there.
pub(crate) async fn shake_hands_at(
    address: std::net::SocketAddr,
    name: &str,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let handshake = TlsConnector::from(config).connect(name, stream);
    soon("a TLS handshake", handshake).await
}
