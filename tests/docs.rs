//! The papers say what the program does: snippets are checked, commands are run, links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;
use toml::{Table, Value};

const PROGRAM: &str = env!("CARGO_BIN_EXE_drawbridge");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Every Markdown file, with its path from the top of the repository.
fn papers() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.')
            {
                folders.push(path);
            } else if name.ends_with(".md") {
                let short = path.strip_prefix(root()).unwrap().to_str().unwrap();
                found.push((short.to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.iter().any(|(name, _)| name == "README.md"));
    found.sort();
    found
}

/// The fenced blocks of one kind, with where they begin: `README.md:17`.
fn blocks(kind: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, text) in papers() {
        let mut open: Option<(String, String, String)> = None;
        for (number, line) in text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), open.take()) {
                (Some(_), Some((what, place, body))) => {
                    if what == kind {
                        found.push((place, body));
                    }
                }
                (Some(what), None) => {
                    let place = format!("{name}:{}", number + 1);
                    open = Some((what.trim().to_owned(), place, String::new()));
                }
                (None, Some((what, place, body))) => open = Some((what, place, body + line + "\n")),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{name}: a fence is never closed");
    }
    found
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn the_reference_of_the_configuration_is_what_the_program_prints() {
    let output = Command::new(PROGRAM)
        .args(["schema", "--markdown"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let committed = fs::read_to_string(root().join("docs/configuration.md")).unwrap();

    assert!(
        committed == String::from_utf8(output.stdout).unwrap(),
        "docs/configuration.md is out of date; run: cargo run -- schema --markdown > docs/configuration.md"
    );
}

#[test]
fn the_reference_tells_every_key_with_an_example() {
    let text = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let keys: Vec<&str> = text.split("\n#### `").skip(1).collect();
    assert!(keys.len() > 200, "only {} keys", keys.len());
    for key in keys {
        assert!(key.contains("example: `"), "no example: {key}");
    }
}

/// A snippet with what it leaves out, and the files that it names.
struct Whole {
    table: Table,
    folder: TempDir,
}

impl Whole {
    fn of(snippet: &str) -> Self {
        let mut whole = Self {
            table: snippet.parse().unwrap(),
            folder: tempfile::tempdir().unwrap(),
        };
        let mut table = std::mem::take(&mut whole.table);
        for value in table.iter_mut().map(|(_, value)| value) {
            whole.supply("", value);
        }
        whole.table = table;
        let store = whole.table.get("store");
        // Whether a framework's users can be kicked is another matter than what it has written.
        let foreign = store.is_some_and(|store| store.get("layout").is_some());
        for (name, part) in [
            ("listeners", "listeners = [{ address = \"127.0.0.1:0\" }]"),
            ("store", "store = { embedded = \"s.redb\" }"),
            ("sessions", if foreign { "" } else { "sessions = {}" }),
            ("upstreams", "upstreams = {}"),
            (
                "routes",
                "routes = [{ prefix = \"/rest\", upstream = \"rest\" }]",
            ),
        ] {
            let rest: Table = part.parse().unwrap();
            for (_, rest) in rest {
                whole.table.entry(name).or_insert(rest);
            }
        }
        whole.name_upstreams();
        whole
    }

    /// Upstreams that routes name and the snippet does not have.
    fn name_upstreams(&mut self) {
        let routes = self.table["routes"].as_array().cloned().unwrap();
        let upstreams = self.table["upstreams"].as_table_mut().unwrap();
        for name in routes
            .iter()
            .filter_map(|route| route.get("upstream")?.as_str())
        {
            let rest: Value = Table::from_iter([(
                "endpoints".to_owned(),
                Value::Array(vec!["http://127.0.0.1:9".into()]),
            )])
            .into();
            upstreams.entry(name).or_insert(rest);
        }
    }

    /// Puts a file or a folder in place for everything that names one.
    fn supply(&self, key: &str, value: &mut Value) {
        match value {
            Value::Table(all) => all
                .iter_mut()
                .for_each(|(key, value)| self.supply(key, value)),
            Value::Array(all) => all.iter_mut().for_each(|value| self.supply(key, value)),
            Value::String(text) => {
                let named = matches!(
                    key,
                    "cert" | "key" | "ca" | "client_ca" | "tls_ca" | "redis_ca"
                );
                if let Some(path) = text.strip_prefix("file:") {
                    *text = format!("file:{}", self.file(path, "hunter2"));
                } else if key == "cache" {
                    // Who runs this may not be who may write there.
                    *text = self.folder.path().join("acme").display().to_string();
                } else if text.ends_with(".pem") || named && !text.contains('{') {
                    let (cert, key) = &*PAIR;
                    let content = if text.contains("key") { key } else { cert };
                    *text = self.file(text, content);
                }
            }
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }

    fn file(&self, path: &str, content: &str) -> String {
        let name = Path::new(path)
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        fs::write(self.folder.path().join(&name), content).unwrap();
        name
    }

    fn check(&self) -> Output {
        let path = self.folder.path().join("gateway.toml");
        let text = toml::to_string(&self.table).unwrap();
        fs::write(&path, &text).unwrap();
        let mut command = Command::new(PROGRAM);
        for name in text
            .split("${")
            .skip(1)
            .filter_map(|rest| rest.split(['}', ':']).next())
        {
            command.env(name, "0".repeat(64));
        }
        command
            .arg("check")
            .arg("--config")
            .arg(path)
            .output()
            .unwrap()
    }
}

/// A certificate and its key.
static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
});

#[test]
fn every_configuration_in_the_papers_is_right() {
    let blocks = blocks("toml");
    assert!(blocks.len() > 10, "only {} snippets", blocks.len());
    for (place, snippet) in blocks {
        let output = Whole::of(&snippet).check();
        assert!(output.status.success(), "{place}: {}", told(&output));
    }
}

#[test]
fn every_shipped_configuration_is_right() {
    for file in [
        "gateway.toml",
        "deploy/companions/gateway.toml",
        "deploy/compose/gateway.toml",
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let output = Whole::of(&text).check();
        assert!(output.status.success(), "{file}: {}", told(&output));
    }
}

/// The commands of a block: no comments, and one by one.
fn commands(block: &str) -> Vec<String> {
    let lines = block.replace("\\\n", " ");
    let lines = lines
        .lines()
        .map(|line| line.split(" #").next().unwrap_or_default());
    let one_by_one = lines.flat_map(|line| line.split("; ").flat_map(|line| line.split(" && ")));
    one_by_one.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn every_command_in_the_papers_is_one_that_the_program_knows() {
    let config = Whole::of("[sessions]\n");
    assert!(config.check().status.success());
    // Where the papers say that one is.
    let companions = config.folder.path().join("deploy/companions");
    fs::create_dir_all(&companions).unwrap();
    let shipped = root().join("deploy/companions/gateway.toml");
    fs::copy(shipped, companions.join("gateway.toml")).unwrap();
    let mut tried = BTreeSet::new();
    for (place, block) in blocks("sh") {
        for line in commands(&block)
            .iter()
            .filter(|line| line.starts_with("drawbridge "))
        {
            // What serves until it is told to stop is tried by tests/lifecycle.rs.
            let served = line.starts_with("drawbridge run") || line.starts_with("drawbridge demo");
            // What asks a running gateway is tried by tests/cli.rs.
            let dry = served || line.contains("--admin");
            let line = if dry {
                format!("{line} --help")
            } else {
                line.clone()
            };
            let output = Command::new("bash")
                .args(["-c", &line.replacen("drawbridge", PROGRAM, 1)])
                .env(
                    "DRAWBRIDGE_CONFIG",
                    config.folder.path().join("gateway.toml"),
                )
                .current_dir(config.folder.path())
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let code = output.status.code();
            assert!(
                matches!(code, Some(0 | 1)),
                "{place}: {line}: {}",
                told(&output)
            );
            tried.insert(line.split(' ').nth(1).unwrap_or_default().to_owned());
        }
    }
    for word in [
        "check",
        "run",
        "explain",
        "schema",
        "session",
        "user",
        "role",
        "admin-key",
    ] {
        assert!(
            tried.contains(word),
            "the papers never show `drawbridge {word}`"
        );
    }
}

#[test]
fn every_shell_block_can_be_read_by_a_shell_and_its_scripts_are_there() {
    for (place, block) in blocks("sh") {
        let output = Command::new("bash")
            .args(["-n", "-c", &block])
            .output()
            .unwrap();
        assert!(output.status.success(), "{place}: {}", told(&output));
        for line in commands(&block) {
            if let Some(script) = line
                .strip_prefix("bash ")
                .and_then(|rest| rest.split(' ').next())
            {
                assert!(
                    root().join(script).is_file(),
                    "{place}: there is no {script}"
                );
            }
        }
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains("\ncargo run --release -- demo\n"));
    assert!(readme.contains("\nbash tests/run.sh\n"));
}

/// What a heading is called in links.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

#[test]
fn every_link_between_the_papers_leads_somewhere() {
    let mut followed = 0;
    for (name, text) in papers() {
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.contains("://") || link.contains(' ') || link.starts_with("mailto:") {
                continue;
            }
            let (file, part) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root().join(&name),
                file => root().join(&name).parent().unwrap().join(file),
            };
            assert!(target.exists(), "{name}: {link} leads nowhere");
            if !part.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(
                    there.contains(part),
                    "{name}: {link} has no such heading: {there:?}"
                );
            }
            followed += 1;
        }
        for path in text
            .split('`')
            .filter(|word| word.starts_with("src/") || word.starts_with("tests/"))
        {
            assert!(root().join(path).exists(), "{name}: there is no {path}");
        }
    }
    assert!(followed > 40, "only {followed} links");
}
