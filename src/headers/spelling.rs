//! Names of headers in whatever spelling.
//!
//! # Threat model
//! CGI, WSGI, PHP and servlet containers fold header names: `X_User_Id`, `X.User.Id` and `X-User-Id` become one variable,
//! and which of two copies wins is chance. So a name counts as another when its letters and digits are the other's,
//! whatever stands between them. That also covers `XUserId`, which no one can need.

/// A set of names.
#[derive(Debug, Clone)]
pub struct Spellings {
    /// Letters and digits of each, sorted.
    names: Vec<Box<[u8]>>,
    /// Whether a spelling may start with this byte; most headers are settled by it.
    first: [bool; 256],
}

impl Spellings {
    /// Of these names.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names = names.into_iter().map(|name| letters(name).collect());
        let mut names: Vec<Box<[u8]>> = names.collect();
        names.sort_unstable();
        names.dedup();
        let mut first = [false; 256];
        for (byte, may) in (0..=255_u8).zip(first.iter_mut()) {
            let starts = names.iter().any(|name| name.first() == Some(&byte));
            *may = starts || !byte.is_ascii_alphanumeric();
        }
        Self { names, first }
    }

    /// Whether this name (lower case) is a spelling of one of them.
    pub fn covers(&self, name: &str) -> bool {
        let start = name.as_bytes().first();
        let may = start.and_then(|byte| self.first.get(usize::from(*byte)));
        may.is_some_and(|may| *may)
            && (self.names)
                .binary_search_by(|own| own.iter().copied().cmp(letters(name)))
                .is_ok()
    }
}

/// Letters and digits of a name, in lower case.
pub(super) fn letters(name: &str) -> impl Iterator<Item = u8> {
    name.bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| byte.to_ascii_lowercase())
}
