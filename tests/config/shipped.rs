//! The example in the repository loads, in every form it advertises, and leaves nothing out.

use std::path::Path;

use drawbridge::command::schema::schema;
use drawbridge::config::fault::Fault;
use drawbridge::config::{check, load};
use serde_json::Value;

use crate::support::read_in;

const SHIPPED: &str = include_str!("../../gateway.toml");

/// The file with everything switched on, but for what excludes what else is on: Redis takes the place of the embedded
/// store, and the stream that of the audit file.
fn everything() -> String {
    let mut text = String::new();
    for line in SHIPPED
        .lines()
        .filter(|line| !line.starts_with("embedded =") && !line.starts_with("#: file = \"audit"))
    {
        text.push_str(line.strip_prefix("#: ").unwrap_or(line));
        text.push('\n');
    }
    text.replace("${REDIS_PASSWORD}", "${SECRET}")
        .replace("${ACME_SECRET}", "c2VjcmV0")
}

#[test]
fn the_shipped_file_is_fine_in_a_fresh_clone() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.toml");

    let loaded = load::read(&path).unwrap();

    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert!(loaded.config.store.get_ref().embedded.is_some());
}

#[test]
fn the_shipped_file_with_everything_switched_on_has_no_error() {
    let folder = tempfile::tempdir().unwrap();
    for file in [
        "cert.pem",
        "key.pem",
        "clients.pem",
        "acme-ca.pem",
        "redis-ca.pem",
        "limits-ca.pem",
        "billing-ca.pem",
        "billing-client.pem",
        "billing-client-key.pem",
        "issuer-ca.pem",
        "assertion-key.pem",
    ] {
        std::fs::write(folder.path().join(file), "").unwrap();
    }

    let config = read_in(&everything(), folder.path()).unwrap();

    let errors: Vec<Fault> = check::run(&config)
        .into_iter()
        .filter(Fault::is_error)
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(config.listeners.len(), 3);
    assert!(config.store.get_ref().redis.is_some());
}

#[test]
fn every_key_of_the_schema_is_in_the_shipped_file() {
    let schema = schema();
    let file: Value = toml::from_str(&everything().replace("${", "")).unwrap();
    // The other half of `embedded` or `redis`.
    let mut file = file;
    file["store"]["embedded"] = "s.redb".into();
    assert!(SHIPPED.contains("\nembedded = "));
    file["audit"]["file"] = "a.jsonl".into();
    assert!(SHIPPED.contains("\n#: file = \"audit"));

    let mut absent = Vec::new();
    walk(
        schema.as_value(),
        schema.as_value(),
        &[&file],
        "",
        &mut |path, _, found| {
            // The admin API has the table of listeners, but orders no certificates.
            if found.is_empty() && !path.starts_with(".admin.tls.acme") {
                absent.push(path.to_owned());
            }
        },
    );

    assert!(
        absent.is_empty(),
        "gateway.toml does not mention {absent:?}"
    );
}

#[test]
fn the_schema_accepts_the_shipped_file() {
    let schema = schema();
    for text in [SHIPPED.to_owned(), everything()] {
        let file: Value = toml::from_str(&text).unwrap();
        let mut visited = 0;
        walk(
            schema.as_value(),
            schema.as_value(),
            &[&file],
            "",
            &mut |path, part, found| {
                for value in found {
                    visited += 1;
                    assert!(fits(part, value), "{path}: {value} does not fit {part}");
                }
            },
        );
        assert!(visited > 20, "only {visited} values were looked at");
    }
}

#[test]
fn every_key_of_the_schema_has_a_manual() {
    let schema = schema();
    let mut bare = Vec::new();
    manuals(schema.as_value(), "", &mut bare);

    assert!(bare.is_empty(), "no description: {bare:?}");
    assert_eq!(schema.get("title").unwrap(), "drawbridge gateway.toml");
    assert!(schema.get("$schema").is_some());
}

/// Follows the schema and the values side by side; calls back for each property with the values that the file has.
fn walk<'a>(
    root: &'a Value,
    part: &'a Value,
    values: &[&'a Value],
    path: &str,
    visit: &mut impl FnMut(&str, &'a Value, &[&'a Value]),
) {
    let part = resolve(root, part);
    for (name, property) in part["properties"].as_object().into_iter().flatten() {
        let found: Vec<&Value> = values.iter().filter_map(|value| value.get(name)).collect();
        let path = format!("{path}.{name}");
        visit(&path, resolve(root, property), &found);
        walk(root, property, &found, &path, visit);
    }
    if part.get("items").is_some() {
        let elements: Vec<&Value> = values
            .iter()
            .filter_map(|v| v.as_array())
            .flatten()
            .collect();
        walk(root, &part["items"], &elements, path, visit);
    }
    let patterns = part["patternProperties"].as_object().into_iter().flatten();
    let rest = part
        .get("additionalProperties")
        .filter(|rest| rest.is_object());
    for entry in patterns.map(|(_, entry)| entry).chain(rest) {
        let maps = values.iter().filter_map(|v| v.as_object());
        let entries: Vec<&Value> = maps.flat_map(|map| map.values()).collect();
        walk(root, entry, &entries, path, visit);
    }
}

fn resolve<'a>(root: &'a Value, part: &'a Value) -> &'a Value {
    let alternatives = part["anyOf"].as_array();
    let part = alternatives.and_then(|all| all.first()).unwrap_or(part);
    match part["$ref"].as_str() {
        Some(reference) => root
            .pointer(reference.trim_start_matches('#'))
            .expect("every reference leads somewhere"),
        None => part,
    }
}

fn fits(part: &Value, value: &Value) -> bool {
    let kind = match value {
        Value::String(_) => "string",
        Value::Number(_) => "integer",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Null => "null",
    };
    let allowed = match &part["type"] {
        Value::String(one) => one == kind,
        Value::Array(several) => several.iter().any(|one| one == kind),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    };
    let listed = |list: &Vec<Value>| {
        list.iter()
            .any(|one| one == value || one.get("const") == Some(value))
    };
    let choice =
        part["enum"].as_array().is_none_or(listed) && part["oneOf"].as_array().is_none_or(listed);
    let named = part.get("patternProperties").is_none();
    let closed = !named
        || part["additionalProperties"] != Value::Bool(false)
        || value
            .as_object()
            .is_none_or(|map| map.keys().all(|key| part["properties"].get(key).is_some()));
    let complete = part["required"]
        .as_array()
        .into_iter()
        .flatten()
        .all(|key| key.as_str().is_some_and(|key| value.get(key).is_some()));
    allowed && choice && closed && complete
}

fn manuals(part: &Value, path: &str, bare: &mut Vec<String>) {
    for (name, property) in part["properties"].as_object().into_iter().flatten() {
        if property.get("description").is_none() {
            bare.push(format!("{path}.{name}"));
        }
    }
    for (name, definition) in part["$defs"].as_object().into_iter().flatten() {
        manuals(definition, name, bare);
    }
}
