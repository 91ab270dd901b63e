//! Kinds of bodies, trailers and interim answers between every pair of versions.

use super::{MB, PAIRS, assert_same, behind_a_proxy, framing_of, named};
use pingora_tests::{Ask, Message, Running, TestServer, Version, pattern};

/// The path, the status, the body's length, its framing towards HTTP/1 and its declared length over
/// HTTP/2. An empty body whose end arrives together with the head may get a length.
const ANSWERS: [(&str, u16, usize, &str, &str); 13] = [
    ("/status/204", 204, 0, "none", "none"),
    ("/status/304", 304, 0, "none", "none"),
    ("/status/404", 404, 0, "length", "length"),
    ("/length/0", 200, 0, "length", "length"),
    ("/length/1", 200, 1, "length", "length"),
    ("/length/70001", 200, 70_001, "length", "length"),
    ("/length/1048576", 200, MB, "length", "length"),
    ("/drip/50", 200, 50, "length", "length"),
    ("/empty-frames/3000", 200, 3000, "length", "length"),
    ("/chunked/0", 200, 0, "any", "any"),
    ("/chunked/2500", 200, 2500, "chunked", "none"),
    ("/chunked/1048576", 200, MB, "chunked", "none"),
    ("/close/70001", 200, 70_001, "chunked", "none"),
];

#[tokio::test]
async fn answers_of_every_shape_to_every_method() {
    for (down, up) in PAIRS {
        let (_origin, proxy) = behind_a_proxy(up).await;
        for method in ["GET", "HEAD", "POST"] {
            // Large bodies are the same with any method.
            let rows = ANSWERS.into_iter();
            for row in rows.filter(|row| method == "GET" || row.2 < MB) {
                let ask = Ask::by(method, row.0);
                let answer = ask.answered_over(down, proxy.address()).await;
                let what = format!("{down:?} to {up:?}, {method} {}", row.0);
                assert_answer(&answer, down, method, row, &what);
            }
        }
    }
}

fn assert_answer(
    answer: &Message,
    down: Version,
    method: &str,
    (_, status, length, over_1, over_2): (&str, u16, usize, &str, &str),
    what: &str,
) {
    let body = match method {
        "HEAD" => Vec::new(),
        _ => pattern(length),
    };
    assert_eq!(answer.status(), status, "{what}");
    assert!(answer.is_complete(), "{what}: {:?}", answer.ending);
    assert_same(&answer.body, &body, what);
    let framing = match (down, method) {
        (Version::H1, "HEAD") if over_1 == "chunked" => "none",
        (Version::H1, _) => over_1,
        (Version::H2, _) => over_2,
    };
    assert!(
        framing == "any" || framing == framing_of(answer),
        "{what}: {answer:?}"
    );
}

/// The path of an upload, whether its length is announced, the body's length and the size of pieces.
const UPLOADS: [(bool, usize, usize); 9] = [
    (true, 0, 0),
    (true, 1, 0),
    (true, 70_001, 0),
    (true, MB, 0),
    (false, 0, 1),
    (false, 40, 1),
    (false, 70_001, 1000),
    (false, MB, 100_000),
    (true, 40, 1),
];

#[tokio::test]
async fn uploads_of_every_shape_by_every_method() {
    for (down, up) in PAIRS {
        let (origin, proxy) = behind_a_proxy(up).await;
        for method in ["POST", "PUT", "GET"] {
            let rows = UPLOADS.into_iter();
            for (announced, length, piece) in rows.filter(|row| method == "PUT" || row.1 < MB) {
                let what = format!(
                    "{down:?} to {up:?}, {method} {length} bytes in {piece}, announced: {announced}"
                );
                let body = pattern(length);
                let mut ask = Ask::by(method, "/echo").pieces(body.clone(), piece);
                ask.length = announced.then_some(length);
                let answer = ask.answered_over(down, proxy.address()).await;
                assert_eq!(answer.status(), 200, "{what}: {answer:?}");
                assert_same(&answer.body, &body, &what);
                let seen = origin.last_request();
                assert_eq!(seen.method(), method, "{what}");
                assert_same(&seen.body, &body, &what);
                let framing = match (announced, up) {
                    (true, _) => "length",
                    (false, Version::H1) => "chunked",
                    (false, Version::H2) => "none",
                };
                // A message that ends with its head may be declared empty.
                assert!(
                    length == 0 || framing_of(&seen) == framing,
                    "{what}: {:?}",
                    seen.fields
                );
            }
        }
    }
}

