//! Translations between protocols that are carried by HTTP. Pure: no I/O and no clock.

pub mod grpc_web;
