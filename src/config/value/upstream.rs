//! Words of upstreams: weights, statuses, what a health check asks for.

use std::num::NonZeroU16;

use http::StatusCode;
use http::uri::PathAndQuery;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::string_schema;

/// The share of the load that an endpoint takes, next to the others' weights: 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u16")]
pub struct Weight(NonZeroU16);

impl Weight {
    /// What an endpoint without one has.
    pub const ONE: Self = Self(NonZeroU16::MIN);

    /// The number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u16> for Weight {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        let weight = NonZeroU16::new(number).filter(|number| number.get() <= 100);
        weight
            .map(Self)
            .ok_or_else(|| format!("`{number}` is not a weight; 1 to 100 are allowed"))
    }
}

impl JsonSchema for Weight {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Weight".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 100, "description": "Share of the load, 1 to 100" })
    }
}

/// A status of an answer (RFC 9110 section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub struct Status(StatusCode);

impl Status {
    /// The status.
    pub fn get(self) -> StatusCode {
        self.0
    }
}

impl TryFrom<u16> for Status {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        // Interim answers are never looked at.
        let status = StatusCode::from_u16(number).ok();
        status
            .filter(|_| (200..600).contains(&number))
            .map(Self)
            .ok_or_else(|| {
                format!("`{number}` is not the status of an answer; 200 to 599 are allowed")
            })
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u16(self.0.as_u16())
    }
}

impl JsonSchema for Status {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Status".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 200, "maximum": 599, "description": "Status of an answer, 200 to 599" })
    }
}

/// What a request asks for: a path, perhaps with a query (RFC 9112 section 3.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Target(PathAndQuery);

impl Target {
    /// As it is sent.
    pub fn get(&self) -> &PathAndQuery {
        &self.0
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let target = PathAndQuery::try_from(text.as_str()).ok();
        target
            .filter(|target| target.as_str() == text && text.starts_with('/'))
            .map(Self)
            .ok_or_else(|| {
                format!("`{text}` is not a path; write one that starts with a slash, such as \"/health\"")
            })
    }
}

string_schema!(Target, r"^/[^#\s]*$", "Path, perhaps with a query: /health");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        for (number, fine) in [(0, false), (1, true), (100, true), (101, false)] {
            assert_eq!(Weight::try_from(number).is_ok(), fine, "{number}");
        }
        for (number, fine) in [(199, false), (200, true), (599, true), (600, false)] {
            assert_eq!(Status::try_from(number).is_ok(), fine, "{number}");
        }
        for (text, fine) in [
            ("/", true),
            ("/health?deep=1", true),
            ("", false),
            ("health", false),
            ("*", false),
            ("/a b", false),
            ("/a#b", false),
        ] {
            assert_eq!(Target::try_from(text.to_owned()).is_ok(), fine, "{text}");
        }
    }
}
