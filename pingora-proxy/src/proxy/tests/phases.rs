//! Each phase in its place, once.

use super::recorder::{Ctx, Recorder};
use super::*;

const BEFORE: [&str; 6] = [
    "early_request_filter",
    "request_filter",
    "proxy_upstream_filter",
    "upstream_peer",
    "connected_to_upstream",
    "upstream_request_filter",
];

#[tokio::test]
async fn the_phases_of_a_request_run_in_order_once() {
    let origin = Origin::always(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n\
         2\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
    )
    .await;
    let recorder = Recorder {
        module: true,
        ..Recorder::to(&origin)
    };
    let log = recorder.log.clone();
    let proxy = proxy_of(recorder);
    let mut client = Client::of(&proxy);
    let answer = client
        .ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    assert!(
        answer.ends_with("2\r\nok\r\n0\r\nx-t: 1\r\n\r\n"),
        "{answer}"
    );
    log.has("persist").await;
    let mut expected = BEFORE.to_vec();
    expected.insert(1, "module request header");
    expected.extend([
        "request_body_filter end",
        "upstream_response_filter",
        "response_filter",
        "upstream_response_body_filter",
        "response_body_filter",
        "upstream_response_body_filter",
        "response_body_filter",
        "upstream_response_trailer_filter",
        "response_trailer_filter",
        "logging 200 -",
        "persist_connection_context",
    ]);
    assert_eq!(log.take(), expected);

    client.ask(GET).await;
    log.has("persist").await;
    let again = log.take();
    assert_eq!(again[..2], ["on_connection_reuse", "early_request_filter"]);
    assert!(
        again.contains(&"connected_to_upstream again".to_string()),
        "{again:?}"
    );
}

#[tokio::test]
async fn responses_without_a_body_pass_no_body_filter() {
    let rows = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    for (method, answer) in rows {
        let origin = Origin::always(answer).await;
        let recorder = Recorder::to(&origin);
        let log = recorder.log.clone();
        let mut client = Client::of(&proxy_of(recorder));
        client
            .send(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        client.next(Whole::Head).await;
        log.has("logging").await;
        let seen = log.take();
        let filters: Vec<_> = seen
            .iter()
            .filter(|line| line.contains("body_filter"))
            .collect();
        assert_eq!(filters, ["request_body_filter end"], "{method} {answer}");
        assert!(seen.contains(&"response_filter".to_string()), "{seen:?}");
    }
}

#[tokio::test]
async fn nothing_is_left_with_a_connection_that_closes() {
    let origin = Origin::always(OK).await;
    let recorder = Recorder::to(&origin);
    let log = recorder.log.clone();
    let mut client = Client::of(&proxy_of(recorder));
    let answer = client
        .ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
    client.end().await;
    assert!(
        !log.take()
            .contains(&"persist_connection_context".to_string())
    );
}

#[tokio::test]
async fn an_error_of_the_upstream_passes_its_phases() {
    let origin = Origin::start(vec![vec![reply("nonsense\r\n\r\n", Then::Close)]]).await;
    let recorder = Recorder::to(&origin);
    let log = recorder.log.clone();
    let answer = through(recorder, GET).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    log.has("logging").await;
    let lines = log.take();
    let at = lines.iter().position(|l| l == "error_while_proxy").unwrap();
    let expected = [
        "error_while_proxy",
        "fail_to_proxy",
        "suppress_error_log",
        "request_summary",
        "logging 502 Upstream/InvalidHTTPHeader",
    ];
    assert_eq!(lines[at..at + 5], expected, "{lines:?}");
}

#[tokio::test]
async fn a_refused_request_is_seen_by_the_error_hook_and_the_log_alone() {
    let origin = Origin::always(OK).await;
    let recorder = Recorder::to(&origin);
    let log = recorder.log.clone();
    let mut client = Client::of(&proxy_of(recorder));
    let answer = client.ask("GET / HTTP/1.1\r\nNo Host: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(client.end().await, "", "one answer");
    let lines = log.take();
    assert_eq!(
        lines,
        [
            "fail_to_proxy",
            "suppress_error_log",
            "request_summary",
            "logging 400 Downstream/InvalidHTTPHeader"
        ]
    );
}

proxy!(Answers {
    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        let header = ResponseHeader::build(403, None)?;
        session.write_response(Box::new(header), Bytes::from_static(b"no")).await?;
        Ok(true)
    }
});

#[tokio::test]
async fn a_request_filter_may_answer_by_itself() {
    let origin = Origin::always(OK).await;
    let inner = Answers::to(&origin);
    let log = inner.log.clone();
    let mut client = Client::of(&proxy_of(inner));
    for _ in 0..2 {
        let answer = client.ask(GET).await;
        assert!(
            answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("\r\n\r\nno"),
            "{answer}"
        );
    }
    let upload = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
    let answers = [client.ask(upload).await, client.ask(GET).await];
    assert!(
        answers.iter().all(|a| a.starts_with("HTTP/1.1 403 ")),
        "{answers:?}"
    );
    assert!(origin.requests().is_empty());
    log.has("logging").await;
    assert!(log.take().iter().all(|line| line == "logging 403 -"));
}

proxy!(AnswersNothing {
    async fn request_filter(&self, _: &mut Session, _: &mut ()) -> Result<bool> {
        Ok(true)
    }
});

#[tokio::test]
async fn a_filter_that_promises_an_answer_and_gives_none_closes_the_connection() {
    let origin = Origin::always(OK).await;
    assert_eq!(through(AnswersNothing::to(&origin), GET).await, "");
}

proxy!(NoUpstream {
    async fn proxy_upstream_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        if session.req_header().uri.path() == "/mine" {
            session.respond_error(429).await?;
        }
        Ok(false)
    }
});

