//! Body filters change bodies, in both directions.

use super::*;

proxy!(Rewrites {
    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        request.remove_header("Content-Length");
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        _: &mut (),
    ) -> Result<()> {
        let mut data = body.take().unwrap_or_default().to_ascii_uppercase();
        if end {
            data.extend_from_slice(b"!");
        }
        *body = Some(data.into());
        Ok(())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        response.remove_header("Content-Length");
        response.insert_header("X-Filtered", "yes")
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        let mut data = body.take().unwrap_or_default().to_ascii_uppercase();
        if end {
            data.extend_from_slice(b"?");
        }
        *body = (!data.is_empty()).then(|| data.into());
        Ok(None)
    }
});

#[tokio::test]
async fn filters_may_change_and_add_to_both_bodies() {
    let origin = Origin::always(OK).await;
    let proxy = proxy_of(Rewrites::to(&origin));
    for _ in 0..3 {
        let mut client = Client::of(&proxy);
        let answer = client
            .ask("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            .await;
        assert!(answer.contains("x-filtered: yes\r\n") || answer.contains("X-Filtered: yes\r\n"));
        assert!(
            answer.ends_with("\r\n\r\n3\r\nOK?\r\n0\r\n\r\n"),
            "{answer}"
        );
        let request = origin.requests().pop().unwrap();
        assert!(
            request.ends_with("\r\n\r\n6\r\nHELLO!\r\n0\r\n\r\n"),
            "{request}"
        );
    }
}

proxy!(Swallows {
    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        request.remove_header("Content-Length");
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<()> {
        *body = None;
        Ok(())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        response.remove_header("Content-Length");
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        *body = None;
        Ok(None)
    }
});

#[tokio::test]
async fn filters_may_take_bodies_away() {
    let origin = Origin::always(OK).await;
    let answer = through(
        Swallows::to(&origin),
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    )
    .await;
    assert!(answer.ends_with("\r\n\r\n0\r\n\r\n"), "{answer}");
    let request = origin.requests().pop().unwrap();
    assert!(request.ends_with("\r\n\r\n0\r\n\r\n"), "{request}");
}

proxy!(Promises {
    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        _: &mut (),
    ) -> Result<()> {
        if end {
            *body = Some(Bytes::from_static(b"much too long for its Content-Length"));
        }
        Ok(())
    }
});

#[tokio::test]
async fn a_filter_that_breaks_the_length_is_found_out() {
    let origin = Origin::start(vec![vec![early("", Then::Watch)]]).await;
    let inner = Promises::to(&origin);
    let log = inner.log.clone();
    let upload = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let answer = through(inner, upload).await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    log.has("logging 500 Internal/InternalError").await;
    assert!(!origin.requests().concat().contains("much too long"));
}

proxy!(AddsBody {
    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        request.insert_header("Content-Length", "5")
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        _: &mut (),
    ) -> Result<()> {
        assert!(end && body.is_none());
        *body = Some(Bytes::from_static(b"added"));
        Ok(())
    }
});

#[tokio::test]
async fn a_request_without_a_body_may_get_one() {
    let origin = Origin::always(OK).await;
    assert!(
        through(AddsBody::to(&origin), GET)
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    assert!(origin.requests()[0].ends_with("\r\n\r\nadded"));
}

proxy!(Throttles {
    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        self.log.note(format!("piece {}", body.as_ref().map_or(0, |b| b.len())));
        Ok(Some(Duration::from_millis(30)))
    }
});

#[tokio::test]
async fn a_filter_may_slow_the_response_down() {
    let chunks = "1\r\nx\r\n".repeat(5);
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    let origin = Origin::always(answer).await;
    let inner = Throttles::to(&origin);
    let log = inner.log.clone();
    let start = std::time::Instant::now();
    let answer = through(inner, GET).await;
    assert_eq!(answer.matches('x').count(), 5, "{answer}");
    assert!(
        start.elapsed() >= Duration::from_millis(4 * 30),
        "{:?}",
        start.elapsed()
    );
    log.has("logging 200 -").await;
}

