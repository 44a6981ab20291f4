//! The systemd unit and the Compose file: what reads them takes them, and they agree with the gateway.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::gateway::PROGRAM;
use support::{Redis, gateway, installed, upstream};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

/// `drain_delay` and `drain_timeout` of a gateway that is told neither, in seconds.
fn drain() -> u64 {
    let server = drawbridge::config::Server::default();
    (server.drain_delay.get() + server.drain_timeout.get()).as_secs()
}

#[test]
fn systemd_takes_the_unit_and_waits_until_the_gateway_has_drained() {
    let text = std::fs::read_to_string(deploy("drawbridge.service")).unwrap();
    let said = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().unwrap_or_else(|| panic!("no {name}"))
    };
    let patience: u64 = said("TimeoutStopSec=").parse().unwrap();
    assert!(patience > drain(), "{patience} s");
    for line in [said("ExecStartPre="), said("ExecStart=")] {
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("/usr/local/bin/drawbridge"));
        let known = Command::new(PROGRAM).args(words).arg("--help").output();
        assert!(known.unwrap().status.success(), "{line}");
    }

    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("drawbridge.service");
    std::fs::write(&unit, text.replace("/usr/local/bin/drawbridge", PROGRAM)).unwrap();
    let Ok(output) = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()
    else {
        eprintln!(
            "SKIPPED: no systemd-analyze here, so nothing is proven about what systemd makes of the unit"
        );
        return;
    };
    // It speaks of every unit that this one needs, and exists here as well.
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(!told.contains("drawbridge"), "{told}");
}

/// The Compose file as JSON.
fn compose() -> Value {
    let output = Command::new(installed("kubernetes-1.37.0/bin/python"))
        .args([
            "-c",
            "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)",
        ])
        .arg(deploy("docker-compose.yml"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn words(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|one| one.as_str().unwrap()).collect()
}

#[test]
#[ignore = "needs a reader of YAML: tests/run.sh"]
fn services_of_the_compose_file_have_what_their_configuration_names() {
    let compose = compose();
    let services = &compose["services"];
    for (name, service) in services.as_object().unwrap() {
        for (hardened, value) in [("read_only", "true"), ("cap_drop", "[\"ALL\"]")] {
            assert_eq!(service[hardened].to_string(), value, "{name}");
        }
        for network in words(&service["networks"]) {
            assert!(
                compose["networks"]
                    .as_object()
                    .unwrap()
                    .contains_key(network),
                "{name}"
            );
        }
        let secrets = service["secrets"].as_array().into_iter().flatten();
        for secret in secrets {
            let file = &compose["secrets"][secret.as_str().unwrap()]["file"];
            assert!(file.is_string(), "{name}: {secret}");
        }
        let mounts = service["volumes"].as_array().into_iter().flatten();
        for mount in mounts.map(|mount| mount.as_str().unwrap()) {
            let from = mount.split(':').next().unwrap();
            let there = match from.strip_prefix("./") {
                Some(file) => deploy(file).exists(),
                None => compose["volumes"].as_object().unwrap().contains_key(from),
            };
            assert!(there, "{name}: {mount}");
        }
    }

    let own = &services["drawbridge"];
    let text = std::fs::read_to_string(deploy("compose/gateway.toml")).unwrap();
    let config: toml::Table = text.parse().unwrap();
    let secrets = words(&own["secrets"]);
    let named: Vec<&str> = text.split("/run/secrets/").skip(1).collect();
    assert_eq!(named.len(), 3);
    for named in named {
        let name = named.split('"').next().unwrap();
        assert!(secrets.contains(&name), "{name} is not there");
    }
    let port = config["listeners"][0]["address"]
        .as_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap();
    assert_eq!(words(&own["ports"]), [format!("{port}:{port}")]);
    for (host, address) in [
        ("redis", config["store"]["redis"].as_str().unwrap()),
        (
            "sample",
            config["upstreams"]["sample"]["endpoints"][0]
                .as_str()
                .unwrap(),
        ),
    ] {
        assert!(address.contains(&format!("//{host}:")), "{address}");
        let shared = words(&services[host]["networks"]);
        assert!(
            words(&own["networks"])
                .iter()
                .any(|network| shared.contains(network)),
            "{host}"
        );
        assert!(
            services[host]["ports"].is_null(),
            "{host} is reached past the gateway"
        );
    }
    assert_eq!(compose["networks"]["back"]["internal"], true);
    let patience = own["stop_grace_period"].as_str().unwrap();
    assert!(humantime::parse_duration(patience).unwrap().as_secs() > drain());
}

/// The commands at the head of the file: what they write is a session, and the request with it passes.
#[tokio::test]
async fn session_that_the_compose_file_tells_how_to_write_is_one() {
    let text = std::fs::read_to_string(deploy("docker-compose.yml")).unwrap();
    let head: String = text
        .lines()
        .map_while(|line| line.strip_prefix('#'))
        .collect::<Vec<_>>()
        .join("\n");
    let (_, written) = head.split_once("redis-cli SET").unwrap();
    let (written, asked) = written.split_once("EX 3600'").unwrap();
    let token = asked
        .split("Bearer ")
        .nth(1)
        .unwrap()
        .split('\'')
        .next()
        .unwrap();
    let (redis, upstream) = (Redis::start().await, upstream());
    let gateway = gateway()
        .redis(&redis)
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nrequire.all = [\"orders:read\"]\nupstream = \"app\"")
        .start()
        .await;

    let line = format!("redis-cli -p {} SET {written} EX 3600", redis.port());
    let output = Command::new("sh").args(["-euc", &line]).output().unwrap();
    assert!(output.status.success(), "{line}");

    let reply = gateway.send(support::Call::get("/").bearer(token)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(upstream.last().header("x-user-id"), Some("alice"));
}

/// Every file below this folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn the_image_is_built_from_everything_that_the_program_is_made_of() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .canonicalize()
        .unwrap();
    let dockerfile = std::fs::read_to_string(deploy("Dockerfile")).unwrap();
    let copies = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "));
    let copies = copies.filter(|line| !line.starts_with("--from"));
    let copied: Vec<&str> = copies
        .flat_map(|line| line.rsplit_once(' ').unwrap().0.split(' '))
        .collect();
    let ignored = std::fs::read_to_string(deploy("Dockerfile.dockerignore")).unwrap();
    for path in &copied {
        assert!(root.join(path).exists(), "there is no {path}");
        let kept = format!("!{path}");
        assert!(
            ignored.lines().any(|line| line == kept),
            "{path} never reaches the builder"
        );
    }
    let mut included = 0;
    for file in files(&root.join("src")) {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        for named in text.split("include_str!(\"").skip(1) {
            let named = named.split('"').next().unwrap();
            let named = file.parent().unwrap().join(named).canonicalize().unwrap();
            let path = named.strip_prefix(&root).unwrap();
            let there = copied.iter().any(|copied| path.starts_with(copied));
            assert!(
                there,
                "{} is in the program and not in the image's build",
                path.display()
            );
            included += 1;
        }
    }
    assert!(included > 5, "only {included}");
}
