//! The names of the headers that announce logins, in whatever spelling.

use http::HeaderMap;
use http::header::HeaderName;

use crate::config::LoginHeaders;

/// Tells headers that are for the gateway alone. As with identity headers a name counts as ours when its letters and
/// digits are ours: what folds names on the way to somebody else must not find them either.
#[derive(Debug)]
pub(super) struct Names {
    /// Letters and digits of each.
    folded: Vec<Box<[u8]>>,
}

impl Names {
    pub(super) fn new(headers: &LoginHeaders) -> Self {
        let fold = |name: &str| letters(name).collect();
        let all = headers.all();
        Self {
            folded: all.iter().map(|(_, name)| fold(name.as_str())).collect(),
        }
    }

    /// Takes every spelling of every name out.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        // Mostly there is none, and nothing has to be gathered.
        let Some(first) = headers.keys().find(|name| self.covers(name)).cloned() else {
            return;
        };
        headers.remove(first);
        let rest: Vec<HeaderName> = headers
            .keys()
            .filter(|name| self.covers(name))
            .cloned()
            .collect();
        for name in rest {
            headers.remove(name);
        }
    }

    fn covers(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        let start = letters(name).next();
        let mut like_it = self
            .folded
            .iter()
            .filter(|own| own.first().copied() == start);
        like_it.any(|own| own.iter().copied().eq(letters(name)))
    }
}

/// Letters and digits of a name, in lower case.
fn letters(name: &str) -> impl Iterator<Item = u8> {
    name.bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| byte.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_goes_and_everything_else_stays() {
        let names = Names::new(&LoginHeaders::default());
        let mut headers = HeaderMap::new();
        let ours = [
            "x-login-user",
            "x_login_user",
            "X.Login.User",
            "-x-login--user_",
            "xloginuser",
            "x-login-oidc-sid",
            "x-logout",
            "x_logout",
        ];
        let others = [
            "x-login",
            "x-login-users",
            "login-user",
            "x-log-out-at",
            "set-cookie",
        ];
        for name in ours.iter().chain(&others) {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name.clone(), "1".parse().unwrap());
            headers.append(name, "2".parse().unwrap());
        }

        names.strip(&mut headers);

        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        let mut others = others;
        others.sort_unstable();
        assert_eq!(left, others);
    }
}