proxy!(pub(super) ReadsBody {
    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        let all = session.req_header().uri.path() == "/all";
        let mut read = 0;
        while let Some(data) = session.read_request_body().await? {
            read += data.len();
            if !all {
                break;
            }
        }
        self.log.note(format!("read {read}"));
        Ok(false)
    }
});

#[tokio::test]
async fn what_a_filter_read_of_the_body_still_reaches_the_upstream() {
    let origin = Origin::always(OK).await;
    let proxy = proxy_of(ReadsBody::to(&origin));
    for path in ["/all", "/some"] {
        for upload in [
            format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
            format!(
                "PUT {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
            ),
        ] {
            let (head, rest) = upload.split_at(upload.find("\r\n\r\n").unwrap() + 9);
            let mut client = Client::of(&proxy);
            client.send(head).await;
            tokio::task::yield_now().await;
            assert!(
                client.ask(rest).await.starts_with("HTTP/1.1 200 "),
                "{upload}"
            );
            let request = origin.requests().pop().unwrap();
            let body: String = request.split_once("\r\n\r\n").unwrap().1.into();
            let letters: String = body.chars().filter(char::is_ascii_lowercase).collect();
            assert_eq!(letters, "hello", "{request}");
        }
    }
}

#[tokio::test]
async fn a_body_read_ahead_that_is_too_long_to_keep_is_refused() {
    let origin = Origin::always(OK).await;
    let inner = ReadsBody::to(&origin);
    let log = inner.log.clone();
    let body = "x".repeat(100_000);
    let upload = format!("PUT /all HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{body}");
    assert!(through(inner, &upload).await.starts_with("HTTP/1.1 500 "));
    log.has("logging 500").await;
    assert!(
        origin.requests().iter().all(|r| !r.contains("xxx")),
        "half a body is never sent"
    );
}

/// 600 000 bytes, no two neighbours alike.
fn large() -> String {
    (0..600_000_u32)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect()
}

fn with_length(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn carries_large_bodies(mut client: Client, origin: &Origin) {
    let body = large();
    let framings = [
        "Content-Length: 600000\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n927c0\r\n",
    ];
    for framing in framings.repeat(2) {
        let end = if framing.starts_with('T') {
            "\r\n0\r\n\r\n"
        } else {
            ""
        };
        client
            .send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{framing}{body}{end}"))
            .await;
        let got = client.response().await;
        assert!(got.ends_with(&body), "{} bytes", got.len());
        let request = origin.requests().pop().unwrap();
        let sent: String = request.split_once("\r\n\r\n").unwrap().1.into();
        let whole = if framing.starts_with('C') {
            sent == body
        } else {
            sent.split("\r\n")
                .filter(|line| line.len() > 6)
                .collect::<String>()
                == body
        };
        assert!(whole, "the upload changed: {} bytes", sent.len());
    }
    assert_eq!(
        origin.connections(),
        [0; 4],
        "one connection, used again and again"
    );
}

#[tokio::test]
async fn large_bodies_pass_unharmed_in_both_directions() {
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        600_000,
        large()
    );
    let origin = Origin::always(with_length(&large())).await;
    let proxy = proxy_of(Plain::to(&origin));
    carries_large_bodies(Client::with_window(&proxy, 1000), &origin).await;
    let origin = Origin::always(with_length(&large())).await;
    let proxy = proxy_of(Plain::to(&origin));
    carries_large_bodies(Client::over_tcp(&proxy).await, &origin).await;
    let origin = Origin::always(chunked).await;
    for mut client in [
        Client::of(&proxy_of(Plain::to(&origin))),
        Client::over_tcp(&proxy_of(Plain::to(&origin))).await,
    ] {
        for _ in 0..3 {
            let got = client.ask(GET).await;
            let (_, chunks) = got.split_once("\r\n\r\n").unwrap();
            let pieces: String = chunks.split("\r\n").skip(1).step_by(2).collect();
            assert!(pieces == large(), "{} bytes", pieces.len());
        }
    }
}

