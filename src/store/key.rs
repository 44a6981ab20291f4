//! Under which key a session lies, and whether the record found there is the token's own.

use crate::config::{AtRest, value::KeyTemplate};
use crate::session::Record;
use crate::token::Token;

/// Makes keys of tokens: `login:token:` and the token, or its digest.
#[derive(Debug, Clone)]
pub(super) struct KeyFormat {
    template: KeyTemplate,
    at_rest: AtRest,
}

impl KeyFormat {
    pub(super) fn new(template: &KeyTemplate, at_rest: AtRest) -> Self {
        Self {
            template: template.clone(),
            at_rest,
        }
    }

    /// The key of this token. As secret as the token where tokens are kept plain.
    pub(super) fn of(&self, token: &Token) -> String {
        match self.at_rest {
            AtRest::Plain => self.around(token.expose()),
            AtRest::Sha256 => self.around(&token.sha256_hex()),
        }
    }

    fn around(&self, name: &str) -> String {
        let KeyTemplate { before, after } = &self.template;
        let mut key = String::with_capacity(before.len() + name.len() + after.len());
        key.push_str(before);
        key.push_str(name);
        key.push_str(after);
        key
    }
}

/// Whether this record may be this token's. A record without a digest was written by somebody else, who promises nothing.
pub(super) fn belongs(record: &Record, token: &Token) -> bool {
    let Some(digest) = &record.digest else {
        return true;
    };
    if *digest == token.sha256_hex() {
        return true;
    }
    tracing::error!("the session store answered with a record that was written for another token");
    false
}
