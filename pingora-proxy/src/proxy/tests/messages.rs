//! Heads and framing between two hops.

use super::*;

/// The answer of this origin to this request, and the request as the origin saw it.
async fn between(request: &str, answer: &str) -> (String, String) {
    let origin = Origin::start(vec![vec![reply(answer, Then::Close)]]).await;
    let got = through(Plain::to(&origin), request).await;
    (origin.requests().pop().unwrap_or_default(), got)
}

#[tokio::test]
async fn fields_of_one_hop_stay_on_that_hop() {
    let (request, answer) = between(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Secret\r\nKeep-Alive: 5\r\n\
         X-Secret: 1\r\nX-Other: 2\r\nTE: gzip\r\nProxy-Connection: x\r\nUpgrade: h2c\r\n\
         Proxy-Authorization: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close, X-Inner\r\nKeep-Alive: 3\r\nX-Inner: 1\r\n\
         X-Outer: 2\r\nProxy-Authenticate: z\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    assert_eq!(
        request,
        "GET / HTTP/1.1\r\nHost: a\r\nProxy-Authorization: y\r\nX-Other: 2\r\n\r\n"
    );
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\nProxy-Authenticate: z\r\nX-Outer: 2\r\nContent-Length: 2\r\n\r\nok"
    );
}

#[tokio::test]
async fn a_connection_field_that_reaches_too_far_is_refused() {
    for name in ["Host", "X-Forwarded-For", "Content-Length"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {name}\r\n\r\n");
        let (seen, answer) = between(&request, OK).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && seen.is_empty(),
            "{name}: {answer}"
        );
    }
}

#[tokio::test]
async fn each_hop_has_its_own_version_and_framing() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let until_close = "HTTP/1.0 200 OK\r\n\r\nok";
    let (request, answer) = between("GET / HTTP/1.0\r\nHost: a\r\n\r\n", chunked).await;
    assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok");
    for from in [chunked, until_close] {
        let (_, answer) = between(GET, from).await;
        assert_eq!(
            answer,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        );
    }
    let upload =
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n0\r\n\r\n";
    let (request, _) = between(upload, OK).await;
    assert!(
        request.ends_with("Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        "{request}"
    );
    assert_eq!(request.matches("Transfer-Encoding").count(), 1);
}

