//! A good HTTP/1.1 origin.

use crate::connection::Connection;
use crate::message::Message;
use crate::origin::Seen;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest chunk of a chunked body.
const CHUNK: usize = 1000;
const CHUNKED_HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
/// Between two chunks of a slow body.
const PAUSE: Duration = Duration::from_millis(10);

/// The fate of the connection after an answer.
enum Next {
    Keep,
    Close,
    Reset,
}

pub(crate) async fn serve(mut connection: Connection, seen: Arc<Seen>) {
    while let Some(mut request) = connection.request_head().await {
        seen.note_begin();
        if request.target() == "/early" {
            let answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nearly";
            seen.note(request);
            if connection.try_send(answer).await.is_ok() {
                connection.rest().await;
            }
            return;
        }
        if request.target() == "/continue" {
            connection.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        request = connection.body_of(request).await;
        seen.note(request.clone());
        if !request.is_complete() {
            return seen.note_abort();
        }
        let last = request
            .header("Connection")
            .is_some_and(|v| v.eq_ignore_ascii_case("close"));
        // An error means that the proxy has closed, which is its right.
        match answer(&mut connection, &request).await {
            Ok(Next::Keep) if !last => {}
            Ok(Next::Reset) => return connection.reset(),
            Ok(_) => return,
            Err(_) => return seen.note_abort(),
        }
    }
}

async fn answer(connection: &mut Connection, request: &Message) -> io::Result<Next> {
    let mut parts = request.target().split('/').skip(1);
    let behaviour = parts.next().unwrap_or_default();
    let count: usize = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let without_body = request.method() == "HEAD";
    match behaviour {
        "echo" | "continue" => fixed(connection, &request.body, without_body).await?,
        "length" | "empty-frames" => fixed(connection, &pattern(count), without_body).await?,
        "chunked" => chunked(connection, &pattern(count), "", without_body).await?,
        "drip" => drip(connection, &pattern(count), without_body).await?,
        "trailers" => {
            let trailers = "X-Checksum: 42\r\n";
            chunked(connection, b"checked", trailers, without_body).await?;
        }
        "echo-trailers" => {
            let trailers = request.trailers.iter();
            let trailers = trailers.map(|(name, value)| format!("{name}: {value}\r\n"));
            let trailers: String = trailers.collect();
            chunked(connection, &request.body, &trailers, without_body).await?;
        }
        "hints" => {
            let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
            connection.try_send(hints).await?;
            fixed(connection, b"hinted", without_body).await?;
        }
        "status" => {
            let length = if matches!(count, 204 | 304) {
                ""
            } else {
                "Content-Length: 0\r\n"
            };
            connection
                .try_send(format!("HTTP/1.1 {count} Named\r\n{length}\r\n"))
                .await?;
        }
        "slow" => slow(connection, count, without_body).await?,
        "close" => {
            connection
                .try_send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                .await?;
            if !without_body {
                connection.try_send(pattern(count)).await?;
            }
            return Ok(Next::Close);
        }
        "cut" | "short" | "reset" => {
            connection.try_send(head(count)).await?;
            connection.try_send(pattern(count / 2)).await?;
            return Ok(match behaviour {
                "reset" => Next::Reset,
                _ => Next::Close,
            });
        }
        "long" => {
            let body = pattern(count + 10);
            connection
                .try_send([head(count).into_bytes(), body].concat())
                .await?;
        }
        "reset-head" => return Ok(Next::Reset),
        "reset-body" => {
            connection.try_send(head(count)).await?;
            tokio::time::sleep(PAUSE).await;
            return Ok(Next::Reset);
        }
        "reset-trailers" => {
            let body = pattern(count);
            let chunk = [format!("{count:x}\r\n").as_bytes(), &body, b"\r\n"].concat();
            connection.try_send(CHUNKED_HEAD).await?;
            connection.try_send(chunk).await?;
            tokio::time::sleep(PAUSE).await;
            return Ok(Next::Reset);
        }
        "stall" => {
            connection.some_bytes().await;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        "upgrade" => return tunnel(connection).await,
        _ => fixed(connection, request.target().as_bytes(), without_body).await?,
    }
    Ok(Next::Keep)
}

/// Bytes that differ from place to place, so that a lost, doubled or misplaced piece shows.
pub fn pattern(count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count + 8);
    let mut pattern = Pattern::new();
    pattern.extend(&mut bytes, count);
    bytes
}

/// The bytes of [`pattern`], piece by piece, for bodies that are too large to be kept.
#[derive(Clone, Debug)]
pub struct Pattern {
    state: u64,
}

impl Pattern {
    /// From the beginning.
    pub fn new() -> Self {
        Self {
            state: 0x2545_f491_4f6c_dd1d,
        }
    }

    /// The next piece. Its size must be a multiple of eight, unless it is the last one.
    pub fn piece(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        self.extend(&mut bytes, count);
        bytes
    }

    fn extend(&mut self, bytes: &mut Vec<u8>, count: usize) {
        while bytes.len() < count {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            bytes.extend_from_slice(&self.state.to_le_bytes());
        }
        bytes.truncate(count);
    }
}

impl Default for Pattern {
    fn default() -> Self {
        Self::new()
    }
}

fn head(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n")
}

async fn fixed(connection: &mut Connection, body: &[u8], without_body: bool) -> io::Result<()> {
    let mut bytes = head(body.len()).into_bytes();
    if !without_body {
        bytes.extend_from_slice(body);
    }
    connection.try_send(bytes).await
}

async fn chunked(
    connection: &mut Connection,
    body: &[u8],
    trailers: &str,
    without_body: bool,
) -> io::Result<()> {
    connection.try_send(CHUNKED_HEAD).await?;
    if without_body {
        return Ok(());
    }
    let mut bytes = Vec::with_capacity(body.len() + body.len() / 100 + 16);
    for chunk in body.chunks(CHUNK) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    connection.try_send(bytes).await
}

/// Each byte in a segment of its own.
async fn drip(connection: &mut Connection, body: &[u8], without_body: bool) -> io::Result<()> {
    let mut bytes = head(body.len()).into_bytes();
    if !without_body {
        bytes.extend_from_slice(body);
    }
    connection.send_in_pieces(bytes, 1).await;
    Ok(())
}

async fn slow(connection: &mut Connection, count: usize, without_body: bool) -> io::Result<()> {
    connection.try_send(CHUNKED_HEAD).await?;
    if without_body {
        return Ok(());
    }
    for _ in 0..count {
        tokio::time::sleep(PAUSE).await;
        connection.try_send("1\r\n.\r\n").await?;
    }
    connection.try_send("0\r\n\r\n").await
}

async fn tunnel(connection: &mut Connection) -> io::Result<Next> {
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    connection.try_send(head).await?;
    while let Some(bytes) = connection.some_bytes().await {
        connection.try_send(bytes).await?;
    }
    Ok(Next::Close)
}

/// Answers requests without bodies over any stream with their paths.
pub(crate) async fn answer_paths<S>(mut stream: S, seen: Arc<Seen>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = Vec::new();
    loop {
        while let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..at + 4).collect();
            let request = Message::from_head(&head);
            let mut answer = self::head(request.target().len());
            answer += request.target();
            seen.note_begin();
            seen.note(request);
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}
