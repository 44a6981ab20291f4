//! What the program can be told to do; one file for each word.

use std::io::Write;
use std::process::ExitCode;

pub mod admin_key;
pub mod check;
pub mod demo;
mod desk;
pub mod explain;
pub mod held;
mod opened;
pub mod role;
pub mod run;
pub mod schema;
pub mod session;
pub mod user;

pub use self::desk::Reach;

/// How a command ended; its number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was done, or the answer is yes.
    Done = 0,
    /// It was refused, there is no such thing, or the answer is no. It has been told why.
    No = 1,
    /// It was asked for in the wrong way.
    Usage = 2,
    /// Nobody knows: the store or the gateway could not be reached, or broke off.
    CannotTell = 3,
}

impl Verdict {
    /// This verdict, after its reason has been told.
    fn because(self, error: &anyhow::Error, err: &mut dyn Write) -> anyhow::Result<Self> {
        writeln!(err, "drawbridge: {error:#}")?;
        Ok(self)
    }
}

impl From<bool> for Verdict {
    fn from(yes: bool) -> Self {
        if yes { Self::Done } else { Self::No }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(verdict as u8)
    }
}
