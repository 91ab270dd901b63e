//! A message means the same however its bytes are split.

use super::super::*;
use super::body::decode;
use bytes::Bytes;
use pingora_http::{RequestHeader, ResponseHeader};

const HEADS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"G\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nA:\r\nB: c\r\nContent-Length: 5\r\n\r\n",
];

const BODIES: &[&[u8]] = &[
    b"0\r\n\r\n",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"a;x=y\r\n0123456789\r\n0002\r\n\r\n\r\n0;z\r\n\r\n",
    b"1\r\na\r\n0\r\nA: b\r\nC: d\r\nHost: no\r\n\r\n",
];

/// Passes `whole` to the scanner, ending after each offset of `ends`.
fn scan(whole: &[u8], ends: &[usize]) -> Result<Option<usize>, Fault> {
    let mut scanner = HeadScanner::default();
    for end in ends {
        let found = scanner.find_end(&whole[..*end], &HeadLimits::default())?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

#[test]
fn a_head_is_found_however_it_is_cut() {
    for head in HEADS {
        let whole = [*head, b"body\r\n\r\n"].concat();
        assert_eq!(scan(&whole, &[whole.len()]), Ok(Some(head.len())));
        for cut in 0..whole.len() {
            assert_eq!(
                scan(&whole, &[cut, whole.len()]),
                Ok(Some(head.len())),
                "{cut}"
            );
            let found = scan(&whole, &[cut]);
            assert_eq!(
                found,
                Ok((cut >= head.len()).then_some(head.len())),
                "{cut}"
            );
            for second in cut..whole.len() {
                let ends = [cut, second, whole.len()];
                assert_eq!(scan(&whole, &ends), Ok(Some(head.len())), "{ends:?}");
            }
        }
        let bytes: Vec<usize> = (0..=whole.len()).collect();
        assert_eq!(scan(&whole, &bytes), Ok(Some(head.len())));
    }
}

#[test]
fn a_hopeless_head_is_refused_at_once() {
    let rows: &[(&str, &[u8], u16)] = &[
        ("only LF", b"\n", 400),
        ("request line with LF", b"GET / HTTP/1.1\n", 400),
        ("field with LF", b"GET / HTTP/1.1\r\nHost: a\n", 400),
        ("end with LF", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        ("empty line that was not skipped", b"\r\nG", 400),
        ("TLS", b"\x16\x03\x01", 400),
        ("a space", b" ", 400),
        ("NUL", b"\0", 400),
    ];
    for (name, bytes, status) in rows {
        let whole = scan(bytes, &[bytes.len()]).unwrap_err();
        assert_eq!(whole.status(), *status, "{name}");
        let ends: Vec<usize> = (0..=bytes.len()).collect();
        assert_eq!(scan(bytes, &ends), Err(whole), "{name}");
    }
    let limits = HeadLimits {
        head_bytes: 300,
        fields: 2,
        target_bytes: 20,
    };
    let long = |bytes: &[u8]| HeadScanner::default().find_end(bytes, &limits);
    let endless_line = [b'a'; 149];
    assert_eq!(long(&endless_line[..148]), Ok(None));
    assert_eq!(long(&endless_line).unwrap_err().status(), 414);
    let endless_field = [b"GET / HTTP/1.1\r\n".as_slice(), &[b'a'; 300]].concat();
    assert_eq!(long(&endless_field).unwrap_err().status(), 431);
    let fields = b"GET / HTTP/1.1\r\nA: b\r\nA: b\r\nA: b\r\n";
    assert_eq!(long(fields).unwrap_err().status(), 431);
    let folded = b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\td\r\nA: b\r\n";
    assert_eq!(long(folded), Ok(None), "two fields, one of them folded");
    let large = [
        b"GET / HTTP/1.1\r\nA: ".as_slice(),
        &[b'a'; 300],
        b"\r\n\r\n",
    ]
    .concat();
    assert_eq!(long(&large).unwrap_err().status(), 431);
}

/// In a head that has arrived completely, only the parser examines each line. One of the two has to
/// refuse a bare LF, wherever it is and however the head arrives.
#[test]
fn a_bare_lf_is_refused_by_the_scanner_or_by_the_parser() {
    let accepted = |head: &[u8]| {
        let (head, limits) = (Bytes::copy_from_slice(head), HeadLimits::default());
        let rules = RequestRules {
            allow_obs_fold: true,
            ..RequestRules::default()
        };
        let context = ResponseContext::default();
        parse_request(&head, &rules, &mut RequestHeader::default()).is_ok()
            || parse_response(&head, &limits, context, &mut ResponseHeader::default()).is_ok()
    };
    let rows: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nA:\r\nB: c \r\nContent-Length: 5\r\n\r\n",
        b"GET /\xe4 HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nB: c\r\n  d\r\nE: f\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nServer: a\r\nB:\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
    ];
    for row in rows {
        assert!(accepted(row), "{row:?}");
        let line_feeds = (0..row.len()).filter(|at| row[*at] == b'\n');
        for at in line_feeds {
            let with_bare = [&row[..at - 1], &row[at..]].concat();
            // Not after the head, where it would be the body's first byte.
            let behind = (at + 1).min(row.len() - 2);
            let with_more = [&row[..behind], b"\n", &row[behind..]].concat();
            for head in [with_bare, with_more] {
                let whole = [head.as_slice(), b"body\r\n\r\n"].concat();
                for cut in 0..whole.len() {
                    if let Ok(Some(end)) = scan(&whole, &[cut, whole.len()]) {
                        assert!(!accepted(&whole[..end]), "{cut} of {whole:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_long_head_is_found_wherever_it_ends() {
    for length in 0..300 {
        let field = [b"A: ".as_slice(), &vec![b'x'; length], b"\r\n"].concat();
        let head = [b"GET / HTTP/1.1\r\n".as_slice(), &field, &field, b"\r\n"].concat();
        for behind in [0, 1, 2, 3, 63, 64, 200] {
            let whole = [head.as_slice(), &vec![b'\n'; behind]].concat();
            assert_eq!(scan(&whole, &[whole.len()]), Ok(Some(head.len())));
        }
    }
}

#[test]
fn leading_empty_lines_are_counted() {
    let rows: &[(&[u8], usize)] = &[
        (b"", 0),
        (b"\r", 0),
        (b"\r\n", 2),
        (b"\r\n\r", 2),
        (b"\r\n\r\nGET", 4),
        (b"GET\r\n", 0),
        (b"\n", 0),
        (b"\r\n\n", 2),
        (b"\r\n\r\n\r\n", 6),
    ];
    for (bytes, count) in rows {
        assert_eq!(skip_leading_crlf(bytes), *count, "{bytes:?}");
    }
    // After a CR that may become an empty line, more input is awaited.
    let waiting = HeadScanner::default().find_end(b"\r", &HeadLimits::default());
    assert_eq!(waiting, Ok(None));
}

#[test]
fn a_body_means_the_same_however_it_is_cut() {
    for body in BODIES {
        let whole = [*body, b"next"].concat();
        let expected = decode(BodyLength::Chunked, &[&whole]).unwrap();
        assert_eq!(expected.1, b"next");
        for cut in 0..whole.len() {
            let (a, b) = whole.split_at(cut);
            assert_eq!(
                decode(BodyLength::Chunked, &[a, b]).unwrap(),
                expected,
                "{cut}"
            );
            for second in 0..b.len() {
                let (b, c) = b.split_at(second);
                let found = decode(BodyLength::Chunked, &[a, b, c]).unwrap();
                assert_eq!(found, expected, "{cut} {second}");
            }
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(decode(BodyLength::Chunked, &bytes).unwrap(), expected);
    }
}

#[test]
fn what_was_framed_is_read_back() {
    let payload: Vec<u8> = (0..=255).cycle().take(2000).collect();
    for size in [1, 7, 15, 16, 255, 256, 2000] {
        let mut encoder = BodyEncoder::new(BodyLength::Chunked);
        let mut wire = Vec::new();
        for piece in payload.chunks(size) {
            assert!(encoder.before(piece.len(), &mut wire).unwrap());
            wire.extend_from_slice(piece);
            encoder.after(&mut wire);
        }
        encoder.finish(None, &mut wire).unwrap();
        let (found, rest, ..) = decode(BodyLength::Chunked, &[&wire]).unwrap();
        assert_eq!(found, payload);
        assert!(rest.is_empty());
    }
}
