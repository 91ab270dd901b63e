//! HTTP/2 clients that legitimately do much of what an attacker does: they are served.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use bytes::Bytes;
use pingora_tests::http2::frames::{self, Frame, kind};
use pingora_tests::http2::{Http2Client, RawHttp2, Tunnel};
use pingora_tests::{
    Ask, Origin, TestServer, Version, VersionedUpstream, eventually, h2c_proxy, pattern,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BOTH: [Version; 2] = [Version::H1, Version::H2];

async fn behind(version: Version) -> (Origin, TestServer) {
    let origin = match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    };
    let address = origin.address();
    let server = h2c_proxy(VersionedUpstream { address, version }).await;
    (origin, server)
}

/// Like a remote shell: each key is a frame, and so is its echo.
#[tokio::test]
async fn who_says_a_byte_at_a_time_in_a_long_talk() {
    let (_origin, proxy) = behind(Version::H2).await;
    let client = Http2Client::to(proxy.address()).await;
    let begun = client.begin(&Ask::by("POST", "/pipe"), false).await;
    let (answer, send) = begun.unwrap();
    let body = answer.await.unwrap().into_body();
    let mut tunnel = Tunnel::new(send, body);
    for number in 0..5000_u32 {
        let key = number.to_le_bytes()[0];
        tunnel.write_u8(key).await.unwrap();
        assert_eq!(tunnel.read_u8().await.unwrap(), key, "{number}");
    }
    tunnel.shutdown().await.unwrap();
    assert_eq!(tunnel.read(&mut [0]).await.unwrap(), 0);
}

/// Like a stream of small messages that is only answered at its end.
#[tokio::test]
async fn who_uploads_many_small_pieces() {
    for version in BOTH {
        let (_origin, proxy) = behind(version).await;
        let body = pattern(100_000);
        let ask = Ask::by("POST", "/echo").pieces(body.clone(), 10);
        let answer = ask.answered_over(Version::H2, proxy.address()).await;
        assert!(answer.body == body, "{version:?}: {:?}", answer.ending);
    }
}

/// The same, to a slow origin: as many frames as fit into the windows are kept.
#[tokio::test]
async fn who_uploads_many_small_pieces_to_somebody_slow() {
    let origin = Origin::http2_scripted(&[(4, 0)], |mut origin, _| async move {
        let stream = origin.frame_of(kind::HEADERS).await.unwrap().stream;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        origin
            .send([
                Frame::window_update(stream, 1 << 20),
                Frame::window_update(0, 1 << 20),
            ])
            .await;
        let mut length = 0;
        while let Some(frame) = origin.frame().await {
            length += if frame.kind == kind::DATA {
                frame.payload.len()
            } else {
                0
            };
            if frame.ends_stream() {
                let head = frames::block(&[(":status", "200")]);
                let body = length.to_string();
                origin
                    .send([
                        Frame::headers(stream, head, false),
                        Frame::data(stream, body, true),
                    ])
                    .await;
            }
        }
    })
    .await;
    let address = origin.address();
    let version = Version::H2;
    let proxy = h2c_proxy(VersionedUpstream { address, version }).await;
    let ask = Ask::by("POST", "/").pieces(pattern(150_000), 10);
    let answer = ask.answered_over(Version::H2, proxy.address()).await;
    assert_eq!(answer.text(), "150000", "{answer:?}");
}

/// Like a user who types in a search box: most answers are abandoned.
#[tokio::test]
async fn who_gives_up_many_answers_that_began() {
    for version in BOTH {
        let (_origin, proxy) = behind(version).await;
        let client = Http2Client::to(proxy.address()).await;
        for number in 0..600 {
            let begun = client.begin(&Ask::get("/slow/1000"), true).await;
            let answer = begun
                .unwrap_or_else(|e| panic!("{version:?}, {number}: {e}"))
                .0;
            // Dropped with its body, it is reset with CANCEL.
            let answer = answer
                .await
                .unwrap_or_else(|e| panic!("{version:?}, {number}: {e}"));
            assert_eq!(answer.status(), 200);
        }
        assert_eq!(client.get("/x").await.text(), "/x", "{version:?}");
    }
}

