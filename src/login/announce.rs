//! What an upstream says about a login.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;

use crate::config::value::HeaderName;
use crate::config::{Encoding, LoginHeaders};
use crate::session::Device;
use crate::sessions::{Login, LoginError};

/// A login, and how it is called at an OpenID provider.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) login: Login,
    /// The `sid` there.
    pub(super) oidc_sid: Option<String>,
    /// Which provider; `None` if the upstream did not say.
    pub(super) oidc_issuer: Option<String>,
}

/// Reads the headers of an upstream's answer. `None` if they announce nothing.
///
/// # Errors
/// [`LoginError::Unusable`]: whom this would log in cannot be told for sure, so nobody is.
pub(super) fn read(
    headers: &HeaderMap,
    names: &LoginHeaders,
    encoding: Encoding,
) -> Result<Option<Announced>, LoginError> {
    if !headers.contains_key(names.user.as_str()) {
        return Ok(None);
    }
    let reader = Reader { headers, encoding };
    let user_id = reader.text(&names.user)?;
    if user_id.is_empty() {
        return Err(LoginError::Unusable(
            "the upstream names a user without a name",
        ));
    }
    let some = |text: String| (!text.is_empty()).then_some(text);
    Ok(Some(Announced {
        login: Login {
            user_id,
            device: Device {
                id: reader.text(&names.device_id)?.into(),
                kind: reader.text(&names.device_type)?.into(),
                name: reader.text(&names.device_name)?.into(),
            },
            permissions: reader.list(&names.permissions)?,
            roles: reader.list(&names.roles)?,
            lifetime: reader.seconds(&names.lifetime)?,
            ..Login::default()
        },
        oidc_sid: some(reader.text(&names.oidc_sid)?),
        oidc_issuer: some(reader.text(&names.oidc_issuer)?),
    }))
}

struct Reader<'a> {
    headers: &'a HeaderMap,
    encoding: Encoding,
}

impl Reader<'_> {
    /// One value, decoded; empty if it is not there.
    fn text(&self, name: &HeaderName) -> Result<String, LoginError> {
        let mut values = self.headers.get_all(name.as_str()).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(String::new()),
            (Some(value), None) => self.decode(plain(value)?),
            (Some(_), Some(_)) => Err(LoginError::Unusable(
                "the upstream sends a login header twice",
            )),
        }
    }

    /// Values joined with commas, over one field or several.
    fn list(&self, name: &HeaderName) -> Result<Vec<String>, LoginError> {
        let mut list = Vec::new();
        for value in self.headers.get_all(name.as_str()) {
            for item in plain(value)?.split(',').map(str::trim) {
                if !item.is_empty() {
                    list.push(self.decode(item)?);
                }
            }
        }
        Ok(list)
    }

    fn seconds(&self, name: &HeaderName) -> Result<Option<Duration>, LoginError> {
        let text = self.text(name)?;
        if text.is_empty() {
            return Ok(None);
        }
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(seconds) if digits && seconds > 0 => Ok(Some(Duration::from_secs(seconds))),
            Ok(_) | Err(_) => Err(LoginError::Unusable(
                "the upstream's lifetime is no number of seconds",
            )),
        }
    }

    /// What [`crate::headers`] does to identity, undone.
    fn decode(&self, text: &str) -> Result<String, LoginError> {
        if self.encoding == Encoding::Refuse || !text.contains('%') {
            return Ok(text.to_owned());
        }
        let escape = |rest: &str| {
            rest.as_bytes()
                .get(..2)
                .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
        };
        let decoded = percent_decode_str(text).decode_utf8();
        match decoded {
            Ok(decoded)
                if text.split('%').skip(1).all(escape) && !decoded.contains(char::is_control) =>
            {
                Ok(decoded.into_owned())
            }
            Ok(_) | Err(_) => Err(LoginError::Unusable(
                "the upstream sends a login header that is not percent-encoded UTF-8",
            )),
        }
    }
}

fn plain(value: &HeaderValue) -> Result<&str, LoginError> {
    value.to_str().map(str::trim).map_err(|_| {
        LoginError::Unusable("the upstream sends a login header that is not plain ASCII")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(fields: &[(&'static str, &[u8])]) -> Result<Option<Announced>, LoginError> {
        encoded(Encoding::Percent, fields)
    }

    fn encoded(
        encoding: Encoding,
        fields: &[(&'static str, &[u8])],
    ) -> Result<Option<Announced>, LoginError> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        read(&headers, &LoginHeaders::default(), encoding)
    }

    #[test]
    fn without_a_user_nothing_is_announced() {
        assert_eq!(
            announced(&[("x-login-roles", b"boss"), ("x-user-id", b"alice")]).unwrap(),
            None
        );
    }

    #[test]
    fn everything_that_is_announced_arrives_as_it_was_meant() {
        let found = announced(&[
            ("x-login-user", b"M%C3%BCller%20%2525"),
            ("x-login-permissions", b"orders:read, a%2Cb,"),
            ("x-login-permissions", b"files:*"),
            ("x-login-roles", b"clerk"),
            ("x-login-device-id", b"d-1"),
            ("x-login-device-type", b"phone"),
            ("x-login-device-name", b"Pixel%2012"),
            ("x-login-lifetime", b"3600"),
            ("x-login-oidc-sid", b"s-1"),
        ])
        .unwrap()
        .unwrap();

        assert_eq!(
            found,
            Announced {
                login: Login {
                    user_id: "M\u{fc}ller %25".to_owned(),
                    device: Device {
                        id: "d-1".into(),
                        kind: "phone".into(),
                        name: "Pixel 12".into(),
                    },
                    permissions: vec![
                        "orders:read".to_owned(),
                        "a,b".to_owned(),
                        "files:*".to_owned()
                    ],
                    roles: vec!["clerk".to_owned()],
                    lifetime: Some(Duration::from_secs(3600)),
                    ..Login::default()
                },
                oidc_sid: Some("s-1".to_owned()),
                oidc_issuer: None,
            }
        );
        let raw = encoded(Encoding::Refuse, &[("x-login-user", b"50%off")]);
        assert_eq!(raw.unwrap().unwrap().login.user_id, "50%off");
    }

    #[test]
    fn what_could_mean_somebody_else_logs_nobody_in() {
        let alice: (&str, &[u8]) = ("x-login-user", b"alice");
        let cases: &[&[(&'static str, &[u8])]] = &[
            &[("x-login-user", b"")],
            &[("x-login-user", b" ")],
            &[alice, ("x-login-user", b"bob")],
            &[alice, alice],
            &[("x-login-user", b"50%off")],
            &[("x-login-user", b"a%")],
            &[("x-login-user", b"a%4")],
            &[("x-login-user", b"a%+1")],
            &[("x-login-user", b"a%FF")],
            &[("x-login-user", b"a%00")],
            &[("x-login-user", b"a%0Ab")],
            &[("x-login-user", "M\u{fc}ller".as_bytes())],
            &[
                alice,
                ("x-login-device-id", b"a"),
                ("x-login-device-id", b"b"),
            ],
            &[alice, ("x-login-roles", b"boss,%zz")],
            &[alice, ("x-login-lifetime", b"0")],
            &[alice, ("x-login-lifetime", b"-1")],
            &[alice, ("x-login-lifetime", b"+5")],
            &[alice, ("x-login-lifetime", b"1h")],
            &[alice, ("x-login-lifetime", b"99999999999999999999")],
        ];

        for fields in cases {
            let found = announced(fields);
            assert!(
                matches!(found, Err(LoginError::Unusable(_))),
                "{fields:?}: {found:?}"
            );
        }
    }
}
