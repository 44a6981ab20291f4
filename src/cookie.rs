//! The cookies that we set: the session's, the refresh token's, and the state of a browser on its way through single
//! sign-on.
//!
//! # Threat model
//! A cookie is a secret that a browser sends by itself. So each is `Secure` (never in the clear) and `HttpOnly` (never
//! read by a script), and no wider than it must be: the refresh token goes to the one path that takes it. What forged
//! requests could do with a cookie is the business of `csrf`.

use std::time::Duration;

use ::cookie::{Cookie, CookieBuilder, SameSite as Site};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::config::{LoginCookie, SameSite};

/// How long a browser may take from leaving for its home to coming back.
const STATE_LIFETIME: Duration = Duration::from_secs(300);
/// Host-only, so that no other host of the domain can plant one.
const STATE: &str = "__Host-sso-state";

/// What our cookies look like.
#[derive(Debug, Clone)]
pub struct Cookies {
    plan: LoginCookie,
    /// The only path that the refresh token is sent to; empty where there is none.
    refresh_path: String,
}

impl Cookies {
    /// Cookies as configured; `refresh_path` is the path of the endpoint that takes refresh tokens.
    pub fn new(plan: &LoginCookie, refresh_path: Option<String>) -> Self {
        Self {
            plan: plan.clone(),
            refresh_path: refresh_path.unwrap_or_default(),
        }
    }

    /// Name of the session cookie.
    pub fn name(&self) -> &str {
        self.plan.name.as_str()
    }

    /// Name of the cookie with the refresh token.
    pub fn refresh_name(&self) -> &str {
        self.plan.refresh_name.as_str()
    }

    /// Name of the cookie with the state of single sign-on.
    pub fn state_name(&self) -> &'static str {
        STATE
    }

    /// Names of all of them: none is an upstream's business.
    pub fn all_names(plan: &LoginCookie) -> [&str; 3] {
        [plan.name.as_str(), plan.refresh_name.as_str(), STATE]
    }

    /// Sets the session cookie to this token, which lives for so long.
    pub fn session(&self, token: &str, lives: Duration) -> HeaderValue {
        self.lasting(self.build_session(token), lives)
    }

    /// Sets the cookie with the refresh token, which lives for so long.
    pub fn refresh(&self, token: &str, lives: Duration) -> HeaderValue {
        self.lasting(self.build_refresh(token), lives)
    }

    /// Takes both away.
    pub fn cleared(&self) -> Vec<HeaderValue> {
        let mut cleared = vec![self.build_session("").max_age(whole(Duration::ZERO))];
        if !self.refresh_path.is_empty() {
            cleared.push(self.build_refresh("").max_age(whole(Duration::ZERO)));
        }
        cleared.into_iter().map(line).collect()
    }

    /// Sets the state of a browser that leaves for its home.
    pub fn state(&self, state: &str) -> HeaderValue {
        line(build_state(state).max_age(whole(STATE_LIFETIME)))
    }

    fn build_session<'a>(&'a self, token: &'a str) -> CookieBuilder<'a> {
        self.build(self.plan.name.as_str(), token, self.plan.path.as_str())
    }

    fn build_refresh<'a>(&'a self, token: &'a str) -> CookieBuilder<'a> {
        self.build(self.plan.refresh_name.as_str(), token, &self.refresh_path)
    }

    fn build<'a>(&'a self, name: &'a str, value: &'a str, path: &'a str) -> CookieBuilder<'a> {
        let site = match self.plan.same_site {
            SameSite::Lax => Site::Lax,
            SameSite::Strict => Site::Strict,
            SameSite::None => Site::None,
        };
        let cookie = Cookie::build((name, value))
            .path(path)
            .secure(true)
            .http_only(true)
            .same_site(site);
        match &self.plan.domain {
            Some(domain) => cookie.domain(domain.as_str()),
            None => cookie,
        }
    }

    fn lasting(&self, cookie: CookieBuilder<'_>, lives: Duration) -> HeaderValue {
        if self.plan.persistent {
            line(cookie.max_age(whole(lives)))
        } else {
            line(cookie)
        }
    }
}

/// The value of the cookie of this name. Of two that differ one was planted, and which one cannot be known.
pub fn read(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    let mut found = texts
        .flat_map(Cookie::split_parse)
        .filter_map(Result::ok)
        .filter(|cookie| cookie.name() == name);
    let first = found.next()?.value().to_owned();
    found.all(|other| other.value() == first).then_some(first)
}

/// Comes back with a link from another site, because that is how the browser returns from its home.
fn build_state(state: &str) -> CookieBuilder<'_> {
    Cookie::build((STATE, state))
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(Site::Lax)
}

fn whole(time: Duration) -> ::cookie::time::Duration {
    ::cookie::time::Duration::seconds(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// Tokens, names and paths are plain ASCII by their types, so nothing has to be escaped.
fn line<'a>(cookie: impl Into<Cookie<'a>>) -> HeaderValue {
    let mut value = HeaderValue::try_from(cookie.into().to_string())
        .expect("names, tokens, paths and domains are plain ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(toml: &str) -> Cookies {
        let plan: LoginCookie = toml::from_str(toml).unwrap();
        Cookies::new(&plan, Some("/.drawbridge/refresh".to_owned()))
    }

    fn text(value: &HeaderValue) -> &str {
        value.to_str().unwrap()
    }

    #[test]
    fn without_further_word_a_cookie_is_for_one_host_and_one_visit() {
        let cookies = cookies("");

        assert_eq!(
            text(&cookies.session("dbt_x", Duration::from_secs(60))),
            "__Host-session=dbt_x; HttpOnly; SameSite=Lax; Secure; Path=/"
        );
        assert_eq!(
            text(&cookies.refresh("dbr_y", Duration::from_secs(60))),
            "__Secure-refresh=dbr_y; HttpOnly; SameSite=Lax; Secure; Path=/.drawbridge/refresh"
        );
    }

    #[test]
    fn a_domain_cookie_names_its_domain_and_a_persistent_one_its_age() {
        let cookies = cookies(
            "name = '__Secure-s'\ndomain = 'example.com'\npath = '/app'\nsame_site = 'none'\npersistent = true",
        );

        assert_eq!(
            text(&cookies.session("t", Duration::from_millis(90_900))),
            "__Secure-s=t; HttpOnly; SameSite=None; Secure; Path=/app; Domain=example.com; Max-Age=90"
        );
    }

    #[test]
    fn of_two_cookies_that_differ_none_is_read() {
        let read_of = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, HeaderValue::from_static(line));
            }
            read(&headers, "s")
        };

        assert_eq!(read_of(&["a=1; s=x; b=2"]).as_deref(), Some("x"));
        assert_eq!(read_of(&["s=x", "s=x"]).as_deref(), Some("x"));
        for lines in [&["s=x; s=y"][..], &["s=x", "s=y"], &["S=x"], &["xs=x"], &[]] {
            assert_eq!(read_of(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn what_takes_a_cookie_away_has_the_place_of_the_cookie() {
        let cleared: Vec<_> = cookies("name = 's'\ndomain = 'example.com'")
            .cleared()
            .iter()
            .map(|line| text(line).to_owned())
            .collect();

        assert_eq!(
            cleared,
            [
                "s=; HttpOnly; SameSite=Lax; Secure; Path=/; Domain=example.com; Max-Age=0",
                "__Secure-refresh=; HttpOnly; SameSite=Lax; Secure; Path=/.drawbridge/refresh; Domain=example.com; Max-Age=0",
            ]
        );
    }
}
