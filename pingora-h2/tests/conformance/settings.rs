//! Sections 6.5, 6.7 and 4.3: SETTINGS, PING, and the compression of fields.

use http::Method;
use pingora_h2::Reason;
use pingora_h2::frame::{PREFACE, Role};
use pingora_h2::machine::Config;
use std::time::Duration;

use crate::subject::{Answer::*, *};

/// Section 6.5.3: each SETTINGS frame is acknowledged, in order, after it has taken effect.
#[test]
fn settings_are_acknowledged_one_by_one() {
    let mut subject = Subject::server();
    subject.feed(&headers(1, GET, true));
    let key = subject.accept();
    subject.respond(key, false);
    subject.feed(&settings(&[(4, 0)]));
    subject.feed(&settings(&[(0xff, 1)]));
    subject.feed(&settings(&[]));
    assert_eq!(subject.take_lines()[1..], ["SETTINGS ack"; 3]);
    subject.send(key, 5, true);
    assert!(subject.take_lines().is_empty());
    subject.feed(&settings(&[(4, 3)]));
    assert_eq!(subject.take_lines(), ["SETTINGS ack", "DATA 1 3"]);
}

/// Section 5.1.2: the server's limit, including changes to it.
#[test]
fn a_client_opens_as_many_streams_as_the_server_takes() {
    let mut config = Config::new(Role::Client);
    config.initial_peer_streams = 0;
    let mut subject = Subject::with_settings(config, &[(3, 1)]);
    let keys = [0; 4].map(|_| subject.open(Method::GET, true));
    assert_eq!(subject.take_lines(), ["HEADERS 1 end"]);
    subject.feed(&settings(&[(3, 0)]));
    subject.feed(&headers(1, ":status=200", true));
    assert_eq!(subject.take_lines(), ["SETTINGS ack"]);
    subject.feed(&settings(&[(3, 2)]));
    let lines = subject.take_lines();
    assert_eq!(lines, ["SETTINGS ack", "HEADERS 3 end", "HEADERS 5 end"]);
    // A stream that has not begun leaves no trace.
    subject.reset(keys[3]);
    subject.feed(&headers(3, ":status=200", true));
    subject.feed(&reset(5));
    assert!(subject.take_lines().is_empty());
    assert_eq!(subject.take_answer(), Nothing);
    subject.serves(9, None);
}

/// Section 6.7.
#[test]
fn pings_are_answered_with_what_they_hold() {
    let mut subject = Subject::server();
    subject.feed(&frame(PING, 0, 0, b"12345678"));
    subject.feed(&frame(PING, 0x7e, 0, b"abcdefgh"));
    subject.feed(&frame(PING, ACK, 0, b"whatever"));
    assert_eq!(
        subject.take_lines(),
        ["PING 12345678 ack", "PING abcdefgh ack"]
    );
}

/// Section 4.1: unknown types and flags.
#[test]
fn what_nobody_knows_is_ignored() {
    let mut subject = Subject::server();
    for kind in [10, 11, 15, 17, 0x42, 0xff] {
        for stream in [0, 1, 2, 99] {
            subject.feed(&frame(kind, 0xff, stream, b"something"));
        }
    }
    subject.feed(&frame(SETTINGS, 0xfe, 0, &[]));
    assert_eq!(subject.take_lines(), ["SETTINGS ack"]);
    subject.serves(1, None);
}

/// Section 4.3: a block that breaks the table ends the connection, whichever stream it is for.
#[test]
fn a_block_that_cannot_be_decoded_ends_the_connection() {
    let compression = Connection(Reason::COMPRESSION_ERROR);
    for stream in [1, 3, 5, 7] {
        for bad in [
            &[0x80][..],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0x40],
            &[0x82, 0x20],
        ] {
            let mut config = Config::new(Role::Server);
            config.settings.max_concurrent_streams = Some(2);
            let mut subject = Subject::new(config);
            subject.feed(&headers(1, POST, false));
            subject.feed(&headers(3, POST, false));
            let first = subject.accept();
            subject.reset(first);
            let second = subject.accept();
            if stream == 7 {
                // Beyond the limit: refused, but decoded nevertheless.
                subject.feed(&headers(5, POST, false));
            }
            subject.take_answer();
            subject.feed(&frame(HEADERS, END_HEADERS | END_STREAM, stream, bad));
            assert_eq!(subject.take_answer(), compression, "{stream} {bad:x?}");
            assert_eq!(subject.received(second), "broken");
        }
    }
}

