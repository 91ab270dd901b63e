//! What went wrong, whose fault it is, and whether trying again may help.
//!
//! Every fallible call of the framework returns [`Result`], whose error is one boxed pointer
//! ([`BError`]) so that the successful path stays small. An [`Error`] says three things:
//!
//! - **what**: its [`ErrorType`], which a proxy turns into a status code;
//! - **whose fault**: its [`ErrorSource`] — the upstream, the downstream, or this process;
//! - **may it be retried**: its [`RetryType`].
//!
//! Around those stands the story for the log: a context sentence and the cause that led here.
//!
//! ```
//! use pingora_error::{Error, ErrorType, OrErr, Result};
//!
//! fn port(text: &str) -> Result<u16> {
//!     text.parse().or_err(ErrorType::InternalError, "the port is not a number below 65536")
//! }
//!
//! let err = port("http").unwrap_err();
//! assert_eq!(err.etype(), &ErrorType::InternalError);
//! assert!(!err.retry());
//! assert!(err.to_string().contains("the port is not a number"));
//! ```
#![forbid(unsafe_code)]

mod error;
mod immut_str;
mod kinds;
mod traits;

pub use error::{BError, Error, Result};
pub use immut_str::ImmutStr;
pub use kinds::{ErrorSource, ErrorType, RetryType};
pub use std::error::Error as ErrorTrait;
pub use traits::{Context, OkOrErr, OrErr};

#[cfg(test)]
mod tests;
