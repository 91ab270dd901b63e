//! Connections that are shared, kept, closed and re-established, over real sockets.

use crate::connectors::ConnectorOptions;
use crate::connectors::http::Connector;
use crate::protocols::ALPN;
use crate::protocols::http::client::HttpSession;
use crate::upstreams::peer::{HttpPeer, Peer};
use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use http::Response;
use pingora_error::{ErrorType, Result};
use pingora_http::RequestHeader;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// A server that answers each request on `/` with 200 at once, and each on `/wait` after a sign.
struct Origin {
    addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    accepted: AtomicUsize,
    open: AtomicUsize,
    go_away: Notify,
    waiting: Mutex<Vec<SendResponse<Bytes>>>,
}

impl Origin {
    async fn new(max_streams: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                shared.open.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, max_streams, shared.clone()));
            }
        });
        Origin { addr, state }
    }

    fn peer(&self, max_streams: usize) -> HttpPeer {
        let mut peer = HttpPeer::new(self.addr, false, String::new());
        peer.options.alpn = ALPN::H2;
        peer.options.max_h2_streams = max_streams;
        peer
    }

    fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }

    async fn has_open(&self, connections: usize) {
        until(|| self.state.open.load(Ordering::Relaxed) == connections).await;
    }

    async fn has_waiting(&self, requests: usize) {
        until(|| self.state.waiting.lock().unwrap().len() == requests).await;
    }

    fn answer_all(&self) {
        for mut respond in self.state.waiting.lock().unwrap().drain(..) {
            respond.send_response(Response::new(()), true).unwrap();
        }
    }
}

/// Waits for other tasks to finish their work, within bounds.
async fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it did not happen");
}

async fn serve(stream: tokio::net::TcpStream, max_streams: u32, state: Arc<State>) {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(max_streams);
    if let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await {
        loop {
            let request = tokio::select! {
                request = connection.accept() => request,
                () = state.go_away.notified() => {
                    connection.graceful_shutdown();
                    continue;
                }
            };
            let Some(Ok((request, mut respond))) = request else {
                break;
            };
            match request.uri().path() {
                "/wait" => state.waiting.lock().unwrap().push(respond),
                _ => drop(respond.send_response(Response::new(()), true)),
            }
        }
    }
    state.open.fetch_sub(1, Ordering::Relaxed);
}

fn connector(pool_size: usize) -> Connector {
    Connector::new(Some(ConnectorOptions::new(pool_size)))
}

async fn begin(connector: &Connector, peer: &HttpPeer, path: &str) -> Result<(HttpSession, bool)> {
    let (mut session, reused) = match connector.reused_session(peer) {
        Some(session) => (session, true),
        None => connector.get_http_session(peer).await?,
    };
    let mut header = RequestHeader::build("GET", path.as_bytes(), None).unwrap();
    header.insert_header("Host", "a").unwrap();
    session.write_request_header(Box::new(header)).await?;
    session.finish_request_body().await?;
    Ok((session, reused))
}

async fn finish(connector: &Connector, peer: &HttpPeer, mut session: HttpSession) {
    session.read_response_header().await.unwrap();
    assert_eq!(session.response_header().unwrap().status, 200);
    assert_eq!(session.read_response_body().await.unwrap(), None);
    assert!(session.response_done());
    connector.release_session(session, peer, peer.idle_timeout());
}

