//! The names of headers that no client is to see: those that announce logins, and the one that carries assertions, which
//! an upstream may send back by mistake. In whatever spelling.

use http::HeaderMap;
use http::header::HeaderName;

use crate::config::Config;
use crate::headers::Spellings;

/// Tells headers that are for the gateway alone. What folds names on the way to somebody else must not find them either.
#[derive(Debug)]
pub(super) struct Names(Spellings);

impl Names {
    pub(super) fn new(config: &Config) -> Self {
        let login = config.login.headers.all();
        let login = login.iter().map(|(_, name)| name.as_str());
        let assertion = config.assertion.iter().map(|one| one.header.as_str());
        Self(Spellings::new(login.chain(assertion)))
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
        self.0.covers(name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_goes_and_everything_else_stays() {
        let config = "listeners = [{ address = '127.0.0.1:0' }]\nstore = { embedded = 'x' }\nroutes = []\n\
                      assertion = { issuer = 'us', header = 'X-Whose' }";
        let names = Names::new(&toml::from_str(config).unwrap());
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
            "x-whose",
            "x_whose",
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
