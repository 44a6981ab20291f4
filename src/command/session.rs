//! `drawbridge session`: open, look at and end sessions.

use std::io::Write;
use std::net::IpAddr;

use clap::builder::NonEmptyStringValueParser;
use http::Method;
use serde_json::{Value, json};

use super::Verdict;
use super::desk::{
    Desk, Failed, Reach, Table, Wait, at, ended, far_enough, moment, path, tell, token_or_stdin,
    words,
};

/// What to do about sessions.
#[derive(Debug, clap::Subcommand)]
pub enum Session {
    /// Open a session for a user, and print its tokens. They are printed here and never again.
    #[command(after_help = "Examples:
  drawbridge session create alice --permission orders:read --device-id d1 --device-type phone
  drawbridge session create alice --refresh --json | jq -r .access_token")]
    Create(Create),
    /// Show one session: by user and name, or by its token.
    #[command(after_help = "Examples:
  drawbridge session show alice --sid mkEQ5yX1hGlqVbT2
  drawbridge session show --token -          (reads the token from standard input)")]
    Show(Show),
    /// List the live sessions of a user.
    #[command(after_help = "Example: drawbridge session list alice")]
    List(List),
    /// End sessions, from the next request on.
    #[command(after_help = "Examples:
  drawbridge session kick alice --sid mkEQ5yX1hGlqVbT2
  drawbridge session kick alice --device-type phone
  drawbridge session kick alice --all --why password_changed --wait-all
  drawbridge session kick --token -          (reads the token from standard input)
  drawbridge session kick --everybody")]
    Kick(Kick),
}

/// A session to be opened.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// Who.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    user: String,
    /// What the session may do, besides what its user may; may be given several times.
    #[arg(short, long = "permission", value_name = "NAME")]
    permissions: Vec<String>,
    /// A role of the session, besides those of its user; may be given several times.
    #[arg(short, long = "role", value_name = "NAME")]
    roles: Vec<String>,
    /// The device's id. A live session on the same device is replaced.
    #[arg(long, value_name = "ID")]
    device_id: Option<String>,
    /// The device's type, such as phone.
    #[arg(long, value_name = "TYPE")]
    device_type: Option<String>,
    /// The device's name.
    #[arg(long, value_name = "NAME")]
    device_name: Option<String>,
    /// How long it lasts, such as 8h; at most, and by default, what [sessions] says.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    lifetime: Option<u64>,
    /// Issue a refresh token too.
    #[arg(long)]
    refresh: bool,
    /// What its user calls it.
    #[arg(long)]
    label: Option<String>,
    /// The address that its user comes from.
    #[arg(long)]
    ip: Option<IpAddr>,
    /// Its risk, 0 to 100.
    #[arg(long, value_parser = clap::value_parser!(u8).range(..=100))]
    risk: Option<u8>,
    #[command(flatten)]
    reach: Reach,
}

/// A session to be shown.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// Whose.
    #[arg(required_unless_present = "token", requires = "sid", value_parser = NonEmptyStringValueParser::new())]
    user: Option<String>,
    /// Its name, as `list` shows it.
    #[arg(long, allow_hyphen_values = true, requires = "user")]
    sid: Option<String>,
    /// Its access token; `-` reads it from standard input.
    #[arg(long, allow_hyphen_values = true, conflicts_with_all = ["user", "sid"])]
    token: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Whose sessions to list.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Whose.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    user: String,
    #[command(flatten)]
    reach: Reach,
}

/// Sessions to be ended.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true)
    .args(["sid", "device", "device_type", "all", "all_but", "token", "everybody"]))]
