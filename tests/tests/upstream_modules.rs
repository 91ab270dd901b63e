//! Modules towards upstreams: where they stand among the phases, what they see, change and refuse, over
//! both versions of HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::compression::{ResponseCompression, ResponseCompressionBuilder};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module};
use pingora::prelude::*;
use pingora::proxy::subrequest::Ctx;
use pingora_tests::{
    Ask, Connection, Message, Origin, TestServer, Version, VersionedUpstream, eventually,
    h2c_proxy, pattern,
};
use std::any::Any;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PAIRS: [(Version, Version); 4] = [
    (Version::H1, Version::H1),
    (Version::H1, Version::H2),
    (Version::H2, Version::H1),
    (Version::H2, Version::H2),
];

/// What was called, in its order.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Each line where it first came.
    fn order(&self) -> Vec<String> {
        let mut order: Vec<String> = Vec::new();
        for line in self.lines() {
            if !order.contains(&line) {
                order.push(line);
            }
        }
        order
    }

    fn count(&self, wanted: &str) -> usize {
        self.lines().iter().filter(|line| *line == wanted).count()
    }
}

/// Notes each call, marks what it sees, and fails where the request's `x-fail` says so.
struct Marking {
    journal: Journal,
    fails_in: Option<String>,
    /// How many heads of requests it has seen.
    tries: usize,
}

impl Marking {
    fn enter(&self, hook: &str) -> Result<()> {
        self.journal.note(format!("module {hook}"));
        match self.fails_in.as_deref() == Some(hook) {
            true => Err(Error::explain(HTTPStatus(418), "the module refuses")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl HttpModule for Marking {
    async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        self.tries += 1;
        let fails_in = req.remove_header("x-fail");
        self.fails_in = fails_in.map(|value| value.to_str().unwrap().to_string());
        self.enter("request header")?;
        req.remove_header("content-length");
        req.insert_header("x-try", self.tries.to_string())?;
        if self.tries > 1 {
            req.set_uri("/echo-trailers".parse().unwrap());
        }
        Ok(())
    }

    fn request_body_begins(&mut self) {
        self.journal.note("module request body begins");
    }

    async fn request_body_filter(&mut self, body: &mut Option<Bytes>, _end: bool) -> Result<()> {
        self.enter("request body")?;
        *body = body.take().map(|body| body.to_ascii_uppercase().into());
        Ok(())
    }

    fn response_discarded(&mut self) {
        self.journal.note("module response discarded");
    }

    async fn response_header_filter(&mut self, resp: &mut ResponseHeader, end: bool) -> Result<()> {
        self.enter("response header")?;
        let seen = format!("{} {end}", resp.status.as_u16());
        resp.insert_header("x-module", seen)?;
        if !end {
            resp.remove_header("content-length");
        }
        Ok(())
    }

    fn response_body_filter(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        self.enter("response body")?;
        if end {
            let mut whole = body.take().unwrap_or_default().to_vec();
            whole.extend_from_slice(b"+body");
            *body = Some(whole.into());
        }
        Ok(())
    }

    fn response_trailer_filter(
        &mut self,
        trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        self.enter("response trailer")?;
        let trailers = trailers.get_or_insert_default();
        trailers.insert("x-added", "module".parse().unwrap());
        Ok(Some(Bytes::from_static(b"+trailer")))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct MarkingBuilder(Journal);

impl HttpModuleBuilder for MarkingBuilder {
    fn init(&self) -> Module {
        Box::new(Marking {
            journal: self.0.clone(),
            fails_in: None,
            tries: 0,
        })
    }
}

/// A proxy whose phases note their calls as well.
struct Noting {
    upstream: VersionedUpstream,
    journal: Journal,
}

#[async_trait]
impl ProxyHttp for Noting {
    type CTX = ();
    fn new_ctx(&self) {}

    fn init_upstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(MarkingBuilder(self.journal.clone())));
    }

    fn allow_spawning_subrequest(&self, session: &Session, _: &()) -> bool {
        !session.is_subrequest()
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        assert!(session.upstream_modules_ctx.get::<Marking>().is_some());
        if session.get_header("x-spawn").is_some()
            && let Some(spawner) = session.subrequest_spawner.clone()
        {
            let ctx = Ctx::builder().build();
            let task = spawner.spawn_background_subrequest(session, ctx);
            task.await.or_err(InternalError, "a sub-request panicked")?;
        }
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.peer()))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        req: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        assert!(req.headers.get("x-try").is_none(), "each try begins anew");
        self.journal.note("upstream_request_filter");
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<()> {
        self.journal.note("request_body_filter");
        Ok(())
    }

    async fn adjust_upstream_modules(
        &self,
        session: &mut Session,
        upstream_response: &ResponseHeader,
        _end_of_stream: bool,
        _: &mut (),
    ) -> Result<()> {
        assert!(upstream_response.headers.get("x-module").is_none());
        self.journal.note("adjust_upstream_modules");
        match session.get_header("x-fail-to-adjust") {
            Some(_) => Error::e_explain(HTTPStatus(418), "not to be adjusted"),
            None => Ok(()),
        }
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        resp: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        assert!(resp.headers.get("x-module").is_some());
        self.journal.note("upstream_response_filter");
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        self.journal.note("upstream_response_body_filter");
        Ok(None)
    }

    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        _: &mut (),
    ) -> Result<()> {
        assert_eq!(trailers["x-added"], "module");
        self.journal.note("upstream_response_trailer_filter");
        Ok(())
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut e: Box<Error>,
        _: &mut (),
        _: bool,
    ) -> Box<Error> {
        e.set_retry(session.get_header("x-retry").is_some());
        e
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, _: &mut ()) {
        let modules = &session.upstream_modules_ctx;
        let tries = modules.get::<Marking>().map_or(0, |module| module.tries);
        self.journal
            .note(format!("logging {tries} {}", e.is_some()));
    }
}

struct Behind {
    origin: Origin,
    proxy: TestServer,
    journal: Journal,
}

async fn behind(version: Version) -> Behind {
    let origin = match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    };
    let journal = Journal::default();
    let proxy = h2c_proxy(Noting {
        upstream: VersionedUpstream {
            address: origin.address(),
            version,
        },
        journal: journal.clone(),
    });
    let proxy = proxy.await;
    Behind {
        origin,
        proxy,
        journal,
    }
}

