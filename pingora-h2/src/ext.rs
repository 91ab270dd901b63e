//! The parts of a request that are not fields.

use std::fmt;

/// The protocol of an extended CONNECT (RFC 8441 section 4): an extension of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Protocol(String);

impl Protocol {
    /// A protocol with this name.
    pub fn from_static(name: &'static str) -> Self {
        Protocol(name.to_string())
    }

    /// The name of the protocol.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Protocol {
    fn from(name: &str) -> Self {
        Protocol(name.to_string())
    }
}

impl AsRef<[u8]> for Protocol {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
