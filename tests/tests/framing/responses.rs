//! Filters that change responses.

use super::{Client, PAIRS, good_origin, wish};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::protocols::http::changed_body::declare_changed_body;
use pingora_tests::{Ask, Message, VersionedUpstream, h2c_proxy, pattern};
use std::time::Duration;

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

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut Vec<u8>,
    ) -> Result<()> {
        for (name, value) in ABOUT_THE_BODY {
            if wish(session).contains("fields") {
                response.insert_header(name, value)?;
            }
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut Vec<u8>,
    ) -> Result<()> {
        let informational = response.status.is_informational();
        for wish in wish(session).split(' ') {
            match wish {
                "untold" => drop(response.remove_header("content-length")),
                "204" | "304" | "200" | "103" if !informational => {
                    response.set_status(wish.parse::<u16>().unwrap())?;
                }
                "final" if informational => response.set_status(200)?,
                "chunked" => response.insert_header("transfer-encoding", "chunked")?,
                "told-5" => response.insert_header("content-length", "5")?,
                "told-abc" => response.insert_header("content-length", "abc")?,
                "told-twice" => {
                    response.insert_header("content-length", "5")?;
                    response.append_header("content-length", "6")?;
                }
                "changed" if !informational => declare_changed_body(response),
                "announce" => response.insert_header("trailer", "x-checksum")?,
                _ => {}
            }
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        collected: &mut Vec<u8>,
    ) -> Result<Option<Duration>> {
        for wish in wish(session).split(' ') {
            match wish {
                "drop" => *body = None,
                "grow" => {
                    let grown = [body.as_deref().unwrap_or_default(), b"more"].concat();
                    *body = Some(grown.into());
                }
                "shrink" => *body = body.take().map(|body| body.slice(body.len() / 2..)),
                "delay" => return Ok(Some(Duration::from_millis(5))),
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
        Ok(None)
    }

    async fn response_trailer_filter(
        &self,
        session: &mut Session,
        trailers: &mut HeaderMap,
        _: &mut Vec<u8>,
    ) -> Result<Option<Bytes>> {
        for wish in wish(session).split(' ') {
            match wish {
                "frame" => {
                    trailers.insert("content-length", 5.into());
                    trailers.insert("transfer-encoding", "chunked".parse().unwrap());
                }
                "none" => trailers.clear(),
                "instead" => return Ok(Some(Bytes::from_static(b"instead"))),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// What an origin says of its body, byte by byte.
const ABOUT_THE_BODY: [(&str, &str); 6] = [
    ("accept-ranges", "bytes"),
    ("content-digest", "sha-256=:AA==:"),
    ("repr-digest", "sha-256=:AA==:"),
    ("digest", "sha-256=AA=="),
    ("content-md5", "AA=="),
    ("etag", "\"strong\""),
];

/// The expected result at the client.
#[derive(Debug, Clone)]
enum Gets {
    /// A complete response with this status and a body of this length.
    Whole(u16, usize),
    /// A response that is known to be incomplete, or an error page.
    Broken,
}
use Gets::{Broken, Whole};

/// The action of the filters, the method, the path, and what the client receives.
#[rustfmt::skip]
const ROWS: &[(&str, &str, &str, Gets)] = &[
    ("", "GET", "/length/100", Whole(200, 100)),
    // The length is removed with the body ...
    ("untold drop", "GET", "/length/100", Whole(200, 0)),
    ("untold drop", "GET", "/length/300000", Whole(200, 0)),
    ("untold shrink", "GET", "/length/100", Whole(200, 50)),
    ("untold grow", "GET", "/length/100", Whole(200, 104)),
    ("untold collect", "GET", "/length/100", Whole(200, 104)),
    ("untold collect", "GET", "/length/300000", Whole(200, 300_004)),
    ("changed grow", "GET", "/length/100", Whole(200, 104)),
    ("changed collect", "GET", "/length/300000", Whole(200, 300_004)),
    ("collect", "GET", "/chunked/3000", Whole(200, 3004)),
    ("delay", "GET", "/length/100", Whole(200, 100)),
    ("delay", "GET", "/length/100000", Whole(200, 100_000)),
    ("delay", "GET", "/chunked/3000", Whole(200, 3000)),
    ("drop", "GET", "/chunked/3000", Whole(200, 0)),
    // ... or the request fails, before the first byte if the body has arrived by then.
    ("drop", "GET", "/length/100", Whole(500, 0)),
    ("shrink", "GET", "/length/100", Whole(500, 0)),
    ("grow", "GET", "/length/100", Whole(500, 0)),
    ("collect", "GET", "/length/100", Whole(500, 0)),
    ("told-5", "GET", "/length/100", Whole(500, 0)),
    ("told-abc", "GET", "/length/100", Whole(500, 0)),
    ("told-abc", "GET", "/status/200", Whole(500, 0)),
    ("told-twice", "GET", "/length/100", Whole(500, 0)),
    ("told-5", "GET", "/status/200", Whole(500, 0)),
    ("drop", "GET", "/length/300000", Broken),
    ("shrink", "GET", "/length/300000", Broken),
    ("grow", "GET", "/length/300000", Broken),
    // A body is removed from a response that can't have one, and not added to one.
    ("204", "GET", "/length/100", Whole(204, 0)),
    ("204", "GET", "/length/300000", Whole(204, 0)),
    ("204 grow", "GET", "/chunked/3000", Whole(204, 0)),
    ("204 chunked", "GET", "/length/100", Whole(204, 0)),
    ("304", "GET", "/length/100", Whole(304, 0)),
    ("304 grow", "GET", "/chunked/3000", Whole(304, 0)),
    ("204", "GET", "/trailers", Whole(204, 0)),
    ("grow", "GET", "/status/204", Whole(204, 0)),
    ("grow", "GET", "/status/304", Whole(304, 0)),
    ("200", "GET", "/status/204", Whole(200, 0)),
    ("200", "GET", "/status/304", Whole(200, 0)),
    ("200 grow", "GET", "/status/204", Whole(200, 0)),
    ("grow", "HEAD", "/length/100", Whole(200, 0)),
    ("untold chunked", "HEAD", "/length/100", Whole(200, 0)),
    // A response can't be turned into an informational one, or the other way round.
    ("103", "GET", "/length/100", Broken),
    ("103", "GET", "/status/200", Broken),
    ("final", "GET", "/hints", Broken),
    // The framing of a body belongs to this hop.
    ("untold chunked", "GET", "/length/100", Whole(200, 100)),
    ("untold chunked", "GET", "/chunked/3000", Whole(200, 3000)),
    // Trailers.
    ("announce", "GET", "/trailers", Whole(200, 7)),
    ("grow", "GET", "/trailers", Whole(200, 15)),
    ("collect", "GET", "/trailers", Whole(200, 11)),
    ("frame", "GET", "/trailers", Whole(200, 7)),
    ("none", "GET", "/trailers", Whole(200, 7)),
    ("drop", "GET", "/trailers", Whole(200, 0)),
    ("instead", "GET", "/trailers", Whole(200, 14)),
];

fn is_as_told(answer: &Message, method: &str, gets: &Gets) -> bool {
    let Whole(status, length) = gets else {
        return !answer.is_complete() || (500..=502).contains(&answer.status());
    };
    let bodiless = method == "HEAD" || matches!(status, 204 | 304);
    let told = answer.headers("content-length");
    let lengths_agree = match told[..] {
        [] => true,
        [told] => bodiless || told == answer.body.len().to_string(),
        _ => false,
    };
    // RFC 9110 section 8.6, RFC 9112 section 6.1.
    let no_framing =
        *status != 204 || told.is_empty() && answer.header("transfer-encoding").is_none();
    let no_framing_behind = ["content-length", "transfer-encoding"].iter().all(|name| {
        answer
            .trailers
            .iter()
            .all(|(it, _)| !it.eq_ignore_ascii_case(name))
    });
    let length_as_told = *status == 500 || answer.body.len() == *length;
    answer.is_complete()
        && answer.status() == *status
        && length_as_told
        && lengths_agree
        && no_framing
        && no_framing_behind
}

#[tokio::test]
async fn responses_are_framed_right_or_fail() {
    let mut wrong = Vec::new();
    for (down, version) in PAIRS {
        let origin = good_origin(version).await;
        let address = origin.address();
        let server = h2c_proxy(Filters(VersionedUpstream { address, version })).await;
        for (wish, method, path, gets) in ROWS {
            let what = format!("{down:?} to {version:?}: {wish:?} {method} {path}");
            let mut client = Client::of(down, &server).await;
            let ask = Ask::by(method, path).with("x-do", wish);
            let answer = client.ask_and_go_on(&ask, &what).await;
            if !is_as_told(&answer, method, gets) {
                let mut answer = answer;
                answer.body.truncate(20);
                wrong.push(format!("{what}: {gets:?}, not {answer:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The client receives whatever a filter leaves of a body.
#[tokio::test]
async fn a_delayed_body_is_the_same() {
    for (down, version) in PAIRS {
        let origin = good_origin(version).await;
        let address = origin.address();
        let server = h2c_proxy(Filters(VersionedUpstream { address, version })).await;
        let ask = Ask::get("/length/200000").with("x-do", "delay");
        let answer = ask.answered_over(down, server.address()).await;
        assert!(answer.body == pattern(200_000), "{down:?} to {version:?}");
    }
}

/// Whatever promises something about the bytes goes with them, and stays with them.
#[tokio::test]
async fn a_changed_body_has_no_field_about_the_old_one() {
    for (down, version) in PAIRS {
        let origin = good_origin(version).await;
        let address = origin.address();
        let server = h2c_proxy(Filters(VersionedUpstream { address, version })).await;
        for (method, path) in [
            ("GET", "/length/100"),
            ("GET", "/chunked/30"),
            ("HEAD", "/length/100"),
        ] {
            let case = format!("{down:?} to {version:?}: {method} {path}");
            let ask = Ask::by(method, path).with("x-do", "fields");
            let same = ask.answered_over(down, server.address()).await;
            for (name, value) in ABOUT_THE_BODY {
                assert_eq!(same.header(name), Some(value), "{case}");
            }
            let ask = Ask::by(method, path).with("x-do", "fields changed grow");
            let changed = ask.answered_over(down, server.address()).await;
            assert!(changed.is_complete(), "{case}");
            for (name, _) in ABOUT_THE_BODY {
                let expected = (name == "etag").then_some("W/\"strong\"");
                assert_eq!(changed.header(name), expected, "{case}: {name}");
            }
            assert_eq!(changed.header("content-length"), None, "{case}");
        }
    }
}
