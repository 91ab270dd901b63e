//! Phases that cost nothing if the user does not implement them.

use pingora_core::runtime::watchdog;
use std::future::Future;
use std::pin::Pin;

/// The type to which `#[async_trait]` expands a phase's future.
type PhaseFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Writes the default of an async phase. With `notes`, the default also records that it ran.
///
/// The result is the same as `#[async_trait]` would generate, with one difference: the returned future
/// has size zero, and boxing a value of size zero does not allocate. An `async` block that returns at
/// once has one byte, which does allocate.
///
/// The lifetimes of the arguments after `&self` are listed in the order of their appearance, as
/// `#[async_trait]` numbers them in users' implementations.
macro_rules! default_phase {
    (
        $(#[$doc:meta])*
        fn $name:ident[$($life:lifetime),*]($($arg:ident: $ty:ty),* $(,)?) -> $out:ty
        $(, $session:ident notes $phase:ident)? {
            $value:expr
        }
    ) => {
        $(#[$doc])*
        fn $name<'life0, $($life,)* 'async_trait>(
            &'life0 self,
            $($arg: $ty,)*
        ) -> ::std::pin::Pin<Box<dyn ::std::future::Future<Output = $out> + Send + 'async_trait>>
        where
            Self::CTX: Send + Sync,
            Self: Sync + 'async_trait,
            'life0: 'async_trait,
            $($life: 'async_trait,)*
        {
            $($session.note_default::<Self>($crate::defaults::$phase);)?
            Box::pin(::std::future::poll_fn(|_| ::std::task::Poll::Ready($value)))
        }
    };
}

pub(crate) use default_phase;

/// The future of a phase, or if a [watchdog](pingora_core::runtime::Watchdog) needs the name of the request, one that
/// lets the watchdog see it.
#[inline]
pub(crate) fn watched_as<'a, T: 'a>(
    name: Option<String>,
    phase: &'static str,
    future: PhaseFuture<'a, T>,
) -> PhaseFuture<'a, T> {
    match name {
        None => future,
        Some(name) => Box::pin(watchdog::watch(phase, name, future)),
    }
}

/// Awaits a phase; if a watchdog is there, lets that see it. The name of the request is found before the phase
/// borrows the session. One await for both, because what is alive at two of them makes every request's future larger.
macro_rules! watched {
    ($session:expr, $phase:literal, $call:expr) => {{
        let name = pingora_core::runtime::watchdog::is_on().then(|| $session.name());
        $crate::phase::watched_as(name, $phase, $call).await
    }};
}
pub(crate) use watched;
