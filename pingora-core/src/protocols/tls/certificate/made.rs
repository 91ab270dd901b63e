//! The place beside a certificate for what a backend makes of it.

use std::any::Any;
use std::sync::{Arc, OnceLock};

/// The value that a backend makes of a certificate, once.
pub(crate) type Made = OnceLock<Arc<dyn Any + Send + Sync>>;
