//! The text of a context, free of allocation where it is a literal.

use std::fmt;

/// A string that is never changed: borrowed for the life of the program, or owned.
///
/// Contexts of errors are nearly always literals; this type avoids allocating them.
#[derive(Debug, Clone)]
pub enum ImmutStr {
    /// A literal.
    Static(&'static str),
    /// A string made at run time.
    Owned(Box<str>),
}

impl ImmutStr {
    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match self {
            ImmutStr::Static(s) => s,
            ImmutStr::Owned(s) => s,
        }
    }

    /// Whether the text was made at run time.
    pub fn is_owned(&self) -> bool {
        matches!(self, ImmutStr::Owned(_))
    }
}

impl fmt::Display for ImmutStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&'static str> for ImmutStr {
    fn from(s: &'static str) -> Self {
        ImmutStr::Static(s)
    }
}

impl From<String> for ImmutStr {
    fn from(s: String) -> Self {
        ImmutStr::Owned(s.into_boxed_str())
    }
}

impl PartialEq for ImmutStr {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for ImmutStr {}