impl Behind {
    /// Asks, and waits until the request was logged.
    async fn ask(&self, from: Version, ask: &Ask) -> Message {
        let answer = ask.answered_over(from, self.proxy.address()).await;
        let logged = || {
            let lines = self.journal.lines();
            lines.iter().any(|line| line.starts_with("logging"))
        };
        eventually("the request is logged", logged).await;
        answer
    }

    fn logged(&self) -> Vec<String> {
        let mut lines = self.journal.lines();
        lines.retain(|line| line.starts_with("logging"));
        lines
    }
}

#[tokio::test]
async fn they_stand_next_to_the_upstream() {
    for (from, to) in PAIRS {
        let behind = behind(to).await;
        let ask = Ask::by("POST", "/echo-trailers").pieces("one two", 0);
        let answer = behind.ask(from, &ask.trailer("x-sum", "7")).await;
        let pair = format!("{from:?} to {to:?}");
        assert_eq!(
            behind.journal.order(),
            [
                "upstream_request_filter",
                "module request header",
                "module request body begins",
                "request_body_filter",
                "module request body",
                "adjust_upstream_modules",
                "module response header",
                "upstream_response_filter",
                "module response body",
                "upstream_response_body_filter",
                "module response trailer",
                "upstream_response_trailer_filter",
                "logging 1 false",
            ],
            "{pair}"
        );
        assert_eq!(answer.header("x-module"), Some("200 false"), "{pair}");
        assert_eq!(answer.text(), "ONE TWO+trailer", "{pair}");
        for trailer in [("x-sum", "7"), ("x-added", "module")] {
            let trailer = (trailer.0.to_string(), trailer.1.to_string());
            assert!(answer.trailers.contains(&trailer), "{pair}: {answer:?}");
        }
        let request = behind.origin.last_request();
        assert_eq!(request.header("x-try"), Some("1"), "{pair}");
        assert_eq!(request.text(), "ONE TWO", "{pair}");
    }
}

#[tokio::test]
async fn the_end_of_a_body_is_told_once() {
    for (from, to) in PAIRS {
        for path in ["/length/9", "/chunked/9", "/drip/9"] {
            let answer = behind(to).await.ask(from, &Ask::get(path)).await;
            let mut expected = pattern(9);
            expected.extend_from_slice(b"+body");
            assert!(answer.body == expected, "{from:?} {to:?} {path} {answer:?}");
            assert!(answer.is_complete());
        }
    }
}