/// RFC 7541 section 4.2: a table that we shrank.
#[test]
fn a_smaller_table_is_in_force_once_it_is_acknowledged() {
    let mut config = Config::new(Role::Server);
    config.settings.header_table_size = Some(0);
    let compression = Connection(Reason::COMPRESSION_ERROR);
    for (first, answer) in [(&[][..], compression), (&[0x20][..], Nothing)] {
        let mut subject = Subject::new(config.clone());
        let block = [first, &block(GET)].concat();
        subject.feed(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
        assert_eq!(subject.take_answer(), answer);
    }
}

/// RUSTSEC-2024-0332 and similar: blocks without end.
#[test]
fn a_block_is_bounded_on_the_wire() {
    let calm = Connection(Reason::ENHANCE_YOUR_CALM);
    for size in [0, 1, 16_384] {
        let mut subject = Subject::server();
        subject.feed(&frame(HEADERS, 0, 1, &block(GET)));
        let mut frames = 0;
        while !subject.machine.is_over() {
            // One-byte references to `:method: GET`, so that the list is over its bound early.
            let fragment = vec![0x82; size];
            subject.feed(&frame(CONTINUATION, 0, 1, &fragment));
            frames += 1;
            assert!(frames < 100, "{size}");
        }
        assert_eq!(subject.take_answer(), calm, "{size}");
    }
}

/// Section 6.5.3: SETTINGS that are never acknowledged end the connection, in either role; other frames
/// don't replace the acknowledgement.
#[test]
fn settings_that_are_not_acknowledged_end_the_connection() {
    let timeout = Connection(Reason::SETTINGS_TIMEOUT);
    for role in [Role::Client, Role::Server] {
        for (acknowledged, time, answer) in [
            (false, Duration::from_millis(29_999), Nothing),
            (false, Duration::from_secs(30), timeout),
            (true, Duration::from_secs(3_600), Nothing),
        ] {
            let mut subject = Subject::bare(Config::new(role));
            assert!(subject.machine.poll_timeout().is_some());
            if role == Role::Server {
                subject.feed(PREFACE);
            }
            subject.feed(&settings(&[]));
            subject.feed(&frame(PING, 0, 0, &[0; 8]));
            if acknowledged {
                subject.feed(&frame(SETTINGS, ACK, 0, &[]));
                assert_eq!(subject.machine.poll_timeout(), None);
            }
            subject.expire(time);
            assert_eq!(subject.take_answer(), answer, "{role:?} {time:?}");
            assert_eq!(subject.machine.is_over(), answer == timeout);
            assert_eq!(subject.machine.offence(), None);
            if answer == timeout {
                assert_eq!(subject.machine.poll_timeout(), None);
            }
        }
    }
}

/// The streams of such a connection learn the reason.
#[test]
fn a_settings_time_out_reaches_the_streams_and_can_be_switched_off() {
    let mut config = Config::new(Role::Client);
    config.settings_timeout = Duration::from_secs(1);
    let mut subject = Subject::bare(config.clone());
    subject.feed(&settings(&[]));
    let key = subject.open(Method::GET, true);
    // A draining connection waits for the acknowledgement as well.
    subject.machine.shut_down(std::time::Instant::now());
    subject.expire(Duration::from_secs(1));
    assert_eq!(subject.take_answer(), Connection(Reason::SETTINGS_TIMEOUT));
    assert_eq!(subject.received(key), "broken");

    config.settings_timeout = Duration::MAX;
    let subject = Subject::bare(config);
    assert_eq!(subject.machine.poll_timeout(), None);
}
