//! The time of day, the way records hold it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix milliseconds.
pub fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    millis(since)
}

/// This moment as UTC, in Unix milliseconds; beyond what RFC 3339 can write, the last day that it can.
pub fn in_words(millis: u64) -> String {
    // 9999-12-31.
    let millis = millis.min(253_402_214_400_000);
    let moment = UNIX_EPOCH + Duration::from_millis(millis);
    humantime::format_rfc3339_seconds(moment).to_string()
}

/// This length of time in milliseconds, as far as they can be counted.
pub fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
