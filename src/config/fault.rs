//! What is wrong with a configuration, and where: shown all together, never one at a time.

use std::ops::Range;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The gateway does not start.
    Error,
    /// It starts, but somebody should look.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Error or warning.
    pub severity: Severity,
    /// Bytes of the file it is about; `None` if it is about the file as a whole.
    pub span: Option<Range<usize>>,
    /// What was found.
    pub message: String,
    /// What is allowed, or what to do.
    pub help: Option<String>,
}

impl Fault {
    /// An error at this place.
    pub fn error(span: impl Into<Option<Range<usize>>>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            span: span.into(),
            message: message.into(),
            help: None,
        }
    }

    /// A warning at this place.
    pub fn warning(span: impl Into<Option<Range<usize>>>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            span: span.into(),
            message: message.into(),
            help: None,
        }
    }

    /// With a word on what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
