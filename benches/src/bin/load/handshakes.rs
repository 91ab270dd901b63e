//! A TLS connection for each request, with a full handshake or a resumed one.
//!
//! wrk and h2load never resume a session. Here each client keeps what the connection before
//! brought; whether the server went along is counted, by what its ServerHello says.

use crate::response::read_message;
use crate::tls::{self, Clients, TlsStream};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n";
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Count {
    requests: u64,
    resumed: u64,
    errors: u64,
}

pub(crate) async fn run(
    target: SocketAddr,
    connections: usize,
    resume: bool,
    duration: Duration,
) -> io::Result<()> {
    let clients = Arc::new(Clients::new(b"")?);
    let mut ready = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut client = Client::new(target, &clients);
        if resume {
            client.full().await?;
        }
        ready.push(client);
    }
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for client in ready {
        tasks.spawn(client.run(resume, started + duration));
    }
    let mut total = Count::default();
    while let Some(count) = tasks.join_next().await {
        let count = count?;
        total.requests += count.requests;
        total.resumed += count.resumed;
        total.errors += count.errors;
    }
    println!(
        "requests={} resumed={} errors={} seconds={:.3}",
        total.requests,
        total.resumed,
        total.errors,
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

struct Client {
    target: SocketAddr,
    clients: Arc<Clients>,
    /// Over and closed, but it has the session that the next one resumes.
    last: Option<TlsStream>,
}

impl Client {
    fn new(target: SocketAddr, clients: &Arc<Clients>) -> Self {
        Self {
            target,
            clients: clients.clone(),
            last: None,
        }
    }

    /// One connection after the other until `end`.
    async fn run(mut self, resume: bool, end: Instant) -> Count {
        let mut count = Count::default();
        while Instant::now() < end {
            let connection = async {
                if resume {
                    self.again().await
                } else {
                    self.full().await
                }
            };
            match tokio::time::timeout(PATIENCE, connection).await {
                Ok(Ok(resumed)) => {
                    count.requests += 1;
                    count.resumed += u64::from(resumed);
                }
                _ => count.errors += 1,
            }
        }
        count
    }

    async fn open(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.target).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn full(&mut self) -> io::Result<bool> {
        let stream = self.open().await?;
        let stream = self.last.insert(self.clients.connect(stream).await?);
        exchange(stream).await
    }

    async fn again(&mut self) -> io::Result<bool> {
        let stream = self.open().await?;
        let Some(last) = &mut self.last else {
            return Err(io::Error::other("there is no session yet"));
        };
        tls::connect_again(last, stream).await?;
        exchange(last).await
    }
}

/// The only request of a connection, and whether the connection's session was resumed.
async fn exchange(stream: &mut TlsStream) -> io::Result<bool> {
    stream.write_all(REQUEST).await?;
    match read_message(stream, &mut Vec::new(), &mut [0; 4096]).await? {
        Some(head) if head.ok => {}
        Some(_) => return Err(io::Error::other("the answer is not a 200")),
        None => return Err(io::ErrorKind::UnexpectedEof.into()),
    }
    // The server closes, with a close_notify or without one.
    while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
    Ok(stream.ssl().session_reused())
}
