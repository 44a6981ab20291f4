//! What permissions look like: parts joined with `:`, where `*` is any one part, or at the end any rest.

/// Whether there is a permission that both of these stand for.
pub fn overlap(left: &str, right: &str) -> bool {
    if !left.contains('*') && !right.contains('*') {
        return left == right;
    }
    let (mut left, mut right) = (left.split(':').peekable(), right.split(':').peekable());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some("*"), Some(_)) if left.peek().is_none() => return true,
            (Some(_), Some("*")) if right.peek().is_none() => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            (Some(_), Some(_)) => return false,
        }
    }
}

/// Whether `wide` stands for every permission that `narrow` stands for.
pub fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split(':').peekable(), narrow.split(':'));
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some("*"), Some(_)) if wide.peek().is_none() => return true,
            // A star at the end of `narrow` is any rest, which one part or one star in the middle does not cover.
            (Some(a), Some(b)) if a == b || a == "*" => {}
            (Some(_), Some(_)) => return false,
        }
    }
}
