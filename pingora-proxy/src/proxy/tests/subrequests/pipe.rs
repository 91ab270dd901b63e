//! A sub-request's response as its parent's.

use super::*;
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module};
use std::any::Any;

const POST: &str = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &str = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\
                       \r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n";
const CHUNKED_OK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-R\r\n\r\n\
                          2\r\nok\r\n0\r\nX-R: 1\r\n\r\n";

fn all(task: HttpTask) -> Result<Option<HttpTask>> {
    Ok(Some(task))
}

fn as_it_comes() -> InputBodyType {
    InputBodyType::SaveBody(0)
}

fn up_to_five() -> InputBodyType {
    InputBodyType::SaveBody(5)
}

fn up_to_four() -> InputBodyType {
    InputBodyType::SaveBody(4)
}

fn preset() -> InputBodyType {
    let pieces = ["pre", "", "set!"].map(|p| Bytes::from_static(p.as_bytes()));
    InputBodyType::Preset(InputBody::Bytes(pieces.into()))
}

fn none() -> InputBodyType {
    InputBodyType::Preset(InputBody::NoBody)
}

const WITH_BODY: BodyMode = BodyMode::ExpectBody;

/// The client's answer, the origin's request, and the notes of the phases.
async fn piped(plan: Plan, request: &str, answer: impl AsRef<[u8]>) -> (String, String, String) {
    let origin = Origin::start(vec![vec![reply(answer, Then::Close)]]).await;
    let parent = Parent::to(&origin, plan);
    let log = parent.log.clone();
    let answer = through(parent, request).await;
    log.has("parent").await;
    let told = log.take();
    let arrived = origin.requests().pop().unwrap_or_default();
    let told: Vec<_> = told.into_iter().filter(|l| !l.starts_with("sub")).collect();
    (answer, arrived, told[0].clone())
}

fn payload(message: &str) -> &str {
    message.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test]
async fn every_body_shape_goes_up() {
    type Row = (
        fn() -> InputBodyType,
        BodyMode,
        &'static str,
        &'static str,
        &'static str,
    );
    let rows: Vec<Row> = vec![
        (as_it_comes, WITH_BODY, POST, "hello", "piped head"),
        (
            up_to_five,
            WITH_BODY,
            POST,
            "hello",
            "piped head saved hello",
        ),
        (up_to_four, WITH_BODY, POST, "hello", "piped head cut "),
        (
            up_to_five,
            WITH_BODY,
            CHUNKED,
            "5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
            "piped head saved hello",
        ),
        (as_it_comes, BodyMode::NoBody, POST, "", "piped head"),
        (as_it_comes, BodyMode::NoBody, GET, "", "piped head"),
        (as_it_comes, WITH_BODY, GET, "0\r\n\r\n", "piped head"),
        (preset, WITH_BODY, GET, "preset!", "piped head"),
        (preset, WITH_BODY, CHUNKED, "preset!", "piped head"),
        (preset, BodyMode::NoBody, POST, "", "piped head"),
        (none, WITH_BODY, POST, "", "piped head"),
    ];
    for (number, (input, mode, request, body, told)) in rows.into_iter().enumerate() {
        let plan = Plan::Pipe(input, all, mode);
        let (answer, arrived, said) = piped(plan, request, OK).await;
        assert!(answer.ends_with("\r\n\r\nok"), "row {number}: {answer}");
        let got = payload(&arrived).replace("2\r\nhe\r\n3\r\nllo\r\n", "5\r\nhello\r\n");
        assert_eq!(got, body, "row {number}: {arrived}");
        assert!(arrived.contains(" /piped HTTP/1.1\r\n"), "{arrived}");
        assert_eq!(said.trim_end(), told.trim_end(), "row {number}");
        let length = arrived.to_lowercase().contains("content-length: 7");
        assert_eq!(length, body == "preset!", "row {number}: {arrived}");
    }
}

