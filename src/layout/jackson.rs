//! JSON as Jackson writes it where it is told to write down the types: pairs of a class and a value.

use serde_json::Value;

/// What Java's own serialization begins with.
const JAVA: [u8; 4] = [0xac, 0xed, 0x00, 0x05];

/// Whether these bytes are a Java object, which is never decoded.
pub(super) fn is_java(bytes: &[u8]) -> bool {
    bytes.starts_with(&JAVA)
}

/// The same without the classes: `["java.util.ArrayList", [..]]` is the list, `["java.lang.Long", 5]` is the number.
pub(super) fn plain(value: Value) -> Value {
    match value {
        Value::Array(items) => match <[Value; 2]>::try_from(items) {
            Ok([class, value]) if is_typed(&class, &value) => plain(value),
            Ok(both) => both.into_iter().map(plain).collect(),
            Err(items) => items.into_iter().map(plain).collect(),
        },
        Value::Object(members) => {
            let members = members.into_iter().filter(|(name, _)| name != "@class");
            Value::Object(members.map(|(name, value)| (name, plain(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// Whether this is a class and its value. Two texts are that only if the class is one of Java's own: permissions may
/// look like classes.
fn is_typed(class: &Value, value: &Value) -> bool {
    let Some(class) = class.as_str() else {
        return false;
    };
    let name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_$".contains(&byte))
    };
    let is_class = class.contains('.') && class.trim_start_matches('[').split('.').all(name);
    is_class && (!value.is_string() || class.starts_with("java."))
}
