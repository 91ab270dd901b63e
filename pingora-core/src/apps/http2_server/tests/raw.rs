//! A client that writes its frames by hand, to send what no well-behaved one would.

use crate::protocols::http::v2::server::PREFACE;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, split};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// A frame that the server sent.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    pub(super) fn code(&self) -> u32 {
        let from = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[from..from + 4].try_into().unwrap())
    }

    /// The status, if the static table contains it.
    pub(super) fn status(&self) -> Option<u16> {
        const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        match self.payload.first()? {
            index @ 0x88..=0x8e => Some(STATUSES[usize::from(index - 0x88)]),
            // Literal, with the name of entry 8: three digits, plain or compressed.
            _ => None,
        }
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header list without any compression.
pub(super) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![];
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// With a prefix of seven bits (RFC 7541 section 5.1).
fn integer(mut number: usize, block: &mut Vec<u8>) {
    if number < 127 {
        return block.push(number as u8);
    }
    block.push(127);
    number -= 127;
    while number >= 128 {
        block.push((number % 128) as u8 | 128);
        number /= 128;
    }
    block.push(number as u8);
}

/// The header list of a request.
pub(super) fn request(path: &str) -> Vec<u8> {
    fields(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "example.com"),
        (":path", path),
    ])
}

/// A whole request without a body.
pub(super) fn opening(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &request(path))
}

pub(super) struct Raw {
    reader: ReadHalf<DuplexStream>,
    writer: WriteHalf<DuplexStream>,
}

impl Raw {
    /// Begins a connection; acknowledges the server's settings without waiting for them.
    pub(super) async fn begin(io: DuplexStream) -> Self {
        let (reader, writer) = split(io);
        let mut raw = Raw { reader, writer };
        raw.send(&PREFACE).await;
        raw.send(&frame(SETTINGS, 0, 0, &[])).await;
        // A client that never acknowledges is disconnected.
        raw.send(&frame(SETTINGS, 1, 0, &[])).await;
        raw
    }

    /// Fails silently if the server has closed the connection.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.writer.write_all(bytes).await;
    }

    /// The next frame; `None` at the end of the connection.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.reader.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.reader.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }

    /// The next frame of this kind; `None` if the connection ends first.
    pub(super) async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Sends this repeatedly, reading all the while, until the server ends the connection or `most`
    /// repetitions were sent. Returns their number, and the code of the last GOAWAY.
    pub(super) async fn flood(
        self,
        most: usize,
        mut bytes: impl FnMut(usize) -> Vec<u8>,
    ) -> (usize, Option<u32>) {
        let Raw { reader, mut writer } = self;
        let (empty, _) = tokio::io::duplex(1);
        let (_, unused) = split(empty);
        let reading = tokio::spawn(async move {
            let mut raw = Raw {
                reader,
                writer: unused,
            };
            let mut code = None;
            while let Some(frame) = raw.next().await {
                if frame.kind == GOAWAY {
                    code = Some(frame.code());
                }
            }
            code
        });
        let mut sent = 0;
        while sent < most && !reading.is_finished() {
            if writer.write_all(&bytes(sent)).await.is_err() {
                break;
            }
            sent += 1;
            tokio::task::yield_now().await;
        }
        let _ = writer.shutdown().await;
        (sent, reading.await.unwrap())
    }
}
