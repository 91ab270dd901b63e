//! What upstreams and clients got, beside what the proxy says that it passed on.

use crate::house::{Known, Seen};
use crate::strict::{Side, next};
use std::collections::BTreeMap;

/// Every request that upstreams read over HTTP/1.1 is one that the proxy knows, as it knows it, and comes no more
/// often than it was sent: nothing is hidden in another one.
pub fn upstreams_got_what_was_sent(seen: &Seen) {
    let mut count = BTreeMap::<usize, usize>::new();
    for got in &seen.upstreams {
        let mut bytes = &got[..];
        while let Some(message) = next(bytes, Side::Request) {
            let number = message.number().expect("every request has passed the filter");
            *count.entry(number).or_default() += 1;
            let known = &seen.requests[number];
            assert_eq!(message.start[0], known.method);
            if known.target.starts_with('/') {
                assert_eq!(message.start[1], known.target);
            }
            is_what_was_passed(&message.body, message.complete, known.tries, &known.body);
            if message.tunnel {
                break;
            }
            bytes = message.rest;
        }
    }
    for (number, count) in count {
        assert!(count <= seen.requests[number].tries, "request {number}: {count} times");
    }
}

fn is_what_was_passed(got: &[u8], complete: bool, tries: usize, passed: &[u8]) {
    // The filter sees a body once more when it is sent again.
    if tries == 1 {
        assert!(passed.starts_with(got), "{got:?} of {passed:?}");
        assert!(!complete || passed.len() == got.len(), "{got:?} of {passed:?}");
    }
}

/// A client of HTTP/1.1 gets at most one final response to a request, in their order, with the body that was passed
/// on. All others are errors that the proxy tells by itself, so none is hidden in another one.
pub fn the_client_got_what_it_asked_for(seen: &Seen) {
    let mut bytes = &seen.client[..];
    let mut before = None;
    // With the head alone it is not known yet which request this is for.
    while let Some(head) = next(bytes, Side::Response("HEAD")) {
        let number = head.number();
        let is_final = !head.start[1].starts_with('1');
        let method = match number {
            Some(number) => &seen.requests[number].method,
            None if head.rest.is_empty() || head.rest.starts_with(b"HTTP/1.1 ") => "HEAD",
            None => "GET",
        };
        let message = next(bytes, Side::Response(method)).expect("it has a head");
        bytes = message.rest;
        if message.tunnel {
            return;
        }
        if !is_final {
            continue;
        }
        if let Some(number) = number {
            assert!(before.is_none_or(|before| number > before), "in order: {seen:?}");
            before = Some(number);
            let Known { response_body, .. } = &seen.requests[number];
            assert!(response_body.starts_with(&message.body), "{seen:?}");
            let whole = response_body.len() == message.body.len();
            assert!(!message.complete || whole || method == "HEAD", "{seen:?}");
        } else {
            assert!(matches!(message.start[1].as_bytes(), [b'4' | b'5', ..]), "{seen:?}");
        }
        assert!(message.complete || bytes.is_empty(), "{seen:?}");
    }
}

/// On each stream, a client of HTTP/2 gets one response, with an end and nothing behind it.
pub fn frames_are_in_order(got: &[u8]) {
    #[derive(PartialEq, Clone, Copy, Debug)]
    enum Stream {
        Head,
        Body,
        Ended,
        Reset,
    }
    let mut streams = BTreeMap::<u32, Stream>::new();
    let mut open_block = None;
    let mut bytes = got;
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        assert!(bytes.len() < got.len() || kind == 4, "SETTINGS come first");
        assert!(length <= 16_384 && stream >> 31 == 0);
        let Some(rest) = rest.get(length..) else { break };
        bytes = rest;
        if let Some(open) = open_block {
            assert_eq!((kind, stream), (9, open), "a block goes on");
        }
        if matches!(kind, 1 | 9) {
            open_block = (flags & 4 == 0).then_some(stream);
        }
        let state = streams.get(&stream).copied();
        let end = flags & 1 > 0;
        let next = match (kind, state) {
            (0, Some(Stream::Head | Stream::Body)) if end => Stream::Ended,
            (0, Some(Stream::Head | Stream::Body)) => Stream::Body,
            (1, None | Some(Stream::Head | Stream::Body)) if end => Stream::Ended,
            (1, None | Some(Stream::Head)) => Stream::Head,
            // Once more if frames go on coming (RFC 9113 section 5.4.2).
            (3, _) => Stream::Reset,
            (0 | 1 | 5, _) => panic!("kind {kind} on stream {stream}, which is {state:?}"),
            _ => continue,
        };
        assert_eq!(stream % 2, 1, "a stream of the client's");
        streams.insert(stream, next);
    }
}

/// The requests that upstreams read over HTTP/2, with another library: each is one that the proxy knows.
pub fn upstreams_got_what_was_sent_over_http2(seen: &Seen) {
    let mut count = BTreeMap::<usize, usize>::new();
    for got in &seen.upstreams {
        for request in read_http2(got) {
            let number = request.headers()["x-seq"].to_str().unwrap().parse().unwrap();
            *count.entry(number).or_default() += 1;
            let known = &seen.requests[number];
            assert_eq!(request.method().as_str(), known.method);
            assert_eq!(request.headers().get_all("x-seq").iter().count(), 1);
        }
    }
    for (number, count) in count {
        assert!(count <= seen.requests[number].tries, "request {number}: {count} times");
    }
}

/// Without the acknowledgements of SETTINGS: the script may have had several, the server that reads it here has one.
fn without_acknowledgements(got: &[u8]) -> Vec<u8> {
    const PREFACE: usize = 24;
    let (preface, mut frames) = got.split_at(PREFACE.min(got.len()));
    let mut kept = preface.to_vec();
    while let Some(head) = frames.first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (frame, rest) = frames.split_at(frames.len().min(9 + length));
        if (head[3], head[4]) != (4, 1) {
            kept.extend_from_slice(frame);
        }
        frames = rest;
    }
    kept
}

fn read_http2(got: &[u8]) -> Vec<http::Request<h2::RecvStream>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut requests = vec![];
        let script = tokio::io::join(std::io::Cursor::new(without_acknowledgements(got)), tokio::io::sink());
        let mut builder = h2::server::Builder::new();
        builder.max_pending_accept_reset_streams(10_000);
        builder.max_concurrent_streams(10_000);
        builder.enable_connect_protocol();
        let mut connection = match builder.handshake::<_, bytes::Bytes>(script).await {
            Ok(connection) => connection,
            Err(error) => {
                assert!(error.is_io(), "{error}");
                return requests;
            }
        };
        let mut answers = vec![];
        while let Some(accepted) = connection.accept().await {
            match accepted {
                Ok((request, answer)) => {
                    requests.push(request);
                    answers.push(answer);
                }
                Err(error) => {
                    assert!(error.is_io() || error.is_remote(), "{error:?}: {got:?}");
                    break;
                }
            }
        }
        requests
    })
}
