//! Tables for RFC 9113 sections 4 and 6, with every frame split at every byte.

use bytes::{Bytes, BytesMut};

use super::*;
use crate::error::{Error, Reason, Scope};

/// A frame as bytes.
fn wire(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// The result of reading one frame, as text; the same however the frame is split.
fn read(role: Role, frame: &[u8]) -> Result<String, Error> {
    let mut results = vec![];
    for cut in 0..=frame.len() {
        let mut reader = Reader::new(role, ReaderLimits::default());
        let mut buffer = BytesMut::from(&frame[..cut]);
        let mut result = reader
            .next(&mut buffer)
            .map(|f| f.map(|f| format!("{f:?}")));
        if let Ok(None) = result {
            buffer.extend_from_slice(&frame[cut..]);
            result = reader
                .next(&mut buffer)
                .map(|f| f.map(|f| format!("{f:?}")));
        }
        if let Ok(Some(_)) = result {
            assert!(matches!(reader.next(&mut buffer), Ok(None)));
            assert!(buffer.is_empty() && reader.lent() == 0);
        }
        results.push(result.map(|frame| frame.expect("all of it is there")));
    }
    let first = results.swap_remove(0);
    assert!(results.iter().all(|result| *result == first));
    first
}

fn id(stream: u32) -> StreamId {
    StreamId::new(stream)
}

const C: Scope = Scope::Connection;
/// An error of stream 1.
const S: Scope = Scope::Stream(StreamId(1));

use Role::{Client, Server};
use kind::*;

/// RFC 9113 section 6 and RFC 9218 section 7.1: the errors of each frame type.
#[test]
fn a_frame_is_refused_with_the_scope_and_code_of_its_rule() {
    const PROTOCOL: Reason = Reason::PROTOCOL_ERROR;
    const SIZE: Reason = Reason::FRAME_SIZE_ERROR;
    const FLOW: Reason = Reason::FLOW_CONTROL_ERROR;
    // Our role, type, flags, stream, payload, error.
    type Row<'a> = (Role, u8, u8, u32, &'a [u8], Scope, Reason);
    let rows: &[Row<'_>] = &[
        (Server, DATA, 0, 0, b"x", C, PROTOCOL),
        (Server, DATA, 8, 1, b"", C, SIZE),
        (Server, DATA, 8, 1, b"\x01", C, PROTOCOL),
        (Server, DATA, 8, 1, b"\x05abcd", C, PROTOCOL),
        (Server, HEADERS, 4, 0, b"\x82", C, PROTOCOL),
        (Server, HEADERS, 12, 1, b"", C, SIZE),
        (Server, HEADERS, 12, 1, b"\x01", C, PROTOCOL),
        (Server, HEADERS, 0x24, 1, b"\0\0\0\0", C, SIZE),
        (Server, HEADERS, 0x2c, 1, b"\0\0\0\0\0", C, SIZE),
        (Server, HEADERS, 0x2c, 1, b"\x01\0\0\0\0\0", C, PROTOCOL),
        (Server, PRIORITY, 0, 0, b"\0\0\0\0\0", C, PROTOCOL),
        (Server, PRIORITY, 0, 1, b"\0\0\0\0", S, SIZE),
        (Server, PRIORITY, 0, 1, b"\0\0\0\0\0\0", S, SIZE),
        (Server, PRIORITY, 0, 1, b"\0\0\0\x01\0", S, PROTOCOL),
        (Server, PRIORITY, 0, 1, b"\x80\0\0\x01\0", S, PROTOCOL),
        (Server, RST_STREAM, 0, 0, b"\0\0\0\0", C, PROTOCOL),
        (Server, RST_STREAM, 0, 1, b"\0\0\0", C, SIZE),
        (Server, RST_STREAM, 0, 1, b"\0\0\0\0\0", C, SIZE),
        (Server, SETTINGS, 0, 1, b"", C, PROTOCOL),
        (Server, SETTINGS, 1, 1, b"", C, PROTOCOL),
        (Server, SETTINGS, 1, 0, b"\0\x03\0\0\0\x01", C, SIZE),
        (Server, SETTINGS, 0, 0, b"\0\x03\0\0\0", C, SIZE),
        (Server, SETTINGS, 0, 0, b"\0\x03\0\0\0\x01\0", C, SIZE),
        (Server, SETTINGS, 0, 0, b"\0\x02\0\0\0\x02", C, PROTOCOL),
        (Client, SETTINGS, 0, 0, b"\0\x02\0\0\0\x01", C, PROTOCOL),
        (Server, SETTINGS, 0, 0, b"\0\x04\x80\0\0\0", C, FLOW),
        (Server, SETTINGS, 0, 0, b"\0\x05\0\0\x3f\xff", C, PROTOCOL),
        (Server, SETTINGS, 0, 0, b"\0\x05\x01\0\0\0", C, PROTOCOL),
        (Client, SETTINGS, 0, 0, b"\0\x08\0\0\0\x02", C, PROTOCOL),
        (Client, SETTINGS, 0, 0, b"\0\x09\0\0\0\x02", C, PROTOCOL),
        (Server, PUSH_PROMISE, 4, 1, b"\0\0\0\x02", C, PROTOCOL),
        (Client, PUSH_PROMISE, 4, 0, b"\0\0\0\x02", C, PROTOCOL),
        (Client, PUSH_PROMISE, 4, 1, b"\0\0\0", C, SIZE),
        (Client, PUSH_PROMISE, 4, 1, b"\0\0\0\0", C, PROTOCOL),
        (Client, PUSH_PROMISE, 4, 1, b"\0\0\0\x03", C, PROTOCOL),
        (Client, PUSH_PROMISE, 12, 1, b"", C, SIZE),
        (Client, PUSH_PROMISE, 12, 1, b"\x01\0\0\0\x02", C, PROTOCOL),
        (Server, PING, 0, 1, b"12345678", C, PROTOCOL),
        (Server, PING, 0, 0, b"1234567", C, SIZE),
        (Server, PING, 1, 0, b"123456789", C, SIZE),
        (Server, GOAWAY, 0, 1, b"\0\0\0\0\0\0\0\0", C, PROTOCOL),
        (Server, GOAWAY, 0, 0, b"\0\0\0\0\0\0\0", C, SIZE),
        (Server, WINDOW_UPDATE, 0, 1, b"\0\0\0", C, SIZE),
        (Server, WINDOW_UPDATE, 0, 0, b"\0\0\0\x01\0", C, SIZE),
        (Server, WINDOW_UPDATE, 0, 0, b"\0\0\0\0", C, PROTOCOL),
        (Server, WINDOW_UPDATE, 0, 1, b"\0\0\0\0", S, PROTOCOL),
        (Server, WINDOW_UPDATE, 0, 1, b"\x80\0\0\0", S, PROTOCOL),
        (Server, CONTINUATION, 4, 1, b"\x82", C, PROTOCOL),
        (Server, CONTINUATION, 4, 0, b"\x82", C, PROTOCOL),
        (Server, PRIORITY_UPDATE, 0, 1, b"\0\0\0\x01u=1", C, PROTOCOL),
        (Server, PRIORITY_UPDATE, 0, 0, b"\0\0\0", C, SIZE),
        (Server, PRIORITY_UPDATE, 0, 0, b"\0\0\0\0u=1", C, PROTOCOL),
        (Client, PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1", C, PROTOCOL),
    ];
    for (role, kind, flags, stream, payload, scope, reason) in rows {
        let what = format!("type {kind} flags {flags:x} stream {stream} {payload:?}");
        let error = read(*role, &wire(*kind, *flags, *stream, payload)).expect_err(&what);
        assert_eq!(
            (error.scope, error.reason),
            (*scope, *reason),
            "{what}: {error}"
        );
    }
}

/// Valid frames pass, with everything that they contain.
#[test]
fn a_frame_is_read_as_what_it_says() {
    let data = |payload: &'static [u8], flow_length, end_stream| {
        Frame::Data(Data {
            stream: id(1),
            payload: Bytes::from_static(payload),
            flow_length,
            end_stream,
        })
    };
    let headers = |fragment, end_stream, end_headers, priority| {
        Frame::Headers(Headers {
            stream: id(1),
            fragment,
            end_stream,
            end_headers,
            priority,
        })
    };
    let priority = Priority {
        dependency: id(3),
        exclusive: true,
        weight: 7,
    };
    let push = Frame::PushPromise(PushPromise {
        stream: id(1),
        promised: id(2),
        fragment: b"\x82",
        end_headers: true,
    });
    let go_away = |debug| {
        Frame::GoAway(GoAway {
            last: id(5),
            reason: Reason::NO_ERROR,
            debug,
        })
    };
    type Row<'a> = (Role, u8, u8, u32, &'a [u8], Frame<'a>);
    let rows: &[Row<'_>] = &[
        (Server, DATA, 0, 1, b"abc", data(b"abc", 3, false)),
        (Server, DATA, 1, 1, b"", data(b"", 0, true)),
        (Server, DATA, 9, 1, b"\x02abc\0\0", data(b"abc", 6, true)),
        (Server, DATA, 8, 1, b"\x02\0\0", data(b"", 3, false)),
        (Server, DATA, 8, 1, b"\0abc", data(b"abc", 4, false)),
        // The reserved bit and flags without a meaning are ignored (section 4.1).
        (
            Server,
            DATA,
            0xf6,
            0x8000_0001,
            b"abc",
            data(b"abc", 3, false),
        ),
        (
            Server,
            HEADERS,
            5,
            1,
            b"\x82",
            headers(b"\x82", true, true, None),
        ),
        (Server, HEADERS, 4, 1, b"", headers(b"", false, true, None)),
        (
            Server,
            HEADERS,
            0,
            1,
            b"\x82",
            headers(b"\x82", false, false, None),
        ),
        (
            Server,
            HEADERS,
            12,
            1,
            b"\x01\x82\0",
            headers(b"\x82", false, true, None),
        ),
        (
            Server,
            HEADERS,
            12,
            1,
            b"\x01\0",
            headers(b"", false, true, None),
        ),
        (
            Server,
            HEADERS,
            0x2c,
            1,
            b"\x01\x80\0\0\x03\x07\x82\0",
            headers(b"\x82", false, true, Some(priority)),
        ),
        (
            Server,
            HEADERS,
            0x24,
            1,
            b"\x80\0\0\x03\x07",
            headers(b"", false, true, Some(priority)),
        ),
        (
            Server,
            PRIORITY,
            0,
            1,
            b"\x80\0\0\x03\x07",
            Frame::Priority {
                stream: id(1),
                priority,
            },
        ),
        (
            Server,
            RST_STREAM,
            0,
            1,
            b"\0\0\0\x08",
            Frame::Reset {
                stream: id(1),
                reason: Reason::CANCEL,
            },
        ),
        (
            Server,
            RST_STREAM,
            0,
            1,
            b"\0\0\xff\xff",
            Frame::Reset {
                stream: id(1),
                reason: Reason::from(0xffff),
            },
        ),
        (Server, SETTINGS, 1, 0, b"", Frame::SettingsAck),
        (
            Server,
            SETTINGS,
            0,
            0,
            b"",
            Frame::Settings(Settings::default()),
        ),
        (Client, PUSH_PROMISE, 4, 1, b"\0\0\0\x02\x82", push.clone()),
        (Client, PUSH_PROMISE, 12, 1, b"\x01\0\0\0\x02\x82\0", push),
        (
            Server,
            PING,
            1,
            0,
            b"12345678",
            Frame::Ping {
                ack: true,
                payload: *b"12345678",
            },
        ),
        (Server, GOAWAY, 0, 0, b"\0\0\0\x05\0\0\0\0", go_away(b"")),
        (
            Server,
            GOAWAY,
            0,
            0,
            b"\x80\0\0\x05\0\0\0\0why",
            go_away(b"why"),
        ),
        (
            Server,
            WINDOW_UPDATE,
            0,
            1,
            b"\xff\xff\xff\xff",
            Frame::WindowUpdate {
                stream: id(1),
                increment: LARGEST_WINDOW,
            },
        ),
        (
            Server,
            WINDOW_UPDATE,
            0,
            0,
            b"\0\0\0\x01",
            Frame::WindowUpdate {
                stream: id(0),
                increment: 1,
            },
        ),
        (
            Server,
            PRIORITY_UPDATE,
            0,
            0,
            b"\0\0\0\x01u=1",
            Frame::PriorityUpdate {
                stream: id(1),
                value: b"u=1",
            },
        ),
        (
            Server,
            0xb,
            0xff,
            7,
            b"abc",
            Frame::Unknown {
                kind: 0xb,
                length: 3,
            },
        ),
    ];
    for (role, kind, flags, stream, payload, frame) in rows {
        let found = read(*role, &wire(*kind, *flags, *stream, payload));
        assert_eq!(found, Ok(format!("{frame:?}")), "{payload:?}");
    }
}