pub struct Kick {
    /// Whose.
    #[arg(
        required_unless_present_any = ["token", "everybody"],
        conflicts_with_all = ["token", "everybody"],
        value_parser = NonEmptyStringValueParser::new()
    )]
    user: Option<String>,
    /// The one of this name.
    #[arg(long, allow_hyphen_values = true)]
    sid: Option<String>,
    /// Those on the device with this id.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Those on devices of this type.
    #[arg(long, value_name = "TYPE")]
    device_type: Option<String>,
    /// All of them, and every token that was ever issued for the user.
    #[arg(long)]
    all: bool,
    /// All but the one of this name.
    #[arg(long, value_name = "SID", allow_hyphen_values = true)]
    all_but: Option<String>,
    /// The one of this access or refresh token; `-` reads it from standard input.
    #[arg(long, allow_hyphen_values = true)]
    token: Option<String>,
    /// Every session of every user of the realm.
    #[arg(long)]
    everybody: bool,
    /// What the devices are told.
    #[arg(long, value_parser = ["kicked", "logged_out", "password_changed"], conflicts_with_all = ["sid", "token", "everybody"])]
    why: Option<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    reach: Reach,
}

/// A length of time, in whole seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = "write a second or more as a number with its unit, such as 30m, 8h or 7days";
    let length = humantime::parse_duration(text).map_err(|_| wrong)?;
    match length.as_secs() {
        0 => Err(wrong.to_owned()),
        seconds => Ok(seconds),
    }
}

