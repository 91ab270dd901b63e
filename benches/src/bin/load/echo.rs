//! WebSockets whose messages come back.

use crate::response::Head;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The key of RFC 6455 section 1.3, and what it has to be answered with.
const REQUEST: &[u8] = b"GET /echo HTTP/1.1\r\nHost: bench.test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A masked text frame of 64 bytes (RFC 6455 section 5.2), the mask being zero.
const MESSAGE: [u8; 70] = {
    let mut frame = [b'm'; 70];
    frame[0] = 0x81;
    frame[1] = 0x80 | 64;
    let mut at = 2;
    while at < 6 {
        frame[at] = 0;
        at += 1;
    }
    frame
};

pub(crate) async fn run(
    target: SocketAddr,
    connections: usize,
    duration: Duration,
) -> io::Result<()> {
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        streams.push(open(target).await?);
    }
    let started = Instant::now();
    let end = started + duration;
    let mut tasks = JoinSet::new();
    for stream in streams {
        tasks.spawn(client(stream, end));
    }
    let (mut messages, mut errors) = (0, 0);
    while let Some(count) = tasks.join_next().await {
        match count? {
            Ok(count) => messages += count,
            Err(_) => errors += 1,
        }
    }
    println!(
        "requests={messages} errors={errors} seconds={:.3}",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn open(target: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    stream.write_all(REQUEST).await?;
    let mut head = Vec::new();
    while Head::parse(&head).is_none() {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        Ok(stream)
    } else {
        Err(io::Error::other("the answer is not a 101"))
    }
}

async fn client(mut stream: TcpStream, end: Instant) -> io::Result<u64> {
    let mut count = 0;
    let mut back = [0; MESSAGE.len()];
    while Instant::now() < end {
        stream.write_all(&MESSAGE).await?;
        stream.read_exact(&mut back).await?;
        count += 1;
    }
    Ok(count)
}

/// Accepts WebSockets, and sends back what comes: frames as they are, mask included.
pub(crate) async fn origin(listen: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let _ = echo(stream).await;
        });
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    let head = loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        if let Some(head) = Head::parse(&buffer) {
            break head;
        }
    };
    stream.write_all(SWITCHED).await?;
    buffer.drain(..head.len);
    loop {
        if !buffer.is_empty() {
            stream.write_all(&buffer).await?;
            buffer.clear();
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}
