//! What is told of sessions that were ended, and how far that has come.

use serde_json::Value;

use super::table::{at, words};
use super::{Failed, Verdict};

/// What to wait for after an end.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(in crate::command) struct Wait {
    /// Wait until every gateway has dropped what was ended, 15 seconds at most, and tell if one did not say so.
    #[arg(long)]
    wait_all: bool,
}

impl Wait {
    /// The path of a call that ends something.
    pub(in crate::command) fn with(self, path: &str) -> String {
        match self.wait_all {
            true => format!("{path}?wait=all"),
            false => path.to_owned(),
        }
    }
}

/// What was ended, for people.
pub(in crate::command) fn ended(answer: &Value) -> String {
    let confirmed = match at(answer, "/confirmed").as_bool() {
        Some(false) => " (a failover of the store may still undo it)",
        Some(true) | None => "",
    };
    let mut text = match at(answer, "/ended").as_array() {
        Some(sids) if !sids.is_empty() => {
            format!("ended: {}{confirmed}\n", words(at(answer, "/ended")))
        }
        Some(_) | None => format!("done{confirmed}\n"),
    };
    let silent = at(answer, "/silent");
    let silent = match silent.as_array() {
        Some(names) if !names.is_empty() => format!(" (no word from {})", words(silent)),
        Some(_) | None => String::new(),
    };
    match at(answer, "/everywhere").as_bool() {
        Some(true) => text += &format!("every gateway has dropped it{silent}\n"),
        Some(false) => text += &format!("not every gateway is known to have dropped it{silent}\n"),
        None => {}
    }
    text
}

/// The exit code: whoever wants to know that every gateway has dropped it must not be told yes if that is not known.
pub(in crate::command) fn far_enough(answer: &Result<Value, Failed>) -> Option<Verdict> {
    let answer = answer.as_ref().ok()?;
    (at(answer, "/everywhere") == false).then_some(Verdict::CannotTell)
}
