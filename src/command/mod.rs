//! What the program can be told to do; one file for each word.

pub mod check;
pub mod demo;
pub mod explain;
pub mod run;
pub mod schema;
