//! Proxies that ask whether a request may pass: each told in its own way, and all told what the gateway itself would do.

#[path = "forward_auth/callers.rs"]
mod callers;
#[path = "forward_auth/doors.rs"]
mod doors;
#[path = "forward_auth/letters.rs"]
mod letters;
#[path = "forward_auth/message.rs"]
mod message;
#[path = "forward_auth/same.rs"]
mod same;
#[path = "forward_auth/signin.rs"]
mod signin;
mod support;
#[path = "forward_auth/table.rs"]
mod table;
