//! Trying again, and not trying again.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

const UPLOAD: &str = "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

/// A port without a listener.
pub(super) async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Goes to a closed port `bad` times, and to the origin after that.
struct Unreachable {
    bad: usize,
    closed: SocketAddr,
    origin: SocketAddr,
    tries: AtomicUsize,
    log: Log,
}

#[async_trait]
impl ProxyHttp for Unreachable {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let tried = self.tries.fetch_add(1, Ordering::Relaxed);
        peer(if tried < self.bad {
            self.closed
        } else {
            self.origin
        })
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, _: &mut (), mut e: BError) -> BError {
        assert_eq!(e.esource(), &ErrorSource::Upstream);
        self.log.note("fail_to_connect");
        e.set_retry(true);
        e
    }
}

#[tokio::test]
async fn connecting_is_tried_again_up_to_a_limit() {
    let closed = closed_port().await;
    for (bad, failed, status) in [(0, 0, "200"), (1, 1, "200"), (2, 2, "200"), (9, 3, "502")] {
        let origin = Origin::always(OK).await;
        let log = Log::default();
        let inner = Unreachable {
            bad,
            closed,
            origin: origin.address,
            tries: AtomicUsize::new(0),
            log: log.clone(),
        };
        let mut client = Client::of(&proxy_of(inner));
        let answer = client.ask(UPLOAD).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{bad}: {answer}"
        );
        assert_eq!(log.take().len(), failed, "{bad}");
        assert!(
            origin
                .requests()
                .iter()
                .all(|r| r.ends_with("\r\n\r\nhello"))
        );
    }
}

#[tokio::test]
async fn without_a_decision_connecting_is_tried_once() {
    let log = Log::default();
    let inner = Plain {
        origin: closed_port().await,
        log: log.clone(),
    };
    let mut client = Client::of(&proxy_of(inner));
    assert!(client.ask(GET).await.starts_with("HTTP/1.1 502 "));
    log.has("logging 502 Upstream/ConnectRefused").await;
    assert!(
        client.ask(GET).await.starts_with("HTTP/1.1 502 "),
        "the client's connection lives"
    );
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    for request in [GET, UPLOAD] {
        let origin = Origin::start(vec![
            vec![reply(OK, Then::Keep), reply("", Then::Close)],
            vec![reply(OK, Then::Keep)],
        ])
        .await;
        let mut client = Client::of(&proxy_of(Plain::to(&origin)));
        assert!(client.ask(request).await.starts_with("HTTP/1.1 200 "));
        let answer = client.ask(request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{request}: {answer}");
        assert_eq!(origin.connections(), [0, 0, 1]);
        let requests = origin.requests();
        assert_eq!(requests[1], requests[2], "the same request, whole");
    }
}

#[tokio::test]
async fn what_must_not_be_done_twice_is_not_sent_twice() {
    let post = UPLOAD.replace("PUT", "POST");
    for request in [post.as_str(), "BREW /x HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let origin = Origin::start(vec![
            vec![reply(OK, Then::Keep), reply("", Then::Close)],
            vec![reply(OK, Then::Keep)],
        ])
        .await;
        let mut client = Client::of(&proxy_of(Plain::to(&origin)));
        assert!(client.ask(request).await.starts_with("HTTP/1.1 200 "));
        let answer = client.ask(request).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{request}: {answer}");
        assert_eq!(origin.requests().len(), 2);
    }
}

#[tokio::test]
async fn an_upstream_that_never_comes_to_the_point_is_502() {
    let endless = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(100);
    let origin = Origin::start(vec![vec![reply(&endless, Then::Watch)]]).await;
    let mut client = Client::of(&proxy_of(Plain::to(&origin)));
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    let answer = client.end().await;
    assert!(answer.contains("HTTP/1.1 502 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 103 ").count(), 64);
}

#[tokio::test]
async fn a_new_connection_that_is_closed_is_not() {
    let origin = Origin::start(vec![vec![reply("", Then::Close)]]).await;
    let answer = through(Plain::to(&origin), GET).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn after_a_byte_of_the_answer_nothing_is_tried_again() {
    let partial = [
        "H",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 103 Early Hints\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
    ];
    for bytes in partial {
        let origin = Origin::start(vec![
            vec![reply(OK, Then::Keep), reply(bytes, Then::Close)],
            vec![reply(OK, Then::Keep)],
        ])
        .await;
        let mut client = Client::of(&proxy_of(Plain::to(&origin)));
        client.ask(GET).await;
        client.ask(GET).await;
        assert_eq!(origin.connections(), [0, 0], "{bytes:?}");
    }
}

proxy!(AlwaysAgain {
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        _: &mut Session,
        mut e: BError,
        _: &mut (),
        _: bool,
    ) -> BError {
        self.log.note("again");
        e.set_retry(true);
        e
    }
});