/// Like a client with small buffers: window space is given back for each frame, twice.
#[tokio::test]
async fn who_gives_back_room_for_each_frame() {
    for version in BOTH {
        let (_origin, proxy) = behind(version).await;
        let mut client = RawHttp2::client(proxy.address(), &[(4, 4000)]).await;
        let ask = frames::request("GET", "/length/5000000");
        client.send([Frame::headers(1, ask, true)]).await;
        let mut length = 0;
        while let Some(frame) = client.frame().await {
            if frame.kind != kind::DATA {
                assert_ne!(
                    frame.kind,
                    kind::GOAWAY,
                    "{version:?} at {length}: {frame:?}"
                );
                continue;
            }
            length += frame.payload.len();
            if frame.ends_stream() {
                break;
            }
            let room = u32::try_from(frame.payload.len()).unwrap();
            if room > 0 {
                client
                    .send([Frame::window_update(0, room), Frame::window_update(1, room)])
                    .await;
            }
        }
        assert_eq!(length, 5_000_000, "{version:?}");
    }
}

/// Like a service that talks to another over one connection all day.
#[tokio::test]
async fn who_asks_a_lot_over_one_connection() {
    for version in BOTH {
        let (_origin, proxy) = behind(version).await;
        let client = Http2Client::to(proxy.address()).await;
        for _ in 0..30 {
            let asks = (0..100).map(|number| {
                let client = &client;
                let ask = match number % 3 {
                    0 => Ask::by("POST", "/echo").body(pattern(100)),
                    1 => Ask::by("HEAD", "/length/10"),
                    _ => Ask::get("/status/204"),
                };
                async move { client.ask(&ask).await.status() }
            });
            let statuses = futures::future::join_all(asks).await;
            assert!(
                statuses.iter().all(|status| matches!(status, 200 | 204)),
                "{statuses:?}"
            );
        }
        assert!(!client.has_ended());
    }
}

/// Like a page that is repeatedly closed while it loads.
#[tokio::test]
async fn who_leaves_with_everything_under_way() {
    for version in BOTH {
        let (origin, proxy) = behind(version).await;
        for _ in 0..20 {
            let client = Http2Client::to(proxy.address()).await;
            let ask = Ask::get("/slow/10000");
            let begun = futures::future::join_all((0..30).map(|_| client.begin(&ask, true))).await;
            tokio::task::yield_now().await;
            drop((begun, client));
        }
        let answer = Ask::get("/x")
            .answered_over(Version::H2, proxy.address())
            .await;
        assert_eq!(answer.text(), "/x");
        // Every request but the last one was aborted. An HTTP/2 connection without remaining streams is kept:
        // six of them carried the streams of all clients, a hundred each.
        let kept = if version == Version::H2 { 6 } else { 0 };
        eventually("what they began ends", || {
            let given_up = origin.begun() == origin.aborted() + 1;
            given_up && origin.open_connections() <= 1 + kept
        })
        .await;
    }
}

/// Like a download whose reader takes a break, with other requests alongside.
#[tokio::test]
async fn who_lets_one_stream_stand_and_uses_others() {
    for version in BOTH {
        let (_origin, proxy) = behind(version).await;
        let client = Http2Client::to(proxy.address()).await;
        let mut standing = Vec::new();
        for _ in 0..3 {
            let begun = client
                .begin(&Ask::get("/length/10000000"), true)
                .await
                .unwrap();
            standing.push(begun.0.await.unwrap());
        }
        for _ in 0..20 {
            assert_eq!(client.get("/length/10000").await.body.len(), 10_000);
        }
        let mut body = standing.pop().unwrap().into_body();
        let mut length = 0;
        while let Some(data) = body.data().await {
            let data: Bytes = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            length += data.len();
        }
        assert_eq!(length, 10_000_000);
    }
}
