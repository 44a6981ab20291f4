//! Turns serde's messages into ours: what was found first, what is allowed as help, and nothing secret in either.

use super::expand::Expanded;
use super::fault::Fault;

/// The fault for an error of the deserializer, without a place.
///
/// `value` is the text that the error is about, as the deserializer saw it; a `secret` one is not quoted.
pub(super) fn fault(error: &toml::de::Error, value: Option<&str>, secret: bool) -> Fault {
    let raw = error.message();
    if secret && raw.starts_with("invalid type") {
        return Fault::error(None, "a secret is a text")
            .help("write it as \"${NAME}\" or \"file:/path\"");
    }
    let (message, help) = reword(raw, value);
    let mut fault = Fault::error(None, message);
    fault.help = help;
    fault
}

/// Puts what the file says in the place of what it expanded to, which may be a secret.
pub(super) fn conceal(mut fault: Fault, expanded: &Expanded) -> Fault {
    let Expanded {
        written, content, ..
    } = expanded;
    let replace = |text: &str| {
        text.replace(&format!("`{content}`"), &format!("`{written}`"))
            .replace(&format!("{content:?}"), &format!("{written:?}"))
    };
    fault.message = replace(&fault.message);
    if leaks(&fault.message, expanded, 4) {
        fault.message = format!("what `{written}` expands to is not allowed here");
    }
    // Ours word for word unless the value was quoted in an unforeseen way, so only long words count.
    fault.help = fault
        .help
        .map(|help| replace(&help))
        .filter(|help| !leaks(help, expanded, 8));
    fault
}

fn reword(raw: &str, value: Option<&str>) -> (String, Option<String>) {
    if let Some(rest) = raw.strip_prefix("unknown field ") {
        let mut words = quoted(rest);
        let found = words.next().unwrap_or_default();
        return (
            format!("unknown key `{found}`"),
            Some(suggest(found, words)),
        );
    }
    if let Some(rest) = raw.strip_prefix("unknown variant ") {
        let mut words = quoted(rest);
        let found = words.next().unwrap_or_default();
        return (
            format!("`{found}` is not allowed here"),
            Some(suggest(found, words)),
        );
    }
    if let Some(rest) = raw.strip_prefix("missing field ") {
        let key = quoted(rest).next().unwrap_or_default();
        return (format!("the key `{key}` is missing"), needed(key));
    }
    if raw == "invalid socket address syntax" {
        return (
            format!(
                "`{}` is not an address with a port",
                value.unwrap_or_default()
            ),
            Some("write \"127.0.0.1:8080\", \"0.0.0.0:8443\" or \"[::]:8443\"".to_owned()),
        );
    }
    if raw.starts_with("invalid type") && raw.ends_with("expected a string") {
        return (
            raw.to_owned(),
            Some(
                "write it in quotes; durations and sizes carry their unit: \"250ms\", \"16KiB\""
                    .to_owned(),
            ),
        );
    }
    ours(raw, value)
}

/// A message of `config::value`: what was found, `; `, what is allowed.
fn ours(raw: &str, value: Option<&str>) -> (String, Option<String>) {
    // The value is skipped first: it may hold a `; ` of its own.
    let quote = format!("`{}`", value.unwrap_or_default());
    let start = if raw.starts_with(&quote) {
        quote.len()
    } else {
        0
    };
    let (head, tail) = raw.split_at_checked(start).unwrap_or(("", raw));
    match tail.split_once("; ") {
        Some((found, allowed)) => (format!("{head}{found}"), Some(allowed.to_owned())),
        None => (raw.to_owned(), None),
    }
}

/// The words between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// "did you mean `near`? allowed here: …"
pub(super) fn suggest<'a>(found: &str, allowed: impl Iterator<Item = &'a str>) -> String {
    let allowed: Vec<&str> = allowed.collect();
    let list = allowed
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ");
    match nearest(found, &allowed) {
        Some(near) => format!("did you mean `{near}`? allowed here: {list}"),
        None if allowed.is_empty() => "nothing is allowed here".to_owned(),
        None => format!("allowed here: {list}"),
    }
}

/// The word that was probably meant: a third of its letters may be wrong, at least one.
pub(super) fn nearest<'a>(found: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let found = found.to_ascii_lowercase();
    allowed
        .iter()
        .map(|word| (distance(&found, &word.to_ascii_lowercase()), *word))
        .filter(|(distance, word)| *distance <= (word.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Edits from one word to the other: letters added, dropped, replaced, or swapped with their neighbor.
///
/// Words longer than 64 letters are far from everything: nobody mistypes those, and the work is quadratic.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let at =
                |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&last, j + 1) + 1)
                .min(at(&row, j) + 1)
                .min(at(&last, j) + usize::from(from != to));
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(to) && b.get(j - 1) == Some(from);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

/// What to write where a key is missing.
fn needed(key: &str) -> Option<String> {
    let help = match key {
        "listeners" => "add `[[listeners]]` with an `address` such as \"127.0.0.1:8080\"",
        "store" => "add `[store]` with `embedded = \"sessions.redb\"` or `redis = \"redis://…\"`",
        "upstreams" => {
            "add `[upstreams.NAME]` with `endpoints` such as [\"http://127.0.0.1:9000\"]"
        }
        "routes" => "add `[[routes]]` with `prefix` or `exact`, and `upstream`",
        "address" => "write an IP address and a port, such as \"127.0.0.1:8080\"",
        "domains" => "write the names to order certificates for, such as [\"www.example.com\"]",
        "cache" => {
            "write the folder that certificates are kept in, such as \"/var/lib/drawbridge/acme\""
        }
        "cert" => "write the PEM file with the certificate and its intermediates",
        "key" => "write the PEM file with the private key",
        "sha256" => "run `drawbridge admin-key NAME`: it prints a key and its digest",
        "scopes" => {
            "write at least one of \"sessions:read\", \"sessions:write\", \"rights:write\", \"limits\""
        }
        "prefix" => "write the path of the gateway's own endpoints, such as \"/.drawbridge\"",
        "home" => "write the origin where users log in, such as \"https://login.example.com\"",
        "origins" => "write the origins that take part, such as [\"https://shop.example.org\"]",
        "issuer" => "write the `iss` of the provider's tokens",
        "audience" => "write the client id that the provider knows this service by",
        "jwks" => "write \"file:keys.json\", or the URL that the provider's keys are fetched from",
        "endpoints" => "write at least one, such as [\"http://127.0.0.1:9000\"]",
        "by" => {
            "write whose requests share a bucket: \"client\", \"token\", \"user\", \"device\" or \"route\""
        }
        "rate" => "write a count and a unit of time, such as \"100/s\", \"600/m\" or \"1000/h\"",
        "upstream" => "write the name of an entry of `[upstreams]`",
        _ => return None,
    };
    Some(help.to_owned())
}

/// Whether the text still holds a word of what the value expanded to. Shorter words are in any sentence.
fn leaks(text: &str, expanded: &Expanded, shortest: usize) -> bool {
    expanded
        .content
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.len() >= shortest && !expanded.written.contains(word))
        .any(|word| text.contains(word))
}
