//! A file that lines are added to, by several processes if need be, and that may be renamed away at any time.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// A log in a file. It is opened anew when it was renamed or removed (log rotation).
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    open: Mutex<File>,
}

impl LogFile {
    /// Opens it to add to its end; made, for its owner only, if it is missing.
    ///
    /// # Errors
    /// If the system does not open it.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            open: Mutex::new(append_to(path)?),
        })
    }

    /// Adds whole lines, in one write, so that lines of several processes never mix.
    ///
    /// # Errors
    /// If they are not in the file as a whole, or it cannot be opened anew.
    pub fn write(&self, lines: &[u8]) -> io::Result<()> {
        let mut file = self.open.lock();
        if !self.is_still_there(&file)? {
            *file = append_to(&self.path)?;
        }
        let written = file.write(lines)?;
        if written < lines.len() {
            // The disk is full. The next line must not become the rest of this one.
            file.write_all(b"\n").ok();
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    /// Whether the path still names the open file: after a rotation it names another one, or none.
    fn is_still_there(&self, file: &File) -> io::Result<bool> {
        let identity = |data: Metadata| (data.dev(), data.ino());
        match std::fs::metadata(&self.path) {
            Ok(named) => Ok(identity(named) == identity(file.metadata()?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_and_the_file_is_its_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let first = LogFile::open(&path).unwrap();
        let second = LogFile::open(&path).unwrap();
        first.write(b"one\n").unwrap();
        second.write(b"two\n").unwrap();
        first.write(b"three\n").unwrap();

        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
        let mode = std::fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn after_a_rotation_lines_go_into_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("audit"), folder.path().join("audit.1"));
        let file = LogFile::open(&path).unwrap();
        file.write(b"one\n").unwrap();

        std::fs::rename(&path, &old).unwrap();
        file.write(b"two\n").unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write(b"three\n").unwrap();

        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let within = folder.path().join("logs");
        std::fs::create_dir(&within).unwrap();
        let file = LogFile::open(&within.join("audit")).unwrap();

        std::fs::remove_dir_all(&within).unwrap();

        assert!(file.write(b"lost\n").is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error() {
        let full = LogFile::open(Path::new("/dev/full")).unwrap();
        assert!(full.write(b"lost\n").is_err());
    }
}
