//! Records which phases are known to be the trait's defaults.
//!
//! A default records the name of the type that it ran for. If that is the proxy's own type, the proxy
//! does not implement the phase, and never will: types don't change. A wrapper that delegates to an inner
//! default has another type name, so its phases are still called.

use std::any::type_name;
use std::sync::atomic::{AtomicU8, Ordering};

pub(crate) const UPSTREAM_RESPONSE_BODY: u8 = 1;
pub(crate) const RESPONSE_BODY: u8 = 2;
pub(crate) const REQUEST_BODY: u8 = 4;
pub(crate) const UPSTREAM_REQUEST: u8 = 8;
pub(crate) const ASYNC_RESPONSE_BODY: u8 = 16;

/// The facts that one request has found out.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Noted {
    /// The type that the proxy's service was made of.
    proxy: Option<&'static str>,
    phases: u8,
}

impl Noted {
    pub(crate) fn of_proxy<T: ?Sized>(known: u8) -> Self {
        Noted {
            proxy: Some(type_name::<T>()),
            phases: known,
        }
    }

    pub(crate) fn note<T: ?Sized>(&mut self, phase: u8) {
        if self.phases & phase == 0 && self.proxy == Some(type_name::<T>()) {
            self.phases |= phase;
        }
    }

    pub(crate) fn is_default(&self, phase: u8) -> bool {
        self.phases & phase == phase
    }
}

/// The facts that all requests of a proxy have found out so far.
#[derive(Debug, Default)]
pub(crate) struct KnownDefaults(AtomicU8);

impl KnownDefaults {
    pub(crate) fn phases(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn learn(&self, noted: Noted) {
        if self.phases() & noted.phases != noted.phases {
            self.0.fetch_or(noted.phases, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Proxy;
    struct Wrapper;

    #[test]
    fn only_the_proxys_own_type_counts() {
        let mut noted = Noted::of_proxy::<Wrapper>(0);
        noted.note::<Proxy>(RESPONSE_BODY);
        assert!(!noted.is_default(RESPONSE_BODY));
        noted.note::<Wrapper>(RESPONSE_BODY);
        assert!(noted.is_default(RESPONSE_BODY));
        assert!(!noted.is_default(RESPONSE_BODY | REQUEST_BODY));
    }

    #[test]
    fn what_one_request_finds_out_all_know() {
        let known = KnownDefaults::default();
        let mut noted = Noted::of_proxy::<Proxy>(known.phases());
        noted.note::<Proxy>(REQUEST_BODY);
        known.learn(noted);
        assert!(Noted::of_proxy::<Proxy>(known.phases()).is_default(REQUEST_BODY));
    }
}
