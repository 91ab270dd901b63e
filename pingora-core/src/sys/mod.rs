//! The only place with `unsafe` code: system calls and library functions that no safe crate wraps.
//! Every function here is safe to call with any argument; each `unsafe` block says why.
#![allow(unsafe_code)]

pub(crate) mod socket;
pub(crate) mod tcp_info;
#[cfg(feature = "openssl")]
pub(crate) mod tls;