#[tokio::test]
async fn a_large_body_cut_short_is_cut_short_over_sockets_too() {
    let answer = with_length(&large());
    let origin = Origin::start(vec![vec![reply(&answer[..400_000], Then::Close)]]).await;
    let inner = Plain::to(&origin);
    let log = inner.log.clone();
    let mut client = Client::over_tcp(&proxy_of(inner)).await;
    client.send(GET).await;
    let got = client.end().await;
    assert!(got.len() > 300_000 && got.len() <= 400_100, "{}", got.len());
    log.has("logging 200 Upstream/ConnectionClosed").await;
}

#[tokio::test]
async fn an_origin_that_sends_too_much_is_cut_off_at_the_length() {
    let answer = with_length(&large()) + "HTTP/1.1 666 Evil\r\n\r\n";
    let origin = Origin::start(vec![
        vec![reply(answer, Then::Watch)],
        vec![reply(OK, Then::Keep)],
    ])
    .await;
    let mut client = Client::over_tcp(&proxy_of(Plain::to(&origin))).await;
    assert!(client.ask(GET).await.ends_with(&large()));
    assert_eq!(client.ask(GET).await, OK);
    assert_eq!(
        origin.connections(),
        [0, 1],
        "its connection is not used again"
    );
}

#[tokio::test]
async fn requests_behind_a_large_upload_are_requests() {
    let origin = Origin::always(OK).await;
    let mut client = Client::over_tcp(&proxy_of(Plain::to(&origin))).await;
    let upload = format!(
        "PUT /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n{}",
        large()
    );
    client.send([&upload, GET, &upload, GET].concat()).await;
    for _ in 0..4 {
        assert_eq!(client.response().await, OK);
    }
    let requests = origin.requests();
    assert!(requests[0].ends_with(&large()) && requests[2].ends_with(&large()));
    assert!(requests[1].starts_with("GET /x ") && requests[3].starts_with("GET /x "));
}

#[tokio::test]
async fn an_upload_cut_short_is_cut_short_over_sockets_too() {
    let origin = Origin::start(vec![vec![early("", Then::Watch)]]).await;
    let inner = Plain::to(&origin);
    let log = inner.log.clone();
    let mut client = Client::over_tcp(&proxy_of(inner)).await;
    let upload = format!(
        "PUT /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 600001\r\n\r\n{}",
        large()
    );
    client.send(upload).await;
    drop(client.io);
    origin.closed().await;
    log.has("logging 0 Downstream/ConnectionClosed").await;
}

/// Gives everything away at the end, as those do that have to see the whole.
struct Collects(SocketAddr);

#[async_trait]
impl ProxyHttp for Collects {
    type CTX = (Vec<u8>, Vec<u8>);
    fn new_ctx(&self) -> Self::CTX {
        Default::default()
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        peer(self.0)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        ctx.0.extend_from_slice(&body.take().unwrap_or_default());
        *body = end.then(|| std::mem::take(&mut ctx.0).into());
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        ctx.1.extend_from_slice(&body.take().unwrap_or_default());
        *body = end.then(|| std::mem::take(&mut ctx.1).into());
        Ok(None)
    }
}