#[tokio::test]
async fn a_request_without_a_body_goes_on_without_one() {
    for (down, up) in PAIRS {
        let (origin, proxy) = behind_a_proxy(up).await;
        for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
            let answer = Ask::by(method, "/")
                .answered_over(down, proxy.address())
                .await;
            assert_eq!(answer.status(), 200);
            let seen = origin.last_request();
            assert_eq!(framing_of(&seen), "none", "{down:?} to {up:?}, {method}");
            assert!(
                seen.chunks.is_empty(),
                "{down:?} to {up:?}, {method}: {seen:?}"
            );
        }
    }
}

/// Sends a word, waits until it comes back, and sends the next: data is not held back until there
/// is more of it.
#[tokio::test]
async fn what_is_said_arrives_before_more_is_said() {
    for down in [Version::H1, Version::H2] {
        let (_origin, proxy) = behind_a_proxy(Version::H2).await;
        let ask = Ask::by("POST", "/pipe").pieces("", 0);
        let mut talk = Running::begin(down, proxy.address(), &ask).await;
        let head = talk.head().await;
        assert_eq!(head.status(), 200, "{down:?}");
        let mut read = 0;
        for word in ["one", "two", "three"] {
            talk.send(word.as_bytes()).await;
            read += word.len() + if down == Version::H1 { 5 } else { 0 };
            talk.wait_for_body(read).await;
        }
        talk.finish().await;
        let answer = talk.rest_of(head).await;
        assert_eq!(answer.text(), "onetwothree", "{down:?}");
        assert!(answer.is_complete(), "{down:?}: {answer:?}");
    }
}

#[tokio::test]
async fn frames_without_payload_mean_nothing() {
    for up in [Version::H1, Version::H2] {
        let (origin, proxy) = behind_a_proxy(up).await;
        let ask = Ask::by("POST", "/echo").pieces("", 0);
        let mut upload = Running::begin(Version::H2, proxy.address(), &ask).await;
        for piece in ["", "", "one", "", "two", ""] {
            upload.send(piece.as_bytes()).await;
        }
        upload.finish().await;
        let answer = upload.answer().await;
        assert_eq!(answer.text(), "onetwo", "{up:?}: {answer:?}");
        assert_eq!(origin.last_request().text(), "onetwo");
    }
}

