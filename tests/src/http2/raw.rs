//! HTTP/2 by hand.

use super::frames::{ACK, Frame, PREFACE, kind};
use crate::PATIENCE;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection in cleartext on which a test sends whatever frames it wants to, legal or not, and
/// sees those that come. It answers nothing by itself and heeds no window.
///
/// Every wait ends after [`PATIENCE`] with a panic.
#[derive(Debug)]
pub struct RawHttp2 {
    stream: TcpStream,
    buffer: Vec<u8>,
    peer_settings: Vec<(u16, u32)>,
}

/// The frames of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawAnswer {
    /// The statuses, interim ones first.
    pub statuses: Vec<u16>,
    /// The payload.
    pub body: Vec<u8>,
    /// The code of RST_STREAM.
    pub reset: Option<u32>,
    /// The code of GOAWAY, if one came in the meantime.
    pub go_away: Option<u32>,
    /// Whether the connection ended ahead of the stream.
    pub closed: bool,
}

impl RawHttp2 {
    /// Connects, and says nothing yet.
    ///
    /// # Panics
    /// If the address has no listener.
    pub async fn silent(address: SocketAddr) -> Self {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await;
        Self::over(stream.expect("connects in time").expect("connects"))
    }

    /// Speaks over this.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY is settable");
        Self {
            stream,
            buffer: Vec::new(),
            peer_settings: Vec::new(),
        }
    }

    /// The identifiers and values of the other side's first SETTINGS.
    pub fn peer_settings(&self) -> &[(u16, u32)] {
        &self.peer_settings
    }

    /// Connects as a client with these settings, and waits until either side has the other's.
    pub async fn client(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(address).await;
        client.send_bytes(PREFACE).await;
        client.send([introduction(settings)]).await;
        client.exchange_settings().await;
        client
    }

    /// Is the server of a connection that was accepted; its preface and settings were read and its
    /// own ones sent. `None` when the other side closes instead.
    pub async fn server(stream: TcpStream, settings: &[(u16, u32)]) -> Option<Self> {
        let mut server = Self::over(stream);
        while server.buffer.len() < PREFACE.len() {
            if !matches!(server.stream.read_buf(&mut server.buffer).await, Ok(1..)) {
                return None;
            }
        }
        let preface: Vec<u8> = server.buffer.drain(..PREFACE.len()).collect();
        assert_eq!(preface, PREFACE, "the client speaks HTTP/2");
        server.send([introduction(settings)]).await;
        server.exchange_settings().await;
        Some(server)
    }

    async fn exchange_settings(&mut self) {
        let (mut theirs, mut acknowledged) = (false, false);
        let mut early = Vec::new();
        while !theirs || !acknowledged {
            let frame = self
                .frame()
                .await
                .expect("the other side introduces itself");
            match (frame.kind, frame.flags & ACK) {
                (kind::SETTINGS, 0) => {
                    theirs = true;
                    self.peer_settings = frame.settings_of();
                    self.send([Frame::settings_ack()]).await;
                }
                (kind::SETTINGS, _) => acknowledged = true,
                _ => early.extend(frame.encode()),
            }
        }
        // A client need not wait with its requests.
        self.buffer.splice(..0, early);
    }

    /// Sends these frames in one piece.
    ///
    /// # Panics
    /// When the other side doesn't take them in time, or closed.
    pub async fn send(&mut self, frames: impl IntoIterator<Item = Frame>) {
        let sent = self.try_send(frames).await;
        sent.expect("the other side takes what is sent");
    }

    /// Sends these frames to a side that may have closed.
    ///
    /// # Errors
    /// When it has.
    pub async fn try_send(&mut self, frames: impl IntoIterator<Item = Frame>) -> io::Result<()> {
        let bytes: Vec<u8> = frames.into_iter().flat_map(|f| f.encode()).collect();
        self.try_send_bytes(bytes).await
    }

    /// Sends bytes, frames or not.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    pub async fn send_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.try_send_bytes(bytes).await;
        sent.expect("the other side takes what is sent");
    }

    /// Sends bytes, frames or not, to a side that may have closed. While it waits for room, what
    /// comes is read, so that a side that must be read to read on doesn't block for ever.
    ///
    /// # Errors
    /// When it has closed.
    pub async fn try_send_bytes(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let (mut reader, mut writer) = self.stream.split();
        let write = async {
            let written = writer.write_all(bytes.as_ref()).await;
            // Nothing more comes from a side that has closed: the error says it.
            written
        };
        let read = async {
            while let Ok(1..) = reader.read_buf(&mut self.buffer).await {}
            std::future::pending::<io::Result<()>>().await
        };
        let both = async {
            tokio::select! {
                biased;
                written = write => written,
                never = read => never,
            }
        };
        let sent = timeout(PATIENCE, both).await;
        sent.expect("the other side reads")
    }

    /// Sends these frames, and reads what comes meanwhile; `Some(true)` when all were sent,
    /// `Some(false)` when the connection has ended, `None` when the other side didn't read them in
    /// this time.
    pub async fn flood(
        &mut self,
        frames: impl IntoIterator<Item = Frame>,
        time: Duration,
    ) -> Option<bool> {
        let bytes: Vec<u8> = frames.into_iter().flat_map(|f| f.encode()).collect();
        let (mut reader, mut writer) = self.stream.split();
        // The frames are of no interest, except that no more may come.
        let read = async {
            let mut nowhere = vec![0; 65_536];
            while let Ok(1..) = reader.read(&mut nowhere).await {}
        };
        let both = async {
            tokio::select! {
                biased;
                () = read => false,
                written = writer.write_all(&bytes) => written.is_ok(),
            }
        };
        timeout(time, both).await.ok()
    }

    /// As [`flood`](Self::flood), without reading anything.
    pub async fn send_unread(
        &mut self,
        frames: impl IntoIterator<Item = Frame>,
        time: Duration,
    ) -> Option<bool> {
        let bytes: Vec<u8> = frames.into_iter().flat_map(|f| f.encode()).collect();
        self.send_unread_bytes(&bytes, time).await
    }

    /// The same with bytes, frames or not.
    pub async fn send_unread_bytes(&mut self, bytes: &[u8], time: Duration) -> Option<bool> {
        let written = timeout(time, self.stream.write_all(bytes)).await;
        written.ok().map(|written| written.is_ok())
    }

    /// Whether the connection ends in this time; what comes until then is thrown away.
    pub async fn ended_within(&mut self, time: Duration) -> bool {
        let reading = async {
            let mut nowhere = vec![0; 65_536];
            while let Ok(1..) = self.stream.read(&mut nowhere).await {}
        };
        timeout(time, reading).await.is_ok()
    }

    /// The next frame; `None` at the connection's end.
    ///
    /// # Panics
    /// When neither comes in time.
    pub async fn frame(&mut self) -> Option<Frame> {
        let frame = self.frame_within(PATIENCE).await;
        frame.expect("waited in vain for a frame")
    }

    /// The next frame, `None` at the connection's end; an error when nothing came in this time.
    ///
    /// # Errors
    /// When nothing came in time.
    pub async fn frame_within(
        &mut self,
        time: Duration,
    ) -> Result<Option<Frame>, tokio::time::error::Elapsed> {
        let next = async {
            loop {
                if let Some(frame) = Frame::decode(&mut self.buffer) {
                    return Some(frame);
                }
                if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                    return None;
                }
            }
        };
        timeout(time, next).await
    }

    /// Reads until a frame of this kind comes, and leaves out what comes before; `None` at the
    /// connection's end.
    pub async fn frame_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.frame().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Reads what comes on this stream until it, or the connection, ends. Other streams' frames are
    /// left out.
    pub async fn answer(&mut self, stream: u32) -> RawAnswer {
        let mut answer = RawAnswer::default();
        loop {
            let Some(frame) = self.frame().await else {
                answer.closed = true;
                return answer;
            };
            if frame.kind == kind::GOAWAY {
                answer.go_away = frame.code();
            }
            if frame.stream != stream {
                continue;
            }
            match frame.status() {
                Some(status) => answer.statuses.push(status),
                None if frame.kind == kind::HEADERS && answer.statuses.is_empty() => {
                    panic!(
                        "a head whose status is not understood: {:x?}",
                        frame.payload
                    )
                }
                None => {}
            }
            match frame.kind {
                kind::DATA => answer.body.extend_from_slice(&frame.payload),
                kind::RST_STREAM => answer.reset = frame.code(),
                _ => {}
            }
            if frame.ends_stream() || answer.reset.is_some() {
                return answer;
            }
        }
    }

    /// Reads until the connection ends, and returns all frames.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            frames.push(frame);
        }
        frames
    }

    /// Ends this direction; the other one stays open.
    pub async fn finish(&mut self) {
        // A side that has closed already needs to be told nothing.
        let _ = self.stream.shutdown().await;
    }

    /// Closes with a reset instead of an orderly end.
    pub fn reset(self) {
        let settable = self.stream.set_zero_linger();
        settable.expect("SO_LINGER is settable");
    }
}

/// These settings, and that no table of header fields is kept unless they say so: what can be read
/// here is what stands in the block itself.
fn introduction(settings: &[(u16, u32)]) -> Frame {
    const TABLE: (u16, u32) = (1, 0);
    let told = settings
        .iter()
        .any(|(identifier, _)| *identifier == TABLE.0);
    let table = if told { &[][..] } else { &[TABLE] };
    Frame::settings(&[table, settings].concat())
}
