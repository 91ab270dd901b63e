//! The rules as tables: one row for each way to get a message right or wrong.
#![allow(clippy::indexing_slicing, clippy::type_complexity)]

mod body;
mod framing;
mod request;
mod response;
mod sending;
mod short_cut;
mod splitting;