#[tokio::test]
async fn responses_without_a_body_end_with_their_head() {
    for (from, to) in PAIRS {
        for (method, path, status) in [
            ("HEAD", "/length/5", 200),
            ("GET", "/status/204", 204),
            ("GET", "/status/304", 304),
        ] {
            let behind = behind(to).await;
            let answer = behind.ask(from, &Ask::by(method, path)).await;
            let case = format!("{from:?} {to:?} {method} {path}: {answer:?}");
            assert_eq!((answer.status(), answer.text()), (status, ""), "{case}");
            let seen = format!("{status} true");
            assert_eq!(answer.header("x-module"), Some(seen.as_str()), "{case}");
            assert_eq!(behind.journal.count("module response body"), 0, "{case}");
            assert_eq!(behind.journal.count("adjust_upstream_modules"), 1, "{case}");
        }
    }
}

#[tokio::test]
async fn informational_and_early_responses_pass_them() {
    for (from, to) in PAIRS {
        let behind = behind(to).await;
        let hinted = Ask::get("/hints").over(from, behind.proxy.address()).await;
        let seen: Vec<_> = hinted.iter().map(|m| m.header("x-module")).collect();
        assert_eq!(seen, [Some("103 false"), Some("200 false")], "{from:?}");
        assert_eq!(behind.journal.count("module response header"), 2);
    }
    for (from, to) in PAIRS {
        let behind = behind(to).await;
        let early = Ask::by("POST", "/early").body(pattern(100_000));
        let answer = behind.ask(from, &early).await;
        let pair = format!("{from:?} to {to:?}");
        assert_eq!(answer.status(), 413, "{pair}");
        assert_eq!(answer.header("x-module"), Some("413 false"), "{pair}");
        assert_eq!(answer.text(), "early+body", "{pair}");
    }
}

#[tokio::test]
async fn each_try_passes_the_same_modules() {
    for (from, to) in PAIRS {
        let behind = behind(to).await;
        // The module sends the second try elsewhere.
        let ask = Ask::by("POST", "/reset-head").with("x-retry", "1");
        let answer = behind.ask(from, &ask.body("body")).await;
        let pair = format!("{from:?} to {to:?}");
        assert_eq!(
            (answer.status(), answer.text()),
            (200, "BODY+body"),
            "{pair}"
        );
        let count = |line: &str| behind.journal.count(line);
        assert_eq!(count("module request header"), 2, "{pair}");
        assert_eq!(count("module request body begins"), 2, "{pair}");
        assert_eq!(count("module response discarded"), 1, "{pair}");
        assert_eq!(count("module response header"), 1, "{pair}");
        assert_eq!(behind.logged(), ["logging 2 false"], "{pair}");
        let request = behind.origin.last_request();
        assert_eq!(request.header("x-try"), Some("2"), "{pair}");
        assert_eq!(request.text(), "BODY", "{pair}");
    }
}

#[tokio::test]
async fn an_error_of_theirs_ends_the_request() {
    for (from, to) in PAIRS {
        for hook in [
            "request header",
            "request body",
            "response header",
            "response body",
            "response trailer",
        ] {
            let behind = behind(to).await;
            let ask = Ask::by("POST", "/echo-trailers").with("x-fail", hook);
            let ask = ask.pieces("body", 0).trailer("x-sum", "7");
            let answer = behind.ask(from, &ask).await;
            let case = format!("{from:?} {to:?} {hook}: {answer:?}");
            // A head leaves when its body is not there yet; then the failure is a cut, which over HTTP/2 may
            // overtake the head.
            let may_have_begun = hook == "response body" || hook == "response trailer";
            let refused = answer.status() == 418 && answer.is_complete();
            let cut = may_have_begun && matches!(answer.status(), 0 | 200) && !answer.is_complete();
            assert!(refused || cut, "{case}");
            assert_eq!(behind.logged(), ["logging 1 true"], "{case}");
            let lines = behind.journal.lines();
            assert_eq!(
                behind.journal.count("module response discarded"),
                usize::from(refused),
                "{case}"
            );
            let at = lines
                .iter()
                .position(|line| *line == format!("module {hook}"));
            let later = lines.get(at.unwrap() + 1..).unwrap();
            assert!(
                later
                    .iter()
                    .all(|line| !line.starts_with("upstream_response")),
                "{case}: {lines:?}"
            );
            // The connection that was given up is not used again; the next request is as good as any.
            let next = Ask::get("/length/2");
            let next = next.answered_over(from, behind.proxy.address()).await;
            let mut expected = pattern(2);
            expected.extend_from_slice(b"+body");
            assert!(next.body == expected, "{case}, then {next:?}");
        }
        let behind = behind(to).await;
        let ask = Ask::get("/x").with("x-fail-to-adjust", "1");
        assert_eq!(behind.ask(from, &ask).await.status(), 418);
        assert_eq!(behind.journal.count("module response header"), 0);
    }
}