#[tokio::test]
async fn a_filter_that_collects_hears_of_the_end_with_and_without_trailers() {
    for (trailer, passed) in [("", ""), ("X-T: 1\r\n", "x-t: 1\r\n")] {
        let chunks = format!("3\r\none\r\n3\r\ntwo\r\n0\r\n{trailer}\r\n");
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let origin = Origin::always(answer).await;
        let upload =
            format!("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let got = through(Collects(origin.address), &upload).await;
        let expected = format!("\r\n\r\n6\r\nonetwo\r\n0\r\n{passed}\r\n");
        assert!(got.ends_with(&expected), "{got}");
        assert!(
            origin.requests()[0].ends_with(&expected),
            "{:?}",
            origin.requests()
        );
    }
}

/// A module with something to say at the end.
struct LastWords;

#[async_trait]
impl pingora_core::modules::http::HttpModule for LastWords {
    fn response_body_filter(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        if end {
            *body = Some(
                [&body.take().unwrap_or_default()[..], b"+end"]
                    .concat()
                    .into(),
            );
        }
        Ok(())
    }

    fn response_trailer_filter(&mut self, _: &mut Option<Box<HeaderMap>>) -> Result<Option<Bytes>> {
        Ok(Some(Bytes::from_static(b"+trailers")))
    }

    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        Ok(Some(Bytes::from_static(b"+done")))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

impl pingora_core::modules::http::HttpModuleBuilder for LastWords {
    fn init(&self) -> pingora_core::modules::http::Module {
        Box::new(LastWords)
    }
}

proxy!(WithModule {
    fn init_downstream_modules(&self, modules: &mut pingora_core::modules::http::HttpModules) {
        modules.add_module(Box::new(LastWords));
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        let path = session.req_header().uri.path();
        if path == "/mine" {
            let header = ResponseHeader::build(200, None)?;
            let mut header = Box::new(header);
            header.insert_header("Transfer-Encoding", "chunked")?;
            session.write_response_header(header, false).await?;
            session.write_response_body(Some(Bytes::from_static(b"mine")), true).await?;
            return Ok(true);
        }
        Ok(false)
    }
});

#[tokio::test]
async fn a_module_says_its_last_words_once() {
    for (end, expected) in [
        ("0\r\n\r\n", "2\r\nok\r\n4\r\n+end\r\n0\r\n\r\n"),
        (
            "0\r\nX-T: 1\r\n\r\n",
            "2\r\nok\r\n9\r\n+trailers\r\n0\r\nx-t: 1\r\n\r\n",
        ),
    ] {
        let answer =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n{end}");
        let origin = Origin::always(answer).await;
        let got = through(WithModule::to(&origin), GET).await;
        let joined = expected
            .replace("ok\r\n4\r\n+end", "ok+end")
            .replace("2\r\nok+", "6\r\nok+");
        assert!(got.ends_with(expected) || got.ends_with(&joined), "{got}");
        let got = through(WithModule::to(&origin), &GET.replace("/x", "/mine")).await;
        assert!(got.ends_with("\r\n\r\n8\r\nmine+end\r\n0\r\n\r\n"), "{got}");
    }
}

proxy!(Compresses {
    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        session.upstream_compression.adjust_level(1);
        Ok(())
    }
});

#[tokio::test]
async fn compressed_responses_are_framed_anew() {
    let text = "all work and no play ".repeat(500);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    let origin = Origin::always(&answer).await;
    let proxy = proxy_of(Compresses::to(&origin));
    let mut client = Client::of(&proxy);
    let asks = GET.replace("\r\n\r\n", "\r\nAccept-Encoding: gzip\r\n\r\n");
    for _ in 0..2 {
        let got = client.ask(&asks).await;
        let head = got.split_once("\r\n\r\n").unwrap().0.to_lowercase();
        assert!(
            head.contains("content-encoding: gzip") && head.contains("chunked"),
            "{head}"
        );
        assert!(
            !head.contains("content-length") && got.len() < 1000,
            "{head}"
        );
        assert!(
            client.ask(GET).await.ends_with(&text),
            "not for those who did not ask"
        );
    }
    let heads = Origin::always(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9000\r\n\r\n",
    )
    .await;
    let mut client = Client::of(&proxy_of(Compresses::to(&heads)));
    for _ in 0..2 {
        client.send(asks.replace("GET", "HEAD")).await;
        assert!(client.next(Whole::Head).await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(heads.connections(), [0, 0]);
}

proxy!(CompressesLate {
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        _: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        session.upstream_compression.adjust_level(1);
        Ok(())
    }
});

#[tokio::test]
async fn compression_may_be_decided_upon_in_the_filter_of_the_request() {
    let text = "all work and no play ".repeat(500);
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}"
    );
    let origin = Origin::always(&answer).await;
    let proxy = proxy_of(CompressesLate::to(&origin));
    let mut client = Client::of(&proxy);
    let asks = GET.replace("\r\n\r\n", "\r\nAccept-Encoding: gzip\r\n\r\n");
    let answer = client.ask(&asks).await;
    let head = answer.split_once("\r\n\r\n").unwrap().0.to_lowercase();
    assert!(head.contains("content-encoding: gzip"), "{head}");
}