#[tokio::test]
async fn trailers_pass_in_both_directions_and_carry_no_framing() {
    for (down, up) in PAIRS {
        let what = format!("{down:?} to {up:?}");
        let (origin, proxy) = behind_a_proxy(up).await;
        for length in [0, 1, 2500] {
            let mut ask = Ask::by("POST", "/echo-trailers").pieces(pattern(length), 1000);
            for (name, value) in [
                ("x-sum", "7"),
                ("content-length", "3"),
                ("host", "evil"),
                ("authorization", "x"),
                ("x-other", "a b"),
            ] {
                ask = ask.trailer(name, value);
            }
            let ask = ask.with("te", "trailers");
            let answer = ask.answered_over(down, proxy.address()).await;
            assert!(answer.is_complete(), "{what}: {answer:?}");
            assert_same(&answer.body, &pattern(length), &what);
            let mut seen = named(&origin.last_request().trailers);
            seen.sort();
            assert_eq!(seen, ["x-other: a b", "x-sum: 7"], "{what}");
            let mut got = named(&answer.trailers);
            got.sort();
            assert_eq!(got, ["x-other: a b", "x-sum: 7"], "{what}");
        }
        let ask = Ask::get("/trailers").with("te", "trailers");
        let answer = ask.answered_over(down, proxy.address()).await;
        assert_eq!(answer.text(), "checked", "{what}");
        assert_eq!(named(&answer.trailers), ["x-checksum: 42"], "{what}");
        let answer = Ask::by("HEAD", "/trailers")
            .answered_over(down, proxy.address())
            .await;
        assert!(
            answer.is_complete() && answer.body.is_empty(),
            "{what}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn interim_answers_pass_ahead_of_the_final_one() {
    for (down, up) in PAIRS {
        let (_origin, proxy) = behind_a_proxy(up).await;
        let what = format!("{down:?} to {up:?}");
        let answers = Ask::get("/hints").over(down, proxy.address()).await;
        let statuses: Vec<u16> = answers.iter().map(Message::status).collect();
        assert_eq!(statuses, [103, 200], "{what}");
        let link = answers[0].header("Link");
        assert_eq!(link, Some("</style.css>; rel=preload"), "{what}");
        assert_eq!(answers[1].text(), "hinted", "{what}");
    }
}

#[tokio::test]
async fn a_permission_to_send_comes_ahead_of_the_body() {
    for (down, up) in PAIRS {
        let (origin, proxy) = behind_a_proxy(up).await;
        let what = format!("{down:?} to {up:?}");
        let mut ask = Ask::by("POST", "/continue")
            .body("")
            .with("expect", "100-continue");
        ask.length = Some(4);
        let mut upload = Running::begin(down, proxy.address(), &ask).await;
        let permission = upload.head().await;
        assert_eq!(permission.status(), 100, "{what}: {permission:?}");
        upload.send(b"body").await;
        if down == Version::H2 {
            upload.finish().await;
        }
        let answer = upload.answer().await;
        assert_eq!((answer.status(), answer.text()), (200, "body"), "{what}");
        let expect = origin.last_request();
        assert_eq!(expect.header("Expect"), Some("100-continue"), "{what}");
    }
}

/// Many concurrent exchanges of all kinds over each pair.
#[tokio::test]
async fn many_at_a_time_do_not_mix() {
    for (down, up) in PAIRS {
        let (origin, proxy) = behind_a_proxy(up).await;
        let tasks: Vec<_> = (0..8)
            .map(|_| tokio::spawn(all_shapes(down, proxy.address())))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        if up == Version::H2 {
            let connections = origin.connections();
            assert!(
                connections <= 8,
                "{connections} connections for few streams"
            );
        }
        one_connection_carries_all(down, &proxy).await;
    }
}

async fn all_shapes(down: Version, address: std::net::SocketAddr) {
    for number in 0..10 {
        let length = number * 7919;
        let body = pattern(length);
        let (ask, wanted) = match number % 4 {
            0 => (Ask::by("POST", "/echo").pieces(body.clone(), 1000), body),
            1 => (Ask::by("POST", "/echo").body(body.clone()), body),
            2 => (Ask::get(&format!("/chunked/{length}")), body),
            _ => (Ask::get(&format!("/length/{length}")), body),
        };
        let answer = ask.answered_over(down, address).await;
        assert_eq!(answer.status(), 200, "{down:?} {number}: {answer:?}");
        assert_same(&answer.body, &wanted, &format!("{down:?} {number}"));
    }
}

/// A hundred requests on one connection: over HTTP/2 all at once, over HTTP/1 one after the other.
async fn one_connection_carries_all(down: Version, proxy: &TestServer) {
    match down {
        Version::H1 => {
            let mut client = proxy.connect().await;
            for number in 0..100 {
                let ask = Ask::get(&format!("/{number}"));
                let answers = client.exchange(&ask).await;
                assert_eq!(answers[0].text(), format!("/{number}"));
            }
        }
        Version::H2 => {
            let client = pingora_tests::http2::Http2Client::to(proxy.address()).await;
            let asks = (0..100).map(|number| {
                let client = &client;
                async move {
                    let path = format!("/{number}");
                    assert_eq!(client.get(&path).await.text(), path);
                }
            });
            futures::future::join_all(asks).await;
        }
    }
}