fn settings(role: Role, entries: &[(u16, u32)]) -> Settings {
    let mut payload = vec![];
    for (id, value) in entries {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    let mut buffer = BytesMut::from(&wire(SETTINGS, 0, 0, &payload)[..]);
    let mut reader = Reader::new(role, ReaderLimits::default());
    match reader.next(&mut buffer) {
        Ok(Some(Frame::Settings(settings))) => settings,
        other => panic!("{other:?}"),
    }
}

/// RFC 9113 section 6.5.
#[test]
fn settings_are_read_in_their_order_and_unknown_ones_ignored() {
    let none = Settings::default();
    assert_eq!(settings(Server, &[(0, 1), (7, 1), (0xffff, 1)]), none);
    let found = settings(
        Client,
        &[
            (1, 100),
            (1, 7),
            (1, 50),
            (2, 0),
            (3, 0),
            (4, LARGEST_WINDOW),
        ],
    );
    let expected = Settings {
        header_table_size: Some(50),
        least_header_table_size: Some(7),
        enable_push: Some(false),
        max_concurrent_streams: Some(0),
        initial_window_size: Some(LARGEST_WINDOW),
        ..none
    };
    assert_eq!(found, expected);
    let found = settings(
        Server,
        &[
            (5, 1 << 14),
            (5, (1 << 24) - 1),
            (6, 9),
            (8, 1),
            (9, 1),
            (2, 1),
        ],
    );
    let expected = Settings {
        enable_push: Some(true),
        max_frame_size: Some((1 << 24) - 1),
        max_header_list_size: Some(9),
        enable_connect_protocol: Some(true),
        no_rfc7540_priorities: Some(true),
        ..none
    };
    assert_eq!(found, expected);
}

/// RFC 9113 section 4.2. A frame that is too long is refused before its payload arrives.
#[test]
fn a_frame_over_the_announced_size_ends_the_connection() {
    for kind in 0..=0x11 {
        let mut reader = Reader::new(Server, ReaderLimits::default());
        let mut buffer = BytesMut::from(&[0, 0x40, 1, kind, 0, 0, 0, 0, 1][..]);
        let error = reader.next(&mut buffer).unwrap_err();
        assert_eq!((error.scope, error.reason), (C, Reason::FRAME_SIZE_ERROR));
        reader.set_limits(ReaderLimits {
            max_frame_size: 1 << 15,
            ..ReaderLimits::default()
        });
        if kind != CONTINUATION {
            assert_eq!(reader.next(&mut buffer), Ok(None));
        }
    }
}

/// The result of reading a sequence of frames: the number of frames, and the error code.
fn sequence(limits: ReaderLimits, frames: &[Vec<u8>]) -> (usize, Option<(Scope, Reason)>) {
    let mut reader = Reader::new(Server, limits);
    let mut buffer = BytesMut::new();
    for (count, frame) in frames.iter().enumerate() {
        // Byte for byte.
        let (last, bytes) = frame.split_last().unwrap();
        for &byte in bytes {
            buffer.extend_from_slice(&[byte]);
            match reader.next(&mut buffer) {
                Ok(found) => assert_eq!(found, None),
                Err(error) => return (count, Some((error.scope, error.reason))),
            }
        }
        buffer.extend_from_slice(&[*last]);
        match reader.next(&mut buffer) {
            Ok(frame) => assert!(frame.is_some()),
            Err(error) => return (count, Some((error.scope, error.reason))),
        }
    }
    (frames.len(), None)
}

/// RFC 9113 sections 4.3 and 6.10.
#[test]
fn a_field_block_is_not_interrupted() {
    let limits = ReaderLimits::default();
    let open = || wire(HEADERS, 0, 1, b"\x82");
    let end = || wire(CONTINUATION, 4, 1, b"\x82");
    let more = || wire(CONTINUATION, 0, 1, b"");
    let ping = || wire(PING, 0, 0, b"12345678");
    assert_eq!(sequence(limits, &[open(), end(), ping()]), (3, None));
    assert_eq!(
        sequence(limits, &[open(), more(), end(), ping()]),
        (4, None)
    );
    let broken = Some((C, Reason::PROTOCOL_ERROR));
    assert_eq!(sequence(limits, &[open(), end(), end()]), (2, broken));
    let others = [
        ping(),
        open(),
        wire(DATA, 0, 1, b"x"),
        wire(DATA, 0, 3, b"x"),
        wire(HEADERS, 4, 3, b"\x82"),
        wire(PRIORITY, 0, 1, b"\0\0\0\0\0"),
        wire(RST_STREAM, 0, 1, b"\0\0\0\0"),
        wire(SETTINGS, 0, 0, b""),
        wire(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0"),
        wire(WINDOW_UPDATE, 0, 1, b"\0\0\0\x01"),
        wire(CONTINUATION, 4, 3, b"\x82"),
        wire(0x10, 0, 0, b"\0\0\0\x01"),
        wire(0xff, 0, 0, b"x"),
    ];
    for other in others {
        assert_eq!(sequence(limits, &[open(), other.clone()]), (1, broken));
        assert_eq!(sequence(limits, &[open(), more(), other]), (2, broken));
    }
}

/// RUSTSEC-2024-0003, -0332 and similar: a block that never ends.
#[test]
fn a_field_block_is_bounded_by_frames_and_by_bytes() {
    let limits = ReaderLimits {
        max_continuations: 2,
        max_block_bytes: 10,
        ..ReaderLimits::default()
    };
    let calm = Some((C, Reason::ENHANCE_YOUR_CALM));
    let empty = || wire(CONTINUATION, 0, 1, b"");
    let open = || wire(HEADERS, 0, 1, b"");
    assert_eq!(sequence(limits, &[open(), empty(), empty()]), (3, None));
    assert_eq!(
        sequence(limits, &[open(), empty(), empty(), empty()]),
        (3, calm)
    );
    let long = || wire(HEADERS, 0, 1, b"1234567890");
    assert_eq!(sequence(limits, &[long(), empty()]), (2, None));
    assert_eq!(
        sequence(limits, &[long(), wire(CONTINUATION, 4, 1, b"1")]),
        (1, calm)
    );
    assert_eq!(
        sequence(limits, &[wire(HEADERS, 4, 1, b"12345678901")]),
        (0, calm)
    );
    // The bounds apply to each block separately.
    let all: Vec<_> = (0..20)
        .flat_map(|_| [open(), empty(), wire(CONTINUATION, 4, 1, b"123456789")])
        .collect();
    assert_eq!(sequence(limits, &all), (60, None));
}

#[test]
fn after_an_error_of_a_stream_the_reader_goes_on() {
    let mut reader = Reader::new(Server, ReaderLimits::default());
    let mut buffer = BytesMut::new();
    buffer.extend_from_slice(&wire(WINDOW_UPDATE, 0, 1, b"\0\0\0\0"));
    buffer.extend_from_slice(&wire(SETTINGS, 1, 0, b""));
    assert!(!reader.next(&mut buffer).unwrap_err().is_connection());
    assert_eq!(reader.next(&mut buffer), Ok(Some(Frame::SettingsAck)));
}

#[test]
fn data_is_a_slice_of_the_buffer() {
    let mut buffer = BytesMut::from(&wire(DATA, 8, 1, b"\x01abc\0")[..]);
    let place = buffer.as_ptr() as usize + HEAD_LENGTH + 1;
    let mut reader = Reader::new(Server, ReaderLimits::default());
    let Ok(Some(Frame::Data(data))) = reader.next(&mut buffer) else {
        panic!("no DATA");
    };
    assert_eq!(data.payload.as_ptr() as usize, place);
}

#[test]
fn identifiers_of_a_side_run_out() {
    assert_eq!(id(1).next(), Some(id(3)));
    assert_eq!(id(LARGEST_WINDOW - 2).next(), Some(StreamId::MAX));
    assert_eq!(StreamId::MAX.next(), None);
    assert_eq!(id(LARGEST_WINDOW - 1).next(), None);
    assert!(id(1).is_client() && !id(2).is_client());
}

/// The frames that were written, each as one row of text.
fn rows(out: &[u8]) -> Vec<String> {
    let mut buffer = BytesMut::from(out);
    let role = if out.get(3) == Some(&PUSH_PROMISE) {
        Client
    } else {
        Server
    };
    let mut reader = Reader::new(role, ReaderLimits::default());
    let mut rows = vec![];
    while let Some(frame) = reader.next(&mut buffer).unwrap() {
        rows.push(format!("{frame:?}"));
    }
    assert!(buffer.is_empty());
    rows
}

#[test]
fn what_is_written_is_read() {
    let mut out = vec![];
    encode::data_head(&mut out, id(1), 3, true);
    out.extend(b"abc");
    encode::reset(&mut out, id(3), Reason::CANCEL);
    encode::settings_ack(&mut out);
    encode::ping(&mut out, true, *b"12345678");
    encode::go_away(&mut out, StreamId::MAX, Reason::NO_ERROR, b"why");
    encode::window_update(&mut out, id(0), LARGEST_WINDOW);
    encode::priority_update(&mut out, id(5), b"u=1");
    assert_eq!(
        rows(&out),
        [
            "Data(Data { stream: StreamId(1), payload: b\"abc\", flow_length: 3, end_stream: true })",
            "Reset { stream: StreamId(3), reason: CANCEL }",
            "SettingsAck",
            "Ping { ack: true, payload: [49, 50, 51, 52, 53, 54, 55, 56] }",
            "GoAway(GoAway { last: StreamId(2147483647), reason: NO_ERROR, debug: [119, 104, 121] })",
            "WindowUpdate { stream: StreamId(0), increment: 2147483647 }",
            "PriorityUpdate { stream: StreamId(5), value: [117, 61, 49] }",
        ]
    );
}

#[test]
fn settings_survive() {
    let all = Settings {
        header_table_size: Some(1),
        least_header_table_size: None,
        enable_push: Some(false),
        max_concurrent_streams: Some(2),
        initial_window_size: Some(3),
        max_frame_size: Some(1 << 15),
        max_header_list_size: Some(4),
        enable_connect_protocol: Some(true),
        no_rfc7540_priorities: Some(true),
    };
    for written in [all, Settings::default()] {
        let mut out = vec![];
        encode::settings(&mut out, &written);
        let expected = Settings {
            least_header_table_size: written.header_table_size,
            ..written
        };
        assert_eq!(rows(&out), [format!("{:?}", Frame::Settings(expected))]);
    }
}

#[test]
fn a_long_block_is_cut_into_continuations() {
    for length in [0, 1, 9, 10, 11, 20, 21, 39, 40, 41] {
        let block: Vec<u8> = (0..length).collect();
        let mut out = b"before".to_vec();
        encode::block(&mut out, id(1), true, 10, |out| out.extend(&block));
        let mut buffer = BytesMut::from(&out[6..]);
        let mut reader = Reader::new(Server, ReaderLimits::default());
        let mut read: Vec<u8> = vec![];
        let mut frames = 0;
        while let Some(frame) = reader.next(&mut buffer).unwrap() {
            let (fragment, end) = match frame {
                Frame::Headers(headers) => {
                    assert!(frames == 0 && headers.end_stream);
                    (headers.fragment, headers.end_headers)
                }
                Frame::Continuation(more) => (more.fragment, more.end_headers),
                other => panic!("{other:?}"),
            };
            frames += 1;
            read.extend(fragment);
            assert_eq!(end, read.len() == block.len());
        }
        assert_eq!(read, block);
        assert_eq!(frames, block.len().div_ceil(10).max(1));
    }
}

/// Arbitrary input, split arbitrarily, yields the same frames and no panic.
#[test]
fn random_bytes_are_read_the_same_in_pieces() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let mut bytes = vec![];
        for _ in 0..random.usize(1..6) {
            let payload: Vec<u8> = (0..random.usize(..14)).map(|_| random.u8(..)).collect();
            bytes.extend(wire(
                random.u8(..0x12),
                random.u8(..),
                random.u32(..4),
                &payload,
            ));
        }
        let role = if random.bool() { Client } else { Server };
        let run = |mut pieces: Vec<&[u8]>| {
            let mut reader = Reader::new(role, ReaderLimits::default());
            let mut buffer = BytesMut::new();
            let mut results = vec![];
            for piece in pieces.drain(..) {
                buffer.extend_from_slice(piece);
                loop {
                    match reader.next(&mut buffer) {
                        Ok(None) => break,
                        Ok(Some(frame)) => results.push(Ok(format!("{frame:?}"))),
                        Err(error) => {
                            results.push(Err(error));
                            if error.is_connection() {
                                return results;
                            }
                        }
                    }
                }
            }
            results
        };
        let size = random.usize(1..12);
        assert_eq!(run(vec![&bytes]), run(bytes.chunks(size).collect()));
    }
}
