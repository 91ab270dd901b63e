//! OpenSSL as programs use it: all modules of the crate `openssl`, so that their types are those of the version
//! that the framework was compiled with, and two of our own.
//!
//! | module | what it is |
//! |---|---|
//! | [`ext`] | what is done to one session, above all choosing its certificate |
//! | [`tokio_ssl`] | a session over an asynchronous stream, for programs that connect by themselves |

pub mod ext;
pub mod tokio_ssl;

// All modules of the library under its own names: listing them would mean to follow each of its versions.
pub use openssl::*;