/// Does it, and tells on `out` what came of it, or on `err` why nothing did.
///
/// # Errors
/// Reading a token from standard input or writing failed.
pub async fn run(
    order: Session,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> anyhow::Result<Verdict> {
    match order {
        Session::Create(create) => {
            let json = create.reach.json;
            tell(open(create).await, json, (out, err), granted)
        }
        Session::Show(mut show) => {
            let token = show.token.take().map(token_or_stdin).transpose()?;
            tell(look(&show, token).await, show.reach.json, (out, err), one)
        }
        Session::List(list) => tell(all(&list).await, list.reach.json, (out, err), |answer| {
            table(at(answer, "/sessions"))
        }),
        Session::Kick(mut kick) => {
            let token = kick.token.take().map(token_or_stdin).transpose()?;
            let json = kick.reach.json;
            let answer = end(kick, token).await;
            let short = far_enough(&answer);
            let told = tell(answer, json, (out, err), ended)?;
            Ok(short.unwrap_or(told))
        }
    }
}

async fn open(create: Create) -> Result<Value, Failed> {
    let desk = Desk::open(&create.reach).await?;
    let body = json!({
        "user_id": create.user,
        "permissions": create.permissions,
        "roles": create.roles,
        "device": {
            "id": create.device_id.unwrap_or_default(),
            "type": create.device_type.unwrap_or_default(),
            "name": create.device_name.unwrap_or_default(),
        },
        "lifetime": create.lifetime,
        "refresh": create.refresh,
        "label": create.label.unwrap_or_default(),
        "ip": create.ip,
        "risk": create.risk,
    });
    desk.ask(Method::POST, "/v1/sessions", Some(body)).await
}

async fn look(show: &Show, token: Option<String>) -> Result<Value, Failed> {
    let desk = Desk::open(&show.reach).await?;
    let Some(token) = token else {
        let (user, sid) = (show.user.as_deref(), show.sid.as_deref());
        let path = path(&[
            "v1",
            "users",
            user.unwrap_or_default(),
            "sessions",
            sid.unwrap_or_default(),
        ]);
        return desk.ask(Method::GET, &path, None).await;
    };
    let known = desk.ask_about("/introspect", &token).await?;
    if at(&known, "/active") == true {
        return Ok(known);
    }
    Err(Failed {
        verdict: Verdict::No,
        told: "this is not the access token of a live session".to_owned(),
    })
}

async fn all(list: &List) -> Result<Value, Failed> {
    let desk = Desk::open(&list.reach).await?;
    let path = path(&["v1", "users", &list.user, "sessions"]);
    desk.ask(Method::GET, &path, None).await
}

async fn end(kick: Kick, token: Option<String>) -> Result<Value, Failed> {
    let desk = Desk::open(&kick.reach).await?;
    if let Some(token) = token {
        return desk.ask_about(&kick.wait.with("/revoke"), &token).await;
    }
    if kick.everybody {
        let body = json!({"everybody": true});
        let path = kick.wait.with("/v1/realm/kick");
        return desk.ask(Method::POST, &path, Some(body)).await;
    }
    let user = kick.user.unwrap_or_default();
    if let Some(sid) = kick.sid {
        let path = path(&["v1", "users", &user, "sessions", &sid]);
        return desk.ask(Method::DELETE, &kick.wait.with(&path), None).await;
    }
    let named = [
        ("device", kick.device),
        ("device_type", kick.device_type),
        ("all_but", kick.all_but),
    ];
    let mut named = named.into_iter();
    let which = named.find_map(|(kind, name)| Some(json!({kind: name?})));
    let body = json!({
        "which": which.unwrap_or_else(|| "all".into()),
        "why": kick.why.as_deref().unwrap_or("kicked"),
    });
    let path = path(&["v1", "users", &user, "kick"]);
    desk.ask(Method::POST, &kick.wait.with(&path), Some(body))
        .await
}

fn granted(answer: &Value) -> String {
    let mut lines = Table::new(&["access token", &words(at(answer, "/access_token"))]);
    let mut line = |name: &str, value: String| lines.line([name.to_owned(), value]);
    line("ends", moment(at(answer, "/access_ends_at")));
    if let Some(token) = at(answer, "/refresh_token").as_str() {
        line("refresh token", token.to_owned());
        line("ends unused", moment(at(answer, "/refresh_ends_at")));
    }
    line("session", words(at(answer, "/session/sid")));
    if at(answer, "/ended")
        .as_array()
        .is_some_and(|all| !all.is_empty())
    {
        line("took the place of", words(at(answer, "/ended")));
    }
    lines.render()
}

/// Sessions, one on a line.
pub(super) fn table(sessions: &Value) -> String {
    let mut table = Table::new(&[
        "SESSION",
        "DEVICE",
        "TYPE",
        "NAME",
        "OPENED",
        "ENDS",
        "LAST SEEN",
        "FROM",
        "LABEL",
    ]);
    for session in sessions.as_array().into_iter().flatten() {
        let device = at(session, "/device");
        table.line([
            words(at(session, "/sid")),
            words(at(device, "/id")),
            words(at(device, "/type")),
            words(at(device, "/name")),
            moment(at(session, "/issued_at")),
            moment(at(session, "/ends_at")),
            moment(at(session, "/last_seen")),
            words(at(session, "/ip")),
            words(at(session, "/label")),
        ]);
    }
    table.render()
}

/// One session: a session's view, or what is known of a token.
fn one(answer: &Value) -> String {
    let mut lines = Table::new(&["session", &words(at(answer, "/sid"))]);
    let mut line = |name: &str, value: String| {
        if value != "-" {
            lines.line([name.to_owned(), value]);
        }
    };
    line("user", words(at(answer, "/sub")));
    let device = at(answer, "/device");
    line("device", words(at(device, "/id")));
    line("type", words(at(device, "/type")));
    line("name", words(at(device, "/name")));
    line("permissions", words(at(answer, "/permissions")));
    line("roles", words(at(answer, "/roles")));
    line("opened", moment(at(answer, "/issued_at")));
    line("ends", moment(at(answer, "/ends_at")));
    let ends = at(answer, "/exp").as_u64().map(|end| end * 1000);
    line("token ends", moment(&json!(ends)));
    line("last seen", moment(at(answer, "/last_seen")));
    line("from", words(at(answer, "/ip")));
    line("label", words(at(answer, "/label")));
    line("stepped up until", moment(at(answer, "/elevated_until")));
    line("acted by", words(at(answer, "/act/user_id")));
    line("acted by", words(at(answer, "/act/sub")));
    line("risk", words(at(answer, "/risk")));
    lines.render()
}
