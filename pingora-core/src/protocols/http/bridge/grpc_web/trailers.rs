//! Trailers as the last frame of a gRPC-Web body.

use bytes::Bytes;
use http::HeaderMap;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::grammar::{is_field_name, trim};

/// Marks a frame of trailers, in the byte that says for a message frame whether it is compressed.
const TRAILERS: u8 = 0x80;
/// The mark and the length.
const FRAME_HEAD: usize = 5;

/// The frame that ends a gRPC-Web body: lines of `name:value`, names in lower case. Fields whose names
/// are not tokens are omitted, as in every trailer section that we send.
///
/// # Errors
/// [`ErrorType::InternalError`] if the length does not fit a frame.
pub(crate) fn trailer_frame(trailers: &HeaderMap) -> Result<Bytes> {
    let fields = || {
        trailers
            .iter()
            .map(|(name, value)| (name.as_str().as_bytes(), trim(value.as_bytes())))
            .filter(|(name, _)| is_field_name(name))
    };
    let lines: usize = fields()
        .map(|(name, value)| name.len() + value.len() + 3)
        .sum();
    let length = u32::try_from(lines).map_err(|_| {
        let context = "the trailers are too long for a frame of gRPC-Web";
        Error::explain(ErrorType::InternalError, context)
    })?;
    let mut frame = Vec::with_capacity(FRAME_HEAD + lines);
    frame.push(TRAILERS);
    frame.extend_from_slice(&length.to_be_bytes());
    for (name, value) in fields() {
        frame.extend_from_slice(name);
        frame.push(b':');
        frame.extend_from_slice(value);
        frame.extend_from_slice(b"\r\n");
    }
    Ok(frame.into())
}
