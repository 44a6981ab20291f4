//! The files that a configuration was made of, and how to find out whether they have changed since.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};

/// The files, and what was in each of them when it was read, or before.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The configuration itself, and files whose content is a value (`"file:PATH"`).
    pub text: BTreeMap<PathBuf, Content>,
    /// Files that it names: certificates, keys, authorities.
    pub named: BTreeMap<PathBuf, Content>,
}

/// What is in a file, as a number that another content does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content(Option<u64>);

impl Content {
    /// What is in this file now; a file that cannot be read has a content, too.
    pub fn of_file(path: &Path) -> Self {
        std::fs::read(path).map_or(Self(None), |bytes| Self::of(&bytes))
    }

    /// Of a file that holds these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Self(Some(hasher.finish()))
    }
}

/// Why a file cannot be read, in the words of people.
pub(super) fn why_unread(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        "there is no such file".to_owned()
    } else if error.kind() == io::ErrorKind::IsADirectory {
        "it is a folder".to_owned()
    } else {
        error.kind().to_string()
    }
}

/// What helps against that more often than not.
pub(super) fn cure(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "drawbridge's user has to be able to read it, and to enter the folders above it"
    } else {
        "a relative path starts at the configuration's folder"
    }
}
