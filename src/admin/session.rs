//! Sessions: open, look at, end.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};

use super::App;
use super::bounded::{Level, Name, Note, Seconds, Text, texts};
use super::caller::{May, SessionsRead, SessionsWrite};
use super::change::Order;
use super::ended::{EndedSessions, WaitFor, finish};
use super::extract::{Json, Path, Query};
use super::openapi::{CreateRefusals, FindRefusals, ReadRefusals, WriteRefusals};
use super::problem::Problem;
use crate::clock::now;
use crate::session::{Device, Why};
use crate::sessions::{Grant, Login, SessionView, Target, Whom};

/// A login that somebody else has found to be right.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSession {
    /// Who.
    user_id: Name,
    /// Where. A live session on a device of the same id is replaced; an empty id is no device.
    #[serde(default)]
    device: NewDevice,
    /// What this session may do, besides what its user may.
    #[serde(default)]
    permissions: Vec<Name>,
    /// Roles of this session, besides those of its user.
    #[serde(default)]
    roles: Vec<Name>,
    /// How long it lasts, in seconds; at most, and if absent, what `[sessions]` says.
    #[serde(default)]
    lifetime: Option<Seconds>,
    /// Whether it gets a refresh token.
    #[serde(default)]
    refresh: bool,
    /// The address that its user comes from.
    #[serde(default)]
    #[schema(schema_with = address)]
    ip: Option<IpAddr>,
    /// What its user calls it.
    #[serde(default)]
    label: Note,
    /// 0 to 100.
    #[serde(default)]
    risk: Option<Level>,
}

pub(super) fn address() -> Schema {
    let text = |format| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(format)))
    };
    AnyOfBuilder::new()
        .item(text(KnownFormat::Ipv4))
        .item(text(KnownFormat::Ipv6))
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .into()
}

/// The device that a session is opened on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NewDevice {
    /// Its id.
    id: Note,
    /// Its type, such as `phone`.
    r#type: Text<0, 64>,
    /// Its name, such as `Pixel 12`.
    name: Note,
}

impl From<NewDevice> for Device {
    fn from(device: NewDevice) -> Self {
        Self {
            id: device.id.0.into(),
            kind: device.r#type.0.into(),
            name: device.name.0.into(),
        }
    }
}

/// A new session and its tokens. They are told here and never again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Granted {
    /// The access token.
    access_token: String,
    /// `Bearer` (RFC 6750).
    #[schema(pattern = "^Bearer$")]
    token_type: &'static str,
    /// In how many seconds the access token ends.
    expires_in: u64,
    /// When the access token ends, in Unix milliseconds.
    access_ends_at: u64,
    /// The refresh token, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// When the refresh token ends if it is not used, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_ends_at: Option<u64>,
    /// The session.
    session: SessionView,
    /// The sessions that this one took the place of.
    ended: Vec<String>,
}

impl From<Grant> for Granted {
    fn from(grant: Grant) -> Self {
        Self {
            access_token: grant.access.expose().to_owned(),
            token_type: "Bearer",
            expires_in: grant.access_ends_at.saturating_sub(now()) / 1000,
            access_ends_at: grant.access_ends_at,
            refresh_token: grant.refresh.map(|token| token.expose().to_owned()),
            refresh_ends_at: grant.refresh_ends_at,
            session: grant.session,
            ended: grant.ended,
        }
    }
}

/// What a new session is noted with: everything but its tokens.
fn noted(grant: &Grant) -> serde_json::Value {
    json!({"sid": grant.session.sid, "ended": grant.ended})
}

/// The live sessions of a user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionList {
    /// In the order in which they began.
    sessions: Vec<SessionView>,
}

/// Which sessions of a user are ended, and what their devices are told.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Kick {
    /// Which.
    #[schema(schema_with = which)]
    which: Which,
    /// What their devices are told.
    #[serde(default)]
    why: KickWhy,
}

/// Said out, because what is derived would also allow other members beside the one.
fn which() -> Schema {
    let one = |name: &str| {
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .property(name, <Name as utoipa::PartialSchema>::schema())
            .required(name)
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
    };
    let all = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(["all"]));
    AnyOfBuilder::new()
        .item(all)
        .item(one("all_but"))
        .item(one("device"))
        .item(one("device_type"))
        .into()
}

/// Which sessions of a user.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Which {
    /// All of them, and every token that was ever issued for the user.
    All,
    /// All but the one of this name.
    AllBut(Name),
    /// Those on the device with this id.
    Device(Name),
    /// Those on devices of this type.
    DeviceType(Name),
}

impl From<Which> for Whom {
    fn from(which: Which) -> Self {
        match which {
            Which::All => Self::All,
            Which::AllBut(sid) => Self::AllBut(sid.0),
            Which::Device(id) => Self::Device(id.0),
            Which::DeviceType(kind) => Self::DeviceType(kind.0),
        }
    }
}

/// What the devices of ended sessions are told.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum KickWhy {
    /// Somebody ended it.
    #[default]
    Kicked,
    /// It was logged out.
    LoggedOut,
    /// The user's password was changed.
    PasswordChanged,
}

impl From<KickWhy> for Why {
    fn from(why: KickWhy) -> Self {
        match why {
            KickWhy::Kicked => Self::Kicked,
            KickWhy::LoggedOut => Self::LoggedOut,
            KickWhy::PasswordChanged => Self::PasswordChanged,
        }
    }
}

/// What the devices of a whole realm are told.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KickRealm {
    /// Must be `true`: this logs everybody out.
    #[schema(schema_with = only_true)]
    everybody: Yes,
}

/// `true` and nothing else.
#[derive(Debug)]
struct Yes;

