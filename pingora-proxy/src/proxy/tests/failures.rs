//! Failures, and the phases that hear of them.

use super::*;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
const EXACT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello";

#[tokio::test]
async fn a_body_cut_short_reaches_the_client_as_cut_short() {
    for answer in [CHUNKED, EXACT] {
        let origin = Origin::start(vec![vec![reply(answer, Then::Close)]]).await;
        let inner = Plain::to(&origin);
        let log = inner.log.clone();
        let mut client = Client::of(&proxy_of(inner));
        client.send(GET).await;
        let got = client.end().await;
        assert!(got.contains("hello"), "{got}");
        assert!(
            !got.ends_with("0\r\n\r\n") && got.matches("HTTP/1.1").count() == 1,
            "{got}"
        );
        log.has("logging 200 Upstream/ConnectionClosed").await;
    }
}

proxy!(Optimist {
    async fn fail_to_proxy(&self, _: &mut Session, _: &Error, _: &mut ()) -> FailToProxy {
        FailToProxy { error_code: 200, can_reuse_downstream: true }
    }
});

#[tokio::test]
async fn even_an_optimist_does_not_turn_it_into_an_end() {
    for answer in [CHUNKED, EXACT] {
        let origin = Origin::start(vec![vec![reply(answer, Then::Close)]]).await;
        let mut client = Client::of(&proxy_of(Optimist::to(&origin)));
        client.send(GET).await;
        let got = client.end().await;
        assert!(
            got.contains("hello") && !got.ends_with("0\r\n\r\n"),
            "{got}"
        );
    }
}

#[tokio::test]
async fn broken_answers_are_502_and_the_clients_connection_lives() {
    let rows = [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "",
    ];
    for answer in rows {
        let origin = Origin::start(vec![
            vec![reply(answer, Then::Close)],
            vec![reply(OK, Then::Keep)],
        ])
        .await;
        let inner = Plain::to(&origin);
        let log = inner.log.clone();
        let mut client = Client::of(&proxy_of(inner));
        let got = client.ask(GET).await;
        assert!(got.starts_with("HTTP/1.1 502 "), "{answer:?}: {got}");
        assert_eq!(client.ask(GET).await, OK, "{answer:?}");
        log.has("logging 502 Upstream/").await;
    }
}

proxy!(Impatient {
    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        _: &HttpPeer,
        _: std::os::fd::RawFd,
        _: Option<&pingora_core::protocols::Digest>,
        _: &mut (),
    ) -> Result<()> {
        Ok(())
    }
});

struct WithTimeout(SocketAddr);

#[async_trait]
impl ProxyHttp for WithTimeout {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut at = peer(self.0)?;
        at.options.read_timeout = Some(Duration::from_millis(50));
        Ok(at)
    }
}

#[tokio::test]
async fn an_origin_that_keeps_silent_is_504() {
    let origin = Origin::start(vec![vec![reply("", Then::Watch)]]).await;
    let got = through(WithTimeout(origin.address), GET).await;
    assert!(got.starts_with("HTTP/1.1 504 "), "{got}");
    origin.closed().await;
    let half = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let origin = Origin::start(vec![vec![reply(half, Then::Watch)]]).await;
    let mut client = Client::of(&proxy_of(WithTimeout(origin.address)));
    client.send(GET).await;
    let got = client.end().await;
    assert!(
        got.contains("hello") && !got.ends_with("0\r\n\r\n"),
        "{got}"
    );
}

#[tokio::test]
async fn malformed_requests_get_one_answer_and_reach_nobody() {
    let rows = [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("BREW\r\n\r\n", "400"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "405"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", "505"),
    ];
    for (request, status) in rows {
        let origin = Origin::always(OK).await;
        let inner = Impatient::to(&origin);
        let log = inner.log.clone();
        let mut client = Client::of(&proxy_of(inner));
        client.send([request, GET].concat()).await;
        let got = client.response().await;
        assert!(
            got.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?}: {got}"
        );
        assert!(got.contains("Connection: close\r\n"), "{got}");
        let _ = client.io.shutdown().await;
        assert_eq!(client.end().await, "", "nothing after it: {request:?}");
        assert!(origin.requests().is_empty());
        assert_eq!(
            log.take(),
            [format!("logging {status} Downstream/InvalidHTTPHeader")]
        );
    }
}

