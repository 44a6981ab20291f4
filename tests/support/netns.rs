//! A network namespace at the other end of a cable (veth), whose packets can be dropped on the way: no refusal, no reset,
//! no end, just nothing any more. Linux only, and only root may.

#![allow(dead_code, reason = "every test program uses another part of it")]

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// One namespace; it and the cable are gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Netns {
    name: String,
    here: String,
    there: String,
}

fn runs(command: &[&str]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).output();
    output.is_ok_and(|output| output.status.success())
}

fn run(command: &[&str]) {
    let output = Command::new(command[0])
        .args(&command[1..])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

impl Netns {
    /// Nothing where there can be none; then it says so.
    pub(crate) fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("db{process:x}n{number}");
        if !runs(&["iptables", "--version"]) || !runs(&["ip", "netns", "add", &name]) {
            eprintln!(
                "****  NOT TESTED: packets that are dropped. It takes Linux, root, iproute2 and iptables.  ****"
            );
            return None;
        }
        let (left, right) = (format!("{name}a"), format!("{name}b"));
        // TEST-NET-2 and TEST-NET-3 (RFC 5737) are nobody's; four addresses for each cable.
        let net = (process.wrapping_mul(7).wrapping_add(number)) % 128;
        let (third, fourth) = (
            if net < 64 { "198.51.100" } else { "203.0.113" },
            net % 64 * 4,
        );
        let made = Self {
            here: format!("{third}.{}", fourth + 1),
            there: format!("{third}.{}", fourth + 2),
            name,
        };
        run(&[
            "ip", "link", "add", &left, "type", "veth", "peer", "name", &right, "netns", &made.name,
        ]);
        run(&[
            "ip",
            "address",
            "add",
            &format!("{}/30", made.here),
            "dev",
            &left,
        ]);
        run(&["ip", "link", "set", &left, "up"]);
        made.inside(&[
            "ip",
            "address",
            "add",
            &format!("{}/30", made.there),
            "dev",
            &right,
        ]);
        made.inside(&["ip", "link", "set", &right, "up"]);
        made.inside(&["ip", "link", "set", "lo", "up"]);
        Some(made)
    }

    /// The address of whoever is in it.
    pub(crate) fn address(&self) -> &str {
        &self.there
    }

    /// What a command begins with that is to run in it.
    pub(crate) fn prefix(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name]
            .map(str::to_owned)
            .to_vec()
    }

    fn inside(&self, command: &[&str]) {
        run(&[&["ip", "netns", "exec", &self.name], command].concat());
    }

    /// Drops what comes from this port here, and what is sent to it; with no port, everything.
    pub(crate) fn drop_packets(&self, port: Option<u16>, (coming, going): (bool, bool)) {
        let port = port.map(|port| port.to_string());
        for (wanted, chain, side, end) in [
            (coming, "INPUT", "--source", "--source-port"),
            (going, "OUTPUT", "--destination", "--destination-port"),
        ] {
            let mut rule = vec!["iptables", "--wait", "-I", chain, side, &self.here];
            if let Some(port) = &port {
                rule.extend(["-p", "tcp", end, port]);
            }
            rule.extend(["-j", "DROP"]);
            if wanted {
                self.inside(&rule);
            }
        }
    }

    /// Drops nothing any more.
    pub(crate) fn mend(&self) {
        self.inside(&["iptables", "--wait", "-F"]);
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let deleted = ["ip", "netns", "delete", &self.name];
        runs(&deleted);
    }
}
