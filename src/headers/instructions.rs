//! What another proxy is told about a request that it forwards itself: the same identity, and what it has to take off.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};

use super::{Facts, HeaderError, HeaderPlan, Managed};
use crate::policy::Permit;

/// What becomes of the headers of a request that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instructions {
    /// To be put in place of whatever the client has sent under these names. Every identity header of every route is
    /// there, empty where there is nothing to say: a proxy that copies only what it finds must not let a client's own
    /// header through.
    pub identity: Vec<(HeaderName, HeaderValue)>,
    /// To be taken off: tokens that go no further, and other spellings of managed names.
    pub removed: Vec<HeaderName>,
    /// What is left of the cookies without tokens, if that is something and not what was sent.
    pub cookie: Option<HeaderValue>,
}

impl HeaderPlan {
    /// What a judged request with these headers looks like upstream, for a proxy that forwards it itself.
    ///
    /// # Errors
    /// [`HeaderError`]: the identity cannot be told; the request must not pass.
    pub fn instruct(
        &self,
        headers: &HeaderMap,
        facts: &Facts<'_>,
        permit: &Permit,
    ) -> Result<Instructions, HeaderError> {
        let mut identity = Vec::with_capacity(self.fields.len() + self.foreign.len());
        for (name, field) in &self.fields {
            let mut value = Vec::new();
            self.say(*field, facts, permit.session(), &mut value)?;
            let value = HeaderValue::try_from(value).map_err(|_| HeaderError::Unencodable)?;
            identity.push((name.clone(), value));
        }
        let assertion = self.assert(facts, permit.session())?;
        identity.extend(assertion.map(|(name, text)| (name.clone(), text)));
        let empty = HeaderValue::from_static("");
        identity.extend(
            self.foreign
                .iter()
                .map(|name| (name.clone(), empty.clone())),
        );
        let written = |name: &HeaderName| identity.iter().any(|(ours, _)| ours == name);
        // Where the request comes from is for the proxy to tell its upstream.
        let spelled = headers.keys().filter(|name| {
            self.managed.covers(name.as_str()) && !Managed::tells_origin(name.as_str())
        });
        let mut removed: Vec<_> = spelled.filter(|name| !written(name)).cloned().collect();
        let mut left = headers.clone();
        if let Some(tokens) = &self.hidden {
            tokens.remove(&mut left);
        }
        let gone = headers.keys().filter(|name| !left.contains_key(*name));
        removed.extend(gone.filter(|name| !written(name)).cloned());
        // Credentials of another scheme beside ours cannot be told apart by a proxy that takes off whole fields.
        if left.get_all(AUTHORIZATION).iter().count()
            < headers.get_all(AUTHORIZATION).iter().count()
            && !removed.contains(&AUTHORIZATION)
        {
            removed.push(AUTHORIZATION);
        }
        let cookies = |headers: &HeaderMap| {
            let lines = headers.get_all(COOKIE).iter();
            let lines: Vec<_> = lines.map(HeaderValue::as_bytes).collect();
            lines.join(b"; ".as_slice())
        };
        let kept = cookies(&left);
        let changed = !kept.is_empty() && kept != cookies(headers);
        Ok(Instructions {
            identity,
            removed,
            cookie: changed
                .then(|| HeaderValue::from_bytes(&kept).ok())
                .flatten(),
        })
    }
}
