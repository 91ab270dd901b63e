//! One request of HTTP/2, with just enough of the protocol to know where its answer ends.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The preface, empty SETTINGS, and on stream 1 `GET / http bench.test` as HEADERS that end it (RFC 9113
/// sections 3.4 and 6, RFC 7541 section 6).
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x0f\x01\x05\x00\x00\x00\x01\x82\x84\x87\x01\x0abench.test";
const SETTINGS_ACK: &[u8] = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00";

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;

/// Opens the connection and makes one request; the connection then is idle.
///
/// # Errors
/// If the stream ends otherwise than by `END_STREAM`.
pub(crate) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(OPENING).await?;
    let mut payload = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        payload.resize(u32::from_be_bytes([0, a, b, c]) as usize, 0);
        stream.read_exact(&mut payload).await?;
        let id = u32::from_be_bytes(id) & 0x7fff_ffff;
        match kind {
            SETTINGS if flags & ACK == 0 => stream.write_all(SETTINGS_ACK).await?,
            DATA | HEADERS if id == 1 && flags & END_STREAM != 0 => return Ok(()),
            0x3 | 0x7 => return Err(io::Error::other("the request was reset or refused")),
            _ => {}
        }
    }
}
