//! Texts and numbers with bounds, which hold for what is read and stand in the schema alike.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A text of `MIN` to `MAX` characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Text<const MIN: usize, const MAX: usize>(pub(super) String);

/// A name that must be there.
pub(super) type Name = Text<1, 256>;

/// A note that may be empty.
pub(super) type Note = Text<0, 256>;

impl<const MIN: usize, const MAX: usize> Default for Text<MIN, MAX> {
    fn default() -> Self {
        Self(String::new())
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Text<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if (MIN..=MAX).contains(&text.chars().count()) {
            return Ok(Self(text));
        }
        Err(D::Error::custom("a text that is too short or too long"))
    }
}

impl<const MIN: usize, const MAX: usize> PartialSchema for Text<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(MIN))
            .max_length(Some(MAX))
            .into()
    }
}

impl<const MIN: usize, const MAX: usize> ToSchema for Text<MIN, MAX> {
    fn name() -> Cow<'static, str> {
        format!("Text{MIN}To{MAX}").into()
    }
}

/// The plain texts.
pub(super) fn texts<const MIN: usize, const MAX: usize>(texts: Vec<Text<MIN, MAX>>) -> Vec<String> {
    texts.into_iter().map(|text| text.0).collect()
}

/// The largest number up to which a float can be any whole number: 2^53.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number<const MIN: u64, const MAX: u64>(pub(super) u64);

/// A risk.
pub(super) type Level = Number<0, 100>;

/// A length of time in seconds, up to ten years.
pub(super) type Seconds = Number<1, 315_360_000>;

/// A time in Unix milliseconds, up to the year 9999.
pub(super) type Moment = Number<0, 253_402_300_799_999>;

impl<const MIN: u64, const MAX: u64> Number<MIN, MAX> {
    /// As seconds.
    pub(super) fn seconds(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// As a level, which is 100 at most.
    pub(super) fn level(self) -> u8 {
        u8::try_from(self.0).unwrap_or(u8::MAX)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Number<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(from)?;
        // JSON Schema's integers may be written as `95.0` too.
        let whole = |number: &f64| number.fract() == 0.0 && (0.0..=MAX_EXACT).contains(number);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and in bounds"
        )]
        let exact = |number: f64| number as u64;
        let number = number
            .as_u64()
            .or_else(|| number.as_f64().filter(whole).map(exact));
        match number.filter(|number| (MIN..=MAX).contains(number)) {
            Some(number) => Ok(Self(number)),
            None => Err(D::Error::custom("a number that is not allowed")),
        }
    }
}

impl<const MIN: u64, const MAX: u64> PartialSchema for Number<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(MIN))
            .maximum(Some(MAX))
            .into()
    }
}

impl<const MIN: u64, const MAX: u64> ToSchema for Number<MIN, MAX> {
    fn name() -> Cow<'static, str> {
        format!("Number{MIN}To{MAX}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_keeps_the_bounds_that_the_schema_tells() {
        let text = |json: &str| serde_json::from_str::<Text<1, 3>>(json).is_ok();
        assert!(text("\"a\"") && text("\"éßü\""));
        assert!(!text("\"\"") && !text("\"abcd\"") && !text("1"));
        let number = |json: &str| serde_json::from_str::<Number<1, 9>>(json).is_ok();
        assert!(number("1") && number("9") && number("9.0") && number("0.2e1"));
        assert!(
            !number("0") && !number("10") && !number("-1") && !number("1.5") && !number("\"1\"")
        );

        let schema = serde_json::to_value(Text::<1, 3>::schema()).unwrap();
        assert_eq!(
            (&schema["minLength"], &schema["maxLength"]),
            (&1.into(), &3.into())
        );
        let schema = serde_json::to_value(Number::<1, 9>::schema()).unwrap();
        assert_eq!(
            (&schema["minimum"], &schema["maximum"]),
            (&1.into(), &9.into())
        );
    }
}
