//! Parts, conditions and HEAD from what is stored, and from what is being stored; purging.

use super::support::{Caching, Scripted, VERSIONS, ok};
use pingora::cache::PurgeAction;
use pingora_tests::{Ask, Origin, Version, eventually, h2c_proxy, pattern};

const LENGTH: usize = 200_000;

/// The parts of a multipart body: the range that each says it is, and what it holds.
fn parts(content_type: &str, body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let boundary = content_type.split("boundary=").nth(1).unwrap();
    let delimiter = format!("\r\n--{boundary}");
    let mut parts = Vec::new();
    let mut rest = body;
    while let Some(at) = find(rest, delimiter.as_bytes()) {
        rest = &rest[at + delimiter.len()..];
        if rest.starts_with(b"--") {
            return parts;
        }
        let head_end = find(rest, b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&rest[..head_end]).to_lowercase();
        let range = head
            .lines()
            .find_map(|line| line.strip_prefix("content-range: "));
        let range = range.unwrap().to_string();
        rest = &rest[head_end..];
        let end = find(rest, delimiter.as_bytes()).unwrap();
        parts.push((range, rest[..end].to_vec()));
    }
    panic!("no end");
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[tokio::test]
async fn one_range_of_a_miss_and_of_a_hit() {
    let whole = pattern(LENGTH);
    for upstream in VERSIONS {
        let origin = match upstream {
            Version::H1 => Origin::well_behaved().await,
            Version::H2 => Origin::http2().await,
        };
        for client in VERSIONS {
            let mut caching = Caching::of(origin.address());
            caching.upstream_version = upstream;
            let server = h2c_proxy(caching).await;
            for (spec, range) in [
                ("0-0", 0..1),
                ("100-70000", 100..70_001),
                ("-5", LENGTH - 5..LENGTH),
            ] {
                // The rest of the path makes each a key of its own.
                let path = format!("/length/{LENGTH}/{spec}");
                let ask = Ask::get(&path).with("Range", &format!("bytes={spec}"));
                for phase in ["miss", "hit"] {
                    let answer = ask.answered_over(client, server.address()).await;
                    let what = format!("{spec} over {client:?} from {upstream:?}: {phase}");
                    assert_eq!(answer.status(), 206, "{what}");
                    assert!(
                        answer.is_complete() && answer.body == whole[range.clone()],
                        "{what}"
                    );
                    let said = format!("bytes {}-{}/{LENGTH}", range.start, range.end - 1);
                    assert_eq!(
                        answer.header("content-range"),
                        Some(said.as_str()),
                        "{what}"
                    );
                    assert_eq!(answer.header("x-cache"), Some(phase), "{what}");
                    assert!(origin.last_request().header("range").is_none());
                }
                let answer = Ask::get(&path)
                    .answered_over(client, server.address())
                    .await;
                assert!(
                    answer.status() == 200 && answer.body == whole,
                    "it is whole in the store"
                );
            }
        }
    }
}

#[tokio::test]
async fn several_ranges_come_in_any_order_from_the_store() {
    let whole = pattern(LENGTH);
    let origin = Origin::well_behaved().await;
    let server = h2c_proxy(Caching::of(origin.address())).await;
    let path = format!("/length/{LENGTH}");
    for (specs, ranges) in [
        (
            "0-9,100-199,150000-",
            vec![0..10, 100..200, 150_000..LENGTH],
        ),
        ("-10,0-9", vec![LENGTH - 10..LENGTH, 0..10]),
    ] {
        let ask = Ask::get(&path).with("Range", &format!("bytes={specs}"));
        for turn in 0..3 {
            let answer = ask
                .answered_over(VERSIONS[turn % 2], server.address())
                .await;
            assert!(
                answer.is_complete() && answer.status() == 206,
                "{specs} {turn}"
            );
            let found = parts(answer.header("content-type").unwrap(), &answer.body);
            assert_eq!(found.len(), ranges.len());
            for ((said, held), range) in found.iter().zip(&ranges) {
                assert_eq!(
                    *said,
                    format!("bytes {}-{}/{LENGTH}", range.start, range.end - 1)
                );
                assert!(*held == whole[range.clone()], "{specs} {turn}");
            }
        }
    }
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn what_can_not_be_cut_in_order_during_a_miss_comes_whole() {
    let origin = Origin::well_behaved().await;
    let server = h2c_proxy(Caching::of(origin.address())).await;
    let ask = Ask::get(&format!("/length/{LENGTH}")).with("Range", "bytes=-10,0-9");
    let answer = ask.answered_over(Version::H1, server.address()).await;
    assert_eq!(
        (answer.status(), answer.header("content-range")),
        (200, None)
    );
    assert!(answer.is_complete() && answer.body == pattern(LENGTH));
}

#[tokio::test]
async fn abuse_of_ranges_gets_the_whole_once() {
    let origin = Origin::well_behaved().await;
    let server = h2c_proxy(Caching::of(origin.address())).await;
    let specs: Vec<String> = (0..1000).map(|n| format!("{n}-")).collect();
    let ask = Ask::get("/length/5000").with("Range", &format!("bytes={}", specs.join(",")));
    for version in VERSIONS {
        for _ in 0..2 {
            let answer = ask.answered_over(version, server.address()).await;
            assert!(answer.status() == 200 && answer.body.len() == 5000);
        }
    }
    let ask = Ask::get("/length/5000").with("Range", "bytes=5000-");
    for version in VERSIONS {
        let answer = ask.answered_over(version, server.address()).await;
        assert_eq!((answer.status(), answer.body.len()), (416, 0));
        assert_eq!(answer.header("content-range"), Some("bytes */5000"));
    }
}

#[tokio::test]
async fn conditions_and_heads_are_answered_from_the_store_and_beside_it() {
    const FIELDS: &str = "ETag: \"a\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let origin = Scripted::new(|request, _| {
        assert_eq!(request.method(), "GET");
        ok(FIELDS, "hello")
    })
    .await;
    for version in VERSIONS {
        for (what, status) in [("head", 200), ("tag", 304), ("date", 304), ("other", 200)] {
            let path = format!("/{what}/{version:?}");
            let ask = match what {
                "head" => Ask::by("HEAD", &path),
                "tag" => Ask::get(&path).with("If-None-Match", "W/\"a\""),
                "date" => {
                    Ask::get(&path).with("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")
                }
                _ => Ask::get(&path).with("If-None-Match", "\"b\""),
            };
            let caching = Caching::of(origin.address());
            let seen = caching.seen.clone();
            let server = h2c_proxy(caching).await;
            let before = origin.asked();
            for turn in 0..3 {
                let answer = ask.answered_over(version, server.address()).await;
                let body = if what == "other" { "hello" } else { "" };
                let told = format!("{what} over {version:?}, turn {turn}: {answer:?}");
                assert_eq!((answer.status(), answer.text()), (status, body), "{told}");
                if what == "head" {
                    assert_eq!(answer.header("content-length"), Some("5"), "{told}");
                }
                eventually("it is logged", || seen.logged() == turn + 1).await;
            }
            let answer = Ask::get(&path)
                .answered_over(version, server.address())
                .await;
            assert_eq!(answer.text(), "hello");
            assert_eq!(origin.asked(), before + 1, "{what}");
        }
    }
}

#[tokio::test]
async fn what_is_purged_is_asked_for_again() {
    for action in [PurgeAction::Delete, PurgeAction::Expire] {
        let origin = Scripted::new(|request, number| {
            assert_ne!(request.method(), "PURGE");
            ok("", &number.to_string())
        })
        .await;
        let mut caching = Caching::of(origin.address());
        caching.purge = action;
        let server = h2c_proxy(caching).await;
        let purge = Ask::by("PURGE", "/");
        let status = async |ask: &Ask| {
            let answer = ask.answered_over(Version::H1, server.address()).await;
            (
                answer.status(),
                answer.header("x-purge").map(str::to_string),
            )
        };
        assert_eq!(status(&purge).await, (404, Some("NotFound".into())));
        for expected in ["0", "0"] {
            let answer = Ask::get("/")
                .answered_over(Version::H1, server.address())
                .await;
            assert_eq!(answer.text(), expected);
        }
        assert_eq!(status(&purge).await, (200, Some("Found".into())));
        let answer = Ask::get("/")
            .answered_over(Version::H1, server.address())
            .await;
        assert_eq!(answer.text(), "1");
    }
}
