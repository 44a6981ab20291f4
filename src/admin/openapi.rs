//! Which call goes where, and the document that tells it: `/openapi.json`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, patch, post, put};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, ToSchema as _};

use super::problem::{Problem, ProblemDocument};
use super::{App, door, health, limit, once, role, session, standing, token, user};

/// All calls.
pub(super) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/sessions", post(session::create))
        .route("/v1/users/{user}", get(user::show))
        .route("/v1/users/{user}/sessions", get(session::list))
        .route(
            "/v1/users/{user}/sessions/{sid}",
            get(session::show).delete(session::end),
        )
        .route(
            "/v1/users/{user}/sessions/{sid}/step-up",
            post(standing::step_up),
        )
        .route(
            "/v1/users/{user}/sessions/{sid}/risk",
            put(standing::session_risk),
        )
        .route("/v1/users/{user}/kick", post(session::kick))
        .route("/v1/users/{user}/risk", put(standing::user_risk))
        .route("/v1/users/{user}/rights", patch(user::rights))
        .route(
            "/v1/users/{user}/bans/{service}",
            put(user::ban).delete(user::unban),
        )
        .route("/v1/realm/kick", post(session::kick_realm))
        .route("/v1/roles", get(role::list))
        .route(
            "/v1/roles/{role}",
            put(role::set).merge(delete(role::delete)),
        )
        .route("/v1/limits/show", post(limit::show))
        .route("/v1/limits/reset", post(limit::reset))
        .route("/v1/once", post(once::issue))
        .route("/v1/once/redeem", post(once::redeem))
        .route("/v1/act-as", post(standing::act_as))
        .route("/introspect", post(token::introspect))
        .route("/revoke", post(token::revoke))
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        .route("/openapi.json", get(health::document))
        .fallback(|| async { Problem::NOT_FOUND })
        .method_not_allowed_fallback(|| async { Problem::METHOD })
        // What is read is bounded where it is read.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Arc::clone(&app), door::door))
        .with_state(app)
}

/// What `/openapi.json` says.
#[derive(Debug, utoipa::OpenApi)]
#[openapi(
    info(
        title = "drawbridge admin API",
        description = "Sessions, users, roles and tokens. Times are Unix milliseconds unless said otherwise. Whatever is \
                       not done is a problem document (RFC 9457); 503 means that nobody can tell, and is worth another try."
    ),
    paths(
        session::create,
        session::list,
        session::show,
        session::end,
        session::kick,
        session::kick_realm,
        standing::step_up,
        standing::session_risk,
        standing::user_risk,
        standing::act_as,
        user::show,
        user::ban,
        user::unban,
        user::rights,
        role::list,
        role::set,
        role::delete,
        limit::show,
        limit::reset,
        once::issue,
        once::redeem,
        token::introspect,
        token::revoke,
        health::live,
        health::ready,
        health::document,
    ),
    components(schemas(ProblemDocument)),
    security(("key" = []), ("certificate" = [])),
    modifiers(&Schemes)
)]
pub(super) struct Document;

#[derive(Debug)]
struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut OpenApi) {
        let key = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An admin key, dba_…"))
            .build();
        let certificate = SecurityScheme::MutualTls {
            description: Some("A client certificate that [admin] knows".to_owned()),
            deprecated: None,
            extensions: None,
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(key));
        components.add_security_scheme("certificate", certificate);
    }
}

/// Problem documents that an operation may answer with.
macro_rules! refusals {
    ($name:ident, $doc:literal, $statuses:expr) => {
        #[doc = $doc]
        #[derive(Debug)]
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                problems(&$statuses)
            }
        }
    };
}

refusals!(
    ReadRefusals,
    "Of a call without a body.",
    [400, 401, 403, 503]
);
refusals!(
    FindRefusals,
    "Of a call without a body that may find nothing.",
    [400, 401, 403, 404, 503]
);
refusals!(
    WriteRefusals,
    "Of a call with a body.",
    [400, 401, 403, 408, 413, 415, 503]
);
refusals!(
    ChangeRefusals,
    "Of a call with a body that may find nothing.",
    [400, 401, 403, 404, 408, 413, 415, 503]
);
refusals!(
    CreateRefusals,
    "Of a call that opens a session.",
    [400, 401, 403, 408, 409, 413, 415, 503]
);
refusals!(NotReady, "Of a call that only asks the store.", [503]);

fn problems(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let one = |status: &u16| {
        let status = http::StatusCode::from_u16(*status).unwrap_or_default();
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(ProblemDocument::name())))
            .build();
        let response = ResponseBuilder::new()
            .description(status.canonical_reason().unwrap_or_default())
            .content("application/problem+json", content)
            .build();
        (status.as_str().to_owned(), response.into())
    };
    statuses.iter().map(one).collect()
}
