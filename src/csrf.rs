//! Whether a request that a browser dressed with a cookie was meant by the site's own page.
//!
//! # Threat model
//! A browser adds cookies to requests that any page makes it send. `SameSite` stops most of them, but not those of other
//! hosts of the same site, and not all browsers and all ways. So a request that changes something, or opens a WebSocket,
//! must say where it comes from: `Sec-Fetch-Site`, which no page can write (W3C Fetch Metadata), or else `Origin`
//! (RFC 6454), which browsers send with every such request. A browser that says neither is too old to be believed.

use http::header::ORIGIN;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::config;
use crate::config::value::WebOrigin;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The request comes from a page of another site, or does not say where it comes from. 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// It names another site.
    #[error("the request was sent by a page of another site")]
    OtherSite,
    /// It names none.
    #[error("the request has neither Sec-Fetch-Site nor Origin")]
    Unnamed,
}

/// Which pages may send requests that carry a cookie.
#[derive(Debug, Clone)]
pub struct Csrf(config::Csrf);

impl Csrf {
    /// The guard that the configuration describes.
    pub fn new(config: &config::Csrf) -> Self {
        Self(config.clone())
    }

    /// Whether requests of this method change nothing (RFC 9110 section 9.2.1), so that forging one gains nothing.
    pub fn is_safe(method: &Method) -> bool {
        matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// Lets a request pass whose page may send it. `own` is the origin that the request was sent to.
    ///
    /// # Errors
    /// [`Forged`].
    pub fn guard(
        &self,
        headers: &HeaderMap,
        own: impl FnOnce() -> Option<WebOrigin>,
    ) -> Result<(), Forged> {
        if !self.0.enabled {
            return Ok(());
        }
        let origin = one(headers, &ORIGIN);
        match one(headers, &SEC_FETCH_SITE) {
            Field::One(b"same-origin" | b"none") => return Ok(()),
            Field::One(b"same-site") if self.0.allow_same_site => return Ok(()),
            // The browser has compared origins itself; what is left are the origins that we were told of.
            Field::One(_) | Field::Several => return self.listed(origin),
            Field::Absent => {}
        }
        match origin {
            Field::Absent if self.0.allow_missing_origin => Ok(()),
            Field::Absent => Err(Forged::Unnamed),
            Field::One(origin) if own().is_some_and(|own| own.as_str().as_bytes() == origin) => {
                Ok(())
            }
            Field::One(_) | Field::Several => self.listed(origin),
        }
    }

    fn listed(&self, origin: Field<'_>) -> Result<(), Forged> {
        let Field::One(origin) = origin else {
            return Err(Forged::OtherSite);
        };
        let mut allowed = self.0.allowed_origins.iter();
        match allowed.any(|allowed| allowed.as_str().as_bytes() == origin) {
            true => Ok(()),
            false => Err(Forged::OtherSite),
        }
    }
}

/// A field that a request has once, or else is not believed.
#[derive(Clone, Copy)]
enum Field<'a> {
    Absent,
    One(&'a [u8]),
    Several,
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Field<'a> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    match (values.next(), values.next()) {
        (None, _) => Field::Absent,
        (Some(value), None) => Field::One(value),
        (Some(_), Some(_)) => Field::Several,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(settings: &str, fields: &[(&'static str, &'static str)]) -> Result<(), Forged> {
        let csrf = Csrf::new(&toml::from_str(settings).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        csrf.guard(&headers, || WebOrigin::of(true, "shop.example"))
    }

    #[test]
    fn what_a_browser_says_of_the_sending_page_decides() {
        const OWN: (&str, &str) = ("origin", "https://shop.example");
        const EVIL: (&str, &str) = ("origin", "https://evil.example");
        const LISTED: (&str, &str) = ("origin", "https://app.example");
        let site = |value| ("sec-fetch-site", value);
        let (other, unnamed) = (Err(Forged::OtherSite), Err(Forged::Unnamed));
        let cases = [
            (vec![site("same-origin")], Ok(())),
            (vec![site("same-origin"), OWN], Ok(())),
            (vec![site("none")], Ok(())),
            (vec![site("cross-site")], other),
            (vec![site("cross-site"), EVIL], other),
            // After a detour over another site the browser says so, whatever the origin.
            (vec![site("cross-site"), OWN], other),
            (vec![site("cross-site"), LISTED], Ok(())),
            (vec![site("same-site"), OWN], other),
            (vec![site("same-site"), LISTED], Ok(())),
            (vec![site("Same-Origin")], other),
            (vec![site("")], other),
            (vec![site("same-origin"), site("cross-site")], other),
            (vec![OWN], Ok(())),
            (vec![LISTED], Ok(())),
            (vec![EVIL], other),
            (vec![OWN, EVIL], other),
            (vec![OWN, OWN], other),
            (vec![("origin", "null")], other),
            (vec![("origin", "")], other),
            (vec![("origin", "http://shop.example")], other),
            (vec![("origin", "https://shop.example:8443")], other),
            (vec![("origin", "https://shop.example.evil.example")], other),
            (
                vec![("origin", "https://evil.example/https://shop.example")],
                other,
            ),
            (vec![("origin", "https://SHOP.example")], other),
            (vec![("origin", "https://shop.example/")], other),
            (vec![("referer", "https://shop.example/")], unnamed),
            (vec![], unnamed),
        ];

        for (fields, expected) in cases {
            let settings = "allowed_origins = ['https://app.example']";
            assert_eq!(verdict(settings, &fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn each_setting_opens_what_it_says_and_no_more() {
        let site = |value| [("sec-fetch-site", value)];

        assert_eq!(
            verdict("allow_same_site = true", &site("same-site")),
            Ok(())
        );
        assert!(verdict("allow_same_site = true", &site("cross-site")).is_err());
        assert_eq!(verdict("allow_missing_origin = true", &[]), Ok(()));
        assert!(verdict("allow_missing_origin = true", &site("cross-site")).is_err());
        assert!(
            verdict(
                "allow_missing_origin = true",
                &[("origin", "https://evil.example")]
            )
            .is_err()
        );
        assert_eq!(verdict("enabled = false", &site("cross-site")), Ok(()));
    }

    #[test]
    fn an_origin_of_nobody_is_never_our_own() {
        let csrf = Csrf::new(&config::Csrf::default());
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static(""));

        assert_eq!(csrf.guard(&headers, || None), Err(Forged::OtherSite));
    }
}
