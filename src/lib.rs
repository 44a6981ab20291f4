//! drawbridge (placeholder, being written)

pub mod access;
pub mod body;
pub mod config;
pub mod deadline;
pub mod gateway;
pub mod head;
pub mod headers;
pub mod limit;
pub mod peer;
pub mod policy;
pub mod refusal;
pub mod request_id;
pub mod route;
pub mod server;
pub mod session;
pub mod store;
pub mod token;
pub mod upstream;
