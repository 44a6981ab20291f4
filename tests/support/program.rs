//! Programs of others that `tests/run.sh` installs, and servers among them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What `tests/run.sh` has installed at this place.
pub(crate) fn installed(place: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let found = target.join(place);
    assert!(
        found.exists(),
        "{place} is not there; bash tests/run.sh installs it"
    );
    found
}

/// A server of its own, until it is dropped.
pub(crate) struct Program {
    process: Child,
    port: u16,
}

impl Program {
    /// Of a command that prints its port as soon as it listens there.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut port).unwrap();
        Self {
            process,
            port: port.trim().parse().unwrap(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
