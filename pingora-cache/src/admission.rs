//! Which responses are worth storing: a policy that may wait until a key has been asked for more than once.

use crate::CacheKey;

/// Whether the response for a key is stored now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Not yet: this request is served by the upstream, and its response is not stored.
    Defer {
        /// How often the key has been seen, with this time; an estimate if the policy estimates.
        observed: u32,
    },
    /// Yes.
    Ready {
        /// How often the key has been seen, with this time; an estimate if the policy estimates.
        observed: u32,
    },
}

impl Decision {
    /// How often the key has been seen.
    pub fn observed(self) -> u32 {
        match self {
            Decision::Defer { observed } | Decision::Ready { observed } => observed,
        }
    }

    /// Whether the response is not to be stored yet.
    pub fn is_deferred(self) -> bool {
        matches!(self, Decision::Defer { .. })
    }
}

/// Decides on a miss whether the response is worth storing. Called once for each such request, on its worker: it
/// should be quick, and must not block.
pub trait AdmissionPolicy: Send + Sync {
    /// Counts a request for `key` that was a miss, and decides.
    fn observe(&self, key: &CacheKey) -> Decision;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_tells_what_it_stands_on() {
        assert!(Decision::Defer { observed: 1 }.is_deferred());
        assert!(!Decision::Ready { observed: 2 }.is_deferred());
        assert_eq!(Decision::Ready { observed: 2 }.observed(), 2);
    }
}
