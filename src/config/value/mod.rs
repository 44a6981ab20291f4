//! Words of `gateway.toml`: each checks itself while it is read, so a wrong one is reported where it stands.

mod acme;
mod admin;
mod http;
mod net;
mod signin;
mod store;
mod upstream;
mod web;

use std::fmt;
use std::num::NonZeroU32;
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

pub use self::acme::{AcmeContact, AcmeDirectory, AcmeDomain};
pub use self::admin::{CertificateName, KeyDigest};
pub use self::http::{
    HeaderName, HostPattern, LimitName, Method, PathPattern, PermissionPattern, TokenSource,
    UpgradeName,
};
pub use self::net::{Network, Origin};
pub use self::signin::SigninUrl;
pub use self::store::{FieldPath, KeyTemplate, RealmName, RedisUrl, Secret, TokenPrefix};
pub use self::upstream::{Status, Target, Weight};
pub use self::web::{CookieDomain, CookieName, Jwks, UserTemplate, WebOrigin};

/// Gives a string-shaped type its JSON schema: a string with a pattern and a line of manual.
macro_rules! string_schema {
    ($name:ident, $pattern:expr, $doc:expr) => {
        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $doc })
            }
        }
    };
}

use string_schema;

/// Lets a value be written as it is read: that is how the schema shows defaults.
macro_rules! written {
    ($name:ident, $value:ident => $text:expr) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                let $value = self;
                out.collect_str(&$text)
            }
        }
    };
}

use written;

/// A length of time with its unit: `"250ms"`, `"5s"`, `"1h 30m"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Duration(time::Duration);

impl Duration {
    /// So many milliseconds.
    pub const fn from_millis(n: u64) -> Self {
        Self(time::Duration::from_millis(n))
    }

    /// So many seconds.
    pub const fn from_secs(n: u64) -> Self {
        Self(time::Duration::from_secs(n))
    }

    /// The standard library's type.
    pub const fn get(self) -> time::Duration {
        self.0
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Duration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|_| format!("`{text}` is not a duration; write a number with its unit, such as \"250ms\", \"5s\" or \"1h\""))
    }
}

string_schema!(
    Duration,
    r"^\s*(\d+\s*(ns|us|ms|s|sec|m|min|h|hr|d|day|days)\s*)+$",
    "Number with unit: 250ms, 5s, 1h"
);

written!(Duration, it => humantime::format_duration(it.0));

/// A number of bytes with its unit: `"512B"`, `"16KiB"`, `"8MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(u64);

impl Size {
    /// So many bytes.
    pub const fn bytes(n: u64) -> Self {
        Self(n)
    }

    /// So many times 1,024 bytes.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// So many times 1,048,576 bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// In bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// In bytes, as far as this machine can address.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |unit: u64| self.0 >= unit && self.0.is_multiple_of(unit);
        match self.0 {
            n if whole(1 << 20) => write!(f, "{}MiB", n >> 20),
            n if whole(1 << 10) => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}B"),
        }
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a size; write a number with its unit, such as \"512B\", \"16KiB\" or \"8MiB\""
            )
        };
        if text.ends_with(|c: char| c.is_ascii_digit()) {
            return Err(wrong());
        }
        text.parse::<bytesize::ByteSize>()
            .map(|size| Self(size.as_u64()))
            .map_err(|_| wrong())
    }
}

string_schema!(
    Size,
    r"^\d+(\.\d+)?\s*([kKMGT]i?)?B$",
    "Number with unit: 512B, 16KiB, 8MiB"
);

written!(Size, size => size);

/// A number of bytes a second: `"1KiB/s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ByteRate(Size);

impl ByteRate {
    /// So many times 1,024 bytes a second.
    pub const fn kib(n: u64) -> Self {
        Self(Size::kib(n))
    }

    /// In bytes a second.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl TryFrom<String> for ByteRate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let size = text
            .strip_suffix("/s")
            .map(|size| Size::try_from(size.trim().to_owned()));
        match size {
            Some(Ok(size)) => Ok(Self(size)),
            Some(Err(_)) | None => Err(format!(
                "`{text}` is not a speed; write a size a second, such as \"512B/s\" or \"1KiB/s\""
            )),
        }
    }
}

string_schema!(
    ByteRate,
    r"^\d+(\.\d+)?\s*([kKMGT]i?)?B\s*/s$",
    "Size a second: 512B/s, 1KiB/s"
);

written!(ByteRate, rate => format_args!("{}/s", rate.0));

/// A part of a whole: `"1%"`, `"0.5%"`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Ratio(f64);

impl Ratio {
    /// So many hundredths.
    pub const fn percent(n: u32) -> Self {
        Self(n as f64 / 100.0)
    }

    /// This part of a number.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nobody counts the last digits of a part; a float beyond the range becomes the largest number"
    )]
    pub fn of(self, whole: u64) -> u64 {
        (self.0 * whole as f64) as u64
    }
}

impl TryFrom<String> for Ratio {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = text.strip_suffix('%').map(|number| number.trim().parse());
        match number {
            Some(Ok(percent)) if (0.0..=100.0).contains(&percent) => Ok(Self(percent / 100.0)),
            Some(Ok(_) | Err(_)) | None => Err(format!(
                "`{text}` is not a part; write a percentage from 0 to 100, such as \"1%\" or \"0.5%\""
            )),
        }
    }
}

string_schema!(
    Ratio,
    r"^\d+(\.\d+)?\s*%$",
    "Percentage from 0 to 100: 1%, 0.5%"
);

written!(Ratio, ratio => format_args!("{}%", ratio.0 * 100.0));

/// A rate: `"100/s"`, `"600/m"`, `"1000/h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In how long.
    pub per: time::Duration,
}

impl Rate {
    /// So many a minute; at least one.
    pub fn per_minute(count: u32) -> Self {
        Self {
            count: NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN),
            per: time::Duration::from_secs(60),
        }
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a rate; write a count and a unit of time, such as \"100/s\", \"600/m\" or \"1000/h\""
            )
        };
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let per = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        };
        let count = count.trim().parse().map_err(|_| wrong())?;
        Ok(Self {
            count,
            per: time::Duration::from_secs(per),
        })
    }
}

string_schema!(
    Rate,
    r"^\s*[1-9]\d*\s*/\s*[smh]\s*$",
    "Count per second, minute or hour: 100/s, 600/m, 1000/h"
);

written!(Rate, rate => format_args!("{}/{}", rate.count, match rate.per.as_secs() {
    1 => 's',
    60 => 'm',
    _ => 'h',
}));
