//! Where browsers sign in.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::{Origin, string_schema};

/// Everything but unreserved characters (RFC 3986 section 2.3), so that a URL is one value of a query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What stands for the URL to come back to.
const URL: &str = "{url}";

/// An absolute URL where users sign in. `{url}`, if it is there, stands in the query: what a client asks for can never
/// change which page it is sent to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SigninUrl {
    before: String,
    /// What follows `{url}`; `None` if the page is not told where to come back to.
    after: Option<String>,
    origin: Origin,
}

impl SigninUrl {
    /// The page for a browser that wanted to go to `url`. Visible ASCII.
    pub fn coming_from(&self, url: &str) -> String {
        match &self.after {
            Some(after) => {
                let url = utf8_percent_encode(url, ESCAPED);
                format!("{}{url}{after}", self.before)
            }
            None => self.before.clone(),
        }
    }

    /// The server that is meant.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl TryFrom<String> for SigninUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not where users sign in; write an absolute URL, with {URL} in its query where the URL to come back to goes: \"https://login.example.com/?rd={URL}\""
            )
        };
        let (before, after) = match text.split_once(URL) {
            Some((before, after)) => (before, Some(after)),
            None => (text.as_str(), None),
        };
        let (scheme, rest) = before.split_once("://").ok_or_else(wrong)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = rest.get(..end).unwrap_or_default();
        let origin = Origin::try_from(format!("{scheme}://{authority}")).map_err(|_| wrong())?;
        let in_query = after.is_none() || (before.contains('?') && !before.contains('#'));
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic());
        let twice = after.is_some_and(|after| after.contains(URL));
        if !in_query || twice || !plain(&text) || before.contains('\\') {
            return Err(wrong());
        }
        Ok(Self {
            before: before.to_owned(),
            after: after.map(str::to_owned),
            origin,
        })
    }
}

string_schema!(
    SigninUrl,
    r"^https?://[^/@?#]+([/?#].*)?$",
    "Where users sign in: https://login.example.com/?rd={url}"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Result<SigninUrl, String> {
        SigninUrl::try_from(text.to_owned())
    }

    #[test]
    fn the_url_to_come_back_to_is_one_value_of_the_query_whatever_it_holds() {
        let page = page("https://login.example/in?rd={url}&x=1").unwrap();

        assert_eq!(
            page.coming_from("https://a.example/b?c=d&rd=https://evil.example#\r\n\u{fc}"),
            "https://login.example/in?rd=https%3A%2F%2Fa.example%2Fb%3Fc%3Dd%26rd%3Dhttps%3A%2F%2Fevil.example%23%0D%0A%C3%BC&x=1"
        );
    }

    #[test]
    fn a_page_need_not_be_told_where_to_come_back_to() {
        let page = page("http://127.0.0.1:9000/login").unwrap();

        assert_eq!(
            page.coming_from("https://a.example/"),
            "http://127.0.0.1:9000/login"
        );
        assert_eq!(page.origin().host, "127.0.0.1");
    }

    #[test]
    fn what_a_client_asks_for_must_not_choose_the_page() {
        for wrong in [
            "{url}",
            "https://{url}",
            "https://login.example{url}",
            "https://login.example/{url}",
            "https://login.example/#{url}",
            "https://login.example/#?{url}",
            "https://login.example/?a={url}&b={url}",
            "/login?rd={url}",
            "//login.example/?rd={url}",
            "ftp://login.example/?rd={url}",
            "https://user:secret@login.example/?rd={url}",
            "https://login.example\\@evil.example/?rd={url}",
            "https://login.example/? rd={url}",
            "https://login.example/?\r\nx: y{url}",
            "",
        ] {
            assert!(page(wrong).is_err(), "{wrong:?}");
        }
    }
}
