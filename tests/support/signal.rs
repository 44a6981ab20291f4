//! Signals to processes that tests have started.

use std::process::Command;
use std::time::{Duration, Instant};

/// Longer than a process takes to stand still.
const LONGEST: Duration = Duration::from_secs(20);

/// Sends the process of this number a signal, such as `-HUP`.
pub(crate) fn send(id: u32, name: &str) {
    let id = id.to_string();
    let status = Command::new("kill").args([name, &id]).status().unwrap();
    assert!(status.success());
}

/// SIGSTOP: the process keeps its connections and does nothing. Returns when it stands still, each thread of it: on a busy
/// machine one may still run for a while after the signal was sent.
pub(crate) fn freeze(id: u32) {
    send(id, "-STOP");
    // Threads have lines of their own only where each is stopped by itself.
    let list = if cfg!(target_os = "linux") {
        "-Lo"
    } else {
        "-o"
    };
    let start = Instant::now();
    loop {
        let ps = Command::new("ps")
            .args([list, "state=", "-p", &id.to_string()])
            .output();
        let states = String::from_utf8(ps.unwrap().stdout).unwrap();
        let mut states = states.split_whitespace().peekable();
        if states.peek().is_some() && states.all(|state| state.starts_with('T')) {
            return;
        }
        assert!(start.elapsed() < LONGEST, "it does not stand still");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// SIGCONT.
pub(crate) fn thaw(id: u32) {
    send(id, "-CONT");
}
