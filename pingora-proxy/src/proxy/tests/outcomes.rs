//! Each try reports the outcome of its upstream exactly once, however the request ends.

use super::*;
use pingora_core::upstreams::outcome::{Attempt, Outcome};

/// Hears of one try, and tells the log.
struct Heard {
    log: Log,
    status: Option<u16>,
    ended: bool,
}

impl Attempt for Heard {
    fn responded(&mut self, status: u16) {
        assert!(self.status.is_none(), "one head for each try");
        self.status = Some(status);
    }

    fn end(mut self: Box<Self>, outcome: Outcome) {
        self.tell(outcome);
    }
}

impl Heard {
    fn tell(&mut self, outcome: Outcome) {
        assert!(!self.ended, "one end for each try");
        self.ended = true;
        let status = self.status.map_or("-".to_string(), |s| s.to_string());
        self.log.note(format!("outcome {outcome:?} {status}"));
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Outcome::Cancelled);
        }
    }
}

/// A proxy whose tries are heard of; it panics in a phase if the path says so.
struct Told {
    origin: SocketAddr,
    /// Where the first try goes instead.
    dead: Option<SocketAddr>,
    log: Log,
}

impl Told {
    fn to(origin: SocketAddr) -> Self {
        Told {
            origin,
            dead: None,
            log: Log::default(),
        }
    }
}

#[async_trait]
impl ProxyHttp for Told {
    type CTX = usize;
    fn new_ctx(&self) -> usize {
        0
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        tries: &mut usize,
    ) -> Result<Box<HttpPeer>> {
        session.report_attempt(Some(Box::new(Heard {
            log: self.log.clone(),
            status: None,
            ended: false,
        })));
        if session.req_header().uri.path() == "/no-peer" {
            return Error::e_explain(ErrorType::HTTPStatus(503), "none");
        }
        *tries += 1;
        let mut peer = peer(self.dead.filter(|_| *tries == 1).unwrap_or(self.origin))?;
        peer.options.read_timeout = Some(Duration::from_millis(300));
        Ok(peer)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        _: &mut usize,
        mut e: Box<Error>,
    ) -> Box<Error> {
        e.set_retry(self.dead.is_some());
        e
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        _: &mut ResponseHeader,
        _: &mut usize,
    ) -> Result<()> {
        match session.req_header().uri.path() {
            "/panic" => panic!("in a phase"),
            "/refused" => Error::e_explain(ErrorType::HTTPStatus(403), "a filter refuses"),
            _ => Ok(()),
        }
    }

    async fn logging(&self, _: &mut Session, _: Option<&Error>, _: &mut usize) {
        self.log.note("logging");
    }
}

/// The outcomes of one request, in order.
async fn outcomes(told: Told, request: &str) -> Vec<String> {
    let log = told.log.clone();
    let proxy = proxy_of(told);
    let mut client = Client::of(&proxy);
    client.ask(request).await;
    log.has("logging").await;
    drop(client);
    let lines = log.take().into_iter();
    lines
        .filter_map(|line| Some(line.strip_prefix("outcome ")?.to_string()))
        .collect()
}

fn at(path: &str) -> String {
    GET.replace("/x", path)
}

#[tokio::test]
async fn each_try_reports_its_end_once() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut";
    let rows = [
        (
            "success",
            vec![reply(OK, Then::Keep)],
            at("/x"),
            "Completed 200",
        ),
        (
            "a status of 500",
            vec![reply(
                "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
                Then::Keep,
            )],
            at("/x"),
            "Completed 500",
        ),
        (
            "an informational response ahead",
            vec![reply(
                format!("HTTP/1.1 103 Early Hints\r\n\r\n{OK}"),
                Then::Keep,
            )],
            at("/x"),
            "Completed 200",
        ),
        (
            "cut short",
            vec![reply(cut, Then::Close)],
            at("/x"),
            "Failed 200",
        ),
        (
            "nothing",
            vec![reply("", Then::Close)],
            at("/x"),
            "Failed -",
        ),
        (
            "no response",
            vec![reply("what?\r\n\r\n", Then::Close)],
            at("/x"),
            "Failed -",
        ),
        (
            "silence",
            vec![reply("", Then::Watch)],
            at("/x"),
            "TimedOut -",
        ),
        (
            "a panic in a phase",
            vec![reply(OK, Then::Keep)],
            at("/panic"),
            "Cancelled 200",
        ),
        (
            "a filter that refuses",
            vec![reply(OK, Then::Keep)],
            at("/refused"),
            "Cancelled 200",
        ),
        (
            "no peer after all",
            vec![reply(OK, Then::Keep)],
            at("/no-peer"),
            "Cancelled -",
        ),
    ];
    for (name, script, request, expected) in rows {
        let origin = Origin::start(vec![script]).await;
        let heard = outcomes(Told::to(origin.address), &request).await;
        assert_eq!(heard, [expected], "{name}");
    }
}

#[tokio::test]
async fn a_try_that_follows_another_reports_by_itself() {
    let origin = Origin::always(OK).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = listener.local_addr().unwrap();
    drop(listener);
    let told = Told {
        dead: Some(dead),
        ..Told::to(origin.address)
    };
    assert_eq!(
        outcomes(told, GET).await,
        ["ConnectFailed -", "Completed 200"]
    );
    assert_eq!(outcomes(Told::to(dead), GET).await, ["ConnectFailed -"]);
}

#[tokio::test]
async fn a_client_that_leaves_is_no_fault_of_the_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let told = Told::to(listener.local_addr().unwrap());
    let log = told.log.clone();
    let proxy = proxy_of(told);
    let mut client = Client::of(&proxy);
    client.send(GET).await;
    let (_held, _) = listener.accept().await.unwrap();
    drop(client);
    log.has("outcome Cancelled -").await;
    log.has("logging").await;
    assert_eq!(log.take().len(), 2);
}

#[tokio::test]
async fn a_tunnel_reports_when_it_ends() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi";
    let origin = Origin::start(vec![vec![reply(switch, Then::Close)]]).await;
    let told = Told::to(origin.address);
    let log = told.log.clone();
    let proxy = proxy_of(told);
    let mut client = Client::of(&proxy);
    let asks = GET.replace(
        "Host: a",
        "Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    );
    client.send(asks).await;
    assert!(client.next(Whole::Head).await.starts_with("HTTP/1.1 101 "));
    client.io.shutdown().await.unwrap();
    log.has("outcome Completed 101").await;
}

#[tokio::test]
async fn nobody_hears_where_nobody_asked() {
    let origin = Origin::always(OK).await;
    assert!(
        through(Plain::to(&origin), GET)
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}
