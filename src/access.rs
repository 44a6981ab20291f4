//! The access log: one JSON line for each request, written by a thread of its own.
//!
//! Lines go through a bounded queue. When the reader of standard output is slower than the traffic, lines are dropped
//! and counted, and the count is logged: requests never wait for the log.

use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;
/// Between two looks at a writer that is finishing.
const FINISH_STEP: Duration = Duration::from_millis(2);

/// One line.
#[derive(Debug, Default, Serialize)]
pub struct Line<'a> {
    /// Unix time in seconds at the end of the request.
    pub time: f64,
    /// The request's id.
    pub id: &'a str,
    /// The client's address, as far as it can be believed.
    pub client: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// The request's host; empty if it had no valid one.
    pub host: &'a str,
    /// The path in its one form, without the query: queries hold secrets.
    pub path: &'a str,
    /// The route's name; absent if none was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a str>,
    /// The user; absent if anonymous or refused before that was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The answer's status.
    pub status: u16,
    /// Why it was refused: a reason code; absent if it was forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'a str>,
    /// From the head of the request to the head of the answer, in milliseconds.
    pub millis: f64,
}

/// Where lines go; clones share it.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// Starts the writer. It ends when the last clone is dropped, after writing what is queued.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(out: impl Write + Send + 'static) -> std::io::Result<(Self, Writer)> {
        let (queue, lines) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(out, &lines, &counter))?;
        Ok((Self { queue, dropped }, Writer(thread)))
    }

    /// Queues a line, stamped with the time.
    pub fn write(&self, mut line: Line<'_>) {
        line.time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_secs_f64();
        let Ok(mut text) = serde_json::to_vec(&line) else {
            return;
        };
        text.push(b'\n');
        if self.queue.try_send(text).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
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

fn write_all(out: impl Write, lines: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    let mut out = BufWriter::with_capacity(64 * 1024, out);
    while let Ok(first) = lines.recv() {
        let written = out.write_all(&first).and_then(|()| {
            lines
                .try_iter()
                .take(QUEUE)
                .try_for_each(|line| out.write_all(&line))
        });
        if let Err(error) = written.and_then(|()| out.flush()) {
            tracing::error!(%error, "the access log cannot be written");
            return;
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(
                lost,
                "access log lines were dropped because their reader is too slow"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    struct Lines(Sender<Vec<u8>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_json_object_whatever_the_client_put_into_it() {
        let (sender, written) = channel();
        let (log, writer) = AccessLog::start(Lines(sender)).unwrap();

        log.write(Line {
            id: "1",
            path: "/a\"\n{}\x1b[31m",
            status: 403,
            refusal: Some("permission_denied"),
            ..Line::default()
        });
        drop(log);
        writer.finish(Duration::from_secs(5));

        let text = String::from_utf8(written.iter().flatten().collect()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.contains('\x1b'));
        assert_eq!(line["path"], "/a\"\n{}\x1b[31m");
        assert_eq!(line["refusal"], "permission_denied");
        assert!(line.get("user").is_none());
    }
}
