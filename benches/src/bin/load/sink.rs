//! An origin for uploads.
//!
//! nginx answers a location without a handler before it has read the body; that measures how a
//! proxy ends an exchange early, not what an upload costs.

use crate::response::read_message;
use std::io;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// Bytes asked for in one read: large, so that the origin is not what limits the row.
const SCRATCH: usize = 1024 * 1024;

pub(crate) async fn run(listen: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let _ = serve(stream).await;
        });
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut scratch) = (Vec::new(), vec![0; SCRATCH]);
    while read_message(&mut stream, &mut buffer, &mut scratch)
        .await?
        .is_some()
    {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await?;
    }
    Ok(())
}
