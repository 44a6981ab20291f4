//! All limits of a configuration, by where they are written: for those who look at them from beside the path.

use super::{Meter, RouteLimits};
use crate::config::Config;

/// The limits.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Each list with the name of its place: a route, or a table of the file.
    pub lists: Vec<(String, RouteLimits)>,
    /// How many unknown tokens one client may send.
    pub guard: Option<Meter>,
}

impl Catalog {
    /// The limits of this configuration.
    pub fn new(config: &Config) -> Self {
        let whole = RouteLimits::new(None, &config.limits.rates);
        let mut lists = vec![("[limits]".to_owned(), whole)];
        for route in &config.routes {
            let route = route.get_ref();
            if let Some(own) = &route.limits {
                let place = route.place();
                let name = route.name.clone().unwrap_or_else(|| place.clone());
                lists.push((name, RouteLimits::new(Some(&place), own)));
            }
        }
        if let Some(own) = &config.self_service {
            let limits = RouteLimits::new(Some(own.prefix.as_str()), &own.limits);
            lists.push(("[self_service]".to_owned(), limits));
        }
        let guard = config.guard.unknown_tokens;
        Self {
            lists,
            guard: guard.map(|rate| Meter::new(rate, rate.count.get())),
        }
    }
}
