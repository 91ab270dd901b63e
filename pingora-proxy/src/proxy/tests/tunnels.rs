//! Tunnels whose bytes filters see, and the same ones where they pass unseen: nobody can tell the two apart.

use super::*;
use crate::engine::PASSED;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{DuplexStream, ReadBuf};
use tokio::time::{Instant, sleep};

const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// The most that waits for a peer: a side is read while 64 KiB are queued for the other, 64 KiB at a time.
const MOST_QUEUED: usize = 128 * 1024;

/// A connection in memory as a socket, so that no clock runs while something is on its way.
#[derive(Debug)]
struct InMemory(DuplexStream);

impl VirtualSocket for InMemory {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

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
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The way to an origin in memory, which has one connection.
#[derive(Debug)]
struct OneConnection(Mutex<Option<DuplexStream>>);

#[async_trait]
impl Connect for OneConnection {
    async fn connect(&self, _: &PeerAddr) -> Result<L4Stream> {
        let near = self.0.lock().unwrap().take().expect("one connection");
        Ok(L4Stream::from(VirtualSocketStream::new(Box::new(
            InMemory(near),
        ))))
    }
}

/// A proxy with filters on both directions, which it may say that it does not need.
struct Tunnels {
    sees: bool,
    origin: SocketAddr,
    in_memory: Option<Arc<OneConnection>>,
    read_timeout: Option<Duration>,
    seen: [AtomicUsize; 2],
    log: Log,
    ended: Arc<Mutex<Option<Instant>>>,
}

#[async_trait]
impl ProxyHttp for Tunnels {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = peer(self.origin)?;
        peer.options.read_timeout = self.read_timeout;
        peer.options.custom_l4 = self.in_memory.clone().map(|way| way as _);
        Ok(peer)
    }

    fn body_filters(&self, _: &Session, _: &()) -> Option<bool> {
        Some(self.sees)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<()> {
        let seen = body.as_ref().map_or(0, Bytes::len);
        self.seen[0].fetch_add(seen, Ordering::Relaxed);
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        let seen = body.as_ref().map_or(0, Bytes::len);
        self.seen[1].fetch_add(seen, Ordering::Relaxed);
        Ok(None)
    }

    fn suppress_error_log(&self, _: &Session, _: &(), _: &Error) -> bool {
        true
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, _: &mut ()) {
        let down = (session.body_bytes_read(), session.body_bytes_sent());
        let up = (
            session.upstream_body_bytes_received(),
            session.upstream_body_bytes_sent().unwrap_or_default(),
        );
        assert_eq!(down, (up.1, up.0), "what comes in goes out");
        let seen = self.seen.each_ref().map(|n| n.load(Ordering::Relaxed));
        let expected = if self.sees { down } else { (0, 0) };
        assert_eq!(seen, [expected.0, expected.1]);
        let error = e.map_or("-".to_string(), |e| {
            format!("{}/{}", e.source_str(), e.reason_str())
        });
        let (read, sent) = down;
        self.log.note(format!("read {read} sent {sent} {error}"));
        *self.ended.lock().unwrap() = Some(Instant::now());
    }
}

/// Both ends of a tunnel through a proxy, in memory.
struct Tunnel {
    client: DuplexStream,
    origin: DuplexStream,
    log: Log,
    ended: Arc<Mutex<Option<Instant>>>,
    sees: bool,
    serving: JoinHandle<()>,
    _stop: watch::Sender<bool>,
}

impl Tunnel {
    /// Not open yet: not even a request was sent.
    fn new(sees: bool, window: usize, read_timeout: Option<Duration>) -> Self {
        PASSED.set(0);
        let (client, server) = duplex(window);
        let (origin, near) = duplex(window);
        let proxy = proxy_of(Tunnels {
            sees,
            origin: ([192, 0, 2, 1], 80).into(),
            in_memory: Some(Arc::new(OneConnection(Mutex::new(Some(near))))),
            read_timeout,
            seen: Default::default(),
            log: Log::default(),
            ended: Default::default(),
        });
        let (log, ended) = (proxy.inner.log.clone(), proxy.inner.ended.clone());
        let (stop, shutdown) = watch::channel(false);
        let server = L4Stream::from(VirtualSocketStream::new(Box::new(InMemory(server))));
        let serving = tokio::spawn(async move {
            let _ = proxy.process_new(Box::new(server), &shutdown).await;
        });
        Tunnel {
            client,
            origin,
            log,
            ended,
            sees,
            serving,
            _stop: stop,
        }
    }

