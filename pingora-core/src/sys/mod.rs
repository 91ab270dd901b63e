//! The only place in this crate where `unsafe` may stand, each use with its proof and its test:
//! system calls, library functions and instructions that no safe crate wraps.
#![allow(unsafe_code)]

pub(crate) mod block;
pub(crate) mod descriptor;
pub(crate) mod file;
pub(crate) mod memory_file;
pub(crate) mod random;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod splice;
pub(crate) mod tcp_info;
pub(crate) mod text;
pub(crate) mod ticket_key;
pub(crate) mod ticks;
#[cfg(feature = "openssl")]
pub(crate) mod tls;
#[cfg(feature = "openssl")]
pub(crate) mod tls_context;
pub(crate) mod transfer;
