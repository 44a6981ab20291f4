//! What happens to a login that an upstream announces, and who may use a cookie.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{CookieDomain, CookieName, HeaderName, PathPattern, SigninUrl, WebOrigin};

/// What routes with `login = true` and `logout = true` do.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Login {
    /// How the client gets its token.
    pub answer: LoginAnswer,
    /// Give a refresh token too. Access tokens are then short; the client renews them at `[self_service]` `refresh`.
    pub refresh: bool,
    /// What of an upstream's answer on a route with `logout = true` ends the session.
    pub logout: LogoutSign,
    /// How the headers are called with which an upstream announces a login. Every spelling of every name is removed
    /// from every request and every answer.
    pub headers: LoginHeaders,
    /// The cookie that carries the token.
    pub cookie: LoginCookie,
    /// Where browsers without a session are sent (302) when they go to a page: GET or HEAD with
    /// `Sec-Fetch-Mode: navigate`, or without that header if `Accept` has HTML. `{url}` stands for the page's URL.
    /// Absent: 401, which everything that is no browser gets in any case.
    pub signin: Option<SigninUrl>,
}

/// How a client gets its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoginAnswer {
    /// As a cookie, next to the upstream's answer: for browsers.
    #[default]
    Cookie,
    /// As JSON in place of the upstream's body (RFC 6749 section 5.1): for apps.
    Tokens,
}

/// What of an upstream's answer ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogoutSign {
    /// Its success: 2xx or 3xx.
    #[default]
    Success,
    /// The logout header, whatever its value, on an answer that is 2xx or 3xx.
    Header,
}

/// Names of the headers with which an upstream announces a login. Values are written as identity headers are: by
/// default percent-encoded, lists joined with commas.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoginHeaders {
    /// Who it is. Its presence is what makes an answer a login.
    pub user: HeaderName,
    /// What the user may do in this session, joined with commas.
    pub permissions: HeaderName,
    /// Roles of the session, joined with commas.
    pub roles: HeaderName,
    /// The device's id: a later login from the same device replaces this session.
    pub device_id: HeaderName,
    /// The device's type, such as `phone`.
    pub device_type: HeaderName,
    /// The device's name, such as `Pixel 12`.
    pub device_name: HeaderName,
    /// How long the session lives, in whole seconds.
    pub lifetime: HeaderName,
    /// The session id (`sid`) that the user has at an OpenID provider: what back-channel logout names.
    pub oidc_sid: HeaderName,
    /// The `issuer` of that provider; may be left out if there is only one in `[[oidc]]`.
    pub oidc_issuer: HeaderName,
    /// What ends a session, with `logout = "header"`.
    pub logout: HeaderName,
}

impl Default for LoginHeaders {
    fn default() -> Self {
        Self {
            user: HeaderName::known("x-login-user"),
            permissions: HeaderName::known("x-login-permissions"),
            roles: HeaderName::known("x-login-roles"),
            device_id: HeaderName::known("x-login-device-id"),
            device_type: HeaderName::known("x-login-device-type"),
            device_name: HeaderName::known("x-login-device-name"),
            lifetime: HeaderName::known("x-login-lifetime"),
            oidc_sid: HeaderName::known("x-login-oidc-sid"),
            oidc_issuer: HeaderName::known("x-login-oidc-issuer"),
            logout: HeaderName::known("x-logout"),
        }
    }
}

impl LoginHeaders {
    /// Every name, with the key that sets it.
    pub fn all(&self) -> [(&'static str, &HeaderName); 10] {
        [
            ("user", &self.user),
            ("permissions", &self.permissions),
            ("roles", &self.roles),
            ("device_id", &self.device_id),
            ("device_type", &self.device_type),
            ("device_name", &self.device_name),
            ("lifetime", &self.lifetime),
            ("oidc_sid", &self.oidc_sid),
            ("oidc_issuer", &self.oidc_issuer),
            ("logout", &self.logout),
        ]
    }
}

/// The cookie that carries the token. It is always `Secure` and `HttpOnly`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoginCookie {
    /// Its name; one of the token sources must read it. With `__Host-` in front browsers take it for one host only.
    pub name: CookieName,
    /// Let every host below this domain have it: one session for all of them. The name cannot begin with `__Host-` then.
    pub domain: Option<CookieDomain>,
    /// Below which path it is sent.
    pub path: PathPattern,
    /// From which pages requests carry it: `"lax"` (links from other sites, but not their forms and scripts), `"strict"`
    /// (none from other sites) or `"none"` (all).
    pub same_site: SameSite,
    /// Keep it for as long as the session lives (`Max-Age`); off: until the browser is closed.
    pub persistent: bool,
    /// Name of the cookie with the refresh token; it is sent to the `refresh` endpoint only.
    pub refresh_name: CookieName,
}

impl Default for LoginCookie {
    fn default() -> Self {
        Self {
            name: CookieName::known("__Host-session"),
            domain: None,
            path: PathPattern::root(),
            same_site: SameSite::Lax,
            persistent: false,
            refresh_name: CookieName::known("__Secure-refresh"),
        }
    }
}

/// From which pages requests carry a cookie (RFC 6265bis section 4.1.2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// The site's own pages, and links from others.
    #[default]
    Lax,
    /// The site's own pages.
    Strict,
    /// Every page.
    None,
}

/// Guard against requests that another site makes a browser send (cross-site request forgery). It looks at requests
/// that change something, and at WebSocket handshakes, whose token came in a cookie; bearer tokens are exempt, because
/// no browser adds them by itself.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Csrf {
    /// Off: nothing is looked at.
    pub enabled: bool,
    /// Let pages of other hosts of the same site (`Sec-Fetch-Site: same-site`) in.
    pub allow_same_site: bool,
    /// Pages of these origins may send such requests: `"https://app.example.com"`.
    pub allowed_origins: Vec<WebOrigin>,
    /// Let requests in that have neither `Sec-Fetch-Site` nor `Origin`. Browsers since 2020 send one of them; other
    /// clients can send a bearer token.
    pub allow_missing_origin: bool,
}

impl Default for Csrf {
    fn default() -> Self {
        Self {
            enabled: true,
            allow_same_site: false,
            allowed_origins: Vec::new(),
            allow_missing_origin: false,
        }
    }
}
