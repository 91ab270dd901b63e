//! Where accounts, keys and certificates are stored.

mod disk;

pub use disk::DiskStorage;

use async_trait::async_trait;
use pingora_error::Result;
use std::any::Any;
use std::fmt;

/// Keeps small values by key, for one host or for several that serve the same names.
///
/// Keys consist of letters, digits and `-._`, with one `/` between a kind and a name: `certificates/one.example`.
/// Values are secrets: private keys are among them.
#[async_trait]
pub trait Storage: Send + Sync + fmt::Debug + 'static {
    /// The value of a key, if there is one.
    ///
    /// # Errors
    /// If that can't be known; nothing is obtained anew then.
    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>>;

    /// Sets a value, completely or not at all. After it returns, others read the new value.
    ///
    /// # Errors
    /// Where it can't be set. A certificate that was obtained is used all the same.
    async fn write(&self, key: &str, value: &[u8]) -> Result<()>;

    /// Removes a value, if there is one.
    ///
    /// # Errors
    /// Where it can't be removed.
    async fn remove(&self, key: &str) -> Result<()>;

    /// The names of a kind: the part after `KIND/` of its keys.
    ///
    /// # Errors
    /// If that can't be known.
    async fn list(&self, kind: &str) -> Result<Vec<String>>;

    /// Takes a lock that no other host and no other task can take until the value is dropped, or its holder is
    /// gone. `None` if it is held. Doesn't wait for it.
    ///
    /// # Errors
    /// If that can't be known.
    async fn try_lock(&self, key: &str) -> Result<Option<StorageLock>>;

    /// Whether other hosts see the same values: then answers to HTTP-01 challenges are kept there too, as
    /// `challenges/TOKEN`, because an authority may ask any of the hosts. Default: no.
    fn is_shared(&self) -> bool {
        false
    }
}

/// Frees a lock when it is dropped.
pub struct StorageLock(
    #[allow(dead_code, reason = "it is there to be dropped")] Box<dyn Any + Send>,
);

impl StorageLock {
    /// The lock is free when `guard` is dropped.
    pub fn new(guard: impl Any + Send) -> Self {
        StorageLock(Box::new(guard))
    }
}

impl fmt::Debug for StorageLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageLock")
    }
}