#[tokio::test]
async fn a_client_of_http_10_without_host_is_served() {
    let (request, answer) = between("GET /x HTTP/1.0\r\n\r\n", OK).await;
    assert!(request.starts_with("GET /x HTTP/1."), "{request}");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn responses_without_a_body_stay_without() {
    let rows = [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
    ];
    for (method, from, expected) in rows {
        let origin = Origin::start(vec![vec![reply(from, Then::Keep); 2]]).await;
        let mut client = Client::of(&proxy_of(Plain::to(&origin)));
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        for _ in 0..2 {
            client.send(&request).await;
            assert_eq!(client.next(Whole::Head).await, expected, "{method}");
        }
        assert_eq!(
            origin.connections(),
            [0, 0],
            "both connections live: {method} {from}"
        );
    }
}

#[tokio::test]
async fn an_origin_that_adds_a_body_where_none_belongs_is_not_trusted_on() {
    let origin = Origin::start(vec![
        vec![reply(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 666 Evil\r\n\r\n",
            Then::Keep,
        )],
        vec![reply(OK, Then::Keep)],
    ])
    .await;
    let mut client = Client::of(&proxy_of(Plain::to(&origin)));
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.next(Whole::Head).await.starts_with("HTTP/1.1 200 "));
    assert!(client.ask(GET).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(origin.connections(), [0, 1]);
}

#[tokio::test]
async fn informational_responses_pass() {
    let answer = format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}");
    let origin = Origin::always(answer).await;
    let mut client = Client::of(&proxy_of(Plain::to(&origin)));
    assert_eq!(
        client.ask(GET).await,
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    );
    assert_eq!(client.response().await, OK);
    let (_, answer) = between(
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        &format!("HTTP/1.1 103 E\r\n\r\n{OK}"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

proxy!(SlowFilter {
    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        if response.status == 200 {
            self.log.has("go on").await;
        }
        Ok(())
    }
});

#[tokio::test]
async fn what_is_queued_leaves_before_a_phase_that_takes_its_time() {
    let answer = format!("HTTP/1.1 103 Early Hints\r\n\r\n{OK}");
    let origin = Origin::always(answer).await;
    let inner = SlowFilter::to(&origin);
    let log = inner.log.clone();
    let mut client = Client::of(&proxy_of(inner));
    assert!(
        client.ask(GET).await.starts_with("HTTP/1.1 103 "),
        "while the filter waits"
    );
    log.note("go on");
    assert_eq!(client.response().await, OK);
}

const EXPECTING: &str =
    "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";

#[tokio::test]
async fn a_permission_comes_from_the_origin() {
    let origin = Origin::start(vec![vec![early(
        "HTTP/1.1 100 Continue\r\n\r\n",
        Then::Keep,
    )]])
    .await;
    let mut client = Client::of(&proxy_of(Plain::to(&origin)));
    assert_eq!(client.ask(EXPECTING).await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(origin.requests()[0].contains("Expect: 100-continue\r\n"));
    client.send("hi").await;
}

#[tokio::test]
async fn a_body_follows_its_permission() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inner = Plain {
        origin: listener.local_addr().unwrap(),
        log: Log::default(),
    };
    let mut client = Client::of(&proxy_of(inner));
    client.send(EXPECTING).await;
    let (mut origin, _) = listener.accept().await.unwrap();
    let mut ahead = Vec::new();
    read_message(&mut origin, &mut ahead, Whole::Head)
        .await
        .unwrap();
    for _ in 0..2 {
        origin
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .unwrap();
    }
    assert_eq!(client.response().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hi").await;
    let mut body = [0; 2];
    origin.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"hi");
    origin.write_all(OK.as_bytes()).await.unwrap();
    assert_eq!(
        client.response().await,
        OK,
        "told once, and the connection lives"
    );
}

#[tokio::test]
async fn a_filter_that_reads_the_body_gives_the_permission() {
    let answer = format!("HTTP/1.1 100 Continue\r\n\r\n{OK}");
    let origin = Origin::always(answer).await;
    let mut client = Client::of(&proxy_of(super::bodies::ReadsBody::to(&origin)));
    client.send(EXPECTING.replace("PUT /", "PUT /all")).await;
    assert_eq!(client.response().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hi").await;
    assert_eq!(client.response().await, OK);
    assert!(origin.requests()[0].ends_with("\r\n\r\nhi"));
}

#[tokio::test]
async fn connect_makes_a_tunnel_where_it_is_turned_on() {
    use pingora_core::apps::HttpServerOptions;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inner = Plain {
        origin: listener.local_addr().unwrap(),
        log: Log::default(),
    };
    let log = inner.log.clone();
    let mut proxy = Arc::into_inner(proxy_of(inner)).unwrap();
    let mut options = HttpServerOptions::default();
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    let mut client = Client::of(&Arc::new(proxy));
    client
        .send("CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\nup")
        .await;
    let (mut origin, _) = listener.accept().await.unwrap();
    let mut ahead = Vec::new();
    let request = read_message(&mut origin, &mut ahead, Whole::Head)
        .await
        .unwrap();
    assert!(
        request.starts_with("CONNECT b:443 HTTP/1.1\r\n") && ahead.is_empty(),
        "{request}"
    );
    origin
        .write_all(b"HTTP/1.1 200 OK\r\n\r\ndown")
        .await
        .unwrap();
    assert_eq!(client.next(Whole::Head).await, "HTTP/1.1 200 OK\r\n\r\n");
    let mut bytes = [0; 2];
    origin.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"up");
    drop(origin);
    client.io.shutdown().await.unwrap();
    assert_eq!(client.end().await, "down");
    log.has("logging 200 -").await;
}

proxy!(Declines {
    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        response.set_status(403)
    }
});

#[tokio::test]
async fn a_filter_cannot_take_a_tunnel_back() {
    let origin = Origin::start(vec![vec![reply(format!("{SWITCH}raw"), Then::Watch)]]).await;
    let answer = through(Declines::to(&origin), UPGRADE).await;
    assert!(
        answer.starts_with("HTTP/1.1 500 ") && !answer.contains("raw"),
        "{answer}"
    );
    origin.closed().await;
}

#[tokio::test]
async fn an_origin_may_refuse_before_the_body_comes() {
    let refusal = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::start(vec![vec![early(refusal, Then::Keep)]]).await;
    let mut client = Client::of(&proxy_of(Plain::to(&origin)));
    let answer = client.ask(EXPECTING).await;
    assert!(
        answer.starts_with("HTTP/1.1 417 ") && answer.contains("Connection: close"),
        "{answer}"
    );
    drop(client);
}

const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test]
async fn an_upgrade_makes_a_tunnel_of_both_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inner = Plain {
        origin: listener.local_addr().unwrap(),
        log: Log::default(),
    };
    let log = inner.log.clone();
    let mut client = Client::of(&proxy_of(inner));
    client.send(UPGRADE).await;
    client.send("early").await;
    let (mut origin, _) = listener.accept().await.unwrap();
    let mut ahead = Vec::new();
    let request = read_message(&mut origin, &mut ahead, Whole::Head)
        .await
        .unwrap();
    assert!(request.contains("Upgrade: websocket\r\n"), "{request}");
    assert!(
        request.to_lowercase().contains("connection: upgrade\r\n"),
        "{request}"
    );
    assert!(ahead.is_empty(), "nothing is raw before the 101");
    origin.write_all(SWITCH.as_bytes()).await.unwrap();
    origin.write_all(b"hello").await.unwrap();
    assert!(client.next(Whole::Head).await.starts_with("HTTP/1.1 101 "));
    let mut bytes = [0; 5];
    origin.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"early");
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    let mut bytes = [0; 18];
    origin.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"GET / HTTP/1.1\r\n\r\n");
    // Half-close towards the origin; the other direction goes on.
    client.io.shutdown().await.unwrap();
    assert_eq!(origin.read(&mut bytes).await.unwrap(), 0);
    origin.write_all(b" and bye").await.unwrap();
    drop(origin);
    assert_eq!(client.end().await, "hello and bye");
    log.has("logging 101 -").await;
}

