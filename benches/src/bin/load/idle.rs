//! Connections that made one request and then stay open.

use crate::http2;
use crate::response::{REQUEST, read_message};
use crate::tls::{Clients, TlsStream};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that is held.
enum Held {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

pub(crate) async fn run(
    target: SocketAddr,
    connections: usize,
    tls: bool,
    http2: bool,
) -> io::Result<()> {
    let protocols: &[u8] = if http2 { b"\x02h2" } else { b"" };
    let clients = tls.then(|| Clients::new(protocols)).transpose()?;
    let mut held = Vec::with_capacity(connections);
    // One after the other: the proxy then needs one upstream connection, and what grows is what
    // its idle clients cost.
    for _ in 0..connections {
        held.push(tokio::time::timeout(PATIENCE, open(target, clients.as_ref(), http2)).await??);
    }
    println!("ready connections={}", held.len());
    // Nothing else runs here, so this may block.
    io::stdin().read_to_end(&mut Vec::new())?;
    println!(
        "closed={}",
        held.iter().filter(|held| held.is_closed()).count()
    );
    Ok(())
}

async fn open(target: SocketAddr, clients: Option<&Clients>, http2: bool) -> io::Result<Held> {
    let mut stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    match clients {
        None => {
            ask(&mut stream, http2).await?;
            Ok(Held::Plain(stream))
        }
        Some(clients) => {
            let mut stream = Box::new(clients.connect(stream).await?);
            ask(&mut *stream, http2).await?;
            Ok(Held::Tls(stream))
        }
    }
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), http2: bool) -> io::Result<()> {
    if http2 {
        return http2::ask(stream).await;
    }
    stream.write_all(REQUEST).await?;
    match read_message(stream, &mut Vec::new(), &mut [0; 4096]).await? {
        Some(head) if head.ok => Ok(()),
        Some(_) => Err(io::Error::other("the answer is not a 200")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl Held {
    /// Whether the proxy closed the connection in the meantime: it never sends anything else.
    fn is_closed(&self) -> bool {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref(),
        };
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(stream.as_raw_fd(), &mut [0; 1], flags) != Err(Errno::EAGAIN)
    }
}