#[tokio::test]
async fn sub_requests_have_their_own() {
    let behind = behind(Version::H1).await;
    let ask = Ask::get("/x").with("x-spawn", "1");
    let answer = ask.answered_over(Version::H1, behind.proxy.address()).await;
    assert_eq!(answer.text(), "/x+body");
    eventually("both are logged", || behind.logged().len() == 2).await;
    assert_eq!(behind.logged(), ["logging 1 false"; 2]);
    assert_eq!(behind.journal.count("module request header"), 2);
    let requests = behind.origin.requests();
    assert!(requests.iter().all(|r| r.header("x-try") == Some("1")));
}

#[tokio::test]
async fn a_tunnel_passes_by_them() {
    let behind = behind(Version::H1).await;
    let mut client = Connection::to(behind.proxy.address()).await;
    let request = "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let answer = client.ask(request).await;
    assert_eq!(answer.status(), 101);
    assert!(
        answer
            .header("x-module")
            .is_some_and(|seen| seen.starts_with("101"))
    );
    client.send(b"\x00raw").await;
    assert_eq!(client.bytes(4).await, b"\x00raw");
    assert_eq!(behind.journal.count("module response body"), 0);
    let before = behind.journal.count("module request body");
    client.send(b"more").await;
    assert_eq!(client.bytes(4).await, b"more");
    assert_eq!(behind.journal.count("module request body"), before);
}

/// Compresses what the upstream says is worth it, ahead of all filters.
struct Compressing(VersionedUpstream);

#[async_trait]
impl ProxyHttp for Compressing {
    type CTX = usize;
    fn new_ctx(&self) -> usize {
        0
    }

    fn init_upstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(ResponseCompressionBuilder::enable(0));
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut usize) -> Result<Box<HttpPeer>> {
        assert!(session.upstream_modules_ctx.is_empty(), "it is not made");
        Ok(Box::new(self.0.peer()))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        req: &mut RequestHeader,
        _: &mut usize,
    ) -> Result<()> {
        req.remove_header("accept-encoding");
        Ok(())
    }

    async fn adjust_upstream_modules(
        &self,
        session: &mut Session,
        upstream_response: &ResponseHeader,
        end_of_stream: bool,
        _: &mut usize,
    ) -> Result<()> {
        if !end_of_stream && upstream_response.headers.get("content-length").is_some() {
            let modules = &mut session.upstream_modules_ctx;
            let compression = modules.get_mut::<ResponseCompression>().unwrap();
            compression.adjust_level(6);
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        resp: &mut ResponseHeader,
        _: &mut usize,
    ) -> Result<()> {
        resp.insert_header("content-type", "text/plain")
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        seen: &mut usize,
    ) -> Result<Option<Duration>> {
        *seen += body.as_ref().map_or(0, Bytes::len);
        Ok(None)
    }

    async fn logging(&self, _: &mut Session, e: Option<&Error>, seen: &mut usize) {
        assert!(e.is_none() && *seen < 1000, "the filter saw {seen} bytes");
    }
}

#[tokio::test]
async fn compression_is_turned_on_by_a_response() {
    let body = "a".repeat(5000);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\n{body}"
    );
    let origin = Origin::answering(answer).await;
    let proxy = h2c_proxy(Compressing(VersionedUpstream {
        address: origin.address(),
        version: Version::H1,
    }));
    let proxy = proxy.await;
    for version in [Version::H1, Version::H2] {
        let ask = Ask::get("/x").with("accept-encoding", "gzip");
        let answer = ask.answered_over(version, proxy.address()).await;
        assert_eq!(
            answer.header("content-encoding"),
            Some("gzip"),
            "{answer:?}"
        );
        assert!(answer.body.starts_with(&[0x1f, 0x8b]) && answer.body.len() < 1000);
        assert_eq!(origin.last_request().header("accept-encoding"), None);
    }
}
