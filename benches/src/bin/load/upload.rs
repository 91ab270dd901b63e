//! Uploads in a closed loop.

use crate::response::read_message;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Bytes given to one write.
const CHUNK: usize = 1024 * 1024;

#[derive(Default)]
struct Count {
    requests: u64,
    errors: u64,
}

pub(crate) async fn run(
    target: SocketAddr,
    connections: usize,
    bytes: u64,
    duration: Duration,
) -> io::Result<()> {
    let started = Instant::now();
    let end = started + duration;
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(client(target, bytes, end));
    }
    let mut total = Count::default();
    while let Some(count) = tasks.join_next().await {
        let count = count?;
        total.requests += count.requests;
        total.errors += count.errors;
    }
    println!(
        "requests={} errors={} seconds={:.3}",
        total.requests,
        total.errors,
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn client(target: SocketAddr, bytes: u64, end: Instant) -> Count {
    let mut count = Count::default();
    while Instant::now() < end {
        if connection(target, bytes, end, &mut count).await.is_err() {
            count.errors += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    count
}

/// Requests on one connection until `end`. A request under way at the end is finished, so that
/// every byte that the proxy moved belongs to a request that was counted.
async fn connection(
    target: SocketAddr,
    bytes: u64,
    end: Instant,
    count: &mut Count,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let head = format!("POST / HTTP/1.1\r\nHost: bench.test\r\nContent-Length: {bytes}\r\n\r\n");
    let chunk = vec![b'x'; CHUNK];
    let (mut buffer, mut scratch) = (Vec::new(), vec![0; 4096]);
    while Instant::now() < end {
        stream.write_all(head.as_bytes()).await?;
        let mut missing = bytes;
        while missing > 0 {
            let len = CHUNK.min(usize::try_from(missing).unwrap_or(CHUNK));
            stream.write_all(chunk.get(..len).unwrap_or(&chunk)).await?;
            missing -= len as u64;
        }
        match read_message(&mut stream, &mut buffer, &mut scratch).await? {
            Some(head) if head.ok => count.requests += 1,
            Some(_) => count.errors += 1,
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
    Ok(())
}
