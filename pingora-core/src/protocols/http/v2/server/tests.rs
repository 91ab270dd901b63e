//! The session over a real connection.
