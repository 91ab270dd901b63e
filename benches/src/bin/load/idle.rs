//! Connections that made one request and then stay open.

use crate::response::{REQUEST, read_message};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(target: SocketAddr, connections: usize) -> io::Result<()> {
    let mut held = Vec::with_capacity(connections);
    // One after the other: the proxy then needs one upstream connection, and what grows is what
    // its idle clients cost.
    for _ in 0..connections {
        held.push(tokio::time::timeout(PATIENCE, open(target)).await??);
    }
    println!("ready connections={}", held.len());
    // Nothing else runs here, so this may block.
    io::stdin().read_to_end(&mut Vec::new())?;
    println!(
        "closed={}",
        held.iter().filter(|stream| is_closed(stream)).count()
    );
    Ok(())
}

async fn open(target: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = tokio::net::TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    stream.write_all(REQUEST).await?;
    match read_message(&mut stream, &mut Vec::new(), &mut [0; 4096]).await? {
        Some(head) if head.ok => stream.into_std(),
        Some(_) => Err(io::Error::other("the answer is not a 200")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Whether the proxy closed the connection in the meantime.
fn is_closed(stream: &TcpStream) -> bool {
    !matches!(stream.peek(&mut [0; 1]), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
}
