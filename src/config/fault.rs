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

/// One thing that is wrong. Its texts never hold a secret, nor what a variable or a file expanded to.
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
    /// Other places that have a part in it, each with a word on its part.
    pub also: Vec<(Range<usize>, String)>,
}

impl Fault {
    /// An error at this place.
    pub fn error(span: impl Into<Option<Range<usize>>>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            span: span.into(),
            message: message.into(),
            help: None,
            also: Vec::new(),
        }
    }

    /// A warning at this place.
    pub fn warning(span: impl Into<Option<Range<usize>>>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, message)
        }
    }

    /// With a word on what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With another place that has a part in it; without a span there is nothing to show, so it changes nothing.
    #[must_use]
    pub fn also(mut self, span: impl Into<Option<Range<usize>>>, part: impl Into<String>) -> Self {
        if let Some(span) = span.into() {
            self.also.push((span, part.into()));
        }
        self
    }

    /// Whether the gateway does not start because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
