//! `gateway.toml`: what it may say, and what is said about it when it is wrong.

#[path = "config/admin.rs"]
mod admin;
#[path = "config/assertion.rs"]
mod assertion;
#[path = "config/cache.rs"]
mod cache;
#[path = "config/check.rs"]
mod check;
#[path = "config/forward_auth.rs"]
mod forward_auth;
#[path = "config/layout.rs"]
mod layout;
#[path = "config/limit.rs"]
mod limit;
#[path = "config/load.rs"]
mod load;
#[path = "config/overlap.rs"]
mod overlap;
#[path = "config/sessions.rs"]
mod sessions;
#[path = "config/shipped.rs"]
mod shipped;
#[path = "config/support.rs"]
mod support;
#[path = "config/surface.rs"]
mod surface;
#[path = "config/upstream.rs"]
mod upstream;
