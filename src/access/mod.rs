//! The access log: one line for each request, written by a thread of its own.
//!
//! Lines go through a bounded queue. When whatever takes them is slower than the traffic, lines are dropped and counted,
//! and the count is logged: requests never wait for the log.

mod line;
#[cfg(test)]
mod tests;

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::line::{Format, Line, Times};
use crate::log_file::LogFile;
use crate::metrics::Count;

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;
/// Bytes that are written at once.
const BATCH: usize = 64 << 10;
/// Between two looks at a writer that is finishing.
const FINISH_STEP: Duration = Duration::from_millis(2);

/// Where lines go; clones share it.
#[derive(Debug, Clone)]
pub struct AccessLog {
    format: Format,
    queue: SyncSender<Vec<u8>>,
    lost: Arc<Count>,
}

/// A file, added to in whole lines.
#[derive(Debug)]
struct ToFile(LogFile);

impl Write for ToFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.write(lines)?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AccessLog {
    /// Starts the writer. It ends when the last clone is dropped, after writing what is queued. Lines that are dropped are
    /// counted in `lost`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        out: impl Write + Send + 'static,
        format: Format,
        lost: Arc<Count>,
    ) -> io::Result<(Self, Writer)> {
        let (queue, lines) = sync_channel(QUEUE);
        let counted = Arc::clone(&lost);
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(out, &lines, &counted))?;
        let log = Self {
            format,
            queue,
            lost,
        };
        Ok((log, Writer(thread)))
    }

    /// The same, into a file that is opened anew when it was renamed or removed.
    ///
    /// # Errors
    /// If the file cannot be opened, or the thread not started.
    pub fn in_file(path: &Path, format: Format, lost: Arc<Count>) -> io::Result<(Self, Writer)> {
        Self::start(ToFile(LogFile::open(path)?), format, lost)
    }

    /// Queues a line.
    pub fn write(&self, line: &Line<'_>) {
        if self.queue.try_send(line.text(self.format)).is_err() {
            self.lost.one();
        }
    }
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer(JoinHandle<()>);

impl Writer {
    /// Waits until every line is written, once all [`AccessLog`]s are dropped, but no longer than `patience`: whoever
    /// reads the lines may have stopped reading.
    pub fn finish(self, patience: Duration) {
        let give_up = Instant::now() + patience;
        while !self.0.is_finished() && Instant::now() < give_up {
            std::thread::sleep(FINISH_STEP);
        }
    }
}

fn write_all(out: impl Write, lines: &Receiver<Vec<u8>>, lost: &Count) {
    let mut out = BufWriter::with_capacity(BATCH, out);
    let (mut told, mut fails) = (0, false);
    while let Ok(first) = lines.recv() {
        let mut count = 0;
        let written = std::iter::once(first)
            .chain(lines.try_iter().take(QUEUE))
            .inspect(|_| count += 1)
            .try_for_each(|line| {
                // A batch ends with a line, because whatever takes it may change in between.
                if out.buffer().len() + line.len() > BATCH {
                    out.flush()?;
                }
                out.write_all(&line)
            })
            .and_then(|()| out.flush());
        if let Err(error) = written {
            // What is in the buffer would only be tried again, and half of it may be there.
            let (inner, _) = out.into_parts();
            out = BufWriter::with_capacity(BATCH, inner);
            lost.add(count);
            if !fails {
                tracing::error!(%error, "the access log cannot be written");
            }
            fails = true;
        } else {
            fails = false;
        }
        let now = lost.get();
        if now > told && !fails {
            tracing::warn!(lost = now - told, "access log lines were dropped");
        }
        told = now;
    }
}
