//! `drawbridge user`: look at users, ban them, and say what they may do.

use std::io::Write;
use std::time::SystemTime;

use clap::builder::NonEmptyStringValueParser;
use http::Method;
use serde_json::{Value, json};

use super::Verdict;
use super::desk::{
    Desk, Failed, Reach, Table, Wait, at, ended, far_enough, moment, path, tell, words,
};
use super::session::{seconds, table};
use crate::clock::now;

/// What to do about a user.
#[derive(Debug, clap::Subcommand)]
pub enum User {
    /// Show what is known of a user: rights, bans, live sessions.
    #[command(after_help = "Example: drawbridge user show alice")]
    Show(Show),
    /// Ban a user, and end the user's sessions.
    #[command(after_help = "Examples:
  drawbridge user ban mallory --reason \"stolen card\"
  drawbridge user ban mallory --service billing --for 7days --keep-sessions")]
    Ban(Ban),
    /// Lift a ban.
    #[command(after_help = "Example: drawbridge user unban mallory --service billing")]
    Unban(Unban),
    /// Give permissions to a user, from the next request on.
    #[command(after_help = "Example: drawbridge user grant alice orders:write reports:read")]
    Grant(Grant),
    /// Take permissions from a user, from the next request on.
    #[command(after_help = "Examples:
  drawbridge user revoke alice orders:write
  drawbridge user revoke alice orders:write --deny     (also where a login or a role gives it)")]
    Revoke(Revoke),
    /// Show or change the roles of a user.
    #[command(after_help = "Example: drawbridge user roles alice --add clerk --remove auditor")]
    Roles(Roles),
    /// Say how risky a user, or one session of the user, is.
    #[command(after_help = "Example: drawbridge user risk mallory 80")]
    Risk(Risk),
}

/// A user to be shown.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// Who.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    user: String,
    #[command(flatten)]
    reach: Reach,
}

/// A ban to be laid.
#[derive(Debug, clap::Args)]
pub struct Ban {
    /// Who.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    user: String,
    /// Only from the routes with this `service`; without it from everything.
    #[arg(long, default_value = "*", hide_default_value = true)]
    service: String,
    /// How long, such as 24h or 7days; without it for ever.
    #[arg(long = "for", value_name = "TIME", value_parser = seconds, conflicts_with = "until")]
    lasts: Option<u64>,
    /// Until when, such as 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339_weak)]
    until: Option<SystemTime>,
    /// Why, in words for the operator.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Leave the user's sessions alone.
    #[arg(long)]
    keep_sessions: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    reach: Reach,
}

/// A ban to be lifted.
#[derive(Debug, clap::Args)]
pub struct Unban {
    /// Who.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    user: String,
    /// The one from this service; without it the one from everything.
    #[arg(long, default_value = "*", hide_default_value = true)]
    service: String,
    #[command(flatten)]
    reach: Reach,
}

