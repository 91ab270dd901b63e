//! A filter of response bodies that waits: what it makes of the pieces, and who is held back meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora_tests::{Ask, Connection, Origin, Version, VersionedUpstream, h2c_proxy};
use std::sync::Arc;
use tokio::sync::Semaphore;

const PAIRS: [(Version, Version); 4] = [
    (Version::H1, Version::H1),
    (Version::H1, Version::H2),
    (Version::H2, Version::H1),
    (Version::H2, Version::H2),
];

/// Asks somebody else about each piece: here, a task that writes it in capitals. The field `X-Do` names other
/// things to do.
struct Asking {
    upstream: VersionedUpstream,
    /// Told that the filter waits.
    waits: Arc<Semaphore>,
    /// Lets it go on.
    go: Arc<Semaphore>,
}

impl Asking {
    fn to(origin: &Origin, version: Version) -> Self {
        let address = origin.address();
        Asking {
            upstream: VersionedUpstream { address, version },
            waits: Arc::new(Semaphore::new(0)),
            go: Arc::new(Semaphore::new(0)),
        }
    }
}

#[async_trait]
impl ProxyHttp for Asking {
    type CTX = usize;

    fn new_ctx(&self) -> usize {
        0
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut usize) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.peer()))
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut usize,
    ) -> Result<()> {
        response.remove_header("Content-Length");
        Ok(())
    }

    async fn async_response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        pieces: &mut usize,
    ) -> Result<()> {
        *pieces += 1;
        let wish = session.req_header().headers.get("x-do");
        match wish.map_or("", |wish| wish.to_str().unwrap()) {
            "wait" if *pieces == 1 => {
                self.waits.add_permits(1);
                self.go.acquire().await.unwrap().forget();
            }
            "wait" => {}
            "refuse" => return Error::e_explain(HTTPStatus(418), "the first piece"),
            "refuse later" if end => return Error::e_explain(HTTPStatus(418), "the last piece"),
            _ => {
                let data = body.take();
                let judged = tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    let data = data.unwrap_or_default();
                    let text = String::from_utf8_lossy(&data).to_ascii_uppercase();
                    format!("{text}{}", if end { "." } else { "" })
                });
                *body = Some(judged.await.unwrap().into());
            }
        }
        Ok(())
    }
}

async fn good_origin(version: Version) -> Origin {
    match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    }
}

#[tokio::test]
async fn each_piece_is_what_the_filter_makes_of_it_and_the_end_comes_once() {
    for (from, to) in PAIRS {
        let origin = good_origin(to).await;
        let server = h2c_proxy(Asking::to(&origin, to)).await;
        let upload = Ask::by("POST", "/echo-trailers")
            .pieces("piece", 0)
            .trailer("x-sum", "7");
        for (ask, expected) in [
            (Ask::get("/some"), "/SOME."),
            (Ask::by("POST", "/echo").body("hello"), "HELLO."),
            (upload, "PIECE."),
            // Without a body the filter has nothing to do.
            (Ask::get("/status/204"), ""),
            (Ask::by("HEAD", "/length/9"), ""),
        ] {
            let answer = ask.answered_over(from, server.address()).await;
            let case = format!("{from:?} to {to:?}: {ask:?}");
            assert_eq!(answer.text(), expected, "{case}");
            assert!(answer.is_complete(), "{case}");
            let sum = answer.trailers.iter().find(|(name, _)| name == "x-sum");
            assert_eq!(sum.is_some(), expected == "PIECE.", "{case}");
        }
        let long = Ask::by("POST", "/echo").body("a".repeat(20_000));
        let answer = long.answered_over(from, server.address()).await;
        assert_eq!(answer.body.len(), 20_001);
        assert!(answer.is_complete() && answer.text().ends_with("A."));
    }
}

#[tokio::test]
async fn an_error_ahead_of_the_first_piece_is_a_page_and_a_later_one_cuts_the_response() {
    for (from, to) in PAIRS {
        let origin = good_origin(to).await;
        let server = h2c_proxy(Asking::to(&origin, to)).await;
        let refused = Ask::get("/length/3").with("X-Do", "refuse");
        let answer = refused.answered_over(from, server.address()).await;
        assert_eq!(answer.status(), 418, "{from:?} to {to:?}");
        let cut = Ask::get("/slow/3").with("X-Do", "refuse later");
        let answer = cut.answered_over(from, server.address()).await;
        let case = format!("{from:?} to {to:?}: {answer:?}");
        assert!(answer.status() == 200 && !answer.is_complete(), "{case}");
    }
}

#[tokio::test]
async fn a_filter_that_waits_holds_the_upstream_back_and_nobody_else() {
    const MUCH: usize = 64 * 1024 * 1024;
    let (waits, stuck) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (told, blocked) = (waits.clone(), stuck.clone());
    let origin = Origin::scripted(move |mut connection, _| {
        let (told, blocked) = (told.clone(), blocked.clone());
        async move {
            let request = connection.request().await.unwrap();
            if request.target() == "/bystander" {
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
                return connection.send(answer).await;
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\nx");
            connection.send(head).await;
            told.acquire().await.unwrap().forget();
            let stream = connection.into_stream();
            let (mut sent, mut refused) = (1, 0);
            let piece = [b'x'; 65_536];
            // Where somebody still read, room would come again and again.
            while sent < MUCH && refused < 10_000 {
                match stream.try_write(&piece[..piece.len().min(MUCH - sent)]) {
                    Ok(count) => (sent, refused) = (sent + count, 0),
                    Err(_) => {
                        refused += 1;
                        tokio::task::yield_now().await;
                    }
                }
            }
            assert!(sent < MUCH, "nobody holds the upstream back");
            blocked.add_permits(1);
            let mut connection = Connection::new(stream);
            connection.send(vec![b'x'; MUCH - sent]).await;
            connection.closed().await;
        }
    })
    .await;
    let mut asking = Asking::to(&origin, Version::H1);
    asking.waits = waits;
    let go = asking.go.clone();
    let server = h2c_proxy(asking).await;
    let address = server.address();
    let ask = Ask::get("/much").with("X-Do", "wait");
    let asking = tokio::spawn(async move { ask.answered_over(Version::H1, address).await });
    stuck.acquire().await.unwrap().forget();
    // The filter still waits, and other requests are served meanwhile.
    let bystander = Ask::get("/bystander")
        .answered_over(Version::H1, address)
        .await;
    assert_eq!(bystander.text(), "HI.");
    go.add_permits(1);
    let answer = asking.await.unwrap();
    assert_eq!(answer.body.len(), MUCH);
}

#[tokio::test]
async fn the_bytes_of_a_tunnel_pass_the_filter_too() {
    let origin = Origin::well_behaved().await;
    let server = h2c_proxy(Asking::to(&origin, Version::H1)).await;
    let mut client = server.connect().await;
    client
        .send(
            "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await;
    assert_eq!(client.head().await.status(), 101);
    client.send("ping").await;
    assert_eq!(client.bytes(4).await, b"PING");
}