#[tokio::test]
async fn every_response_shape_comes_down() {
    let rows = [
        (GET, OK, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (GET, CHUNKED_OK, "2\r\nok\r\n0\r\nx-r: 1\r\n\r\n"),
        (
            GET,
            "HTTP/1.1 200 OK\r\n\r\nuntil the close",
            "\r\n\r\nf\r\nuntil the close\r\n0\r\n\r\n",
        ),
        (
            GET,
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
        ),
        (
            GET,
            "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
            "\r\nETag: \"a\"\r\n\r\n",
        ),
    ];
    for (request, answered, expected) in rows {
        let plan = Plan::Pipe(as_it_comes, all, BodyMode::NoBody);
        let (answer, ..) = piped(plan, request, answered).await;
        assert!(answer.ends_with(expected), "{answered}: {answer}");
    }
}

#[tokio::test]
async fn informational_responses_come_ahead() {
    let early = format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}");
    let origin = Origin::always(early).await;
    let parent = Parent::to(&origin, Plan::Pipe(as_it_comes, all, BodyMode::NoBody));
    let mut client = Client::of(&proxy_of(parent));
    let hints = client.ask(GET).await;
    assert!(hints.starts_with("HTTP/1.1 103 "), "{hints}");
    let answer = client.response().await;
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn a_filter_sees_and_changes_each_piece() {
    let filter: Filter = |task| {
        Ok(match task {
            HttpTask::Header(mut header, end) => {
                header.remove_header("Content-Length");
                header.insert_header("X-Filtered", "yes")?;
                Some(HttpTask::Header(header, end))
            }
            HttpTask::Body(Some(data), end) => {
                let loud = data.to_ascii_uppercase();
                Some(HttpTask::Body(Some([&loud[..], b"!"].concat().into()), end))
            }
            HttpTask::Trailer(_) => Some(HttpTask::Done),
            other => Some(other),
        })
    };
    let plan = Plan::Pipe(as_it_comes, filter, BodyMode::NoBody);
    for answered in [OK, CHUNKED_OK] {
        let (answer, ..) = piped(plan, GET, answered).await;
        assert!(answer.contains("X-Filtered: yes\r\n"), "{answer}");
        assert!(
            answer.ends_with("\r\n\r\n3\r\nOK!\r\n0\r\n\r\n"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn an_error_of_the_filter_is_the_parents() {
    let filter: Filter = |task| match task {
        HttpTask::Header(header, _) if header.status == 200 => {
            Error::e_explain(ErrorType::HTTPStatus(418), "not this one")
        }
        other => Ok(Some(other)),
    };
    let plan = Plan::Pipe(as_it_comes, filter, BodyMode::NoBody);
    let (answer, _, said) = piped(plan, GET, OK).await;
    assert!(answer.starts_with("HTTP/1.1 418 "), "{answer}");
    assert!(said.starts_with("ours HTTPStatus head rest"), "{said}");
}

#[tokio::test]
async fn several_may_follow_each_other_in_one_response() {
    struct Joined(SocketAddr);

    #[async_trait]
    impl ProxyHttp for Joined {
        type CTX = ();
        fn new_ctx(&self) {}
        fn allow_spawning_subrequest(&self, _: &Session, _: &()) -> bool {
            true
        }
        async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
            peer(self.0)
        }
        async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
            if session.is_subrequest() {
                return Ok(false);
            }
            for (number, path) in ["/1", "/2", "/3"].into_iter().enumerate() {
                let (sub, handle) = Parent::create(session, path, BodyMode::NoBody);
                let filter = move |task| {
                    Ok(match task {
                        HttpTask::Header(mut header, _) if number == 0 => {
                            header.remove_header("Content-Length");
                            Some(HttpTask::Header(header, false))
                        }
                        HttpTask::Body(data, _) => Some(HttpTask::Body(data, false)),
                        _ => None,
                    })
                };
                pipe_subrequest(session, sub, handle, filter, as_it_comes()).await?;
            }
            session.write_response_body(None, true).await?;
            Ok(true)
        }
    }
    let origin = Origin::always(OK).await;
    let mut client = Client::of(&proxy_of(Joined(origin.address)));
    for _ in 0..2 {
        let answer = client.ask(GET).await;
        let body = payload(&answer).replace("\r\n", "").replace('2', "");
        assert_eq!(body, "okokok0", "{answer}");
    }
    assert_eq!(origin.requests().len(), 6);
}

#[tokio::test]
async fn an_early_answer_leaves_the_body_alone() {
    let refused = "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::start(vec![vec![early(refused, Then::Close)]]).await;
    let parent = Parent::to(&origin, Plan::Pipe(as_it_comes, all, WITH_BODY));
    let mut client = Client::of(&proxy_of(parent));
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nthe beginning";
    let answer = client.ask(head).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_sub_request_that_fails_before_it_answers_sends_its_error_page() {
    let plan = Plan::Pipe(up_to_five, all, WITH_BODY);
    let (answer, _, said) = piped(plan, POST, "nonsense\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(said, "piped head saved hello");

    let origin = Origin::always(OK).await;
    let mut parent = Parent::to(&origin, plan);
    parent.origin = retries::closed_port().await;
    let log = parent.log.clone();
    let answer = through(parent, POST).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    log.has("piped head cut").await;
}

#[tokio::test]
async fn a_response_that_is_cut_short_arrives_cut_short() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let origin = Origin::start(vec![vec![reply(cut, Then::Close)]]).await;
        let parent = Parent::to(&origin, Plan::Pipe(as_it_comes, all, BodyMode::NoBody));
        let log = parent.log.clone();
        let mut client = Client::of(&proxy_of(parent));
        client.send(GET).await;
        let got = client.end().await;
        assert!(
            got.starts_with("HTTP/1.1 200 ") && got.contains("half"),
            "{got}"
        );
        assert!(!got.contains("0\r\n\r\n"), "no clean end: {got}");
        log.has("parent 200 ConnectionClosed").await;
        let told = log.take();
        let its = told.iter().any(|line| line == "its ConnectionClosed head");
        assert!(its, "{told:?}");
    }
}

/// A client that leaves, at each point of an exchange.
#[tokio::test]
async fn a_client_that_leaves_ends_both() {
    let half_body = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf";
    let half_answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    // The client's request, whether the origin answers before the client has sent all of it, and the answer.
    let rows = [
        (half_body, true, ""),
        (GET, false, ""),
        (GET, false, half_answer),
        (half_body, true, half_answer),
    ];
    for (number, (request, at_once, answered)) in rows.into_iter().enumerate() {
        let scripted = if at_once {
            early(answered, Then::Watch)
        } else {
            reply(answered, Then::Watch)
        };
        let origin = Origin::start(vec![vec![scripted]]).await;
        let mode = if at_once { WITH_BODY } else { BodyMode::NoBody };
        let parent = Parent::to(&origin, Plan::Pipe(as_it_comes, all, mode));
        let log = parent.log.clone();
        let mut client = Client::of(&proxy_of(parent));
        client.send(request).await;
        if !answered.is_empty() {
            let head = client.next(Whole::Head).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        } else {
            let arrived = async {
                while origin.requests().is_empty() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(PATIENCE, arrived).await.unwrap();
        }
        drop(client.io);
        // The parent of the test reads the rest by hand, which only an upload ends: its body is cut.
        if at_once {
            origin.closed().await;
            log.has("ours").await;
        } else {
            client.serving.abort();
            origin.closed().await;
            let told = log.take();
            assert!(
                told.iter().all(|l| !l.contains("piped")),
                "row {number}: {told:?}"
            );
        }
    }
}

#[tokio::test]
async fn dropping_the_pipe_gives_the_sub_request_up() {
    let endless = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    let origin = Origin::start(vec![vec![reply(endless, Then::Watch)]]).await;
    let parent = Parent::to(&origin, Plan::Pipe(as_it_comes, all, BodyMode::NoBody));
    let log = parent.log.clone();
    let mut client = Client::of(&proxy_of(parent));
    client.send(GET).await;
    client.next(Whole::Head).await;
    client.serving.abort();
    origin.closed().await;
    log.has("sub 200 ConnectionClosed").await;
}

#[tokio::test]
async fn a_slow_reader_slows_the_upstream() {
    const BODY: usize = 32 << 20;
    let long = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n{}",
        "x".repeat(BODY)
    );
    let origin = Origin::start(vec![vec![reply(long, Then::Close)]]).await;
    let proxy = proxy_of(Parent::to(
        &origin,
        Plan::Pipe(as_it_comes, all, BodyMode::NoBody),
    ));
    let mut client = Client::with_window(&proxy, 1024);
    client.send(GET).await;
    let head = client.next(Whole::Head).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let passed = || proxy.inner.passed.load(Ordering::SeqCst);
    let mut settled = (0, 0);
    while settled.1 < 500 {
        tokio::task::yield_now().await;
        settled = if settled.0 == passed() {
            (settled.0, settled.1 + 1)
        } else {
            (passed(), 0)
        };
    }
    assert!(
        passed() < 2 << 20,
        "{} bytes went ahead of the reader",
        passed()
    );
    let mut left = BODY - client.ahead.len();
    let mut buffer = vec![0; 1 << 16];
    while left > 0 {
        let read = timeout(PATIENCE, client.io.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert!(buffer[..read].iter().all(|b| *b == b'x') && read > 0);
        left -= read;
    }
    assert_eq!(passed(), BODY);
}

struct Marks;

#[async_trait]
impl HttpModule for Marks {
    async fn request_body_filter(&mut self, body: &mut Option<Bytes>, _: bool) -> Result<()> {
        if let Some(data) = body {
            *data = [&data[..], b"+"].concat().into();
        }
        Ok(())
    }

    fn response_body_filter(&mut self, body: &mut Option<Bytes>, _: bool) -> Result<()> {
        if let Some(data) = body {
            *data = [&data[..], b"-"].concat().into();
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct MarksBuilder;

impl HttpModuleBuilder for MarksBuilder {
    fn init(&self) -> Module {
        Box::new(Marks)
    }
}

#[tokio::test]
async fn modules_of_both_see_what_passes() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let origin = Origin::start(vec![vec![reply(chunked, Then::Close)]]).await;
    let plan = Plan::Pipe(as_it_comes, all, WITH_BODY);
    let mut proxy = http_proxy(&Arc::new(ServerConf::default()), Parent::to(&origin, plan));
    proxy.downstream_modules.add_module(Box::new(MarksBuilder));
    let mut client = Client::of(&Arc::new(proxy));
    let answer = client
        .ask("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
        .await;
    assert_eq!(payload(&answer), "4\r\nok--\r\n0\r\n\r\n");
    assert_eq!(payload(&origin.requests()[0]), "3\r\na++\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_body_that_was_read_before_is_sent_too() {
    struct Reads(Parent);

    #[async_trait]
    impl ProxyHttp for Reads {
        type CTX = ();
        fn new_ctx(&self) {}
        fn allow_spawning_subrequest(&self, _: &Session, _: &()) -> bool {
            true
        }
        async fn upstream_peer(
            &self,
            session: &mut Session,
            ctx: &mut (),
        ) -> Result<Box<HttpPeer>> {
            self.0.upstream_peer(session, ctx).await
        }
        async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
            if session.is_subrequest() {
                return Ok(false);
            }
            let read = session.read_request_body().await?;
            assert!(read.is_some_and(|piece| piece.starts_with(b"he")));
            self.0.pipe(session).await
        }
    }
    for request in [POST, CHUNKED] {
        let origin = Origin::always(OK).await;
        let parent = Parent::to(&origin, Plan::Pipe(up_to_five, all, WITH_BODY));
        let log = parent.log.clone();
        let answer = through(Reads(parent), request).await;
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        log.has("piped head saved hello").await;
        let arrived = origin.requests().pop().unwrap();
        assert!(arrived.contains("llo"), "{arrived}");
    }
}
