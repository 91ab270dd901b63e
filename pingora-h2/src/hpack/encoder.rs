//! Fields to field blocks.

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::Pseudo;

/// The sending side of the compression of a connection.
#[derive(Debug, Default)]
pub struct Encoder {}

impl Encoder {
    /// An encoder for a peer that has not sent its settings yet.
    pub fn new() -> Self {
        Self {}
    }

    /// The peer's `SETTINGS_HEADER_TABLE_SIZE` changed. With
    /// [`Settings::least_header_table_size`](crate::frame::Settings::least_header_table_size) first,
    /// then the final one.
    pub fn set_max_size(&mut self, max_size: u32) {
        let _ = max_size;
    }

    /// Begins a block. Every block begins so.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Appends `:method`.
    pub fn method(&mut self, out: &mut Vec<u8>, method: &Method) {
        let _ = (out, method);
    }

    /// Appends `:status`.
    pub fn status(&mut self, out: &mut Vec<u8>, status: StatusCode) {
        let _ = (out, status);
    }

    /// Appends another pseudo-header field.
    pub fn pseudo(&mut self, out: &mut Vec<u8>, pseudo: Pseudo, value: &[u8]) {
        let _ = (out, pseudo, value);
    }

    /// Appends a field.
    pub fn field(&mut self, out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
        let _ = (out, name, value);
    }
}