#[tokio::test]
async fn requests_one_after_the_other_use_one_connection() {
    let (origin, connector) = (Origin::new(100).await, connector(8));
    let peer = origin.peer(1);
    for n in 0..10 {
        let (session, reused) = begin(&connector, &peer, "/").await.unwrap();
        assert_eq!(reused, n > 0);
        finish(&connector, &peer, session).await;
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn requests_at_a_time_share_connections_up_to_both_sides_limits() {
    // Our limit, the server's limit, concurrent requests, connections.
    for (ours, theirs, requests, connections) in [(10, 100, 10, 1), (4, 100, 10, 3), (10, 2, 4, 2)]
    {
        let (origin, connector) = (Origin::new(theirs).await, connector(8));
        let peer = origin.peer(ours);
        // The first one reveals the server's limit.
        let (session, _) = begin(&connector, &peer, "/").await.unwrap();
        finish(&connector, &peer, session).await;
        let mut sessions = Vec::new();
        for _ in 0..requests {
            sessions.push(begin(&connector, &peer, "/wait").await.unwrap().0);
        }
        origin.has_waiting(requests).await;
        assert_eq!(origin.accepted(), connections, "{ours} {theirs} {requests}");
        origin.answer_all();
        for session in sessions {
            finish(&connector, &peer, session).await;
        }
    }
}

#[tokio::test]
async fn requests_wait_for_a_connection_that_is_being_made() {
    // Our limit, requests at the same moment, connections.
    for (limit, requests, connections) in [(100, 50, 1), (20, 50, 3), (1, 5, 5)] {
        let (origin, connector) = (Origin::new(1000).await, connector(64));
        let peer = origin.peer(limit);
        let sessions = (0..requests).map(|_| begin(&connector, &peer, "/wait"));
        let sessions = futures::future::join_all(sessions).await;
        origin.has_waiting(requests).await;
        assert_eq!(origin.accepted(), connections, "{limit} {requests}");
        let firsts = sessions.iter().flatten().filter(|(_, reused)| !reused);
        assert_eq!(firsts.count(), connections, "one of each is the first");
        origin.answer_all();
        for session in sessions {
            finish(&connector, &peer, session.unwrap().0).await;
        }
    }
}

#[tokio::test]
async fn who_waits_goes_on_when_the_first_gives_up() {
    let (origin, connector) = (Origin::new(100).await, connector(8));
    let peer = origin.peer(10);
    let mut first = Box::pin(connector.get_http_session(&peer));
    assert!(futures::poll!(&mut first).is_pending());
    let mut second = Box::pin(begin(&connector, &peer, "/"));
    assert!(futures::poll!(&mut second).is_pending());
    drop(first);
    let (session, reused) = second.await.unwrap();
    assert!(!reused);
    finish(&connector, &peer, session).await;
}

#[tokio::test]
async fn who_waits_fails_with_the_first() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = HttpPeer::new(listener.local_addr().unwrap(), false, String::new());
    drop(listener);
    peer.options.alpn = ALPN::H2;
    peer.options.max_h2_streams = 10;
    let connector = connector(8);
    let sessions = (0..5).map(|_| connector.get_http_session(&peer));
    for session in futures::future::join_all(sessions).await {
        let error = session.unwrap_err();
        assert_eq!(error.root_etype(), &ErrorType::ConnectRefused, "{error}");
        assert_eq!(error.esource().as_str(), "Upstream");
    }
}

#[tokio::test]
async fn a_connection_that_drains_finishes_its_streams_and_begins_no_others() {
    let (origin, connector) = (Origin::new(100).await, connector(8));
    let peer = origin.peer(10);
    let (under_way, _) = begin(&connector, &peer, "/wait").await.unwrap();
    origin.has_waiting(1).await;
    origin.state.go_away.notify_one();
    let conn = under_way.as_http2().unwrap().conn.clone();
    until(|| conn.is_shutting_down()).await;
    let (next, reused) = begin(&connector, &peer, "/").await.unwrap();
    assert!(!reused);
    finish(&connector, &peer, next).await;
    assert_eq!(origin.accepted(), 2);
    origin.answer_all();
    finish(&connector, &peer, under_way).await;
    drop(conn);
    origin.has_open(1).await;
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_not_used_again() {
    let (origin, connector) = (Origin::new(100).await, connector(8));
    let peer = origin.peer(10);
    for n in 1..=3 {
        let (session, reused) = begin(&connector, &peer, "/").await.unwrap();
        assert!(!reused);
        finish(&connector, &peer, session).await;
        origin.state.go_away.notify_one();
        origin.has_open(0).await;
        until(|| connector.reused_session(&peer).is_none()).await;
        assert_eq!(origin.accepted(), n);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_in_time_and_leaves_nothing() {
    let (origin, connector) = (Origin::new(100).await, connector(8));
    let tasks = Handle::current().metrics().num_alive_tasks();
    let mut peer = origin.peer(10);
    peer.options.idle_timeout = Some(Duration::from_secs(5));
    let (busy, _) = begin(&connector, &peer, "/wait").await.unwrap();
    origin.has_waiting(1).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(origin.state.open.load(Ordering::Relaxed), 1, "it is in use");
    origin.answer_all();
    finish(&connector, &peer, busy).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (session, reused) = begin(&connector, &peer, "/").await.unwrap();
    assert!(reused);
    finish(&connector, &peer, session).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(origin.state.open.load(Ordering::Relaxed), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    origin.has_open(0).await;
    until(|| Handle::current().metrics().num_alive_tasks() == tasks).await;
    assert!(connector.reused_session(&peer).is_none());
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_fit() {
    // The capacity, the timeout at release, the connections that remain.
    let rows = [
        (8, None, 3),
        (2, None, 2),
        (0, None, 0),
        (8, Some(Duration::ZERO), 0),
    ];
    for (capacity, timeout, kept) in rows {
        let (origin, connector) = (Origin::new(100).await, connector(capacity));
        let mut peer = origin.peer(1);
        peer.options.idle_timeout = timeout;
        let mut sessions = Vec::new();
        for _ in 0..3 {
            sessions.push(begin(&connector, &peer, "/").await.unwrap().0);
        }
        for session in sessions {
            finish(&connector, &peer, session).await;
        }
        origin.has_open(kept).await;
    }
}

#[tokio::test]
async fn a_connector_that_is_dropped_closes_its_connections() {
    let origin = Origin::new(100).await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    let peer = origin.peer(10);
    let connector = connector(8);
    let (kept, _) = begin(&connector, &peer, "/").await.unwrap();
    finish(&connector, &peer, kept).await;
    let (given_up, _) = begin(&connector, &peer, "/wait").await.unwrap();
    origin.has_waiting(1).await;
    drop(given_up);
    drop(connector);
    origin.has_open(0).await;
    until(|| Handle::current().metrics().num_alive_tasks() == tasks).await;
}

#[tokio::test]
async fn connections_are_made_in_advance() {
    let (origin, connector) = (Origin::new(100).await, connector(8));
    let peer = origin.peer(10);
    connector.connect_in_advance(&peer, 3).await.unwrap();
    origin.has_open(3).await;
    let session = connector.reused_session(&peer).expect("there are some");
    assert!(session.as_http2().is_some());
}

#[tokio::test]
async fn the_idle_time_is_told_when_a_connection_is_used_again() {
    let told = Arc::<AtomicUsize>::default();
    let mut options = ConnectorOptions::new(8);
    let counter = told.clone();
    options.keepalive_pool_callback = Some(Arc::new(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    let connector = Connector::new(Some(options));
    let origin = Origin::new(100).await;
    let peer = origin.peer(10);
    for _ in 0..3 {
        let (session, _) = begin(&connector, &peer, "/").await.unwrap();
        finish(&connector, &peer, session).await;
    }
    assert_eq!(told.load(Ordering::Relaxed), 2);
}

#[test]
fn a_connection_serves_the_runtime_that_it_was_made_on() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (origins, one, other) = (runtime(), runtime(), runtime());
    let origin = origins.block_on(Origin::new(100));
    std::thread::scope(|scope| {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        scope.spawn(|| origins.block_on(stopped));
        let connector = connector(8);
        let peer = origin.peer(10);
        for runtime in [&one, &other, &one] {
            let exchange = async {
                let (session, _) = begin(&connector, &peer, "/").await.unwrap();
                finish(&connector, &peer, session).await;
            };
            runtime.block_on(exchange);
        }
        assert_eq!(origin.accepted(), 2);
        // A runtime that ends takes its connections along.
        drop(one);
        let gone = connector.reused_session(&peer);
        assert!(gone.is_none());
        stop.send(()).unwrap();
    });
}

#[tokio::test]
async fn plain_connections_speak_http2_only_on_demand() {
    let (origin, connector) = (Origin::new(100).await, connector(8));
    let mut peer = origin.peer(10);
    peer.options.alpn = ALPN::H2H1;
    let (session, _) = connector.get_http_session(&peer).await.unwrap();
    assert!(session.as_http1().is_some());
}

#[tokio::test]
async fn the_keep_of_users_is_found_by_hash() {
    use crate::connectors::http::v2::Connector;
    let origin = Origin::new(100).await;
    let (connector, peer) = (Connector::new(None), origin.peer(2));
    let session: HttpSession = connector.new_http_session(&peer).await.unwrap();
    let pool = connector.in_use_pool();
    let conn = pool.get(peer.reuse_hash()).expect("there is room");
    assert_eq!(
        (conn.free_stream_slots(), conn.can_accept_streams(2)),
        (1, false)
    );
    let second = connector.reused_http_session(&peer).await.unwrap();
    assert!(second.is_some() && pool.get(peer.reuse_hash()).is_none());
    assert!(
        connector
            .reused_http_session(&peer)
            .await
            .unwrap()
            .is_none()
    );
    let taken = pool.release(peer.reuse_hash(), conn.id()).unwrap();
    drop((session, second));
    assert!(taken.is_idle() && pool.get(peer.reuse_hash()).is_none());
    pool.insert(peer.reuse_hash(), taken);
    assert!(pool.get(peer.reuse_hash()).is_some());
}

/// Connections are established, lost, shared and abandoned, from several threads at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_leave_nothing_behind() {
    let origin = Arc::new(Origin::new(5).await);
    let tasks = Handle::current().metrics().num_alive_tasks();
    let connector = Arc::new(connector(4));
    let requests = (0..200).map(|n| {
        let (origin, connector) = (origin.clone(), connector.clone());
        tokio::spawn(async move {
            let peer = origin.peer(4);
            for _ in 0..10 {
                let Ok((session, _)) = begin(&connector, &peer, "/").await else {
                    continue;
                };
                match n % 10 {
                    0 => drop(session),
                    1 => {
                        origin.state.go_away.notify_one();
                        drop(session);
                    }
                    _ => try_finish(&connector, &peer, session).await,
                }
            }
        })
    });
    for request in futures::future::join_all(requests).await {
        request.unwrap();
    }
    let peer = origin.peer(4);
    let sessions: Vec<_> = std::iter::from_fn(|| connector.reused_session(&peer)).collect();
    assert!(
        sessions.len() <= 4 * 4 + 4,
        "{} connections",
        sessions.len()
    );
    drop((sessions, connector));
    let gone = async {
        while Handle::current().metrics().num_alive_tasks() > tasks {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .unwrap();
    assert_eq!(origin.state.open.load(Ordering::Relaxed), 0);
}

/// A server that is going away may fail a request.
async fn try_finish(connector: &Connector, peer: &HttpPeer, mut session: HttpSession) {
    if session.read_response_header().await.is_ok() && session.read_response_body().await.is_ok() {
        connector.release_session(session, peer, None);
    }
}
