//! Streams: peeking, rewinding, closing, their digests.

use super::*;
use crate::protocols::l4::Tracing;
use crate::protocols::l4::listener::Listener;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

async fn tcp_pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let server = Listener::from(listener).accept().await.unwrap();
    (client.into(), server)
}

#[tokio::test]
async fn both_ends_know_their_addresses() {
    let (client, server) = tcp_pair().await;
    let (near, far) = (
        client.get_socket_digest().unwrap(),
        server.get_socket_digest().unwrap(),
    );
    assert!(far.peer_addr.get().is_some(), "known from accept");
    assert!(far.local_addr.get().is_none(), "nobody asked yet");
    assert_eq!(near.peer_addr(), far.local_addr());
    assert_eq!(far.peer_addr(), near.local_addr());
    assert!(near.tcp_info().unwrap().tcpi_snd_mss > 0);
    assert!(near.get_recv_buf().unwrap() > 0 && near.get_snd_buf().unwrap() > 0);
    assert_ne!(near.socket_cookie().unwrap(), far.socket_cookie().unwrap());
}

#[tokio::test]
async fn a_digest_outlives_its_connection_and_keeps_what_it_knows() {
    let (client, server) = tcp_pair().await;
    let digest = client.get_socket_digest().unwrap();
    let local = digest.local_addr().cloned();
    assert!(local.is_some());
    drop(client);
    assert_eq!(digest.local_addr().cloned(), local);
    assert_eq!(
        digest.peer_addr(),
        None,
        "the descriptor may be somebody else's by now"
    );
    assert!(digest.socket_cookie().is_err() && digest.tcp_info().is_none());
    drop(server);
}

#[tokio::test]
async fn unix_sockets_are_streams_too() {
    let dir = std::env::temp_dir().join(format!("l4-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("unix_sockets_are_streams_too");
    let _ = std::fs::remove_file(&path);
    let listener = Listener::from(UnixListener::bind(&path).unwrap());
    let mut client: Stream = UnixStream::connect(&path).await.unwrap().into();
    let mut server = listener.accept().await.unwrap();
    client.set_nodelay().unwrap();
    client.write_all(b"hello").await.unwrap();
    let mut buf = [0; 5];
    server.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"hello");
    let peer = client
        .get_socket_digest()
        .unwrap()
        .peer_addr()
        .unwrap()
        .to_string();
    assert_eq!(peer, path.display().to_string());
    Shutdown::shutdown(&mut client).await;
    assert_eq!(server.read(&mut buf).await.unwrap(), 0);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn what_is_given_back_is_read_first() {
    let (mut client, mut server) = tcp_pair().await;
    client.write_all(b" world").await.unwrap();
    server.rewind(b"lo");
    server.rewind(b"hel");
    server.rewind(b"");
    let mut buf = [0; 4];
    assert_eq!(server.read(&mut buf).await.unwrap(), 4);
    assert_eq!(&buf, b"hell");
    let mut rest = [0; 7];
    server.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"o world");
}

#[tokio::test]
async fn peeking_leaves_what_it_saw() {
    let (mut client, mut server) = tcp_pair().await;
    let mut seen = [0; 6];
    {
        let mut waiting = Box::pin(server.try_peek(&mut seen));
        client.write_all(b"abc").await.unwrap();
        // Dropped half-way: nothing is lost.
        let limit = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(limit, &mut waiting).await.is_err());
    }
    client.write_all(b"def").await.unwrap();
    assert!(server.try_peek(&mut seen).await.unwrap());
    assert_eq!(&seen, b"abcdef");
    let mut read = [0; 6];
    server.read_exact(&mut read).await.unwrap();
    assert_eq!(read, seen);
    drop(client);
    let end = server.try_peek(&mut seen).await.unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn slices_leave_in_one_write() {
    let (mut client, mut server) = tcp_pair().await;
    assert!(client.is_write_vectored());
    let written = client
        .write_vectored(&[IoSlice::new(b"head"), IoSlice::new(b"body")])
        .await
        .unwrap();
    assert_eq!(written, 8);
    let mut buf = [0; 8];
    server.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"headbody");
}

#[derive(Debug, Clone, Default)]
struct CountClosed(Arc<AtomicUsize>);

impl Tracing for CountClosed {
    fn on_connected(&self) {}
    fn on_disconnected(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(self.clone())
    }
}

#[tokio::test]
async fn the_tracer_hears_of_the_end() {
    let (mut client, _server) = tcp_pair().await;
    let closed = CountClosed::default();
    client.tracer = Some(Tracer(closed.boxed_clone()));
    assert_eq!(closed.0.load(Ordering::Relaxed), 0);
    drop(client);
    assert_eq!(closed.0.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_next_arrival_is_timed_on_request() {
    let (mut client, mut server) = tcp_pair().await;
    server.set_rx_timestamp().unwrap();
    assert_eq!(server.rx_ts, None);
    client.write_all(b"x").await.unwrap();
    server.read_u8().await.unwrap();
    assert!(server.rx_ts.is_some_and(|at| at >= server.established_ts));
}

#[derive(Debug)]
struct InMemory(tokio::io::DuplexStream);

impl AsyncRead for InMemory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for InMemory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl crate::protocols::l4::virt::VirtualSocket for InMemory {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_virtual_socket_stands_in_for_a_real_one() {
    let (near, mut far) = tokio::io::duplex(64);
    let mut stream: Stream = VirtualSocketStream::new(Box::new(InMemory(near))).into();
    stream.set_nodelay().unwrap();
    assert!(stream.get_socket_digest().is_none());
    assert_eq!(stream.as_raw_fd(), -1);
    stream.write_all(b"hi").await.unwrap();
    let mut buf = [0; 2];
    far.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"hi");
}
