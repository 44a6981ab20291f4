//! Rate limits: what somebody has left, and giving it back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::App;
use super::bounded::Name;
use super::caller::{Limits as MayLimits, May};
use super::change::Order;
use super::extract::Json;
use super::openapi::WriteRefusals;
use super::problem::Problem;
use super::session::address;
use crate::config::LimitBy;
use crate::config::value::Rate;
use crate::limit::{Catalog, Limit, Limits, Meter, Metered, Scope, Whose};
use crate::store::{Key, SessionStore, StoreError};
use crate::token::{Token, TokenShape};

/// What limits count in.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// In this process.
    pub limits: Arc<Limits>,
    /// With other gateways, if that is not the store.
    pub meters: Option<Arc<SessionStore>>,
}

/// Whose limits. Those that count by what is left out are not meant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Subject {
    /// A client's address, as the gateway sees it.
    #[serde(default)]
    #[schema(schema_with = address)]
    client: Option<IpAddr>,
    /// A token. It is not noted.
    #[serde(default)]
    token: Option<Name>,
    /// A user.
    #[serde(default)]
    user: Option<Name>,
    /// One of the user's devices, by its id.
    #[serde(default)]
    device: Option<Name>,
    /// Also what routes take altogether, from everybody.
    #[serde(default)]
    everybody: bool,
}

/// One limit, as it stands for whom was asked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LimitState {
    /// Where it is written: a route, or a table of the configuration.
    place: String,
    /// What clients see it called.
    name: String,
    /// What it counts by.
    by: &'static str,
    /// Whether it is counted together with other gateways.
    shared: bool,
    /// How many requests in [`Self::per`].
    count: u32,
    /// In how many milliseconds.
    per: u64,
    /// How many at once.
    burst: u64,
    /// How many would pass now.
    remaining: u64,
    /// In how many milliseconds the next one passes.
    next_in: u64,
    /// In how many milliseconds all is there again.
    full_in: u64,
}

/// Limits, as they stand.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LimitStates {
    limits: Vec<LimitState>,
}

/// What was given back.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LimitsReset {
    /// How many limits had been used.
    reset: usize,
}

/// What somebody has left. Limits that are counted in one process are those of the gateway that answers. Scope `limits`.
#[utoipa::path(post, path = "/v1/limits/show", tag = "limits", request_body = Subject,
    responses((status = 200, description = "The limits", body = LimitStates), WriteRefusals))]
pub(super) async fn show(
    _: May<MayLimits>,
    State(app): State<Arc<App>>,
    Json(subject): Json<Subject>,
) -> Result<axum::Json<LimitStates>, Problem> {
    let token = subject.token(&app.shape);
    let whose = subject.whose(token.as_ref());
    let limits = app.desk().states(&whose).await?;
    Ok(axum::Json(LimitStates { limits }))
}

/// Gives somebody back all that their limits allow, and forgets the unknown tokens that a client has sent. Scope
/// `limits`.
#[utoipa::path(post, path = "/v1/limits/reset", tag = "limits", request_body = Subject,
    responses((status = 200, description = "It is given back", body = LimitsReset), WriteRefusals))]
pub(super) async fn reset(
    May(who, ..): May<MayLimits>,
    State(app): State<Arc<App>>,
    Json(subject): Json<Subject>,
) -> Result<axum::Json<LimitsReset>, Problem> {
    let token = subject.token(&app.shape);
    let detail = json!({
        "client": subject.client,
        "token": token.is_some(),
        "device": subject.device,
        "everybody": subject.everybody,
    });
    let whom = subject.user.as_ref().map(|user| user.0.clone());
    let order = Order::new("limits.reset", whom).with(detail);
    let desk = app.desk();
    let work = async move {
        let whose = subject.whose(token.as_ref());
        let reset = desk.fill(&whose).await?;
        Ok((LimitsReset { reset }, json!({ "reset": reset })))
    };
    app.change(who, order, work).await.map(axum::Json)
}

