//! What goes wrong, and who hears of it.

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