fn only_true() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .enum_values(Some([true]))
        .into()
}

impl<'de> Deserialize<'de> for Yes {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if bool::deserialize(from)? {
            return Ok(Self);
        }
        Err(serde::de::Error::custom("not true"))
    }
}

/// Opens a session for a user whose login somebody else has found to be right. Scope `sessions:write`.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", request_body = NewSession,
    responses((status = 201, description = "The session and its tokens", body = Granted), CreateRefusals))]
pub(super) async fn create(
    May(who, ..): May<SessionsWrite>,
    State(app): State<Arc<App>>,
    Json(new): Json<NewSession>,
) -> Result<(StatusCode, axum::Json<Granted>), Problem> {
    let login = Login {
        user_id: new.user_id.0,
        device: new.device.into(),
        permissions: texts(new.permissions),
        roles: texts(new.roles),
        lifetime: new.lifetime.map(Seconds::seconds),
        refresh: new.refresh,
        ip: new.ip,
        label: new.label.0,
        risk: new.risk.map_or(0, Level::level),
    };
    let order = Order::new("session.create", login.user_id.clone()).with(json!({
        "device": login.device,
        "permissions": login.permissions,
        "roles": login.roles,
        "refresh": login.refresh,
    }));
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        let grant = sessions.login(login).await?;
        let noted = noted(&grant);
        Ok((Granted::from(grant), noted))
    };
    let granted = app.change(who, order, work).await?;
    Ok((StatusCode::CREATED, axum::Json(granted)))
}

/// The live sessions of a user; none if nothing is known of the user. Scope `sessions:read`.
#[utoipa::path(get, path = "/v1/users/{user}/sessions", tag = "sessions", params(("user" = Name, Path)),
    responses((status = 200, description = "The sessions", body = SessionList), ReadRefusals))]
pub(super) async fn list(
    _: May<SessionsRead>,
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
) -> Result<axum::Json<SessionList>, Problem> {
    let sessions = app.sessions.list(&user).await?;
    Ok(axum::Json(SessionList { sessions }))
}

/// One live session of a user. Scope `sessions:read`.
#[utoipa::path(get, path = "/v1/users/{user}/sessions/{sid}", tag = "sessions",
    params(("user" = Name, Path), ("sid" = Name, Path)),
    responses((status = 200, description = "The session", body = SessionView), FindRefusals))]
pub(super) async fn show(
    _: May<SessionsRead>,
    State(app): State<Arc<App>>,
    Path((user, sid)): Path<(String, String)>,
) -> Result<axum::Json<SessionView>, Problem> {
    let sessions = app.sessions.list(&user).await?;
    let found = sessions.into_iter().find(|session| session.sid == sid);
    found.map(axum::Json).ok_or(Problem::NO_SESSION)
}

/// Ends one session. 404 if it is over already. Scope `sessions:write`.
#[utoipa::path(delete, path = "/v1/users/{user}/sessions/{sid}", tag = "sessions",
    params(("user" = Name, Path), ("sid" = Name, Path), WaitFor),
    responses((status = 200, description = "It is over", body = EndedSessions), FindRefusals))]
pub(super) async fn end(
    May(who, ..): May<SessionsWrite>,
    State(app): State<Arc<App>>,
    Path((user, sid)): Path<(String, String)>,
    Query(wait): Query<WaitFor>,
) -> Result<axum::Json<EndedSessions>, Problem> {
    let order = Order::new("session.end", user.clone()).with(json!({"sid": sid}));
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        let ended = sessions
            .kick(&user, Whom::Session(sid), Why::Kicked)
            .await?;
        if ended.sids.is_empty() {
            return Err(Problem::NO_SESSION);
        }
        Ok(finish(&sessions, ended, wait, Target::User(&user)).await)
    };
    app.change(who, order, work).await.map(axum::Json)
}

/// Ends sessions of a user: all, all but one, or those of a device or device type. None is no error. Scope
/// `sessions:write`.
#[utoipa::path(post, path = "/v1/users/{user}/kick", tag = "sessions", params(("user" = Name, Path), WaitFor),
    request_body = Kick,
    responses((status = 200, description = "They are over", body = EndedSessions), WriteRefusals))]
pub(super) async fn kick(
    May(who, ..): May<SessionsWrite>,
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
    Query(wait): Query<WaitFor>,
    Json(kick): Json<Kick>,
) -> Result<axum::Json<EndedSessions>, Problem> {
    let detail = json!({"which": kick.which, "why": kick.why});
    let order = Order::new("session.kick", user.clone()).with(detail);
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        let ended = sessions
            .kick(&user, kick.which.into(), kick.why.into())
            .await?;
        Ok(finish(&sessions, ended, wait, Target::User(&user)).await)
    };
    app.change(who, order, work).await.map(axum::Json)
}

/// Logs everybody out: every session of the realm is over with one write. Scope `sessions:write`.
#[utoipa::path(post, path = "/v1/realm/kick", tag = "sessions", params(WaitFor), request_body = KickRealm,
    responses((status = 200, description = "They are over", body = EndedSessions), WriteRefusals))]
pub(super) async fn kick_realm(
    May(who, ..): May<SessionsWrite>,
    State(app): State<Arc<App>>,
    Query(wait): Query<WaitFor>,
    Json(KickRealm { everybody: Yes }): Json<KickRealm>,
) -> Result<axum::Json<EndedSessions>, Problem> {
    let order = Order::new("realm.kick", None);
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        let ended = sessions.kick_realm(Why::Realm).await?;
        Ok(finish(&sessions, ended, wait, Target::Realm).await)
    };
    app.change(who, order, work).await.map(axum::Json)
}
