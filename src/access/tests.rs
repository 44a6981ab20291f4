use std::sync::mpsc::{Sender, channel};

use super::line::Times;
use super::*;

struct Lines(Sender<Vec<u8>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).ok();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(format: Format, line: &Line<'_>) -> String {
    let (sender, written) = channel();
    let (log, writer) = AccessLog::start(Lines(sender), format, Arc::default()).unwrap();
    log.write(line);
    drop(log);
    writer.finish(Duration::from_secs(5));
    String::from_utf8(written.iter().flatten().collect()).unwrap()
}

const HOSTILE: &str = "/a\"\n{}\x1b[31m =\\é";

fn line() -> Line<'static> {
    Line {
        id: "1",
        path: HOSTILE,
        user: "alice b",
        status: 403,
        refusal: "permission_denied",
        sent: 7,
        cut: true,
        times: Times {
            total: Duration::from_micros(1500),
            store: Some(Duration::from_millis(2)),
            ..Times::default()
        },
        ..Line::default()
    }
}

#[test]
fn a_line_is_one_json_object_whatever_the_client_put_into_it() {
    let text = written(Format::Json, &line());

    let object: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(text.matches('\n').count(), 1);
    assert!(!text.contains('\x1b'));
    assert_eq!(object["path"], HOSTILE);
    assert_eq!(object["refusal"], "permission_denied");
    assert_eq!(object["millis"], 1.5);
    assert_eq!(object["store_millis"], 2.0);
    assert_eq!(object["sent"], 7);
    assert_eq!(object["cut"], true);
    assert_eq!(object["host"], "");
    for absent in ["route", "upstream", "trace", "limits_millis"] {
        assert!(object.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn in_logfmt_a_value_is_quoted_where_it_has_to_be() {
    let text = written(Format::Logfmt, &line());

    assert_eq!(text.matches('\n').count(), 1);
    assert!(text.starts_with("time=") && text.ends_with('\n'), "{text}");
    let path = r#" path="/a\"\n{}\u001b[31m =\\é" "#;
    for pair in [
        " id=1 ",
        path,
        " user=\"alice b\" ",
        " host=\"\" ",
        " status=403 ",
        " cut=true ",
    ] {
        assert!(text.contains(pair), "{pair} is not in {text}");
    }
}

#[test]
fn a_file_that_was_renamed_away_is_followed_by_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("access"), folder.path().join("access.1"));
    let (log, writer) = AccessLog::in_file(&path, Format::Json, Arc::default()).unwrap();
    let lines = |path: &Path| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .count()
    };
    let wait = |path: &Path, count| {
        let give_up = Instant::now() + Duration::from_secs(10);
        while lines(path) != count && Instant::now() < give_up {
            std::thread::sleep(FINISH_STEP);
        }
        assert_eq!(lines(path), count);
    };
    log.write(&line());
    wait(&path, 1);

    std::fs::rename(&path, &old).unwrap();
    log.write(&line());
    log.write(&line());

    wait(&path, 2);
    assert_eq!(lines(&old), 1);
    drop(log);
    writer.finish(Duration::from_secs(5));
}

#[cfg(target_os = "linux")]
#[test]
fn lines_that_cannot_be_written_are_counted_and_the_next_ones_tried() {
    let lost = Arc::<Count>::default();
    let (log, writer) =
        AccessLog::in_file(Path::new("/dev/full"), Format::Json, Arc::clone(&lost)).unwrap();
    for _ in 0..3 {
        log.write(&line());
    }
    drop(log);
    writer.finish(Duration::from_secs(5));

    assert_eq!(lost.get(), 3);
}
