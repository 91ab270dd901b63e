//! A response's head waits for the first piece of its body: until that has passed the filters, an error
//! page may take its place.

use super::*;
use pingora_core::modules::http::HttpModules;
use pingora_core::modules::http::compression::ResponseCompressionBuilder;

proxy!(RefusesPieces {
    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        self.log.note(format!(
            "{} of the upstream's bytes, head written: {}",
            session.upstream_body_bytes_received(),
            session.response_written().is_some()
        ));
        if session.req_header().uri.path() == "/collected" && !end {
            *body = None;
            return Ok(None);
        }
        let bad = body.as_ref().is_some_and(|body| body.starts_with(b"bad"));
        if bad || session.req_header().uri.path() == "/collected" {
            return Error::e_explain(ErrorType::HTTPStatus(502), "the body is not fit to be sent");
        }
        Ok(None)
    }
});

#[tokio::test]
async fn a_filter_that_refuses_the_first_piece_gets_an_error_page() {
    let rows = [
        (
            "a length",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
            "/x",
        ),
        (
            "chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n",
            "/x",
        ),
        (
            "a piece that is refused at the end",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfit\r\n1\r\n!\r\n0\r\n\r\n",
            "/collected",
        ),
    ];
    for (name, script, path) in rows {
        let origin = Origin::always(script).await;
        let inner = RefusesPieces::to(&origin);
        let log = inner.log.clone();
        let mut client = Client::of(&proxy_of(inner));
        let answer = client.ask(GET.replace("/x", path)).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{name}: {answer}");
        log.has("logging 502").await;
        let first = log.take().remove(0);
        assert_eq!(
            first, "3 of the upstream's bytes, head written: false",
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_filter_that_refuses_a_later_piece_cuts_the_response_short() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = listener.local_addr().unwrap();
    let proxy = proxy_of(RefusesPieces {
        origin,
        log: Log::default(),
    });
    let mut client = Client::of(&proxy);
    client.send(GET).await;
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(head.as_bytes()).await.unwrap();
    // A head whose body keeps it waiting leaves alone.
    let seen = client.next(Whole::Head).await;
    assert!(seen.starts_with("HTTP/1.1 200 "), "{seen}");
    server.write_all(b"bad").await.unwrap();
    assert_eq!(client.end().await, "", "cut short");
}

proxy!(CompressesAndRefuses {
    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(ResponseCompressionBuilder::enable(1));
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        response.insert_header("Content-Type", "text/plain")
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        Error::e_explain(ErrorType::HTTPStatus(502), "no")
    }

    async fn fail_to_proxy(&self, session: &mut Session, _: &Error, _: &mut ()) -> FailToProxy {
        let mut page = ResponseHeader::build(502, None).unwrap();
        page.insert_header("Content-Type", "text/html").unwrap();
        let page = Box::new(page);
        session.write_response(page, "plain text".repeat(40).into()).await.unwrap();
        FailToProxy { error_code: 502, can_reuse_downstream: false }
    }
});

#[tokio::test]
async fn an_error_page_in_the_place_of_a_response_meets_modules_as_new() {
    let origin = Origin::always("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello, world").await;
    let mut proxy = proxy_of(CompressesAndRefuses::to(&origin));
    Arc::get_mut(&mut proxy).unwrap().handle_init_modules();
    let mut client = Client::of(&proxy);
    let answer = client.ask(GET).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("plain textplain text"), "{answer}");
    let mut client = Client::of(&proxy);
    let asks = GET.replace("Host: a", "Host: a\r\nAccept-Encoding: gzip");
    let answer = client.ask(asks).await;
    assert!(
        answer.to_lowercase().contains("content-encoding: gzip\r\n"),
        "{answer}"
    );
    assert!(!answer.contains("plain text"), "{answer}");
}
