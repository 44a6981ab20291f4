//! The demo's "legacy" upstream: an order system that knows nothing of tokens and believes its headers; and beside it a
//! small back office that ends sessions.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::body::Body;
use crate::store::SessionStore;
use crate::token::Token;

/// The tokens of the demo's users, and the store that knows them.
#[derive(Debug)]
pub(super) struct BackOffice {
    pub(super) store: SessionStore,
    pub(super) tokens: HashMap<&'static str, Token>,
}

/// Serves the order system on this socket for as long as the runtime lives.
pub(super) async fn serve_orders(listener: TcpListener) {
    serve(listener, |request| async move { orders(&request) }).await;
}

/// Serves the back office on this socket for as long as the runtime lives.
pub(super) async fn serve_back_office(listener: TcpListener, office: Arc<BackOffice>) {
    serve(listener, move |request| {
        let office = Arc::clone(&office);
        async move { office.answer(&request).await }
    })
    .await;
}

/// A socket on this machine only, and its address.
pub(super) async fn local_socket() -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn serve<F, R>(listener: TcpListener, answer: F)
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let reply = answer(request);
                async move { Ok::<_, Infallible>(reply.await) }
            });
            if let Err(error) = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
            {
                tracing::debug!(%error, "a connection to the demo's upstream ended early");
            }
        });
    }
}

fn orders(request: &Request<Incoming>) -> Response<Body> {
    let told = |name: &str| header(request.headers(), name);
    let path = request.uri().path();
    let text = match (request.method(), path) {
        (&Method::GET, "/health") => "the order system is up\n".to_owned(),
        (method, _) => format!(
            "{method} {path}\nThe gateway told me who you are:\n  X-User-Id: {}\n  X-User-Permissions: {}\n  X-User-Roles: {}\n  \
             X-Device-Id: {}\n  X-Device-Type: {}\nI never saw your token: Authorization is {}.\n",
            told("x-user-id"),
            told("x-user-permissions"),
            told("x-user-roles"),
            told("x-device-id"),
            told("x-device-type"),
            if request.headers().contains_key(http::header::AUTHORIZATION) {
                "here"
            } else {
                "absent"
            },
        ),
    };
    Response::new(Body::text(text))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("(absent)")
}

impl BackOffice {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let user = request
            .uri()
            .path()
            .strip_prefix("/kick/")
            .unwrap_or_default();
        let (status, text) = match (request.method(), self.tokens.get(user)) {
            (&Method::POST, Some(token)) => match self.store.remove(token).await {
                Ok(true) => (StatusCode::OK, format!("{user} is out\n")),
                Ok(false) => (StatusCode::OK, format!("{user} was out already\n")),
                Err(error) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("nobody knows whether {user} is out: {error}\n"),
                ),
            },
            _ => (
                StatusCode::NOT_FOUND,
                "POST /kick/alice or /kick/bob\n".to_owned(),
            ),
        };
        let mut response = Response::new(Body::text(text));
        *response.status_mut() = status;
        response
    }
}
