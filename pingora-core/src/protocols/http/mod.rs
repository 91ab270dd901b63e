//! HTTP: heads, bodies and sessions, whatever version carries them.

pub mod h1;