impl Subject {
    /// The token; what cannot be one has no limits.
    fn token(&self, shape: &TokenShape) -> Option<Token> {
        let token = self.token.as_ref()?;
        shape.check(token.0.as_bytes()).ok()
    }

    fn whose<'a>(&'a self, token: Option<&'a Token>) -> Whose<'a> {
        Whose {
            client: self.client,
            token,
            user: self.user.as_ref().map(|user| user.0.as_str()),
            device: self.device.as_ref().map(|device| device.0.as_str()),
            everybody: self.everybody,
        }
    }
}

/// The limits in force, and where they count.
struct Desk {
    catalog: Arc<Catalog>,
    limits: Arc<Limits>,
    meters: Arc<SessionStore>,
}

impl App {
    fn desk(&self) -> Desk {
        let Counters { limits, meters } = &self.counters;
        Desk {
            catalog: limits.catalog(),
            limits: Arc::clone(limits),
            meters: Arc::clone(meters.as_ref().unwrap_or_else(|| self.sessions.store())),
        }
    }
}

impl Desk {
    async fn states(&self, whose: &Whose<'_>) -> Result<Vec<LimitState>, StoreError> {
        let mut states = Vec::new();
        let (mut asked, mut questions) = (Vec::new(), Vec::new());
        for (place, limit) in self.all() {
            if limit.scope() == Scope::Local {
                let metered = self.limits.state(limit, whose);
                states.extend(metered.map(|metered| state(place, limit, metered)));
            } else if let Some(bucket) = limit.bucket_of(whose) {
                asked.push((place, limit));
                questions.push((Key::limit(&bucket), limit.meter()));
            }
        }
        let answers = self.meters.meters(&questions).await?;
        let shared = asked.into_iter().zip(answers);
        states.extend(shared.map(|((place, limit), metered)| state(place, limit, metered)));
        if let (Some(meter), Some(client)) = (self.catalog.guard, whose.client) {
            let metered = self.limits.guard.state(meter, client);
            states.push(state_of_guard(meter, metered));
        }
        Ok(states)
    }

    async fn fill(&self, whose: &Whose<'_>) -> Result<usize, StoreError> {
        let mut filled = 0;
        for (_, limit) in self.all() {
            let used = if limit.scope() == Scope::Local {
                self.limits.fill(limit, whose)
            } else if let Some(bucket) = limit.bucket_of(whose) {
                self.meters.fill(&Key::limit(&bucket)).await?
            } else {
                false
            };
            filled += usize::from(used);
        }
        let forgiven = whose
            .client
            .is_some_and(|client| self.limits.guard.forgive(client));
        Ok(filled + usize::from(forgiven))
    }

    fn all(&self) -> impl Iterator<Item = (&str, &Limit)> {
        let lists = self.catalog.lists.iter();
        lists.flat_map(|(place, limits)| limits.iter().map(move |limit| (place.as_str(), limit)))
    }
}

fn state(place: &str, limit: &Limit, metered: Metered) -> LimitState {
    let Rate { count, per } = limit.rate();
    LimitState {
        place: place.to_owned(),
        name: limit.name().to_string(),
        by: limit.by().word(),
        shared: limit.scope() != Scope::Local,
        count: count.get(),
        per: millis(per),
        burst: limit.meter().burst(),
        remaining: metered.remaining,
        next_in: millis(metered.next_in),
        full_in: millis(metered.full_in),
    }
}

fn state_of_guard(meter: Meter, metered: Metered) -> LimitState {
    LimitState {
        place: "[guard]".to_owned(),
        name: "unknown_tokens".to_owned(),
        by: LimitBy::Client.word(),
        shared: false,
        count: u32::try_from(meter.burst()).unwrap_or(u32::MAX),
        per: millis(meter.fills_in()),
        burst: meter.burst(),
        remaining: metered.remaining,
        next_in: millis(metered.next_in),
        full_in: millis(metered.full_in),
    }
}

/// Rounded up: what is told to be over is over.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}