#[tokio::test]
async fn a_request_may_be_kept_from_every_upstream() {
    let origin = Origin::always(OK).await;
    let mut client = Client::of(&proxy_of(NoUpstream::to(&origin)));
    assert!(client.ask(GET).await.starts_with("HTTP/1.1 502 "));
    assert!(
        client
            .ask(GET.replace("/x", "/mine"))
            .await
            .starts_with("HTTP/1.1 429 ")
    );
    assert!(origin.requests().is_empty());
}

proxy!(NoPeer {
    async fn early_request_filter(&self, _: &mut Session, _: &mut ()) -> Result<()> {
        Err(Error::new(ErrorType::HTTPStatus(418)))
    }
});

#[tokio::test]
async fn a_phase_chooses_the_status_of_its_error() {
    let origin = Origin::always(OK).await;
    let inner = NoPeer::to(&origin);
    let log = inner.log.clone();
    assert!(through(inner, GET).await.starts_with("HTTP/1.1 418 "));
    log.has("logging 418").await;
}

#[tokio::test]
async fn a_panic_costs_one_request_and_logging_still_runs() {
    let script =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n";
    let before_response = [
        "early_request_filter",
        "request_filter",
        "proxy_upstream_filter",
        "upstream_peer",
        "connected_to_upstream",
        "upstream_request_filter",
        "request_body_filter end",
        "upstream_response_filter",
        "response_filter",
        // The head waits for the first piece of its body.
        "upstream_response_body_filter",
        "response_body_filter",
    ];
    let later = [
        "upstream_response_trailer_filter",
        "response_trailer_filter",
        "logging",
        "persist_connection_context",
    ];
    for phase in before_response.iter().chain(&later) {
        let origin = Origin::always(script).await;
        let recorder = Recorder {
            panics_in: Some(phase),
            ..Recorder::to(&origin)
        };
        let log = recorder.log.clone();
        let proxy = proxy_of(recorder);
        let mut client = Client::of(&proxy);
        let answer = client.ask(GET).await;
        log.has("logging").await;
        let lines = log.take();
        let logged: Vec<_> = lines.iter().filter(|l| l.starts_with("logging")).collect();
        assert_eq!(logged.len(), 1, "{phase}: {lines:?}");
        if before_response.contains(phase) {
            assert!(answer.starts_with("HTTP/1.1 500 "), "{phase}: {answer}");
            assert_eq!(logged[0], "logging 500 Internal/InternalError", "{phase}");
        } else {
            assert!(answer.starts_with("HTTP/1.1 200 "), "{phase}: {answer}");
            let whole = answer.ends_with("0\r\nx-t: 1\r\n\r\n");
            let after = matches!(*phase, "logging" | "persist_connection_context");
            assert_eq!(whole, after, "{phase}: {answer}");
            assert!(
                !answer.ends_with("0\r\n\r\n"),
                "{phase}: cut short is no end: {answer}"
            );
        }
        // The worker and the proxy are unaffected.
        let mut client = Client::of(&proxy);
        assert!(client.ask(GET).await.starts_with("HTTP/1.1 "), "{phase}");
    }
}

#[tokio::test]
async fn a_panic_in_the_error_hooks_is_no_different() {
    for phase in [
        "fail_to_proxy",
        "suppress_error_log",
        "request_summary",
        "error_while_proxy",
    ] {
        let origin = Origin::start(vec![vec![reply("nonsense\r\n\r\n", Then::Close)]]).await;
        let recorder = Recorder {
            panics_in: Some(phase),
            ..Recorder::to(&origin)
        };
        let log = recorder.log.clone();
        let answer = through(recorder, GET).await;
        assert!(answer.starts_with("HTTP/1.1 50"), "{phase}: {answer}");
        log.has("logging 50").await;
    }
}

