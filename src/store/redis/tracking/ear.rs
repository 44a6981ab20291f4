//! Listens to one server: has it say which keys change, and asks it all the time whether it is still there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::frame::{Event, Frame};
use super::nodes::{History, Nodes, Past};
use super::wire::{Address, Broken, Door, Wire, accepted};
use crate::store::redis::news::News;

/// From the connection to the first sign that changes are being told.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts after several have failed.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// What listening to a server takes.
#[derive(Debug, Clone)]
pub(super) struct Ear {
    pub(super) address: Address,
    pub(super) door: Arc<Door>,
    /// Which keys are wanted: none of them begins with another.
    pub(super) prefixes: Arc<[String]>,
    /// Between two signs of life; a later one is none.
    pub(super) beat: Duration,
    pub(super) nodes: Arc<Nodes>,
    pub(super) news: Arc<News>,
}

/// Also when the task is aborted, nothing is heard any more.
struct Listening<'a>(&'a Ear);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.nodes.lose(&self.0.address);
    }
}

/// What the server may be asked besides `PING`.
struct Questions {
    role: bool,
}

impl Ear {
    /// Ends only by being aborted.
    pub(super) async fn listen(self) {
        let mut failures: u32 = 0;
        loop {
            let mut heard = false;
            let broken = match self.hear(&mut heard).await {
                Ok(never) => never,
                Err(broken) => broken,
            };
            let address = &self.address;
            if heard {
                tracing::warn!(%address, %broken, "changes in the session store are not heard of");
                failures = 0;
            } else if failures == 0 {
                self.complain(&broken);
                failures = 1;
            } else {
                tracing::debug!(%address, %broken, "changes in the session store are still not heard of");
                failures = failures.saturating_add(1);
            }
            // At once after a break; slower and slower while nobody is there.
            sleep(MAX_PAUSE.min(Duration::from_millis(25) * failures)).await;
        }
    }

    fn complain(&self, broken: &Broken) {
        let address = &self.address;
        if let Broken::Refused(code) = broken {
            tracing::error!(
                %address, code,
                "the server refuses to tell of changes, so that each request asks it; it takes Redis 6 or later, and \
                 an ACL user needs +hello +client|tracking +ping"
            );
        } else {
            tracing::warn!(%address, %broken, "changes in the session store are not heard of yet");
        }
    }

    /// Returns only when the connection has broken.
    async fn hear(&self, heard: &mut bool) -> Result<Broken, Broken> {
        let mut wire = Wire::dial(&self.address, &self.door).await?;
        let greeting = timeout(PATIENCE, self.greet(&mut wire));
        let (questions, history) = greeting.await.map_err(|_| Broken::Silent)??;
        let _listening = Listening(self);
        let past = self.nodes.hear(&self.address, &history);
        if past != Past::Same {
            self.news.another_past();
        }
        *heard = true;
        tracing::debug!(address = %self.address, ?past, "changes in the session store are heard of");
        loop {
            self.beat(&mut wire, &questions).await?;
        }
    }

    /// Signs in and has changes told. When this returns, every change that happens from now on will be.
    async fn greet(&self, wire: &mut Wire) -> Result<(Questions, History), Broken> {
        let mut tracking = vec!["CLIENT", "TRACKING", "ON", "BCAST"];
        for prefix in self.prefixes.iter() {
            tracking.extend(["PREFIX", prefix]);
        }
        let optional = [
            vec!["ROLE"],
            vec!["INFO", "server"],
            vec!["INFO", "replication"],
        ];
        let mut commands = vec![self.door.hello(), tracking];
        commands.extend(optional);
        wire.send(&commands).await?;
        let mut answers = Vec::with_capacity(commands.len());
        while answers.len() < commands.len() {
            answers.extend(self.take(wire.event().await?));
        }
        let (needed, optional) = answers.split_at(2);
        accepted(needed)?;
        let [role, server, replication] = optional else {
            return Err(Broken::Silent);
        };
        let questions = Questions {
            role: role.refusal().is_none(),
        };
        if questions.role {
            is_master(role)?;
        }
        let history = History {
            run: line_of(server, "run_id"),
            replication: line_of(replication, "master_replid"),
        };
        Ok((questions, history))
    }

    /// One sign of life, and everything that is told meanwhile.
    async fn beat(&self, wire: &mut Wire, questions: &Questions) -> Result<(), Broken> {
        let deadline = Instant::now() + self.beat;
        let mut commands = vec![vec!["PING"]];
        if questions.role {
            commands.push(vec!["ROLE"]);
        }
        wire.send(&commands).await?;
        let mut answers = Vec::with_capacity(commands.len());
        // What has arrived is read first, even after the deadline: this process may have been the one that slept.
        while let Ok(event) = timeout_at(deadline, wire.event()).await {
            answers.extend(self.take(event?));
        }
        if answers.len() < commands.len() {
            return Err(Broken::Silent);
        }
        answers.get(1).map_or(Ok(()), is_master)
    }

    fn take(&self, event: Event) -> Option<Frame> {
        match event {
            Event::Answer(frame) => return Some(frame),
            Event::Changed(key) => {
                self.nodes.change(&key);
                self.news.hear(&key);
            }
            Event::Emptied => self.nodes.empty(&self.address),
            Event::Other => {}
        }
        None
    }
}

/// Only a master's changes are those of the store.
fn is_master(role: &Frame) -> Result<(), Broken> {
    match role.list().first().and_then(Frame::text) {
        Some("master") => Ok(()),
        Some(_) | None => Err(Broken::NoMaster),
    }
}

/// `name:value` in an answer to INFO; empty if it is not there.
fn line_of(info: &Frame, name: &str) -> String {
    let lines = info.text().unwrap_or_default().lines();
    let found = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| *found == name);
    found.map_or(String::new(), |(_, value)| value.trim().to_owned())
}
