//! What an error of fred means to us.

use fred::error::{Error, ErrorKind};

use crate::session::RecordError;
use crate::store::StoreError;

/// The same situation in our words. Of a server's own text only the code is kept: Redis repeats arguments in some of its
/// errors, and an argument may be a token.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that map_err wants"
)]
pub(super) fn failed(error: Error) -> StoreError {
    if let Some(code) = code(&error) {
        if code == "WRONGTYPE" {
            return RecordError::Type.into();
        }
        return StoreError::Failed(format!("the server answered {code}"));
    }
    if *error.kind() == ErrorKind::Timeout {
        return StoreError::Deadline;
    }
    StoreError::Failed(format!("connection: {}", error.kind().to_str()))
}

/// The first word of an error that the server itself answered, such as `WRONGTYPE`; servers write it in capitals.
pub(super) fn code(error: &Error) -> Option<&str> {
    let word = error.details().split(' ').next()?;
    let capitals = word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    capitals.then_some(word)
}
