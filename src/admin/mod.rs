//! The admin API: sessions, users, roles and tokens over HTTP, on a listener and a thread of its own.
//!
//! The walk of a call: [`caller`] tells who it is, [`door`] lets it in and notes a refusal, [`extract`] reads what it
//! carries, one of the handlers does it through [`Sessions`], and [`App::change`] notes every change before and after.
//! The command line makes the same calls, in its own process and without a listener: see [`Admin::ask`].

mod bounded;
mod caller;
mod change;
mod door;
mod ended;
mod extract;
mod health;
mod limit;
mod once;
mod openapi;
mod problem;
mod role;
mod session;
mod standing;
mod strangers;
mod token;
mod user;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use self::caller::{Call, Caller, Gate};
use self::extract::Reading;
use self::strangers::Strangers;
use crate::audit::Audit;
use crate::body::{Body, Incoming};
use crate::config::{Admin as Settings, Config, Limits, Listener};
use crate::peer::Peer;
use crate::request_id::RequestIds;
use crate::server::{Handler, ServeError, Server};
use crate::sessions::Sessions;
use crate::token::TokenShape;

pub use self::limit::Counters;
pub use self::problem::ProblemDocument;

/// The admin API of this process.
#[derive(Debug)]
pub struct Admin {
    gate: Gate,
    ids: RequestIds,
    router: TowerToHyperService<Router>,
}

/// What every call works with.
#[derive(Debug)]
struct App {
    sessions: Arc<Sessions>,
    audit: Audit,
    shape: TokenShape,
    reading: Reading,
    counters: Counters,
    strangers: Arc<Strangers>,
}

impl Admin {
    /// The admin API over these sessions. Without `[admin]` in the configuration nobody comes in but by [`Self::ask`].
    pub fn new(config: &Config, sessions: Arc<Sessions>, audit: Audit, counters: Counters) -> Self {
        let settings = config.admin.clone().unwrap_or_default();
        let app = Arc::new(App {
            sessions,
            audit,
            counters,
            strangers: Arc::new(Strangers::new(config.audit.as_ref())),
            shape: TokenShape::new(&config.tokens),
            reading: Reading {
                max: settings.max_body.as_usize(),
                patience: settings.header_timeout.get(),
            },
        });
        Self {
            gate: Gate::new(&settings),
            ids: RequestIds::default(),
            router: TowerToHyperService::new(openapi::routes(app)),
        }
    }

    /// Takes the address and reads the certificates.
    ///
    /// # Errors
    /// If the address is taken or a certificate cannot be used.
    pub fn bind(settings: &Settings, drain_timeout: Duration) -> Result<Server, ServeError> {
        let limits = Limits {
            header_timeout: settings.header_timeout,
            max_connections: settings.max_connections,
            ..Limits::default()
        };
        let listener = Listener::direct(settings.listen, settings.tls.clone());
        Server::bind_one("admin", &listener, limits, drain_timeout)
    }

    /// Makes a call from within this process, as the command line: whoever may open the store may do everything.
    pub async fn ask(&self, request: Request<String>) -> Response<Bytes> {
        let id = self.ids.of(request.headers(), false);
        let call = Call {
            id: id.to_str().unwrap_or_default().into(),
            from: None,
            caller: Ok(Caller::command_line()),
        };
        let (parts, body) = self.call(request.map(Into::into), call).await.into_parts();
        // The body is our own text: it is there as a whole.
        let body = axum::body::to_bytes(body, usize::MAX).await;
        Response::from_parts(parts, body.unwrap_or_default())
    }

    async fn call(
        &self,
        mut request: Request<axum::body::Body>,
        call: Call,
    ) -> Response<axum::body::Body> {
        request.extensions_mut().insert(call);
        match self.router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

impl Handler for Admin {
    async fn handle(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let id = self.ids.of(request.headers(), false);
        let call = Call {
            id: id.to_str().unwrap_or_default().into(),
            from: Some(peer.ip),
            caller: self.gate.identify(peer, request.headers()),
        };
        let response = self.call(request.map(axum::body::Body::new), call).await;
        response.map(|body| Body::stream(body.map_err(Into::into)))
    }
}