#[tokio::test]
async fn a_broken_body_is_400_and_the_upstream_exchange_ends() {
    let origin = Origin::start(vec![vec![early("", Then::Watch)]]).await;
    let inner = Plain::to(&origin);
    let log = inner.log.clone();
    let mut client = Client::of(&proxy_of(inner));
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        .await;
    client.send("nonsense").await;
    let got = client.response().await;
    assert!(
        got.starts_with("HTTP/1.1 400 ") && got.contains("Connection: close"),
        "{got}"
    );
    origin.closed().await;
    log.has("logging 400 Downstream/H1Error").await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_upstream_exchange_with_it() {
    let upload = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf";
    for (request, answer) in [(GET, ""), (GET, CHUNKED), (upload, ""), (upload, CHUNKED)] {
        let origin = Origin::start(vec![vec![early(answer, Then::Watch)]]).await;
        let inner = Plain::to(&origin);
        let log = inner.log.clone();
        let mut client = Client::of(&proxy_of(inner));
        client.send(request).await;
        if !answer.is_empty() {
            client.next(Whole::Head).await;
        }
        while origin.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(client.io);
        origin.closed().await;
        let status = if answer.is_empty() { "0" } else { "200" };
        log.has(&format!("logging {status} Downstream/")).await;
    }
}

#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let refusal = "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig";
    let origin = Origin::start(vec![vec![early(refusal, Then::Close)]]).await;
    let mut client = Client::of(&proxy_of(Plain::to(&origin)));
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n";
    client.send(head).await;
    let (mut reader, mut writer) = tokio::io::split(client.io);
    let sending = tokio::spawn(async move {
        let piece = [b'x'; 10_000];
        while writer.write_all(&piece).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut ahead = Vec::new();
    let reading = read_message(&mut reader, &mut ahead, Whole::Response);
    let got = timeout(PATIENCE, reading).await.unwrap().unwrap();
    assert!(
        got.starts_with("HTTP/1.1 413 ") && got.ends_with("big"),
        "{got}"
    );
    sending.abort();
}

#[tokio::test]
async fn a_head_that_stops_is_logged_and_answered_by_nothing() {
    let origin = Origin::always(OK).await;
    let inner = Plain::to(&origin);
    let log = inner.log.clone();
    let mut client = Client::of(&proxy_of(inner));
    client.send("GET / HTT").await;
    client.io.shutdown().await.unwrap();
    assert_eq!(client.end().await, "");
    assert_eq!(log.take(), ["logging 0 Downstream/ConnectionClosed"]);
    let inner = Plain::to(&origin);
    let log = inner.log.clone();
    let mut client = Client::of(&proxy_of(inner));
    client.io.shutdown().await.unwrap();
    assert_eq!(client.end().await, "");
    assert!(log.take().is_empty(), "no request, no log line");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    use pingora_core::apps::HttpServerOptions;
    let rows = [
        "Content-Length: 9\r\n\r\n123456789",
        "Transfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n",
    ];
    for row in rows {
        let origin = Origin::start(vec![vec![early("", Then::Watch)]]).await;
        let mut proxy = Arc::into_inner(proxy_of(Plain::to(&origin))).unwrap();
        let mut options = HttpServerOptions::default();
        options.set_max_body_size(Some(8));
        proxy.server_options = Some(options);
        let mut client = Client::of(&Arc::new(proxy));
        let got = client
            .ask(format!("PUT / HTTP/1.1\r\nHost: a\r\n{row}"))
            .await;
        assert!(got.starts_with("HTTP/1.1 413 "), "{row:?}: {got}");
    }
}

proxy!(InAHurry {
    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        session.set_read_timeout(Some(Duration::from_millis(50)));
        session.set_write_timeout(Some(Duration::from_secs(2)));
        Ok(())
    }
});

#[tokio::test]
async fn a_client_whose_body_stalls_is_408() {
    let origin = Origin::start(vec![vec![early("", Then::Watch)]]).await;
    let inner = InAHurry::to(&origin);
    let log = inner.log.clone();
    let mut client = Client::of(&proxy_of(inner));
    let got = client
        .ask("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        .await;
    assert!(
        got.starts_with("HTTP/1.1 408 ") && got.contains("Connection: close"),
        "{got}"
    );
    origin.closed().await;
    log.has("logging 408 Downstream/ReadTimedout").await;
}

#[tokio::test]
async fn a_client_that_waits_for_permission_does_not_stall() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inner = InAHurry {
        origin: listener.local_addr().unwrap(),
        log: Log::default(),
    };
    let mut client = Client::of(&proxy_of(inner));
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let (mut origin, _) = listener.accept().await.unwrap();
    read_message(&mut origin, &mut Vec::new(), Whole::Head)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    origin
        .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        .await
        .unwrap();
    assert!(client.response().await.starts_with("HTTP/1.1 100 "));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up_once() {
    let body = "x".repeat(1 << 20);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let origin = Origin::start(vec![vec![reply(answer, Then::Watch)]]).await;
    let inner = InAHurry::to(&origin);
    let log = inner.log.clone();
    let mut client = Client::of(&proxy_of(inner));
    client.send(GET).await;
    log.has("logging 200 Downstream/WriteTimedout").await;
    // Half of what a second wait for the same bytes would take.
    let ended = timeout(Duration::from_secs(1), client.serving).await;
    ended.expect("closing waits for the client again").unwrap();
    origin.closed().await;
}

#[tokio::test]
async fn an_origin_that_does_not_read_is_504() {
    struct Pours(SocketAddr);

    #[async_trait]
    impl ProxyHttp for Pours {
        type CTX = ();
        fn new_ctx(&self) {}

        async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
            let mut at = peer(self.0)?;
            at.options.write_timeout = Some(Duration::from_millis(100));
            Ok(at)
        }
    }

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy_of(Pours(listener.local_addr().unwrap()));
    let client = Client::of(&proxy);
    let (mut reader, mut writer) = tokio::io::split(client.io);
    let sending = tokio::spawn(async move {
        let head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
        writer.write_all(head).await.unwrap();
        while writer.write_all(&[b'x'; 100_000]).await.is_ok() {}
    });
    let (_origin, _) = listener.accept().await.unwrap();
    let mut ahead = Vec::new();
    let reading = read_message(&mut reader, &mut ahead, Whole::Response);
    let got = timeout(PATIENCE, reading).await.unwrap().unwrap();
    assert!(got.starts_with("HTTP/1.1 504 "), "{got}");
    sending.abort();
}

#[tokio::test]
async fn a_head_of_the_upstream_has_a_size() {
    let answer = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let origin = Origin::start(vec![vec![reply(answer, Then::Watch)]]).await;
    let got = through(Plain::to(&origin), GET).await;
    assert!(got.starts_with("HTTP/1.1 502 "), "{got}");
    origin.closed().await;
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_408_once() {
    use pingora_core::apps::HttpServerOptions;
    let origin = Origin::always(OK).await;
    let inner = Plain::to(&origin);
    let log = inner.log.clone();
    let mut proxy = Arc::into_inner(proxy_of(inner)).unwrap();
    let mut options = HttpServerOptions::default();
    options.set_header_timeout(Some(Duration::from_millis(50)));
    proxy.server_options = Some(options);
    let mut client = Client::of(&Arc::new(proxy));
    let got = client.ask("GET / HTTP/1.1\r\nHost: ").await;
    assert!(
        got.starts_with("HTTP/1.1 408 ") && got.contains("Connection: close"),
        "{got}"
    );
    log.has("logging 408 Downstream/ReadTimedout").await;
    client.io.shutdown().await.unwrap();
    assert_eq!(client.end().await, "");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_also_where_a_phase_reads_it() {
    use pingora_core::apps::HttpServerOptions;
    let origin = Origin::always(OK).await;
    let mut proxy = Arc::into_inner(proxy_of(super::bodies::ReadsBody::to(&origin))).unwrap();
    let mut options = HttpServerOptions::default();
    options.set_max_body_size(Some(8));
    proxy.server_options = Some(options);
    let upload = "PUT /all HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        9\r\n123456789\r\n0\r\n\r\n";
    let got = Client::of(&Arc::new(proxy)).ask(upload).await;
    assert!(got.starts_with("HTTP/1.1 413 "), "{got}");
    assert!(origin.requests().is_empty());
}

proxy!(Measured {
    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        session.set_min_send_rate(Some(1000));
        Ok(())
    }
});

#[tokio::test]
async fn a_rate_gives_a_client_the_time_that_it_takes() {
    let body = "x".repeat(300_000);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let origin = Origin::always(answer).await;
    let mut client = Client::of(&proxy_of(Measured::to(&origin)));
    client.send(GET).await;
    // Far within the minute that the rate allows for what is queued.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(client.response().await.ends_with(&body));
}

/// A proxy to one origin whose peer has this read time-out.
struct Patient {
    origin: SocketAddr,
    read_timeout: Option<Duration>,
}

#[async_trait]
impl ProxyHttp for Patient {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = peer(self.origin)?;
        peer.options.read_timeout = self.read_timeout;
        Ok(peer)
    }
}

/// The part of the answer that the client has received, and when it ended; `None`: it did not within
/// an hour. The clock stands still until the origin has answered.
async fn waited_for(
    request: &str,
    answer: &str,
    read_timeout: Option<Duration>,
) -> (String, Option<u64>) {
    let origin = Origin::start(vec![vec![reply(answer, Then::Watch)]]).await;
    let origin_address = origin.address;
    let mut client = Client::of(&proxy_of(Patient {
        origin: origin_address,
        read_timeout,
    }));
    client.send(request).await;
    let mut got = match answer {
        "" => String::new(),
        _ => client.next(Whole::Head).await,
    };
    while origin.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let mut rest = client.ahead;
    let hour = Duration::from_secs(60 * 60 - 1);
    let ended = timeout(hour, async {
        loop {
            let one_response = got.is_empty() && message_end(&rest, Whole::Response).is_some();
            if one_response || client.io.read_buf(&mut rest).await.unwrap_or(0) == 0 {
                return;
            }
        }
    })
    .await;
    got.push_str(&String::from_utf8_lossy(&rest));
    let took = begun.elapsed().as_secs_f64().round() as u64;
    tokio::time::resume();
    (got, ended.ok().map(|()| took))
}

#[tokio::test]
async fn a_server_that_never_answers_has_a_minute_unless_it_is_said_otherwise() {
    const UPGRADE: &str =
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    const SWITCH: &str =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let seconds = |n| Some(Duration::from_secs(n));
    let rows = [
        (GET, "", None, Some(60), "HTTP/1.1 504 "),
        (GET, "", seconds(5), Some(5), "HTTP/1.1 504 "),
        (GET, "", seconds(90), Some(90), "HTTP/1.1 504 "),
        (GET, "", Some(Duration::MAX), None, ""),
        // Between two pieces of an answer.
        (GET, EXACT, None, Some(60), "HTTP/1.1 200 "),
        (GET, EXACT, Some(Duration::MAX), None, "HTTP/1.1 200 "),
        // A tunnel has no default: both sides may have nothing to say for long.
        (UPGRADE, SWITCH, None, None, "HTTP/1.1 101 "),
        (UPGRADE, SWITCH, seconds(5), Some(5), "HTTP/1.1 101 "),
    ];
    for (request, answer, read_timeout, ends, begins) in rows {
        let (got, took) = waited_for(request, answer, read_timeout).await;
        assert_eq!(took, ends, "{answer:?} {read_timeout:?}: {got}");
        assert!(
            got.starts_with(begins),
            "{answer:?} {read_timeout:?}: {got}"
        );
    }
}
