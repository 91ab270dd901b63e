//! Messages that are reset, cut short, answered early, or have a wrong length.

use super::{MB, PAIRS, assert_same, behind_a_proxy};
use pingora_tests::http2::{Http2Client, RawHttp2, frames, frames::Frame};
use pingora_tests::{
    Ask, Connection, Ending, Message, Running, TestServer, Version, eventually, pattern,
};

/// Sends a request, and returns whether the connection carries another one if that can be tested:
/// over HTTP/2 a stream's fault affects no other stream.
async fn ask(down: Version, proxy: &TestServer, ask: &Ask) -> Message {
    match down {
        Version::H1 => {
            let mut client = Connection::to(proxy.address()).await;
            let mut answers = client.exchange(ask).await;
            answers.pop().unwrap()
        }
        Version::H2 => {
            let client = Http2Client::to(proxy.address()).await;
            let answer = client.ask(ask).await;
            let next = client.get("/next").await;
            assert_eq!(next.text(), "/next", "after {answer:?}");
            answer
        }
    }
}

/// An end that can't be mistaken for the end of the body.
fn cut(answer: &Message) -> bool {
    matches!(
        answer.ending,
        Ending::CutShort | Ending::Reset | Ending::StreamReset(1..)
    )
}

#[tokio::test]
async fn an_origin_that_resets_cuts_the_answer_short_and_no_other() {
    for (down, up) in PAIRS {
        let (_origin, proxy) = behind_a_proxy(up).await;
        let what = format!("{down:?} to {up:?}");
        let answer = ask(down, &proxy, &Ask::by("POST", "/reset-head").body("x")).await;
        assert_eq!(answer.status(), 502, "{what}: {answer:?}");
        for path in [
            "/reset-body/1000",
            "/reset/1000",
            "/reset/500000",
            "/reset-trailers/1000",
        ] {
            let answer = ask(down, &proxy, &Ask::by("POST", path).body("x")).await;
            // If head and reset were seen at the same time, there may be an answer that reports it;
            // and a stream's reset overtakes data that was not written yet.
            let told = answer.status() == 502 && answer.is_complete();
            assert!(cut(&answer) || told, "{what} {path}: {answer:?}");
            let begun = matches!(answer.status(), 0 | 200);
            assert!(told || begun, "{what} {path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_aborts_ends_the_origins_exchange_and_no_other() {
    for (down, up) in PAIRS {
        let (origin, proxy) = behind_a_proxy(up).await;
        for point in [
            "ahead of its body",
            "in its body",
            "ahead of the head",
            "in the answer",
        ] {
            let what = format!("{down:?} to {up:?}, {point}");
            let upload = Ask::by("POST", "/echo").pieces("", 0);
            let ask = match point {
                "ahead of its body" | "in its body" => upload,
                "ahead of the head" => Ask::get("/stall"),
                _ => Ask::get("/slow/100000"),
            };
            let (before, begun) = (origin.aborted(), origin.begun());
            let mut running = Running::begin(down, proxy.address(), &ask).await;
            if point == "in its body" {
                running.send(&pattern(1000)).await;
            }
            if point == "in the answer" {
                assert_eq!(running.head().await.status(), 200, "{what}");
                running.wait_for_body(3).await;
            }
            eventually(&format!("the origin is asked: {what}"), || {
                origin.begun() > begun
            })
            .await;
            let connection = running.abort().await;
            eventually(&format!("the origin hears of it: {what}"), || {
                origin.aborted() > before
            })
            .await;
            if let Some(client) = connection {
                assert_eq!(client.get("/next").await.text(), "/next", "{what}");
            }
        }
        if up == Version::H2 {
            assert_eq!(
                origin.connections(),
                1,
                "{down:?}: streams end, the connection goes on"
            );
        }
    }
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_uploading() {
    for (down, up) in PAIRS {
        for path in ["/early", "/early-reset"] {
            if (path, up) == ("/early-reset", Version::H1) {
                continue;
            }
            let (origin, proxy) = behind_a_proxy(up).await;
            let what = format!("{down:?} to {up:?}, {path}");
            let ask = Ask::by("POST", path).body("").claiming(100_000_000);
            let mut running = Running::begin(down, proxy.address(), &ask).await;
            running.send(&pattern(1000)).await;
            let head = running.head().await;
            assert_eq!(head.status(), 413, "{what}: {head:?}");
            let answer = running.rest_of(head).await;
            assert_eq!(answer.text(), "early", "{what}: {answer:?}");
            let ended = answer.is_complete() || answer.ending == Ending::StreamReset(0);
            assert!(ended, "{what}: {answer:?}");
            // A client that continues doesn't get far, and harms no other.
            let piece = pattern(100_000);
            let going_on = async { while running.try_send(&piece).await {} };
            let _ = tokio::time::timeout(std::time::Duration::from_millis(300), going_on).await;
            let next = Ask::get("/next").answered_over(down, proxy.address()).await;
            assert_eq!(next.text(), "/next", "{what}");
            drop(running);
            drop(origin);
        }
    }
}

/// RFC 9112 section 9.6. Many clients read nothing before they have written everything.
#[tokio::test]
async fn an_early_answer_reaches_a_client_that_writes_all_before_it_reads() {
    let piece = pattern(MB);
    for (down, up) in PAIRS {
        let (_origin, proxy) = behind_a_proxy(up).await;
        let ask = Ask::by("POST", "/early").body("").claiming(12 * MB);
        let mut running = Running::begin(down, proxy.address(), &ask).await;
        for number in 0..12 {
            let sent = running.try_send(&piece).await;
            assert!(sent, "{down:?} to {up:?}: piece {number}");
        }
        let head = running.head().await;
        let answer = running.rest_of(head).await;
        let what = (answer.status(), answer.text());
        assert_eq!(what, (413, "early"), "{down:?} to {up:?}");
    }
}

#[tokio::test]
async fn an_origin_that_lies_about_the_length_is_found_out() {
    for (down, up) in PAIRS {
        let (_origin, proxy) = behind_a_proxy(up).await;
        for count in [10, 1000, 500_000] {
            let what = format!("{down:?} to {up:?}, {count}");
            let short = ask(down, &proxy, &Ask::get(&format!("/short/{count}"))).await;
            let told = short.status() == 502;
            assert!(told || cut(&short), "{what}: {:?}", short.ending);

            let long = ask(down, &proxy, &Ask::get(&format!("/long/{count}"))).await;
            match up {
                // Bytes after the body are not part of it.
                Version::H1 => {
                    assert!(long.is_complete(), "{what}: {:?}", long.ending);
                    assert_same(&long.body, &pattern(count), &what);
                }
                Version::H2 => {
                    let told = long.status() == 502;
                    assert!(told || cut(&long), "{what}: {:?}", long.ending);
                }
            }
            assert!(long.body.len() <= count || long.status() == 502, "{what}");
        }
    }
}

#[tokio::test]
async fn a_client_that_lies_about_the_length_is_found_out() {
    for up in [Version::H1, Version::H2] {
        let (origin, proxy) = behind_a_proxy(up).await;
        for (announced, sent) in [("10", 5), ("5", 10), ("0", 1), ("100000", 99_999)] {
            let what = format!("{sent} for {announced} to {up:?}");
            let mut client = RawHttp2::client(proxy.address(), &[]).await;
            let head = [
                frames::request("POST", "/echo"),
                frames::block(&[("content-length", announced)]),
            ];
            let body = pattern(sent);
            let mut upload = vec![Frame::headers(1, head.concat(), false)];
            let mut pieces = body.chunks(10_000).peekable();
            while let Some(piece) = pieces.next() {
                upload.push(Frame::data(1, piece, pieces.peek().is_none()));
            }
            client.send(upload).await;
            let answer = client.answer(1).await;
            let refused = matches!(answer.statuses[..], [400]) || answer.reset == Some(1);
            assert!(refused, "{what}: {answer:?}");
            client
                .send([Frame::headers(
                    3,
                    frames::request("GET", "/status/204"),
                    true,
                )])
                .await;
            let next = client.answer(3).await;
            assert_eq!(next.statuses, [204], "after {what}: {next:?}");
        }
        let complete = { origin.requests().into_iter() }
            .filter(|request| request.method() == "POST" && request.is_complete())
            // If nothing was announced, the request is complete before the wrong data.
            .filter(|request| request.header("content-length") != Some("0"));
        assert_eq!(complete.count(), 0, "to {up:?}");
    }
}
