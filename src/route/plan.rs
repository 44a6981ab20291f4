//! What a route strips from its requests, and what it writes.

use std::sync::Arc;

use http::HeaderValue;

use super::{Shared, names_sender, trimmed};
use crate::config;
use crate::headers::{HeaderPlan, Rewrite, percent_encoded};

impl Shared<'_> {
    pub(super) fn header_plan(&self, route: &config::Route, name: &str) -> HeaderPlan {
        let own = route.headers.as_ref();
        let mut fields: Vec<_> = own.unwrap_or(self.identity).iter().collect();
        fields.sort_by_key(|(name, _)| name.as_str());
        let fields: Vec<_> = fields
            .into_iter()
            .map(|(name, field)| (name.to_http(), *field))
            .collect();
        let managed = Arc::clone(&self.managed);
        let names = self.names.iter();
        let foreign = names.filter(|name| !fields.iter().any(|(ours, _)| ours == *name));
        HeaderPlan {
            foreign: foreign.cloned().collect(),
            assertion: self
                .assertions
                .map(|assertions| (Arc::clone(assertions), audience(route, name))),
            forwarded: self.forwarded.without(fields.iter().map(|(name, _)| name)),
            fields,
            managed: Arc::clone(&self.managed),
            hidden: self.hidden(route),
            rewrite: rewrite(route),
            encoding: self.config.identity.encoding,
            max_value: self.config.identity.max_value.as_usize(),
            timeouts: route.timeouts,
            names_sender: self.upstream(route).is_some_and(names_sender),
            route: percent_encoded(name),
            trailers: Arc::new(move |trailers| managed.strip_trailers(trailers)),
        }
    }
}

/// Two upstreams must not be able to use each other's assertions unless somebody wants that.
fn audience(route: &config::Route, name: &str) -> Arc<str> {
    let written = route.audience.as_ref().or(route.upstream.as_ref());
    written.map_or(name, |audience| audience.get_ref()).into()
}

fn rewrite(route: &config::Route) -> Option<Rewrite> {
    let from = trimmed(route.prefix.as_ref()?.get_ref().as_str()).to_owned();
    let to = match &route.replace_prefix {
        Some(to) => trimmed(to.get_ref().as_str()).to_owned(),
        None if route.strip_prefix => String::new(),
        None => return None,
    };
    let shown = if from.is_empty() { "/" } else { from.as_str() };
    let prefix = HeaderValue::from_str(shown).expect("paths in the configuration are plain ASCII");
    Some(Rewrite { from, to, prefix })
}
