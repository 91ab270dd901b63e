//! The only place in this crate where `unsafe` may stand, each use with its proof and its test.
#![allow(unsafe_code)]

pub(crate) mod descriptor;
