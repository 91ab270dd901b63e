//! Received bodies.

use super::super::*;

/// Feeds `pieces` one after the other. Returns the payload, the bytes left after the end, and the
/// trailers; or the reason of the refusal.
pub(super) fn decode(
    length: BodyLength,
    pieces: &[&[u8]],
) -> Result<(Vec<u8>, Vec<u8>, Vec<String>, bool), Fault> {
    let mut decoder = BodyDecoder::new(length);
    let (mut payload, mut rest) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut input = *piece;
        loop {
            let before = input.len();
            match decoder.step(input).inspect_err(|fault| {
                assert_eq!(decoder.step(b"x"), Err(*fault));
                assert_eq!(decoder.end_of_input(), Err(*fault));
                assert!(!decoder.is_done());
            })? {
                Step::More { consumed } => {
                    input = &input[consumed..];
                    assert!(input.is_empty(), "framing is never offered twice");
                    break;
                }
                Step::Data { skip, len } => {
                    assert!(len > 0);
                    payload.extend_from_slice(&input[skip..skip + len]);
                    input = &input[skip + len..];
                    assert!(input.len() < before);
                }
                Step::End { consumed } => {
                    assert!(decoder.is_done());
                    rest.extend_from_slice(&input[consumed..]);
                    break;
                }
            }
        }
    }
    let trailers = decoder.take_trailers().map(|map| {
        let line = |(n, v): (&http::HeaderName, &http::HeaderValue)| {
            format!("{n}={}", v.to_str().unwrap())
        };
        map.iter().map(line).collect()
    });
    let done = decoder.is_done();
    assert_eq!(
        decoder.end_of_input().is_ok(),
        done || length == BodyLength::UntilClose
    );
    Ok((payload, rest, trailers.unwrap_or_default(), done))
}