#[tokio::test]
async fn a_panic_on_reuse_is_no_different() {
    let origin = Origin::always(OK).await;
    let recorder = Recorder {
        panics_in: Some("on_connection_reuse"),
        ..Recorder::to(&origin)
    };
    let log = recorder.log.clone();
    let mut client = Client::of(&proxy_of(recorder));
    assert!(client.ask(GET).await.starts_with("HTTP/1.1 200 "));
    assert!(client.ask(GET).await.starts_with("HTTP/1.1 500 "));
    log.has("logging 500").await;
}

#[tokio::test]
async fn phases_that_are_not_implemented_have_no_size() {
    let (client, server) = duplex(1024);
    let mut session = Session::new_h1(Box::new(server));
    let origin = Origin::always(OK).await;
    let proxy = Plain::to(&origin);
    let s = &mut session;
    assert_eq!(size_of_val(&*proxy.request_filter(s, &mut ())), 0);
    assert_eq!(size_of_val(&*proxy.early_request_filter(s, &mut ())), 0);
    assert_eq!(size_of_val(&*proxy.proxy_upstream_filter(s, &mut ())), 0);
    assert_eq!(
        size_of_val(&*proxy.request_body_filter(s, &mut None, true, &mut ())),
        0
    );
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    assert_eq!(
        size_of_val(&*proxy.upstream_request_filter(s, &mut request, &mut ())),
        0
    );
    let mut response = ResponseHeader::build(200, None).unwrap();
    assert_eq!(
        size_of_val(&*proxy.upstream_response_filter(s, &mut response, &mut ())),
        0
    );
    assert_eq!(
        size_of_val(&*proxy.response_filter(s, &mut response, &mut ())),
        0
    );
    let mut trailers = HeaderMap::new();
    assert_eq!(
        size_of_val(&*proxy.response_trailer_filter(s, &mut trailers, &mut ())),
        0
    );
    let at = peer(origin.address).unwrap();
    assert_eq!(
        size_of_val(&*proxy.connected_to_upstream(s, false, &at, 0, None, &mut ())),
        0
    );
    assert_eq!(size_of_val(&*shapes::Least.logging(s, None, &mut ())), 0);
    assert!(
        proxy
            .response_body_filter(s, &mut None, true, &mut ())
            .unwrap()
            .is_none()
    );
    assert!(proxy.body_filters(s, &()).is_none());
    let ctx = Ctx::default();
    assert_eq!(ctx.calls, 0);
    drop(client);
}

proxy!(Piecewise {
    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        let header = Box::new(ResponseHeader::build(200, None)?);
        session.write_response_header(header, false).await?;
        session.write_response_body(Some(Bytes::from_static(b"one")), false).await?;
        session.write_response_body(None, false).await?;
        self.log.has("go on").await;
        session.write_response_body(Some(Bytes::from_static(b"two")), true).await?;
        Ok(true)
    }
});

#[tokio::test]
async fn what_a_phase_writes_leaves_at_once() {
    let origin = Origin::always(OK).await;
    let inner = Piecewise::to(&origin);
    let log = inner.log.clone();
    let mut client = Client::of(&proxy_of(inner));
    client.send(GET).await;
    assert!(client.next(Whole::Head).await.starts_with("HTTP/1.1 200 "));
    let mut piece = vec![0; 8];
    let have = client.ahead.len();
    piece[..have].copy_from_slice(&client.ahead);
    timeout(PATIENCE, client.io.read_exact(&mut piece[have..]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(piece, b"3\r\none\r\n");
    log.note("go on");
    client.ahead.clear();
    let mut end = [0; 13];
    timeout(PATIENCE, client.io.read_exact(&mut end))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&end, b"3\r\ntwo\r\n0\r\n\r\n");
}

proxy!(TooLong {
    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        let mut header = Box::new(ResponseHeader::build(200, None)?);
        header.set_content_length(2)?;
        session.write_response_header(header, false).await?;
        let written = session.write_response_body(Some(Bytes::from_static(b"long")), true).await;
        self.log.note(format!("written {}", written.is_ok()));
        written.map(|()| true)
    }
});

#[tokio::test]
async fn a_phase_hears_of_a_body_that_cannot_be_sent() {
    let origin = Origin::always(OK).await;
    let inner = TooLong::to(&origin);
    let log = inner.log.clone();
    let mut client = Client::of(&proxy_of(inner));
    client.send(GET).await;
    assert!(!client.end().await.contains("long"));
    log.has("written false").await;
    log.has("logging 200 Internal/InternalError").await;
}
