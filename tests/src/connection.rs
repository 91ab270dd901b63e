//! One TCP connection, spoken by hand.

use crate::PATIENCE;
use crate::ask::Ask;
use crate::message::{Ending, Framing, Message, field};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A TCP connection on which a test says exactly what it wants to and reads what comes: a client's
/// in front of a proxy, or an origin's behind it.
///
/// Every wait ends after [`PATIENCE`] with a panic that shows what was read and not yet consumed.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Bytes that were read and belong to no message yet.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// If the address has no listener.
    pub async fn to(address: SocketAddr) -> Self {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await;
        Self::new(stream.expect("connects in time").expect("connects"))
    }

    /// Speaks over a connection that was accepted or opened elsewhere.
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY is settable");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The address of this end.
    pub fn local_address(&self) -> SocketAddr {
        self.stream
            .local_addr()
            .expect("a connected socket has an address")
    }

    /// The address of the other end.
    pub fn peer_address(&self) -> SocketAddr {
        self.stream
            .peer_addr()
            .expect("a connected socket has a peer")
    }

    /// Sends these bytes.
    ///
    /// # Panics
    /// When the other side doesn't take them in time, or closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes)
            .await
            .expect("the other side takes what is sent");
    }

    /// Sends these bytes to a side that may have closed.
    ///
    /// # Errors
    /// When it has.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await;
        sent.unwrap_or_else(|_| panic!("the other side doesn't read: {}", self.seen()))
    }

    /// Sends these bytes in pieces of `size`, each as a segment of its own.
    pub async fn send_in_pieces(&mut self, bytes: impl AsRef<[u8]>, size: usize) {
        for piece in bytes.as_ref().chunks(size) {
            self.send(piece).await;
            // Lets the other side read before the next piece joins this one.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends this direction; the other one stays open.
    pub async fn finish(&mut self) {
        self.stream
            .shutdown()
            .await
            .expect("this direction can be ended");
    }

    /// Closes with a reset instead of an orderly end.
    pub fn reset(self) {
        self.stream
            .set_zero_linger()
            .expect("SO_LINGER is settable");
    }

    /// Sends a request and reads the answer, interim ones (1xx) skipped. The answer to HEAD is known
    /// to have no body.
    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(&request).await;
        let method = request
            .as_ref()
            .split(|byte| *byte == b' ')
            .next()
            .unwrap_or_default();
        let method = String::from_utf8_lossy(method).into_owned();
        loop {
            let response = self.response_to(&method).await;
            if response.status() == 101 || response.status() >= 200 {
                return response;
            }
        }
    }

    /// Sends a request and reads what comes: interim answers, then the final one. One that is cut
    /// short ends so; where none comes at all, the status is 0.
    pub async fn exchange(&mut self, ask: &Ask) -> Vec<Message> {
        let sent = self.try_send(ask.http1_head()).await.is_ok();
        if sent && ask.piece == 1 {
            self.send_in_pieces(ask.http1_body(), 1).await;
        } else if sent {
            // An answer may come, and the connection end, while this is being sent.
            let _ = self.try_send(ask.http1_body()).await;
        }
        let mut answers = Vec::new();
        loop {
            if self.buffer.is_empty()
                && !matches!(self.fill_buffer(Some("an answer")).await, Ok(1..))
            {
                let mut nothing = Message::empty("HTTP/1.1 000 ");
                nothing.ending = Ending::CutShort;
                answers.push(nothing);
                return answers;
            }
            let answer = self.response_to(&ask.method).await;
            let last = answer.status() >= 200;
            answers.push(answer);
            if last {
                return answers;
            }
        }
    }

    /// The socket.
    ///
    /// # Panics
    /// When something was read that is not consumed.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.buffer.is_empty(), "nothing was read ahead");
        self.stream
    }

    /// Waits until this many bytes have come that are not consumed.
    pub async fn wait_for_bytes(&mut self, count: usize) {
        let ending = self.buffered(count).await;
        assert_eq!(ending, Ending::Complete, "{}", self.seen());
    }

    /// Reads one response to a GET, or an interim response.
    pub async fn response(&mut self) -> Message {
        self.response_to("GET").await
    }

    /// Reads one response to a request with this method, or an interim response.
    pub async fn response_to(&mut self, method: &str) -> Message {
        let message = self.head().await;
        let framing = message.response_framing(method);
        self.with_body(message, framing).await
    }

    /// Reads a request with its body; `None` when the other side closed instead of sending one.
    pub async fn request(&mut self) -> Option<Message> {
        let message = self.request_head().await?;
        let framing = message.request_framing();
        Some(self.with_body(message, framing).await)
    }

    /// Reads the head of a request and leaves its body; `None` when the other side closed instead
    /// of sending one.
    pub async fn request_head(&mut self) -> Option<Message> {
        if self.buffer.is_empty() && !matches!(self.fill_buffer(None).await, Ok(1..)) {
            None
        } else {
            Some(self.head().await)
        }
    }

    /// Reads the body that a head announced.
    pub async fn body_of(&mut self, request: Message) -> Message {
        let framing = request.request_framing();
        self.with_body(request, framing).await
    }

    /// Reads the body of a response to GET whose head was read before.
    pub async fn rest_of(&mut self, response: Message) -> Message {
        let framing = response.response_framing("GET");
        self.with_body(response, framing).await
    }

    /// Reads a head, and leaves what follows it.
    ///
    /// # Panics
    /// When the connection ends before the head does.
    pub async fn head(&mut self) -> Message {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            match self.fill_buffer(Some("the end of a head")).await {
                Ok(1..) => {}
                other => panic!(
                    "the connection ended inside a head ({other:?}): {}",
                    self.seen()
                ),
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        Message::from_head(&head)
    }

    /// Reads exactly this many bytes, whatever they are.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            match self.fill_buffer(Some("more bytes")).await {
                Ok(1..) => {}
                other => panic!("the connection ended ({other:?}): {}", self.seen()),
            }
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads whatever comes next; `None` at the connection's end. Waits as long as the other side
    /// keeps the connection.
    pub async fn some_bytes(&mut self) -> Option<Vec<u8>> {
        if self.buffer.is_empty() && !matches!(self.fill_buffer(None).await, Ok(1..)) {
            return None;
        }
        Some(std::mem::take(&mut self.buffer))
    }

    /// Whether something has arrived by now, be it the connection's end.
    pub fn has_input(&mut self) -> bool {
        let read = self.stream.try_read_buf(&mut self.buffer);
        !self.buffer.is_empty()
            || !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads until the connection ends, whichever way, and returns what came.
    pub async fn rest(&mut self) -> Vec<u8> {
        while let Ok(1..) = self.fill_buffer(Some("the end of the connection")).await {}
        std::mem::take(&mut self.buffer)
    }

    /// Waits for the connection's end.
    ///
    /// # Panics
    /// When something else comes first.
    pub async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(
            rest.is_empty(),
            "more came: {}",
            String::from_utf8_lossy(&rest)
        );
    }

    async fn with_body(&mut self, mut message: Message, framing: Framing) -> Message {
        message.ending = match framing {
            Framing::Length(length) => self.fixed_body(&mut message, length).await,
            Framing::Chunked => self.chunked_body(&mut message).await,
            Framing::UntilClose => loop {
                match self.fill_buffer(Some("the end of the body")).await {
                    Ok(1..) => {}
                    Ok(0) => {
                        message.body = std::mem::take(&mut self.buffer);
                        break Ending::Closed;
                    }
                    Err(_) => {
                        message.body = std::mem::take(&mut self.buffer);
                        break Ending::Reset;
                    }
                }
            },
        };
        message
    }

    async fn fixed_body(&mut self, message: &mut Message, length: usize) -> Ending {
        let ending = self.buffered(length).await;
        let there = self.buffer.len().min(length);
        message.body.extend(self.buffer.drain(..there));
        ending
    }

    async fn chunked_body(&mut self, message: &mut Message) -> Ending {
        loop {
            let size = match self.line().await {
                Ok(line) => line,
                Err(ending) => return ending,
            };
            let size = usize::from_str_radix(&size, 16).expect("a chunk begins with its size");
            if size == 0 {
                return self.trailers(message).await;
            }
            let ending = self.buffered(size + 2).await;
            let there = self.buffer.len().min(size);
            message.body.extend(self.buffer.drain(..there));
            if ending != Ending::Complete {
                return ending;
            }
            message.chunks.push(size);
            assert_eq!(
                self.line().await.as_deref(),
                Ok(""),
                "a chunk ends with a line end"
            );
        }
    }

    async fn trailers(&mut self, message: &mut Message) -> Ending {
        loop {
            match self.line().await {
                Ok(line) if line.is_empty() => return Ending::Complete,
                Ok(line) => message.trailers.push(field(&line)),
                Err(ending) => return ending,
            }
        }
    }

    /// One line, without its end.
    async fn line(&mut self) -> Result<String, Ending> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                let line = line.get(..at).unwrap_or_default();
                return Ok(String::from_utf8_lossy(line).into_owned());
            }
            match self.buffered(self.buffer.len() + 1).await {
                Ending::Complete => {}
                ending => return Err(ending),
            }
        }
    }

    /// Reads until the buffer holds this much.
    async fn buffered(&mut self, count: usize) -> Ending {
        while self.buffer.len() < count {
            match self.fill_buffer(Some("the rest of a body")).await {
                Ok(1..) => {}
                Ok(0) => return Ending::CutShort,
                Err(_) => return Ending::Reset,
            }
        }
        Ending::Complete
    }

    /// Reads once. With a reason to wait for something it panics when nothing comes in time; without
    /// one the wait is as long as the other side keeps the connection.
    async fn fill_buffer(&mut self, waiting_for: Option<&str>) -> io::Result<usize> {
        let Some(what) = waiting_for else {
            return self.stream.read_buf(&mut self.buffer).await;
        };
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
        read.unwrap_or_else(|_| panic!("waited in vain for {what}; until then: {}", self.seen()))
    }

    fn seen(&self) -> String {
        let shown = self
            .buffer
            .get(..self.buffer.len().min(500))
            .unwrap_or_default();
        format!(
            "{:?} ({} bytes)",
            String::from_utf8_lossy(shown),
            self.buffer.len()
        )
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Looks again and again until `condition` holds.
///
/// # Panics
/// When it doesn't within [`PATIENCE`]; the message says `what` was waited for.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let looking = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, looking)
        .await
        .unwrap_or_else(|_| panic!("waited in vain until {what}"));
}