#[test]
#[rustfmt::skip]
fn chunked_bodies_that_are_sound() {
    // Input, payload, remaining bytes, trailers.
    let rows: &[(&str, &[u8], &[u8], &[u8], &[&str])] = &[
        ("empty", b"0\r\n\r\n", b"", b"", &[]),
        ("one chunk", b"3\r\nabc\r\n0\r\n\r\n", b"abc", b"", &[]),
        ("two chunks", b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc", b"", &[]),
        ("hex, either case", b"A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n", b"01234567890123456789a", b"", &[]),
        ("leading zeros", b"0003\r\nabc\r\n000\r\n\r\n", b"abc", b"", &[]),
        ("sixteen digits", b"0000000000000001\r\na\r\n0\r\n\r\n", b"a", b"", &[]),
        ("CRLF in the payload", b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", b"", &[]),
        ("any byte in the payload", b"3\r\n\0\xff\n\r\n0\r\n\r\n", b"\0\xff\n", b"", &[]),
        ("extension", b"1;a\r\nx\r\n0;b=c\r\n\r\n", b"x", b"", &[]),
        ("quoted extension", b"1;a=\"b;c\"\r\nx\r\n0\r\n\r\n", b"x", b"", &[]),
        ("empty extension", b"1;\r\nx\r\n0\r\n\r\n", b"x", b"", &[]),
        ("space in the extension", b"1; a = b\t\r\nx\r\n0\r\n\r\n", b"x", b"", &[]),
        ("space before the extension", b"1 ;a\r\nx\r\n0 \t;a=b\r\n\r\n", b"x", b"", &[]),
        ("space around all of it", b"1 ; a = b ; c \r\nx\r\n0\r\n\r\n", b"x", b"", &[]),
        ("tab before the extension", b"1\t;a\r\nx\r\n0\r\n\r\n", b"x", b"", &[]),
        ("padding", b"1  \r\nx\r\n0  \r\n\r\n", b"x", b"", &[]),
        ("next message", b"1\r\na\r\n0\r\n\r\nGET /", b"a", b"GET /", &[]),
        ("CRLF behind", b"0\r\n\r\n\r\n", b"", b"\r\n", &[]),
        ("trailer", b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\nN", b"a", b"N", &["x-sum=1"]),
        ("two trailers", b"0\r\nA: 1\r\nB:  2 \r\n\r\n", b"", b"", &["a=1", "b=2"]),
        ("trailers of one name", b"0\r\nA: 1\r\na: 2\r\n\r\n", b"", b"", &["a=1", "a=2"]),
        ("empty trailer", b"0\r\nA:\r\n\r\n", b"", b"", &["a="]),
        (
            "framing as a trailer",
            b"0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nA: 1\r\n\r\n",
            b"",
            b"",
            &["a=1"],
        ),
        ("routing as a trailer", b"0\r\nHost: b\r\nConnection: close\r\nUpgrade: x\r\n\r\n", b"", b"", &[]),
        ("auth as a trailer", b"0\r\nAuthorization: b\r\nCookie: a\r\nSet-Cookie: a\r\n\r\n", b"", b"", &[]),
        ("forwarding as a trailer", b"0\r\nX-Forwarded-For: b\r\nForwarded: a\r\nX-Real-IP: a\r\n\r\n", b"", b"", &[]),
        ("aliases as trailers", b"0\r\nX_Forwarded_For: b\r\nContent_Length: 5\r\nproxy_Authorization: a\r\nX_Real-IP: a\r\n__: a\r\n\r\n", b"", b"", &["__=a"]),
        ("conditions as a trailer", b"0\r\nIf-Match: b\r\nIf-None-Match: a\r\nRange: a\r\n\r\n", b"", b"", &[]),
        ("content as a trailer", b"0\r\nContent-Type: b\r\nContent-Encoding: a\r\nTrailer: a\r\n\r\n", b"", b"", &[]),
    ];
    for (name, input, payload, rest, trailers) in rows {
        let (found, left, fields, done) = decode(BodyLength::Chunked, &[input]).expect(name);
        assert_eq!(found, *payload, "{name}");
        assert_eq!(left, *rest, "{name}");
        assert_eq!(fields, *trailers, "{name}");
        assert!(done, "{name}");
    }
}

#[test]
#[rustfmt::skip]
fn chunked_bodies_that_are_broken() {
    let long_line = [b"1;".as_slice(), &[b'a'; 4096], b"\r\nx\r\n0\r\n\r\n"].concat();
    let one = [b"1;".as_slice(), &[b'a'; 1000], b"\r\nx\r\n"].concat();
    let many = one.repeat(17);
    let long_padding = [b"1".as_slice(), &[b' '; 4096], b"\r\nx\r\n0\r\n\r\n"].concat();
    let much_padding = [b"1".as_slice(), &[b' '; 1000], b"\r\nx\r\n"].concat().repeat(17);
    let long_trailer = [b"0\r\nA: ".as_slice(), &[b'a'; 17_000]].concat();
    let many_trailers = [b"0\r\n".as_slice(), &b"A: b\r\n".repeat(65), b"\r\n"].concat();
    let rows: &[(&str, &[u8])] = &[
        ("no size", b"\r\n"),
        ("no size but an extension", b";a\r\n"),
        ("not hex", b"g\r\n"),
        ("0x", b"0x3\r\nabc\r\n"),
        ("minus", b"-1\r\n"),
        ("plus", b"+1\r\na\r\n"),
        ("space in front", b" 1\r\na\r\n"),
        ("two sizes", b"1 2\r\na\r\n"),
        ("a word behind the size", b"1 a\r\na\r\n"),
        ("a zero behind the size", b"5\t0\r\nhello\r\n"),
        ("space between the digits", b"1 0\r\na\r\n"),
        ("space and bare LF behind the size", b"1 \na\r\n"),
        ("space and bare CR behind the size", b"1 \ra\r\n"),
        ("vertical tab behind the size", b"1\x0b\r\na\r\n"),
        ("form feed behind the size", b"1\x0c;a\r\na\r\n"),
        ("no-break space behind the size", b"1\xa0\r\na\r\n"),
        ("space without a size", b" ;a\r\nx\r\n"),
        ("padding too long", &long_padding),
        ("padding too long in all", &much_padding),
        ("underscore", b"1_0\r\n"),
        ("comma", b"1,1\r\n"),
        ("bare LF behind the size", b"1\na\r\n"),
        ("bare CR behind the size", b"1\ra\r\n"),
        ("CR CR LF", b"1\r\r\na\r\n"),
        ("bare LF in the extension", b"1;a\nx\r\n"),
        ("bare CR in the extension", b"1;a\rb\r\nx\r\n"),
        ("NUL in the extension", b"1;a\0\r\nx\r\n"),
        ("DEL in the extension", b"1;a\x7f\r\nx\r\n"),
        ("chunk too long", b"1\r\nab\r\n"),
        ("no CRLF behind the chunk", b"1\r\na1\r\n"),
        ("bare LF behind the chunk", b"1\r\na\n0\r\n\r\n"),
        ("bare CR behind the chunk", b"1\r\na\r0\r\n\r\n"),
        ("a space behind the chunk", b"1\r\na \r\n"),
        ("bare LF at the end", b"0\r\n\n"),
        ("bare CR at the end", b"0\r\n\rx"),
        ("bare LF behind the last size", b"0\n\r\n"),
        ("over 63 bits", b"8000000000000000\r\n"),
        ("64 bits", b"FFFFFFFFFFFFFFFF\r\n"),
        ("overflow", b"10000000000000001\r\n"),
        ("seventeen digits", b"00000000000000001\r\n"),
        ("line too long", &long_line),
        ("extensions too long in all", &many),
        ("trailer with a space before the colon", b"0\r\nA : b\r\n\r\n"),
        ("trailer without a name", b"0\r\n: b\r\n\r\n"),
        ("trailer without a colon", b"0\r\nA\r\n\r\n"),
        ("trailer that begins with a space", b"0\r\n A: b\r\n\r\n"),
        ("folded trailer", b"0\r\nA: b\r\n c\r\n\r\n"),
        ("trailer with bare LF", b"0\r\nA: b\nB: c\r\n\r\n"),
        ("trailer with bare CR", b"0\r\nA: b\rc\r\n\r\n"),
        ("trailer with NUL", b"0\r\nA: \0\r\n\r\n"),
        ("trailers that end with bare LF", b"0\r\nA: b\r\n\n"),
        ("pseudo trailer", b"0\r\n:status: 200\r\n\r\n"),
        ("trailer too long", &long_trailer),
        ("too many trailers", &many_trailers),
    ];
    for (name, input) in rows {
        assert!(decode(BodyLength::Chunked, &[input]).is_err(), "{name}");
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert!(decode(BodyLength::Chunked, &bytes).is_err(), "{name}");
    }
}

#[test]
fn chunked_bodies_that_are_cut_short() {
    let whole = b"3;x\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n";
    for end in 0..whole.len() {
        let (payload, _, _, done) = decode(BodyLength::Chunked, &[&whole[..end]]).unwrap();
        assert!(!done, "{end}");
        assert!(b"abcde".starts_with(&payload));
    }
}

#[test]
#[rustfmt::skip]
fn bodies_of_known_length_and_none() {
    let rows: &[(BodyLength, &[&[u8]], &[u8], &[u8], bool)] = &[
        (BodyLength::Empty, &[b"next"], b"", b"next", true),
        (BodyLength::Empty, &[], b"", b"", true),
        (BodyLength::Exact(0), &[b"next"], b"", b"next", true),
        (BodyLength::Exact(3), &[b"abc"], b"abc", b"", true),
        (BodyLength::Exact(3), &[b"abcdef"], b"abc", b"def", true),
        (BodyLength::Exact(3), &[b"a", b"", b"b", b"cd"], b"abc", b"d", true),
        (BodyLength::Exact(3), &[b"ab"], b"ab", b"", false),
        (BodyLength::Exact(u64::MAX), &[b"ab"], b"ab", b"", false),
        (BodyLength::UntilClose, &[b"a", b"bc"], b"abc", b"", false),
        (BodyLength::UntilClose, &[], b"", b"", false),
    ];
    for (length, pieces, payload, rest, done) in rows {
        let found = decode(*length, pieces).unwrap();
        let expected = (payload.to_vec(), rest.to_vec(), vec![], *done);
        assert_eq!(found, expected, "{length:?}");
    }
}

#[test]
fn the_decoder_says_what_is_missing() {
    let mut exact = BodyDecoder::new(BodyLength::Exact(10));
    assert_eq!(exact.remaining(), Some(10));
    exact.step(b"abcd").unwrap();
    assert_eq!(exact.remaining(), Some(6));
    assert!(!exact.is_done());
    exact.step(b"abcdef").unwrap();
    assert_eq!(exact.remaining(), Some(0));
    assert!(exact.is_done());

    let mut chunked = BodyDecoder::new(BodyLength::Chunked);
    assert_eq!(chunked.remaining(), Some(0));
    assert_eq!(chunked.step(b"a\r\n"), Ok(Step::More { consumed: 3 }));
    assert_eq!(chunked.remaining(), Some(10));
    assert_eq!(chunked.step(b"abcd"), Ok(Step::Data { skip: 0, len: 4 }));
    assert_eq!(chunked.remaining(), Some(6));
    assert_eq!(BodyDecoder::new(BodyLength::UntilClose).remaining(), None);
}

#[test]
fn until_close_ends_clean_and_nothing_else_does() {
    let mut body = BodyDecoder::new(BodyLength::UntilClose);
    assert!(body.end_of_input().is_ok());
    assert!(body.is_done());
    assert_eq!(body.step(b"x"), Ok(Step::End { consumed: 0 }));

    let mut body = BodyDecoder::new(BodyLength::Exact(1));
    let fault = body.end_of_input().unwrap_err();
    assert_eq!(body.step(b"x"), Err(fault));
    assert!(!body.is_done());
}

#[test]
fn a_decoder_is_small() {
    assert!(
        size_of::<BodyDecoder>() <= 64,
        "{}",
        size_of::<BodyDecoder>()
    );
}

#[test]
fn payload_may_pass_unseen() {
    /// Alternating: bytes seen, bytes unseen; then the remaining bytes, or the refusal.
    type Row = (
        BodyLength,
        &'static [u8],
        &'static [u64],
        Result<Option<u64>, u16>,
    );
    let rows: &[Row] = &[
        (BodyLength::Exact(10), b"", &[0], Ok(Some(10))),
        (BodyLength::Exact(10), b"", &[4, 5], Ok(Some(1))),
        (BodyLength::Exact(10), b"abc", &[7], Ok(Some(0))),
        (BodyLength::Exact(10), b"abc", &[8], Err(500)),
        (BodyLength::Exact(10), b"", &[10, 1], Err(500)),
        (
            BodyLength::Exact(u64::MAX),
            b"",
            &[u64::MAX - 1],
            Ok(Some(1)),
        ),
        (BodyLength::Empty, b"", &[0], Ok(Some(0))),
        (BodyLength::Empty, b"", &[1], Err(500)),
        (BodyLength::UntilClose, b"", &[u64::MAX, u64::MAX], Ok(None)),
        (BodyLength::Chunked, b"", &[0], Ok(Some(0))),
        (BodyLength::Chunked, b"", &[1], Err(500)),
        (BodyLength::Chunked, b"5", &[1], Err(500)),
        (BodyLength::Chunked, b"5\r\na", &[3], Ok(Some(1))),
        (BodyLength::Chunked, b"5\r\na", &[3, 1], Ok(Some(0))),
        (BodyLength::Chunked, b"5\r\na", &[5], Err(500)),
        (BodyLength::Chunked, b"5\r\na", &[4, 1], Err(500)),
        (BodyLength::Chunked, b"0\r\n", &[1], Err(500)),
    ];
    for (length, seen, unseen, expected) in rows {
        let mut decoder = BodyDecoder::new(*length);
        let mut input = *seen;
        while !input.is_empty() {
            match decoder.step(input).unwrap() {
                Step::Data { skip, len } => input = &input[skip + len..],
                Step::More { consumed } | Step::End { consumed } => input = &input[consumed..],
            }
        }
        let passed: Result<(), Fault> = unseen.iter().try_for_each(|n| decoder.advance(*n));
        let found = passed
            .map(|()| decoder.remaining())
            .map_err(|fault| fault.status());
        assert_eq!(found, *expected, "{length:?} {seen:?} {unseen:?}");
    }
}

#[test]
fn what_follows_unseen_payload_is_read_as_ever() {
    let mut exact = BodyDecoder::new(BodyLength::Exact(3));
    exact.advance(3).unwrap();
    assert!(exact.is_done());
    assert_eq!(exact.step(b"GET"), Ok(Step::End { consumed: 0 }));
    let mut short = BodyDecoder::new(BodyLength::Exact(3));
    short.advance(2).unwrap();
    assert_eq!(short.end_of_input(), Err(Fault::CUT_SHORT));
    assert_eq!(short.advance(1), Err(Fault::CUT_SHORT));
    let mut chunked = BodyDecoder::new(BodyLength::Chunked);
    assert_eq!(chunked.step(b"2\r\n"), Ok(Step::More { consumed: 3 }));
    chunked.advance(2).unwrap();
    assert_eq!(
        chunked.step(b"\r\n0\r\n\r\n"),
        Ok(Step::End { consumed: 7 })
    );
}
