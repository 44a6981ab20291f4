//! A new program takes over from the running one, and no connection is refused: it gets the listening sockets, says when it
//! serves, and only then does the old one come to its end.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::LazyLock;

use anyhow::Context as _;
use tokio::sync::oneshot;

use crate::server::Heritage;

/// Set for a program that takes over: its standard input is where it says that it serves.
const HANDOVER: &str = "DRAWBRIDGE_HANDOVER";

/// What it says.
const SERVES: [u8; 6] = *b"serves";

/// This program's file. Asked for early: once the file has been replaced the system names the one that was deleted.
static PROGRAM: LazyLock<io::Result<PathBuf>> = LazyLock::new(std::env::current_exe);

/// Remembers which file this program was started from.
pub(super) fn remember_program() {
    LazyLock::force(&PROGRAM);
}

/// A program that is starting.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) id: u32,
    /// Whether it serves; an error means that it has ended.
    pub(super) serves: oneshot::Receiver<()>,
}

/// Starts the program anew, with the same arguments and all listening sockets.
///
/// # Errors
/// If the system does not start it.
pub(super) fn start() -> anyhow::Result<Successor> {
    let program = PROGRAM.as_ref().map_err(|error| anyhow::anyhow!("{error}"));
    let heritage = Heritage::prepare().context("the sockets cannot be handed over")?;
    let (mut told, tell) = io::pipe()?;
    let child = Command::new(program.context("this program's file is not known")?)
        .args(std::env::args_os().skip(1))
        .envs(heritage.environment())
        .env_remove("LISTEN_PID")
        .env(HANDOVER, "1")
        .stdin(tell)
        .spawn()
        .context("the new program does not start")?;
    let id = child.id();
    let (sender, serves) = oneshot::channel();
    std::thread::Builder::new()
        .name("handover".to_owned())
        .spawn(move || {
            let mut word = [0; SERVES.len()];
            // Ends with the word, or when the program ends.
            if told.read_exact(&mut word).is_ok() && word == SERVES {
                sender.send(()).ok();
            } else {
                bury(child);
            }
        })?;
    Ok(Successor { id, serves })
}

/// A program that does not say that it serves is of no use; whatever it is at, it must not serve beside this one.
fn bury(mut child: Child) {
    child.kill().ok();
    match child.wait() {
        Ok(status) => tracing::error!(%status, "the new program has ended"),
        Err(error) => tracing::error!(%error, "the new program cannot be waited for"),
    }
}

/// Tells whoever is to be succeeded that this program serves, if it was started for that.
pub(super) fn tell_predecessor() {
    if std::env::var_os(HANDOVER).is_none() {
        return;
    }
    let told = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .and_then(|pipe| std::fs::File::from(pipe).write_all(&SERVES));
    if let Err(error) = told {
        tracing::error!(%error, "the program that is to be succeeded could not be told");
    }
}