#[tokio::test]
async fn a_declined_upgrade_is_an_ordinary_exchange() {
    let origin = Origin::always(OK).await;
    let mut client = Client::of(&proxy_of(Plain::to(&origin)));
    client.send([UPGRADE, GET].concat()).await;
    assert_eq!(client.response().await, OK);
    assert_eq!(client.response().await, OK);
    assert!(origin.requests()[1].starts_with("GET /x "));
}

#[tokio::test]
async fn an_upgrade_nobody_asked_for_is_an_error() {
    let (_, answer) = between(GET, SWITCH).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::always(OK).await;
    let mut client = Client::of(&proxy_of(Plain::to(&origin)));
    let requests: Vec<String> = (1..=4)
        .map(|n| GET.replace("/x", &format!("/{n}")))
        .collect();
    client.send(requests.concat()).await;
    for _ in 0..4 {
        assert_eq!(client.response().await, OK);
    }
    let paths: Vec<String> = origin
        .requests()
        .iter()
        .map(|r| r[5..6].to_string())
        .collect();
    assert_eq!(paths, ["1", "2", "3", "4"]);
    assert_eq!(origin.connections(), [0; 4], "one kept connection");
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let (request, answer) = between(
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-U: 1\r\nHost: evil\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-D: 2\r\nSet-Cookie: evil\r\n\r\n",
    )
    .await;
    assert!(
        request.ends_with("2\r\nhi\r\n0\r\nx-u: 1\r\n\r\n"),
        "{request}"
    );
    assert!(answer.ends_with("\r\n\r\n0\r\nx-d: 2\r\n\r\n"), "{answer}");
}
