//! An HTTP/1.1 origin that waits as long as necessary: a client may keep the proxy waiting, and the proxy
//! its origin.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A chunk of a chunked body, with its framing.
const CHUNK: usize = 1000;

/// Ends when it is dropped.
pub(crate) struct Patient {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Patient {
    /// `/length/N` is answered with N bytes, `/chunked/N` with N bytes in chunks of 1,000, `/stall`
    /// with nothing, everything else with three bytes.
    pub(crate) async fn answering() -> Self {
        Self::start(true).await
    }

    /// Reads the head of a request, and nothing more.
    pub(crate) async fn deaf() -> Self {
        Self::start(false).await
    }

    async fn start(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            loop {
                // Out of descriptors, briefly.
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, answers));
                }
            }
        });
        Patient { address, accepting }
    }
}

async fn serve(mut stream: TcpStream, answers: bool) -> io::Result<()> {
    let mut ahead = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = ahead.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut ahead).await? == 0 {
                return Ok(());
            }
        };
        let head: Vec<u8> = ahead.drain(..end).collect();
        let head = String::from_utf8_lossy(&head);
        let target = head.split(' ').nth(1).unwrap_or_default();
        let mut parts = target.split('/').skip(1);
        let kind = parts.next().unwrap_or_default();
        let count = parts.next().and_then(|n| n.parse().ok()).unwrap_or(3);
        if !answers || kind == "stall" {
            // Until the proxy closes the connection.
            stream.readable().await?;
            let mut peeked = [0];
            while stream.peek(&mut peeked).await? > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            return Ok(());
        }
        answer(&mut stream, kind == "chunked", count).await?;
    }
}

async fn answer(stream: &mut TcpStream, chunked: bool, count: usize) -> io::Result<()> {
    let framing = if chunked {
        "Transfer-Encoding: chunked".to_string()
    } else {
        format!("Content-Length: {count}")
    };
    let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut piece = vec![b'x'; CHUNK];
    if chunked {
        piece.splice(..0, *b"3e8\r\n");
        piece.extend_from_slice(b"\r\n");
    }
    let pieces = piece.repeat(50);
    let mut left = count.next_multiple_of(if chunked { CHUNK } else { 1 }) / CHUNK * piece.len();
    left += if chunked { 0 } else { count % CHUNK };
    while left > 0 {
        let n = left.min(pieces.len());
        stream.write_all(&pieces[..n]).await?;
        left -= n;
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    Ok(())
}
