//! Answers that have no body, whatever their fields say and whatever follows them (RFC 9112 section 6.3).

use super::{PAIRS, Pair};
use pingora_tests::http2::{Http2Client, RawHttp2, frames, frames::Frame, frames::kind};
use pingora_tests::{
    Ask, Connection, Message, Origin, TestServer, Version, VersionedUpstream, h2c_proxy,
};

/// What follows the head of an answer that has no body.
const BODY: &str = "hello";
const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

/// The method, the status, and whether the length of a body that is not there may be told.
const ROWS: [(&str, u16, bool); 4] = [
    ("HEAD", 200, true),
    ("HEAD", 404, true),
    ("GET", 204, false),
    ("GET", 304, true),
];

/// What the origin says of the body that must not be there, and the body.
#[derive(Clone, Copy, Debug)]
enum Told {
    Nothing,
    Length,
    Chunks,
}

impl Told {
    fn http1(self, status: u16) -> String {
        let (field, body) = match self {
            // It looks like the answer to the next request.
            Told::Nothing => ("", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
            Told::Length => ("Content-Length: 5\r\n", BODY),
            Told::Chunks => ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        };
        format!("HTTP/1.1 {status} \r\n{field}\r\n{body}")
    }

    fn http2(self, status: u16) -> Vec<u8> {
        let status = status.to_string();
        let mut block = frames::block(&[(":status", &status)]);
        if matches!(self, Told::Length) {
            block.extend(frames::literal("content-length", "5"));
        }
        block
    }
}

/// An origin that answers `/bad` so, and everything else well.
async fn origin(version: Version, status: u16, told: Told) -> Origin {
    match version {
        Version::H1 => {
            Origin::scripted(move |mut connection: Connection, _| async move {
                while let Some(request) = connection.request().await {
                    let answer = match request.target() {
                        "/bad" => told.http1(status),
                        _ => GOOD.to_string(),
                    };
                    if connection.try_send(answer).await.is_err() {
                        return;
                    }
                }
            })
            .await
        }
        Version::H2 => {
            Origin::http2_scripted(&[], move |mut raw: RawHttp2, _| async move {
                let mut bad = true;
                while let Some(request) = raw.frame_of(kind::HEADERS).await {
                    let id = request.stream;
                    let (head, body) = if std::mem::take(&mut bad) {
                        (told.http2(status), BODY)
                    } else {
                        (Told::Nothing.http2(200), "good")
                    };
                    let sent = [Frame::headers(id, head, false), Frame::data(id, body, true)];
                    if raw.try_send(sent).await.is_err() {
                        return;
                    }
                }
            })
            .await
        }
    }
}

/// A client that asks over one connection.
enum Client {
    H1(Connection),
    H2(Http2Client),
}

impl Client {
    async fn of(version: Version, server: &TestServer) -> Self {
        match version {
            Version::H1 => Client::H1(server.connect().await),
            Version::H2 => Client::H2(Http2Client::to(server.address()).await),
        }
    }

    async fn ask(&mut self, ask: &Ask) -> Message {
        match self {
            Client::H1(client) => client.exchange(ask).await.pop().unwrap(),
            Client::H2(client) => client.ask(ask).await,
        }
    }
}

async fn has_no_body((down, up): Pair, (method, status, may_tell): (&str, u16, bool), told: Told) {
    let what = format!("{down:?} to {up:?}: {method} {status} {told:?}");
    let origin = origin(up, status, told).await;
    let upstream = VersionedUpstream {
        address: origin.address(),
        version: up,
    };
    let server = h2c_proxy(upstream).await;
    let mut client = Client::of(down, &server).await;
    let answer = client.ask(&Ask::by(method, "/bad")).await;
    // A frame of data where none may be makes an answer of HTTP/2 malformed.
    let refused = up == Version::H2 && (!answer.is_complete() || answer.status() == 502);
    assert!(refused || answer.status() == status, "{what}: {answer:?}");
    assert!(refused || answer.is_complete(), "{what}: {answer:?}");
    assert!(answer.body.is_empty(), "{what}: {answer:?}");
    assert_eq!(answer.header("transfer-encoding"), None, "{what}");
    let length = answer.header("content-length");
    assert!(
        may_tell || refused || length.is_none(),
        "{what}: {answer:?}"
    );
    // It is the answer to no other request, on either side.
    for _ in 0..2 {
        let next = client.ask(&Ask::get("/next")).await;
        assert_eq!((next.status(), next.text()), (200, "good"), "{what}");
    }
    if up == Version::H1 {
        assert_eq!(origin.connections(), 2, "{what}: it is used again");
    }
}

#[tokio::test]
async fn what_has_no_body_has_none_whatever_the_origin_says() {
    for pair in PAIRS {
        for row in ROWS {
            for told in [Told::Nothing, Told::Length, Told::Chunks] {
                has_no_body(pair, row, told).await;
            }
        }
    }
}
