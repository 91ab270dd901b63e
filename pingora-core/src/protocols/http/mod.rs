//! Skeleton.
pub mod compression;
