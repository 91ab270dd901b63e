//! Bodies of streams, with their flow control.

use crate::message::{Ending, Message};
use bytes::Bytes;
use h2::{RecvStream, SendStream};
use std::future::poll_fn;

/// Sends these bytes as the other side makes room for them.
///
/// # Errors
/// When the stream is reset or its connection ends.
pub async fn send_body(
    stream: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    if bytes.is_empty() {
        return stream.send_data(bytes, end);
    }
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = match room {
            Some(room) => room?.min(bytes.len()),
            // It was ended or reset; what is sent says how.
            None => bytes.len(),
        };
        let piece = bytes.split_to(room);
        stream.send_data(piece, end && bytes.is_empty())?;
    }
    Ok(())
}

/// Reads to the stream's end, and notes in `message` what came and how it ended.
pub async fn read_body(stream: &mut RecvStream, message: &mut Message) {
    while let Some(data) = stream.data().await {
        match data {
            Ok(data) => {
                // The other side has no more to hear of a stream that is over.
                let _ = stream.flow_control().release_capacity(data.len());
                message.body.extend_from_slice(&data);
                message.chunks.push(data.len());
            }
            Err(error) => return message.ending = ending(&error),
        }
    }
    match stream.trailers().await {
        Ok(trailers) => message.trailers = fields(&trailers.unwrap_or_default()),
        Err(error) => message.ending = ending(&error),
    }
}

/// The statement of an error about the message that it ended.
pub(crate) fn ending(error: &h2::Error) -> Ending {
    match error.reason() {
        Some(reason) if error.is_reset() => Ending::StreamReset(reason.into()),
        _ => Ending::CutShort,
    }
}

/// Header fields as a message has them.
pub(crate) fn fields(map: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

/// Header fields as the `h2` crate wants them.
pub(crate) fn map(fields: &[(String, String)]) -> http::HeaderMap {
    let fields = fields.iter();
    fields
        .map(|(name, value)| {
            let name: http::HeaderName = name.parse().expect("a name");
            (name, value.parse().expect("a value"))
        })
        .collect()
}
