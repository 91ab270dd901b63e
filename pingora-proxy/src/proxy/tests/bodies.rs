//! What the body filters make of bodies, in both directions.

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

#[tokio::test]
async fn large_bodies_pass_unharmed_in_both_directions() {
    let body: String = (0..600_000_u32)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let origin = Origin::always(&answer).await;
    let mut client = Client::of(&proxy_of(Plain::to(&origin)));
    for framing in [
        "Content-Length: 600000\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n927c0\r\n",
    ] {
        let end = if framing.starts_with('T') {
            "\r\n0\r\n\r\n"
        } else {
            ""
        };
        let upload = format!("PUT / HTTP/1.1\r\nHost: a\r\n{framing}{body}{end}");
        let (got, _) = (client.ask(&upload).await, ());
        assert!(got.ends_with(&body), "{}", got.len());
        let request = origin.requests().pop().unwrap();
        let sent: String = request.split_once("\r\n\r\n").unwrap().1.into();
        let whole = match framing.starts_with('C') {
            true => sent == body,
            false => {
                sent.split("\r\n")
                    .filter(|line| line.len() > 6)
                    .collect::<String>()
                    == body
            }
        };
        assert!(whole, "the upload changed: {} bytes", sent.len());
    }
}
