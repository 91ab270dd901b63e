//! A scripted server: sends any frames that a test wants, legal or not.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// `:status: 200` and the like in HPACK.
pub(super) fn status(code: u16) -> Vec<u8> {
    let mut block = vec![0x08, 3];
    block.extend(code.to_string().into_bytes());
    block
}

/// A field in HPACK, of lengths below 127.
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0, name.len() as u8];
    block.extend(name.as_bytes());
    block.push(value.len() as u8);
    block.extend(value.as_bytes());
    block
}

pub(super) struct Raw {
    pub(super) stream: DuplexStream,
}

/// A server that has sent these settings, and our connection to it.
pub(super) async fn raw_pair(settings: &[(u16, u32)]) -> (Raw, ConnectionRef) {
    raw_pair_with(
        settings,
        H2HandshakeSettings {
            max_streams: 9,
            ..Default::default()
        },
    )
    .await
}

pub(super) async fn raw_pair_with(
    settings: &[(u16, u32)],
    ours: H2HandshakeSettings,
) -> (Raw, ConnectionRef) {
    let (server, client) = duplex(WIDE);
    let conn = handshake(Box::new(client), ours).await.unwrap();
    let mut server = Raw { stream: server };
    let mut preface = [0; 24];
    server.stream.read_exact(&mut preface).await.unwrap();
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    server.send(SETTINGS, 0, 0, &payload).await;
    while !conn.activity().is_settled() {
        tokio::task::yield_now().await;
    }
    (server, conn)
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

impl Raw {
    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let frame = frame(kind, flags, stream, payload);
        // A test examines the client's reaction, which may be to close.
        let _ = self.stream.write_all(&frame).await;
    }

    pub(super) async fn head(&mut self, stream: u32, code: u16, flags: u8) {
        let flags = flags | END_HEADERS;
        self.send(HEADERS, flags, stream, &status(code)).await;
    }

    pub(super) async fn reset(&mut self, stream: u32, reason: u32) {
        self.send(RST_STREAM, 0, stream, &reason.to_be_bytes())
            .await;
    }

    pub(super) async fn go_away(&mut self, last: u32, reason: u32) {
        let payload = [last.to_be_bytes(), reason.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload).await;
    }

    /// The next frame from the client: kind, flags, stream, payload. `None` when it has closed.
    pub(super) async fn receive(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, payload))
    }

    /// The next frame of this kind.
    pub(super) async fn expect(&mut self, kind: u8) -> (u8, u32, Vec<u8>) {
        loop {
            let (found, flags, stream, payload) = self.receive().await.expect("it is open");
            if found == kind {
                return (flags, stream, payload);
            }
        }
    }

    /// The reason of the next reset of a stream.
    pub(super) async fn expect_reset(&mut self) -> u32 {
        let (_, _, payload) = self.expect(RST_STREAM).await;
        u32::from_be_bytes(payload.try_into().unwrap())
    }
}
