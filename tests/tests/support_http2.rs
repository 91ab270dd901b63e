//! The HTTP/2 support library, tested without a proxy between client and origin: failures in
//! another suite are then the proxy's.

use pingora_tests::http2::frames::{self, Frame, kind};
use pingora_tests::http2::{Http2Client, RawHttp2};
use pingora_tests::{Ask, Authority, Ending, Origin, Running, Version, eventually, pattern};

const BOTH: [Version; 2] = [Version::H1, Version::H2];

async fn origin(version: Version) -> Origin {
    match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    }
}

#[tokio::test]
async fn both_origins_behave_alike() {
    for version in BOTH {
        let origin = origin(version).await;
        for (path, length) in [
            ("/length/70001", 70_001),
            ("/chunked/2500", 2500),
            ("/drip/20", 20),
            ("/close/10", 10),
            ("/status/204", 0),
        ] {
            let answer = Ask::get(path)
                .answered_over(version, origin.address())
                .await;
            assert!(answer.is_complete(), "{version:?} {path}: {answer:?}");
            assert!(answer.body == pattern(length), "{version:?} {path}");
        }
        let head = Ask::by("HEAD", "/length/5");
        let head = head.answered_over(version, origin.address()).await;
        assert_eq!(
            (head.header("content-length"), head.text()),
            (Some("5"), "")
        );
        let hinted = Ask::get("/hints").over(version, origin.address()).await;
        let statuses: Vec<u16> = hinted.iter().map(|message| message.status()).collect();
        assert_eq!(statuses, [103, 200], "{version:?}");
        let trailed = Ask::by("POST", "/echo-trailers").pieces(pattern(3000), 1000);
        let trailed = trailed.trailer("x-sum", "7");
        let trailed = trailed.answered_over(version, origin.address()).await;
        assert!(trailed.body == pattern(3000), "{version:?}");
        assert_eq!(trailed.trailers, [("x-sum".to_string(), "7".to_string())]);
        let early = Ask::by("POST", "/early").body(pattern(1000));
        let early = early.answered_over(version, origin.address()).await;
        assert_eq!(
            (early.status(), early.text()),
            (413, "early"),
            "{version:?}"
        );
    }
}

#[tokio::test]
async fn what_ends_badly_is_told_how() {
    let internal = Ending::StreamReset(2);
    for (path, over_1, over_2) in [
        ("/short/100", Ending::CutShort, Ending::StreamReset(1)),
        ("/reset/100", Ending::Reset, internal),
        ("/reset-head", Ending::CutShort, internal),
        ("/reset-body/100", Ending::Reset, internal),
        ("/reset-trailers/100", Ending::Reset, internal),
    ] {
        for (version, ending) in [(Version::H1, over_1), (Version::H2, over_2)] {
            let origin = origin(version).await;
            let answer = Ask::get(path)
                .answered_over(version, origin.address())
                .await;
            assert_eq!(answer.ending, ending, "{version:?} {path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn an_exchange_goes_step_by_step() {
    for version in BOTH {
        let origin = origin(version).await;
        let ask = Ask::by("POST", "/echo").pieces("", 0);
        let mut running = Running::begin(version, origin.address(), &ask).await;
        running.send(b"one").await;
        running.send(b"two").await;
        running.finish().await;
        let head = running.head().await;
        running.wait_for_body(6).await;
        let answer = running.rest_of(head).await;
        assert_eq!((answer.status(), answer.text()), (200, "onetwo"));
        drop(running);
        let mut aborted = Running::begin(version, origin.address(), &ask).await;
        aborted.send(b"one").await;
        origin.wait_for_connections(2).await;
        let connection = aborted.abort().await;
        eventually("the origin sees it", || origin.requests().len() == 2).await;
        assert!(!origin.last_request().is_complete());
        drop(connection);
        origin.wait_until_unused().await;
    }
}

#[tokio::test]
async fn frames_by_hand_are_understood_and_understand() {
    let origin = Origin::http2().await;
    let mut client = RawHttp2::client(origin.address(), &[]).await;
    client
        .send([
            Frame::headers(1, frames::request("POST", "/echo"), false),
            Frame::data(1, "by hand", true),
            Frame::headers(3, frames::request("GET", "/status/413"), true),
            Frame::ping(7),
        ])
        .await;
    let answer = client.answer(1).await;
    assert_eq!(
        (answer.statuses, answer.body),
        (vec![200], b"by hand".to_vec())
    );
    assert_eq!(
        origin.requests()[0].header(":authority"),
        Some("test.example")
    );
    client.send([Frame::data(0, "", false)]).await;
    let rest = client.rest().await;
    let go_away = rest.iter().find(|frame| frame.kind == kind::GOAWAY);
    assert_eq!(go_away.and_then(Frame::code), Some(1), "{rest:?}");

    let origin = Origin::http2_scripted(&[], |mut origin, _| async move {
        let request = origin.frame_of(kind::HEADERS).await;
        let stream = request.map_or(0, |request| request.stream);
        let head = frames::block(&[(":status", "299")]);
        origin
            .send([
                Frame::headers(stream, head, false),
                Frame::data(stream, "hand", true),
            ])
            .await;
        origin.rest().await;
    })
    .await;
    let answer = Http2Client::to(origin.address()).await.get("/").await;
    assert_eq!((answer.status(), answer.text()), (299, "hand"));
}

#[tokio::test]
async fn tls_selects_by_alpn() {
    let authority = Authority::new();
    let origin = Origin::over_tls(&authority, "back.example", &["h2"]).await;
    let client = Http2Client::over_tls(origin.address(), &authority, "back.example").await;
    assert_eq!(client.get("/x").await.text(), "/x");
    assert_eq!(origin.last_request().header(":scheme"), Some("https"));
}

#[tokio::test]
async fn an_origin_says_goodbye() {
    let origin = Origin::http2().await;
    let mut client = Http2Client::to(origin.address()).await;
    let slow = Ask::get("/slow/20");
    let (slow, last) = tokio::join!(client.ask(&slow), client.get("/goaway"));
    assert_eq!((slow.text().len(), last.text()), (20, "last"));
    assert!(client.ended().await.is_none());
}