#[tokio::test]
async fn even_a_determined_user_cannot_send_two_responses() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 103 E\r\n\r\nx y\r\n\r\n",
    ] {
        let origin = Origin::start(vec![
            vec![reply(bytes, Then::Close)],
            vec![reply(OK, Then::Keep)],
        ])
        .await;
        let inner = AlwaysAgain::to(&origin);
        let log = inner.log.clone();
        let mut client = Client::of(&proxy_of(inner));
        client.send(GET).await;
        log.has("logging").await;
        let answer = client.response().await + &client.response().await;
        assert_eq!(log.take().iter().filter(|l| *l == "again").count(), 1);
        assert_eq!(
            origin.requests().len(),
            1,
            "something was sent downstream: {answer}"
        );
    }
}

#[tokio::test]
async fn an_error_may_be_tried_again_up_to_a_limit() {
    let origin = Origin::start(vec![vec![reply("", Then::Close)]]).await;
    let inner = AlwaysAgain::to(&origin);
    let log = inner.log.clone();
    assert!(through(inner, UPLOAD).await.starts_with("HTTP/1.1 502 "));
    assert_eq!(origin.requests().len(), 3, "once, and twice again");
    assert!(
        origin
            .requests()
            .iter()
            .all(|r| r.ends_with("\r\n\r\nhello"))
    );
    log.has("logging 502").await;
}

#[tokio::test]
async fn a_body_that_is_too_long_to_keep_is_sent_once() {
    let body = "x".repeat(100_000);
    let upload = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{body}");
    let origin = Origin::start(vec![
        vec![reply("", Then::Close)],
        vec![reply(OK, Then::Keep)],
    ])
    .await;
    let answer = through(AlwaysAgain::to(&origin), &upload).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_chunked_body_is_sent_again_with_its_trailers() {
    let upload = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n";
    let origin = Origin::start(vec![
        vec![reply("", Then::Close)],
        vec![reply(OK, Then::Keep)],
    ])
    .await;
    let answer = through(AlwaysAgain::to(&origin), upload).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let requests = origin.requests();
    assert!(
        requests[1].ends_with("2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n"),
        "{requests:?}"
    );
    assert_eq!(requests[0], requests[1]);
}

/// Records what the time of its requests goes into, and hands it out.
struct Timed {
    peers: Vec<SocketAddr>,
    seen: std::sync::Mutex<Option<crate::RequestTimes>>,
    recording: bool,
}

#[async_trait]
impl ProxyHttp for Arc<Timed> {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        if self.recording {
            session.record_times();
        }
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        peer(self.peers[session.failed_tries().len()])
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, _: &mut (), mut e: BError) -> BError {
        e.set_retry(true);
        e
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, _: &mut ()) {
        *self.seen.lock().unwrap() = session.times().cloned();
    }
}

#[tokio::test]
async fn the_times_of_each_try_are_recorded_where_a_phase_asks_for_it() {
    for recording in [true, false] {
        let (origin, closed) = (Origin::always(OK).await, closed_port().await);
        let timed = Arc::new(Timed {
            peers: vec![closed, origin.address],
            seen: std::sync::Mutex::default(),
            recording,
        });
        let mut client = Client::of(&proxy_of(timed.clone()));
        assert!(client.ask(GET).await.starts_with("HTTP/1.1 200 "));
        let seen = timed.seen.lock().unwrap().take();
        let Some(times) = seen else {
            assert!(!recording);
            continue;
        };
        let [failed, good] = &times.tries[..] else {
            panic!("{times:?}")
        };
        assert_eq!(failed.address.to_string(), closed.to_string());
        assert_eq!((failed.connected, failed.first_byte), (None, None));
        assert!(failed.total.is_some() && !good.reused);
        assert!(good.connected <= good.first_byte && good.first_byte <= good.total);
        assert!(good.connected.is_some() && times.begun <= failed.begun);
    }
}