    async fn open(sees: bool, window: usize, read_timeout: Option<Duration>) -> Self {
        let mut tunnel = Tunnel::new(sees, window, read_timeout);
        tunnel.client.write_all(UPGRADE.as_bytes()).await.unwrap();
        read_head(&mut tunnel.origin).await;
        tunnel.origin.write_all(SWITCH.as_bytes()).await.unwrap();
        assert!(
            read_head(&mut tunnel.client)
                .await
                .starts_with("HTTP/1.1 101 ")
        );
        tunnel
    }

    /// Waits until the proxy is done; returns what it logged.
    async fn ended(self) -> String {
        self.serving.await.unwrap();
        assert_eq!(PASSED.get() > 0, !self.sees, "how they passed");
        self.log.take().concat()
    }

    /// Likewise, with the seconds from this instant to the last phase.
    async fn ended_after(self, begin: Instant) -> (String, u64) {
        let ended = self.ended.clone();
        let log = self.ended().await;
        let took = ended.lock().unwrap().unwrap() - begin;
        (log, took.as_secs_f64().round() as u64)
    }
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn expect(stream: &mut (impl AsyncRead + Unpin), bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert!(got == bytes, "{:?}", String::from_utf8_lossy(&got));
}

/// Lets everything else run until it waits: the clock is paused.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 8)) as u8).collect()
}

#[tokio::test(start_paused = true)]
async fn bytes_behind_a_head_arrive_wherever_the_two_are_cut() {
    const FROM_CLIENT: &str = "early, from the client";
    const FROM_ORIGIN: &str = "early, from the origin";
    let (ask, answer) = (
        [UPGRADE, FROM_CLIENT].concat(),
        [SWITCH, FROM_ORIGIN].concat(),
    );
    for sees in [false, true] {
        for cut in 1..ask.len().max(answer.len()) {
            let mut tunnel = Tunnel::new(sees, 1 << 16, None);
            let (first, rest) = ask.split_at(cut.min(ask.len()));
            tunnel.client.write_all(first.as_bytes()).await.unwrap();
            settle().await;
            tunnel.client.write_all(rest.as_bytes()).await.unwrap();
            read_head(&mut tunnel.origin).await;
            let (first, rest) = answer.split_at(cut.min(answer.len()));
            tunnel.origin.write_all(first.as_bytes()).await.unwrap();
            settle().await;
            tunnel.origin.write_all(rest.as_bytes()).await.unwrap();
            read_head(&mut tunnel.client).await;
            expect(&mut tunnel.client, FROM_ORIGIN.as_bytes()).await;
            expect(&mut tunnel.origin, FROM_CLIENT.as_bytes()).await;
            tunnel.client.write_all(b"ping").await.unwrap();
            expect(&mut tunnel.origin, b"ping").await;
            tunnel.origin.write_all(b"po").await.unwrap();
            settle().await;
            tunnel.origin.write_all(b"ng").await.unwrap();
            tunnel.origin.shutdown().await.unwrap();
            expect(&mut tunnel.client, b"pong").await;
            assert_eq!(tunnel.client.read(&mut [0]).await.unwrap(), 0);
            tunnel.client.shutdown().await.unwrap();
            let counts = (FROM_CLIENT.len() + 4, FROM_ORIGIN.len() + 4);
            let expected = format!("read {} sent {} -", counts.0, counts.1);
            assert_eq!(tunnel.ended().await, expected, "cut at {cut}");
        }
    }
}

/// Sends the pattern until nothing more is taken; returns how much was.
async fn send_until_stalled(to: &mut DuplexStream, bytes: &[u8]) -> usize {
    let mut sent = 0;
    while sent < bytes.len() {
        // With nothing else to run, the clock moves on at once.
        match timeout(Duration::from_millis(1), to.write(&bytes[sent..])).await {
            Ok(taken) => sent += taken.unwrap(),
            Err(_) => break,
        }
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stalls_holds_the_other_back_and_loses_nothing() {
    const LENGTH: usize = 1_000_000;
    let bytes = pattern(LENGTH);
    for sees in [false, true] {
        for upwards in [false, true] {
            for window in [100, 1000, 1 << 16] {
                let mut tunnel = Tunnel::open(sees, window, None).await;
                // A message first, so that the tunnel is at rest.
                tunnel.client.write_all(b"up").await.unwrap();
                expect(&mut tunnel.origin, b"up").await;
                let (from, to) = if upwards {
                    (&mut tunnel.client, &mut tunnel.origin)
                } else {
                    (&mut tunnel.origin, &mut tunnel.client)
                };
                let sent = send_until_stalled(from, &bytes).await;
                let case = format!("seen: {sees}, upwards: {upwards}, window of {window}");
                assert!(
                    sent <= 2 * window + MOST_QUEUED,
                    "{sent} bytes wait: {case}"
                );
                // The other direction goes on meanwhile.
                to.write_all(b"still here").await.unwrap();
                expect(from, b"still here").await;
                let mut got = vec![0; LENGTH];
                let (sending, receiving) = tokio::join!(
                    async {
                        from.write_all(&bytes[sent..]).await?;
                        from.shutdown().await
                    },
                    to.read_exact(&mut got)
                );
                sending.unwrap();
                receiving.unwrap();
                assert!(got == bytes, "{case}");
                assert_eq!(to.read(&mut [0]).await.unwrap(), 0, "{case}");
                to.shutdown().await.unwrap();
                let expected = if upwards {
                    format!("read {} sent 10 -", LENGTH + 2)
                } else {
                    format!("read 12 sent {LENGTH} -")
                };
                assert_eq!(tunnel.ended().await, expected, "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_has_as_long_as_always() {
    for sees in [false, true] {
        let mut tunnel = Tunnel::open(sees, 1000, None).await;
        let begun = Instant::now();
        send_until_stalled(&mut tunnel.origin, &pattern(1_000_000)).await;
        let (log, took) = tunnel.ended_after(begun).await;
        assert!(log.ends_with("Downstream/WriteTimedout"), "{log}");
        assert_eq!(took, 60);
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_tunnel_has_a_minute_since_something_moved() {
    for sees in [false, true] {
        for by_client in [false, true] {
            let mut tunnel = Tunnel::open(sees, 1000, None).await;
            let (first, second) = if by_client {
                (&mut tunnel.client, &mut tunnel.origin)
            } else {
                (&mut tunnel.origin, &mut tunnel.client)
            };
            first.write_all(b"bye").await.unwrap();
            first.shutdown().await.unwrap();
            expect(second, b"bye").await;
            assert_eq!(second.read(&mut [0]).await.unwrap(), 0);
            for _ in 0..3 {
                sleep(Duration::from_secs(50)).await;
                second.write_all(b"wait").await.unwrap();
                expect(first, b"wait").await;
            }
            let last = Instant::now();
            let (log, took) = tunnel.ended_after(last).await;
            assert_eq!(took, 60, "{sees} {by_client}");
            let counts = if by_client {
                "read 3 sent 12"
            } else {
                "read 12 sent 3"
            };
            assert_eq!(log, format!("{counts} Downstream/ReadTimedout"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_tunnel_ends_so_long_after_its_last_byte() {
    // The peer's own limit, who sends, how often (in seconds), when it ends after the last message, and how.
    let minute = Some(Duration::from_secs(60));
    let rows = [
        (None, "client", 3000, 3600, "Downstream/ReadTimedout"),
        (None, "origin", 3599, 3600, "Downstream/ReadTimedout"),
        (minute, "origin", 50, 60, "Upstream/ReadTimedout"),
        (minute, "origin", 1, 60, "Upstream/ReadTimedout"),
        // What the client sends says nothing of the upstream.
        (minute, "client", 29, 2, "Upstream/ReadTimedout"),
    ];
    for sees in [false, true] {
        for (limit, who, every, ends, how) in rows {
            let mut tunnel = Tunnel::open(sees, 1000, limit).await;
            let (from, to, times) = match who {
                "client" if limit.is_some() => (&mut tunnel.client, &mut tunnel.origin, 2),
                "client" => (&mut tunnel.client, &mut tunnel.origin, 5),
                _ => (&mut tunnel.origin, &mut tunnel.client, 5),
            };
            for _ in 0..times {
                sleep(Duration::from_secs(every)).await;
                from.write_all(b"tick").await.unwrap();
                expect(to, b"tick").await;
            }
            let last = Instant::now();
            let (log, took) = tunnel.ended_after(last).await;
            let case = format!("{limit:?} {who} {every}, seen: {sees}");
            assert!(log.ends_with(how), "{case}: {log}");
            assert_eq!(took, ends, "{case}");
        }
    }
}

/// What is logged of a tunnel over real sockets after one end has sent a message and reset its connection.
async fn reset(sees: bool, by_client: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy_of(Tunnels {
        sees,
        origin: listener.local_addr().unwrap(),
        in_memory: None,
        read_timeout: None,
        seen: Default::default(),
        log: Log::default(),
        ended: Default::default(),
    });
    let clients = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(clients.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = clients.accept().await.unwrap();
    let (_stop, shutdown) = watch::channel(false);
    let log = proxy.inner.log.clone();
    let serving = tokio::spawn(async move {
        let server = Box::new(L4Stream::from(server));
        let _ = proxy.process_new(server, &shutdown).await;
    });
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    read_head(&mut origin).await;
    origin.write_all(SWITCH.as_bytes()).await.unwrap();
    read_head(&mut client).await;
    client.write_all(b"hello").await.unwrap();
    expect(&mut origin, b"hello").await;
    origin.write_all(b"hi").await.unwrap();
    expect(&mut client, b"hi").await;
    let (breaks, other) = if by_client {
        (client, &mut origin)
    } else {
        (origin, &mut client)
    };
    breaks.set_zero_linger().unwrap();
    drop(breaks);
    let end = timeout(PATIENCE, other.read(&mut [0])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    timeout(PATIENCE, serving).await.unwrap().unwrap();
    log.take().concat()
}

#[tokio::test]
async fn a_reset_ends_both_sides_and_is_the_fault_of_its_own() {
    for sees in [false, true] {
        for (by_client, expected) in [
            (true, "read 5 sent 2 Downstream/ConnectionClosed"),
            (false, "read 5 sent 2 Upstream/ConnectionClosed"),
        ] {
            assert_eq!(reset(sees, by_client).await, expected, "seen: {sees}");
        }
    }
}

/// A proxy without filters, which says nothing about it.
#[tokio::test]
async fn what_no_filter_is_there_for_passes_unseen() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy_of(Plain {
        origin: listener.local_addr().unwrap(),
        log: Log::default(),
    });
    PASSED.set(0);
    let mut client = Client::of(&proxy);
    client.send(UPGRADE).await;
    let (mut origin, _) = listener.accept().await.unwrap();
    read_head(&mut origin).await;
    origin.write_all(SWITCH.as_bytes()).await.unwrap();
    client.next(Whole::Head).await;
    for _ in 0..3 {
        client.send("up").await;
        expect(&mut origin, b"up").await;
        origin.write_all(b"down").await.unwrap();
        expect(&mut client.io, b"down").await;
    }
    // The request's end, and the response's first piece, told that the filters are the defaults.
    assert_eq!(PASSED.get(), 3 * "up".len() + 2 * "down".len());
}
