//! Sections 3.4, 4.2, 5.3, 6.8, 7 and 8.2.1: the ends of the ranges, and the behaviour of a side that
//! receives GOAWAY.

use http::Method;
use pingora_h2::Reason;
use pingora_h2::frame::Role;
use pingora_h2::machine::Config;

use crate::subject::{Answer::*, *};

const P: Reason = Reason::PROTOCOL_ERROR;

/// Section 3.4: a server's preface is SETTINGS, and nothing else.
#[test]
fn a_server_begins_with_settings() {
    let rows = [
        (settings(&[]), Nothing),
        (settings(&[(3, 1), (0xff, 1)]), Nothing),
        (frame(SETTINGS, ACK, 0, &[]), Connection(P)),
        (window_update(0, 1), Connection(P)),
        (headers(1, ":status=200", true), Connection(P)),
        (frame(GOAWAY, 0, 0, &[0; 8]), Connection(P)),
        (frame(0x42, 0, 0, &[]), Connection(P)),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Connection(Reason::FRAME_SIZE_ERROR),
        ),
    ];
    for (bytes, answer) in rows {
        let mut subject = Subject::bare(Config::new(Role::Client));
        subject.open(Method::GET, true);
        subject.feed(&bytes);
        assert_eq!(subject.take_answer(), answer, "{}", bytes.escape_ascii());
    }
}

/// Section 4.2: frames up to the announced size are accepted, larger ones are not.
#[test]
fn a_frame_may_be_as_large_as_announced() {
    for (announced, largest) in [(None, 16_384), (Some(20_000), 20_000)] {
        for (length, answer) in [
            (largest, Nothing),
            (largest + 1, Connection(Reason::FRAME_SIZE_ERROR)),
        ] {
            let mut config = Config::new(Role::Server);
            config.settings.max_frame_size = announced;
            let mut subject = Subject::new(config);
            subject.feed(&headers(1, POST, false));
            subject.feed(&data(1, length, false));
            assert_eq!(subject.take_answer(), answer, "{announced:?} {length}");
        }
    }
}

/// RFC 7540 section 5.3.1, whose fields may still arrive: a stream depends on others, not on itself.
#[test]
fn a_request_may_have_a_priority_of_the_old_kind() {
    for (dependency, sound) in [(0_u32, true), (7, true), (0x8000_0003, true), (1, false)] {
        let mut subject = Subject::server();
        let priority = [&dependency.to_be_bytes()[..], &[15], &block(GET)].concat();
        let flags = END_HEADERS | END_STREAM | 0x20;
        subject.feed(&frame(HEADERS, flags, 1, &priority));
        let (key, head) = subject.machine.poll_request().expect("a request");
        assert_eq!(head.fault.is_none(), sound, "{dependency:x}");
        subject.respond(key, true);
        subject.abandon(key);
        let answer = if sound { Nothing } else { Stream(1, P) };
        assert_eq!(subject.take_answer(), answer, "{dependency:x}");
        subject.serves(3, None);
    }
}

/// Section 6.8: a client that sends GOAWAY gets answers to its requests, and a GOAWAY.
#[test]
fn a_server_that_is_told_goodbye_ends_behind_its_answers() {
    for reason in [0_u32, 2, 0xffff] {
        let mut subject = Subject::server();
        subject.feed(&headers(1, GET, true));
        let key = subject.accept();
        let payload = [[0; 4], reason.to_be_bytes()].concat();
        subject.feed(&frame(GOAWAY, 0, 0, &payload));
        assert!(!subject.machine.is_over() && subject.machine.is_draining());
        subject.respond(key, true);
        assert_eq!(
            subject.take_lines(),
            ["HEADERS 1 end", "GOAWAY 1 NO_ERROR"],
            "{reason}"
        );
        assert!(subject.machine.is_over());
    }
}

/// Section 7: unknown error codes are valid.
#[test]
fn an_unknown_code_ends_a_stream_like_any_other() {
    for code in [0_u32, 0xd, 0xe, 0xffff_ffff] {
        let mut subject = Subject::client();
        let key = subject.open(Method::GET, true);
        subject.feed(&frame(RST_STREAM, 0, 1, &code.to_be_bytes()));
        assert_eq!(subject.received(key), "broken");
        assert_eq!(subject.take_answer(), Nothing, "{code:x}");
        subject.serves(3, None);
    }
}

/// A request with one more field of arbitrary content.
fn request_with(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = block(GET);
    bytes.push(0);
    for text in [name, value] {
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text);
    }
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &bytes)
}

/// Whether the request with this field is accepted; if not, only its stream ends.
fn takes(name: &[u8], value: &[u8]) -> bool {
    let mut subject = Subject::server();
    subject.feed(&request_with(name, value));
    let (key, head) = subject.machine.poll_request().expect("a request");
    let sound = head.fault.is_none();
    subject.respond(key, true);
    subject.abandon(key);
    let answer = if sound { Nothing } else { Stream(1, P) };
    assert_eq!(subject.take_answer(), answer);
    subject.serves(3, None);
    sound
}

/// Section 8.2.1, and the tokens of RFC 9110 section 5.6.2: every byte, at both ends of a name.
#[test]
fn a_name_is_a_token_without_capitals() {
    for byte in 0..=u8::MAX {
        let right = byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || b"!#$%&'*+-.^_`|~".contains(&byte);
        for name in [
            vec![byte],
            vec![byte, b'x'],
            vec![b'x', byte, b'x'],
            vec![b'x', byte],
        ] {
            assert_eq!(takes(&name, b"1"), right, "{}", name.escape_ascii());
        }
    }
}

/// Section 8.2.1, and RFC 9110 section 5.5: no control characters except the tab, and no white space
/// at either end.
#[test]
fn a_value_holds_no_control_and_no_white_space_at_its_ends() {
    for byte in 0..=u8::MAX {
        let blank = byte == b' ' || byte == b'\t';
        let inside = blank || !byte.is_ascii_control();
        for (value, right) in [
            (vec![byte], inside && !blank),
            (vec![byte, b'x'], inside && !blank),
            (vec![b'x', byte, b'x'], inside),
            (vec![b'x', byte], inside && !blank),
        ] {
            assert_eq!(takes(b"x", &value), right, "{}", value.escape_ascii());
        }
    }
}
