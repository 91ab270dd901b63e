//! A good HTTP/1.1 origin.

use crate::connection::Connection;
use crate::message::Message;
use crate::origin::Seen;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The largest chunk of a chunked body.
const CHUNK: usize = 1000;
/// Between two chunks of a slow body.
const PAUSE: Duration = Duration::from_millis(10);

/// What happens to the connection after an answer.
enum Next {
    Keep,
    Close,
    Reset,
}

pub(crate) async fn serve(mut connection: Connection, seen: Arc<Seen>) {
    while let Some(mut request) = connection.request_head().await {
        if request.target() == "/continue" {
            connection.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        request = connection.body_of(request).await;
        seen.note(request.clone());
        if !request.is_complete() {
            return;
        }
        let last = request
            .header("Connection")
            .is_some_and(|v| v.eq_ignore_ascii_case("close"));
        // An error means that the proxy has closed, which is its right.
        match answer(&mut connection, &request).await {
            Ok(Next::Keep) if !last => {}
            Ok(Next::Reset) => return connection.reset(),
            _ => return,
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
        "length" => fixed(connection, &pattern(count), without_body).await?,
        "chunked" if !without_body => chunked(connection, &pattern(count), "").await?,
        "trailers" => chunked(connection, b"checked", "X-Checksum: 42\r\n").await?,
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
        "slow" => slow(connection, count).await?,
        "close" => {
            connection
                .try_send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                .await?;
            connection.try_send(pattern(count)).await?;
            return Ok(Next::Close);
        }
        "cut" | "reset" => {
            connection.try_send(head(count)).await?;
            connection.try_send(pattern(count / 2)).await?;
            return Ok(if behaviour == "cut" {
                Next::Close
            } else {
                Next::Reset
            });
        }
        "stall" => pending().await,
        "upgrade" => return tunnel(connection).await,
        _ => fixed(connection, request.target().as_bytes(), without_body).await?,
    }
    Ok(Next::Keep)
}

/// `count` bytes that tell a lost or doubled piece.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(count).collect()
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

async fn chunked(connection: &mut Connection, body: &[u8], trailers: &str) -> io::Result<()> {
    connection
        .try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await?;
    for chunk in body.chunks(CHUNK) {
        let mut bytes = format!("{:x}\r\n", chunk.len()).into_bytes();
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
        connection.try_send(bytes).await?;
    }
    connection.try_send(format!("0\r\n{trailers}\r\n")).await
}

async fn slow(connection: &mut Connection, count: usize) -> io::Result<()> {
    connection
        .try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await?;
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
