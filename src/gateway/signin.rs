//! Browsers that go to a page without a session are sent to sign in, and everybody else is told 401.

use http::header::{ACCEPT, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Uri};

use crate::config::Login;
use crate::config::value::SigninUrl;
use crate::headers::Origin;
use crate::refusal;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Where users sign in, for requests of everybody who does not know better.
#[derive(Debug)]
pub(super) struct Signin(Option<SigninUrl>);

/// The page that a browser goes to.
#[derive(Debug)]
pub(super) struct Visit {
    authority: HeaderValue,
    uri: Uri,
}

impl Signin {
    pub(super) fn new(login: &Login) -> Self {
        Self(login.signin.clone())
    }

    /// The page that this request goes to, if it is a browser's and there is somewhere to sign in.
    pub(super) fn visit(&self, parts: &Parts) -> Option<Visit> {
        self.0.as_ref().and_then(|_| Visit::of(parts))
    }

    /// Where this browser signs in: at `preferred`, if that is given.
    pub(super) fn page(
        &self,
        visit: &Visit,
        origin: &Origin,
        preferred: Option<&SigninUrl>,
    ) -> Option<HeaderValue> {
        let page = preferred.or(self.0.as_ref())?;
        let own = origin.seen(&visit.authority)?;
        let target = visit.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let page = page.coming_from(&format!("{own}{target}"));
        HeaderValue::try_from(page).ok()
    }
}

impl Visit {
    /// A request for a page: nothing that a script has sent, or that changes something (W3C Fetch Metadata section 2.2;
    /// browsers that do not send it ask for HTML).
    pub(super) fn of(parts: &Parts) -> Option<Self> {
        let reads = parts.method == Method::GET || parts.method == Method::HEAD;
        let visits = match parts.headers.get(SEC_FETCH_MODE) {
            Some(mode) => mode == "navigate",
            None => refusal::wants_html(parts.headers.get(ACCEPT)),
        };
        if !reads || !visits {
            return None;
        }
        let authority = match parts.uri.authority() {
            Some(authority) => HeaderValue::try_from(authority.as_str()).ok()?,
            None => parts.headers.get(HOST)?.clone(),
        };
        Some(Self {
            authority,
            uri: parts.uri.clone(),
        })
    }
}
