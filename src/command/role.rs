//! `drawbridge role`: what whoever has a role may do.

use std::io::Write;

use clap::builder::NonEmptyStringValueParser;
use http::Method;
use serde_json::{Value, json};

use super::Verdict;
use super::desk::{Desk, Failed, Reach, Table, at, path, tell, words};
use super::user::done;

/// What to do about roles.
#[derive(Debug, clap::Subcommand)]
pub enum Role {
    /// Say what whoever has a role may do, from the next request on. What it had before is forgotten.
    #[command(after_help = "Example: drawbridge role set clerk orders:read orders:write")]
    Set(Set),
    /// List all roles with their permissions.
    List(List),
    /// Delete a role: whoever has it may do nothing by it.
    #[command(after_help = "Example: drawbridge role delete clerk")]
    Delete(Delete),
}

/// A role to be set.
#[derive(Debug, clap::Args)]
pub struct Set {
    /// Its name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    role: String,
    /// What it may do; none is a role that may do nothing.
    #[arg(value_name = "PERMISSION")]
    permissions: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Roles to be listed.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    reach: Reach,
}

/// A role to be deleted.
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// Its name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    role: String,
    #[command(flatten)]
    reach: Reach,
}

/// Does it, and tells on `out` what came of it, or on `err` why nothing did.
///
/// # Errors
/// Writing failed.
pub async fn run(
    order: Role,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> anyhow::Result<Verdict> {
    let streams = (out as &mut dyn Write, err as &mut dyn Write);
    match order {
        Role::Set(set) => {
            let path = path(&["v1", "roles", &set.role]);
            let body = json!({"permissions": set.permissions});
            let answer = ask(&set.reach, Method::PUT, &path, Some(body)).await;
            tell(answer, set.reach.json, streams, done)
        }
        Role::List(list) => {
            let answer = ask(&list.reach, Method::GET, "/v1/roles", None).await;
            tell(answer, list.reach.json, streams, table)
        }
        Role::Delete(delete) => {
            let path = path(&["v1", "roles", &delete.role]);
            let answer = ask(&delete.reach, Method::DELETE, &path, None).await;
            tell(answer, delete.reach.json, streams, done)
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

fn table(answer: &Value) -> String {
    let mut table = Table::new(&["ROLE", "PERMISSIONS"]);
    for (role, permissions) in at(answer, "/roles").as_object().into_iter().flatten() {
        table.line([role.clone(), words(permissions)]);
    }
    table.render()
}
