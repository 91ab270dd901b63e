//! A head that takes the fast path has the same meaning as with the tokeniser.

use super::super::by_tokens::{
    parse_request as request_by_tokens, parse_response as response_by_tokens,
};
use super::super::*;
use bytes::Bytes;
use pingora_http::{RequestHeader, ResponseHeader};

const REQUESTS: &[&str] = &[
    "GET /a/b?c=d HTTP/1.1\r\nHost: one.example\r\nAccept: text/html, */*;q=0.8\r\nX:\r\nY: \r\n\r\n",
    "POST / HTTP/1.0\r\nhost: a:80\r\nContent-Length: 12\r\nConnection: keep-alive, x\r\nx: 0\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    "GET http://a.example/x HTTP/1.1\r\nHost: b\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
];

const RESPONSES: &[&str] = &[
    "HTTP/1.1 200 OK\r\nServer: x/1 (y; z)\r\nContent-Length: 12\r\nA:\r\nB: \r\nC: d\r\n\r\n",
    "HTTP/1.0 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
    "HTTP/1.1 304 \r\nETag: \"abc\"\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
];

type Seen = (String, String, Vec<u8>);

fn seen_of_request(request: &RequestHeader) -> Seen {
    let mut wire = Vec::new();
    encode_request(request, &mut wire);
    let line = format!("{} {} {:?}", request.method, request.uri, request.version);
    (line, format!("{:?}", request.headers), wire)
}

fn seen_of_response(response: &ResponseHeader) -> Seen {
    let mut wire = Vec::new();
    encode_response(response, &mut wire);
    let line = format!("{} {:?}", response.status, response.version);
    (line, format!("{:?}", response.headers), wire)
}

fn assert_request_alike(head: &[u8]) {
    let head = Bytes::copy_from_slice(head);
    let fields = HeadLimits {
        fields: 4,
        ..HeadLimits::default()
    };
    for (limits, allow_connect) in [(HeadLimits::default(), true), (fields, false)] {
        let rules = RequestRules {
            limits,
            allow_connect,
            allow_obs_fold: false,
        };
        let (mut one, mut other) = (RequestHeader::default(), RequestHeader::default());
        let facts = parse_request(&head, &rules, &mut one);
        let expected = request_by_tokens(&head, &rules, &mut other);
        other.keep_head(head.clone());
        assert_eq!(facts, expected, "{head:?}");
        assert_eq!(seen_of_request(&one), seen_of_request(&other), "{head:?}");
    }
}

fn assert_response_alike(head: &[u8]) {
    let head = Bytes::copy_from_slice(head);
    let context = ResponseContext {
        upgrade_requested: true,
        ..ResponseContext::default()
    };
    let limits = HeadLimits::default();
    for forgive in [false, true] {
        let (mut one, mut other) = (ResponseHeader::empty(), ResponseHeader::empty());
        let facts = if forgive {
            parse_response_with_unsound_length(&head, &limits, context, &mut one)
        } else {
            parse_response(&head, &limits, context, &mut one)
        };
        let expected = response_by_tokens(&head, &limits, context, forgive, &mut other);
        other.keep_head(head.clone());
        assert_eq!(facts, expected.map_err(Fault::of_response), "{head:?}");
        assert_eq!(seen_of_response(&one), seen_of_response(&other), "{head:?}");
    }
}

/// Every head that differs from this one by a single byte: changed, added, or removed.
fn for_each_neighbour(head: &str, mut check: impl FnMut(&[u8])) {
    check(head.as_bytes());
    for place in 0..head.len() {
        let (before, rest) = head.as_bytes().split_at(place);
        check(&[before, &rest[1..]].concat());
        for byte in 0..=u8::MAX {
            check(&[before, &[byte], &rest[1..]].concat());
            check(&[before, &[byte], rest].concat());
        }
    }
}

#[test]
fn requests_mean_the_same_either_way() {
    for head in REQUESTS {
        for_each_neighbour(head, assert_request_alike);
    }
}

#[test]
fn responses_mean_the_same_either_way() {
    for head in RESPONSES {
        for_each_neighbour(head, assert_response_alike);
    }
}

/// Meaningful pieces, in any order.
#[test]
fn heads_of_random_pieces_mean_the_same_either_way() {
    const PIECES: &[&str] = &[
        "\r\n",
        "\r\n",
        "\r\n\r\n",
        ": ",
        ":",
        " ",
        "\t",
        "\n",
        "\r",
        "\0",
        "é",
        "\u{7f}",
        "a",
        "Host",
        "HTTP/1.1",
        "GET ",
        "200 ",
        "/",
        "Content-Length: 5",
        "Connection: close",
        "x-y_z",
        "!",
        ",",
        "0123456789abcdef",
        "value that is longer than a block of bytes",
    ];
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..40_000 {
        let count = random.usize(1..12);
        let pieces = (0..count).map(|_| PIECES[random.usize(..PIECES.len())]);
        let text: String = pieces.collect();
        assert_request_alike(format!("GET / HTTP/1.1\r\nHost: a\r\n{text}\r\n\r\n").as_bytes());
        assert_request_alike(format!("GET {text}").as_bytes());
        assert_response_alike(format!("HTTP/1.1 200 OK\r\n{text}\r\n\r\n").as_bytes());
        assert_response_alike(format!("HTTP/1.1 {text}\r\n\r\n").as_bytes());
    }
}

#[test]
fn what_browsers_send_takes_the_short_cut() {
    for head in REQUESTS {
        let found =
            lines::request(head.as_bytes(), 128).map(|(_, mut fields)| fields.all(|f| f.is_ok()));
        assert_eq!(found, Some(true), "{head}");
    }
    for head in RESPONSES {
        let found =
            lines::response(head.as_bytes(), 128).map(|(_, mut fields)| fields.all(|f| f.is_ok()));
        assert_eq!(found, Some(true), "{head}");
    }
}
