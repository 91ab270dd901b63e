//! Translations between protocols carried by HTTP. Pure: no I/O and no clock.

pub mod grpc_web;
