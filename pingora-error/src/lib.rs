//! Errors that say what went wrong, whose fault it is, and whether a retry may help.
//!
//! Every fallible call of the framework returns [`Result`], whose error is one boxed pointer
//! ([`BError`]), so that the success path stays small. An [`Error`] says three things:
//!
//! - **what went wrong**: its [`ErrorType`], which a proxy turns into a status code;
//! - **whose fault it is**: its [`ErrorSource`] — the upstream, the downstream, or this process;
//! - **whether to retry**: its [`RetryType`].
//!
//! In addition it has information for the log: a context sentence and its cause.
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
//!
//! Pages in the repository: `docs/architecture.md`; for statuses that errors become, `docs/migrating.md`.
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
