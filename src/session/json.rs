//! JSON that somebody else wrote, within bounds, and what stands where in it.

use compact_str::CompactString;
use serde_json::Value;

use super::{List, RecordError};
use crate::config::value::FieldPath;

/// Below this a time is taken as seconds, above as milliseconds: it is the year 5138 in the one and 1973 in the other.
const SECONDS_BELOW: u64 = 100_000_000_000;

/// The JSON in these bytes, within bounds.
pub(super) fn json(bytes: &[u8], max_bytes: usize, max_depth: u8) -> Result<Value, RecordError> {
    if bytes.len() > max_bytes {
        return Err(RecordError::TooLarge);
    }
    let most = usize::from(max_depth);
    // Few records have more brackets than may be nested; counting them takes many bytes at a time.
    if openings(bytes) > most && nesting(bytes) > most {
        return Err(RecordError::TooDeep);
    }
    serde_json::from_slice(bytes).map_err(|_| RecordError::NotJson)
}

/// The brackets that open something, and those that are part of a text.
fn openings(bytes: &[u8]) -> usize {
    let opens = |byte: u8| usize::from(byte == b'[' || byte == b'{');
    bytes.iter().map(|byte| opens(*byte)).sum()
}

/// The deepest nesting of brackets outside strings. Counted before parsing, because the parser recurses.
fn nesting(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn at<'a>(record: &'a Value, path: &FieldPath) -> Option<&'a Value> {
    path.parts()
        .iter()
        .try_fold(record, |value, name| value.get(name))
        .filter(|value| !value.is_null())
}

pub(super) fn text(
    record: &Value,
    path: &FieldPath,
    part: &'static str,
) -> Result<CompactString, RecordError> {
    match at(record, path) {
        None => Ok(CompactString::default()),
        Some(Value::String(text)) => Ok(text.into()),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
            Ok(number.to_string().into())
        }
        Some(_) => Err(RecordError::Field(part)),
    }
}

pub(super) fn list(
    record: &Value,
    path: &FieldPath,
    part: &'static str,
) -> Result<List, RecordError> {
    match at(record, path) {
        None => Ok(List::default()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| {
                item.as_str()
                    .map(str::to_owned)
                    .ok_or(RecordError::Field(part))
            })
            .collect(),
        Some(Value::String(text)) => Ok(text
            .split([' ', ','])
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()),
        Some(_) => Err(RecordError::Field(part)),
    }
}

pub(super) fn time(
    record: &Value,
    path: &FieldPath,
    part: &'static str,
) -> Result<Option<u64>, RecordError> {
    let Some(value) = at(record, path) else {
        return Ok(None);
    };
    let number = value.as_u64().ok_or(RecordError::Field(part))?;
    Ok(Some(if number < SECONDS_BELOW {
        number * 1000
    } else {
        number
    }))
}

pub(super) fn put(record: &mut Value, path: &FieldPath, value: Value) {
    let mut place = record;
    for name in path.parts() {
        if !place.is_object() {
            *place = Value::Object(serde_json::Map::new());
        }
        place = &mut place[name.as_str()];
    }
    *place = value;
}