/// Permissions to be given.
#[derive(Debug, clap::Args)]
pub struct Grant {
    /// Who.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    user: String,
    /// What.
    #[arg(required = true, value_name = "PERMISSION")]
    permissions: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Permissions to be taken.
#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// Who.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    user: String,
    /// What.
    #[arg(required = true, value_name = "PERMISSION")]
    permissions: Vec<String>,
    /// Deny them too: no session of the user has them, whatever else gives them, until they are granted again.
    #[arg(long)]
    deny: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Roles to be changed.
#[derive(Debug, clap::Args)]
pub struct Roles {
    /// Whose.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    user: String,
    /// A role to give; may be given several times.
    #[arg(long, value_name = "ROLE")]
    add: Vec<String>,
    /// A role to take; may be given several times.
    #[arg(long, value_name = "ROLE")]
    remove: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

/// A risk to be set.
#[derive(Debug, clap::Args)]
pub struct Risk {
    /// Whose.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    user: String,
    /// 0 to 100.
    #[arg(value_parser = clap::value_parser!(u8).range(..=100))]
    level: u8,
    /// Only of the session of this name.
    #[arg(long, value_name = "SID", allow_hyphen_values = true)]
    session: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Does it, and tells on `out` what came of it, or on `err` why nothing did.
///
/// # Errors
/// Writing failed.
pub async fn run(
    order: User,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> anyhow::Result<Verdict> {
    let streams = (out as &mut dyn Write, err as &mut dyn Write);
    match order {
        User::Show(show) => {
            let answer = look(&show.reach, &show.user).await;
            tell(answer, show.reach.json, streams, shown)
        }
        User::Ban(ban) => {
            let json = ban.reach.json;
            let answer = lay(ban).await;
            let short = far_enough(&answer);
            let told = tell(answer, json, streams, ended)?;
            Ok(short.unwrap_or(told))
        }
        User::Unban(unban) => {
            let path = path(&["v1", "users", &unban.user, "bans", &unban.service]);
            let answer = ask(&unban.reach, Method::DELETE, &path, None).await;
            tell(answer, unban.reach.json, streams, done)
        }
        User::Grant(grant) => {
            let edit = json!({"grant": grant.permissions});
            let answer = change(&grant.reach, &grant.user, edit).await;
            tell(answer, grant.reach.json, streams, rights)
        }
        User::Revoke(revoke) => {
            let denied = Some(&revoke.permissions).filter(|_| revoke.deny);
            let edit = json!({
                "revoke": revoke.permissions,
                "deny": denied.map_or(&[][..], Vec::as_slice),
            });
            let answer = change(&revoke.reach, &revoke.user, edit).await;
            tell(answer, revoke.reach.json, streams, rights)
        }
        User::Roles(roles) => {
            let json = roles.reach.json;
            tell(give(roles).await, json, streams, rights)
        }
        User::Risk(risk) => {
            let answer = set(&risk).await;
            tell(answer, risk.reach.json, streams, done)
        }
    }
}

async fn ask(
    reach: &Reach,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, Failed> {
    Desk::open(reach).await?.ask(method, path, body).await
}

async fn look(reach: &Reach, user: &str) -> Result<Value, Failed> {
    ask(reach, Method::GET, &path(&["v1", "users", user]), None).await
}

async fn lay(ban: Ban) -> Result<Value, Failed> {
    let until = match (ban.lasts, ban.until) {
        (Some(seconds), _) => Some(now().saturating_add(seconds.saturating_mul(1000))),
        (None, Some(time)) => time
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .map(crate::clock::millis),
        (None, None) => None,
    };
    let body = json!({
        "until": until,
        "reason": ban.reason,
        "keep_sessions": ban.keep_sessions,
    });
    let path = path(&["v1", "users", &ban.user, "bans", &ban.service]);
    let path = ban.wait.with(&path);
    ask(&ban.reach, Method::PUT, &path, Some(body)).await
}

async fn change(reach: &Reach, user: &str, edit: Value) -> Result<Value, Failed> {
    let path = path(&["v1", "users", user, "rights"]);
    ask(reach, Method::PATCH, &path, Some(edit)).await
}

async fn give(roles: Roles) -> Result<Value, Failed> {
    if roles.add.is_empty() && roles.remove.is_empty() {
        let user = look(&roles.reach, &roles.user).await?;
        return Ok(at(&user, "/rights").clone());
    }
    let edit = json!({"add_roles": roles.add, "remove_roles": roles.remove});
    change(&roles.reach, &roles.user, edit).await
}

async fn set(risk: &Risk) -> Result<Value, Failed> {
    let path = match &risk.session {
        Some(sid) => path(&["v1", "users", &risk.user, "sessions", sid, "risk"]),
        None => path(&["v1", "users", &risk.user, "risk"]),
    };
    let body = json!({"level": risk.level});
    ask(&risk.reach, Method::PUT, &path, Some(body)).await
}

/// Where there is nothing to be told.
pub(super) fn done(_: &Value) -> String {
    "done\n".to_owned()
}

fn rights(rights: &Value) -> String {
    let mut lines = Table::new(&["permissions", &words(at(rights, "/permissions"))]);
    line_up(&mut lines, rights);
    lines.render()
}

/// What stands below the permissions.
fn line_up(lines: &mut Table, rights: &Value) {
    lines.line(["roles".to_owned(), words(at(rights, "/roles"))]);
    lines.line(["denied".to_owned(), words(at(rights, "/denied"))]);
}

fn shown(user: &Value) -> String {
    let mut lines = Table::new(&["user", &words(at(user, "/user_id"))]);
    let held = words(at(user, "/rights/permissions"));
    lines.line(["permissions".to_owned(), held]);
    line_up(&mut lines, at(user, "/rights"));
    lines.line(["risk".to_owned(), words(at(user, "/risk"))]);
    let mut text = lines.render();
    let bans = at(user, "/bans").as_object().into_iter().flatten();
    let mut table_of_bans = Table::new(&["BAN", "UNTIL", "SINCE", "REASON"]);
    let mut banned = false;
    for (service, ban) in bans {
        banned = true;
        let until = match at(ban, "/until") {
            until if until.is_null() => "for ever".to_owned(),
            until => moment(until),
        };
        let since = moment(at(ban, "/at"));
        table_of_bans.line([service.clone(), until, since, words(at(ban, "/reason"))]);
    }
    if banned {
        text += &format!("\n{}", table_of_bans.render());
    }
    text + "\n" + &table(at(user, "/sessions"))
}
