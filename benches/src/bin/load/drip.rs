//! Clients that send the head of a request byte by byte, and never all of it: the load of others beside which latencies
//! are measured.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval};

const BEGUN: &[u8] = b"GET / HTTP/1.1\r\nHost: bench.test\r\nX-Slow: ";
/// The shares of the connections that send one after the other, so that the bytes are spread over each second.
const SHARES: usize = 100;

pub(crate) async fn run(
    target: SocketAddr,
    connections: usize,
    duration: Duration,
) -> io::Result<()> {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut client = TcpStream::connect(target).await?;
        client.set_nodelay(true)?;
        client.write_all(BEGUN).await?;
        clients.push(client);
    }
    println!("open={connections}");
    let end = Instant::now() + duration;
    let mut ticks = interval(Duration::from_secs(1) / SHARES as u32);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut sent, mut lost) = (0_u64, 0_u64);
    for share in (0..SHARES).cycle() {
        if ticks.tick().await >= end {
            break;
        }
        for client in clients.iter().skip(share).step_by(SHARES) {
            match client.try_write(b"x") {
                Ok(_) => sent += 1,
                Err(_) => lost += 1,
            }
        }
    }
    println!("connections={connections} sent={sent} lost={lost}");
    Ok(())
}
