//! Sessions over a protocol of the user's own. Not built yet: the trait can't be implemented
//! outside this crate. It is named so that matching on sessions stays the same once it is.

use std::convert::Infallible;
use std::fmt::Debug;

mod sealed {
    pub trait Sealed {}
}

/// A session over a protocol of the user's own.
pub trait SessionCustom: sealed::Sealed + Debug + Send + Sync + Unpin {
    /// Proof that no such session exists yet.
    fn never(&self) -> &Infallible;
}
