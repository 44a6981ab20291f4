//! Hearing of it when the configuration changes, or a file that it names.
//!
//! Folders are watched, not files: editors, cert-manager and Kubernetes put a new file in the place of the old one, or turn
//! a link to another folder. What has changed is found by looking, once it has been quiet for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::config::{Content, Files};

/// A file is looked at when nothing has happened in its folder for so long: until then its writer may not be done.
const QUIET: Duration = Duration::from_millis(200);
/// But it is looked at after so long at the latest: something else may be written in its folder all the time.
const LATEST: u32 = 10;

/// The watched files.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    events: mpsc::Receiver<()>,
    /// Folders that are watched.
    folders: BTreeSet<PathBuf>,
    /// With what was in each when it was last looked at.
    files: Files,
    /// A file may have changed since it was looked at.
    unsure: bool,
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    /// The configuration's own text, or a value that it takes from a file.
    Text,
    /// Only files that it names: certificates, keys, authorities.
    Named,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// If the system cannot watch files.
    pub(super) fn new() -> notify::Result<Self> {
        // One word is enough: what has happened is found by looking.
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_write(event.kind)) {
                sender.try_send(()).ok();
            }
        })?;
        Ok(Self {
            watcher,
            events,
            folders: BTreeSet::new(),
            files: Files::default(),
            unsure: false,
        })
    }

    /// Watches these files from now on, and no others. One that has changed since it was read is noticed, too.
    pub(super) fn follow(&mut self, files: &Files) {
        self.files = files.clone();
        self.unsure = true;
        let files = files.text.keys().chain(files.named.keys());
        let folders: BTreeSet<_> = files.flat_map(|file| folders(file)).collect();
        for gone in self.folders.difference(&folders) {
            self.watcher.unwatch(gone).ok();
        }
        for new in folders.difference(&self.folders) {
            if let Err(error) = self.watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %new.display(), %error, "changes in this folder go unnoticed; send SIGHUP after them");
            }
        }
        self.folders = folders;
    }

    /// Resolves when a file has changed. Dropped in between, it loses nothing.
    pub(super) async fn changed(&mut self) -> Changed {
        loop {
            if !self.unsure && self.events.recv().await.is_none() {
                return std::future::pending().await;
            }
            self.unsure = true;
            for _ in 0..LATEST {
                if timeout(QUIET, self.events.recv()).await.is_err() {
                    break;
                }
            }
            self.unsure = false;
            let named = look_again(&mut self.files.named);
            if look_again(&mut self.files.text) {
                return Changed::Text;
            }
            if named {
                return Changed::Named;
            }
        }
    }
}

/// Reading a file is an event, too: listening to it would make us hear ourselves.
fn is_write(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

/// Where a change of this file can be seen: beside it, and beside what it is a link to.
fn folders(file: &Path) -> impl Iterator<Item = PathBuf> {
    let beside = |file: &Path| match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Some(PathBuf::from(".")),
        folder => folder.map(Path::to_owned),
    };
    let target = file.canonicalize().ok();
    let target = target.as_deref().and_then(beside);
    beside(file).into_iter().chain(target)
}

/// Whether any of these files is another than before.
fn look_again(files: &mut BTreeMap<PathBuf, Content>) -> bool {
    let mut changed = false;
    for (file, before) in files {
        let now = Content::of_file(file);
        changed |= now != *before;
        *before = now;
    }
    changed
}
