//! Filters that change requests.

use super::{Client, PAIRS, good_origin, wish};
use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::RequestHeader;
use pingora::prelude::*;
use pingora_tests::{Ask, VersionedUpstream, h2c_proxy};

/// Filters that act as the request says.
struct Filters(VersionedUpstream);

#[async_trait]
impl ProxyHttp for Filters {
    /// The collected data.
    type CTX = Vec<u8>;

    fn new_ctx(&self) -> Vec<u8> {
        Vec::new()
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Vec<u8>) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.peer()))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut Vec<u8>,
    ) -> Result<()> {
        for wish in wish(session).split(' ') {
            match wish {
                "untold" => drop(request.remove_header("content-length")),
                "told-4" => request.insert_header("content-length", "4")?,
                "told-abc" => request.insert_header("content-length", "abc")?,
                "chunked" => request.insert_header("transfer-encoding", "chunked")?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        collected: &mut Vec<u8>,
    ) -> Result<()> {
        for wish in wish(session).split(' ') {
            match wish {
                "drop" => *body = None,
                "grow" if end => {
                    let grown = [body.as_deref().unwrap_or_default(), b"more"].concat();
                    *body = Some(grown.into());
                }
                "shrink" => *body = body.take().map(|body| body.slice(body.len() / 2..)),
                "collect" => {
                    collected.extend_from_slice(&body.take().unwrap_or_default());
                    if end {
                        let whole = std::mem::take(collected);
                        *body = Some([&whole[..], b"more"].concat().into());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The result at the origin.
#[derive(Debug, Clone, Copy)]
enum Gets {
    /// A complete request with a body of this length, which it sends back.
    Whole(usize),
    /// Nothing complete, and the client gets an error.
    Nothing,
}
use Gets::{Nothing, Whole};

/// The action of the filters, the length of the body or none, whether it is announced, and what the origin
/// receives.
#[rustfmt::skip]
const ROWS: &[(&str, Option<usize>, bool, Gets)] = &[
    ("", Some(100), true, Whole(100)),
    ("", Some(100), false, Whole(100)),
    ("untold", Some(100), true, Whole(100)),
    ("untold drop", Some(100), true, Whole(0)),
    ("untold shrink", Some(100), true, Whole(50)),
    ("untold grow", Some(100), true, Whole(104)),
    ("untold collect", Some(300_000), true, Whole(300_004)),
    ("grow", Some(100), false, Whole(104)),
    ("drop", Some(100), false, Whole(0)),
    ("collect", Some(300_000), false, Whole(300_004)),
    ("untold chunked", Some(100), true, Whole(100)),
    ("chunked", Some(100), false, Whole(100)),
    // A declared length that does not match.
    ("drop", Some(100), true, Nothing),
    ("shrink", Some(100), true, Nothing),
    ("grow", Some(100), true, Nothing),
    ("collect", Some(300_000), true, Nothing),
    ("drop", Some(300_000), true, Nothing),
    ("told-4", Some(100), true, Nothing),
    ("told-4", Some(100), false, Nothing),
    ("told-abc", Some(100), true, Nothing),
    ("told-abc", Some(100), false, Nothing),
    // A body that is added to a request without one.
    ("grow told-4", None, true, Whole(4)),
    ("grow chunked", None, true, Whole(4)),
    ("told-4", None, true, Nothing),
];

async fn all(method: &str) {
    let mut wrong = Vec::new();
    for (down, version) in PAIRS {
        let origin = good_origin(version).await;
        let address = origin.address();
        let server = h2c_proxy(Filters(VersionedUpstream { address, version })).await;
        for (wish, length, announced, gets) in ROWS {
            let what = format!("{down:?} to {version:?}: {wish:?} {length:?} {announced}");
            let mut client = Client::of(down, &server).await;
            let ask = Ask::by(method, "/echo").with("x-do", wish);
            let ask = match length {
                None => ask,
                Some(length) if *announced => ask.body(vec![b'a'; *length]),
                Some(length) => ask.pieces(vec![b'a'; *length], 0),
            };
            origin.forget_requests();
            let answer = client.ask_and_go_on(&ask, &what).await;
            let fits = match gets {
                Whole(length) => answer.status() == 200 && answer.body.len() == *length,
                Nothing => {
                    let seen = origin.requests();
                    let echoed =
                        |it: &pingora_tests::Message| it.target() == "/echo" && it.is_complete();
                    (500..=502).contains(&answer.status()) && !seen.iter().any(echoed)
                }
            };
            if !fits || !answer.is_complete() {
                let mut answer = answer;
                answer.body.truncate(20);
                wrong.push(format!("{what}: {gets:?}, not {answer:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// CVE-2026-42926: a body that a filter sets injects a request.
#[tokio::test]
async fn requests_are_framed_right_or_fail() {
    all("POST").await;
}

#[tokio::test]
async fn so_are_those_whose_method_has_no_body_as_a_rule() {
    all("GET").await;
}

/// If a body is added to a request whose head was already sent without announcing it, the body arrives,
/// or the client gets an error.
#[tokio::test]
async fn a_body_that_was_not_announced_is_not_lost() {
    let mut wrong = Vec::new();
    for (down, version) in PAIRS {
        let origin = good_origin(version).await;
        let address = origin.address();
        let server = h2c_proxy(Filters(VersionedUpstream { address, version })).await;
        for method in ["GET", "POST"] {
            let what = format!("{down:?} to {version:?}: {method}");
            let mut client = Client::of(down, &server).await;
            let ask = Ask::by(method, "/echo").with("x-do", "grow");
            let answer = client.ask_and_go_on(&ask, &what).await;
            let got = (answer.status(), answer.text());
            if got != (200, "more") && got.0 != 500 {
                wrong.push(format!("{what}: {got:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
