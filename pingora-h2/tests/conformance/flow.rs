//! Sections 5.2 and 6.9: windows.

use http::Method;
use pingora_h2::Reason;
use pingora_h2::frame::Role;
use pingora_h2::machine::{Config, Received};

use crate::subject::{Answer::*, *};

const FLOW: Reason = Reason::FLOW_CONTROL_ERROR;
const LARGEST: u32 = 0x7fff_ffff;

fn server(stream: u32, connection: u32) -> Subject {
    let mut config = Config::new(Role::Server);
    config.settings.initial_window_size = Some(stream);
    config.connection_window = connection;
    Subject::new(config)
}

/// Section 6.9.1: data beyond a window is an error of that window's scope.
#[test]
fn data_is_taken_up_to_the_last_byte_of_both_windows() {
    // Window of the stream, lengths of DATA, padding each, answer.
    type Row<'a> = (u32, &'a [usize], u8, Answer);
    let rows: &[Row<'_>] = &[
        (100, &[100], 0, Nothing),
        (100, &[101], 0, Stream(1, FLOW)),
        (100, &[50, 50, 0], 0, Nothing),
        (100, &[50, 50, 1], 0, Stream(1, FLOW)),
        // Padding and its length count.
        (100, &[89], 10, Nothing),
        (100, &[90], 10, Stream(1, FLOW)),
        (0, &[0], 0, Nothing),
        (0, &[1], 0, Stream(1, FLOW)),
        (100_000, &[16_384, 16_384, 16_384, 16_383], 0, Nothing),
        (
            100_000,
            &[16_384, 16_384, 16_384, 16_384],
            0,
            Connection(FLOW),
        ),
    ];
    for (window, lengths, padding, answer) in rows {
        let mut subject = server(*window, 65_535);
        subject.feed(&headers(1, POST, false));
        for length in *lengths {
            let mut payload = vec![b'x'; *length];
            let mut flags = 0;
            if *padding > 0 {
                flags = PADDED;
                payload.insert(0, *padding);
                payload.extend(vec![0; usize::from(*padding)]);
            }
            subject.feed(&frame(DATA, flags, 1, &payload));
        }
        assert_eq!(
            subject.take_answer(),
            *answer,
            "{window} {lengths:?} {padding}"
        );
        if !matches!(answer, Connection(_)) {
            subject.machine.poll_request();
            subject.serves(3, None);
        }
    }
}

/// Section 6.9: the connection's window is given back even if the stream is gone.
#[test]
fn data_that_nobody_takes_gives_its_window_back() {
    for case in [
        "reset by us",
        "abandoned",
        "over its length",
        "refused",
        "reset by the peer",
    ] {
        let mut config = Config::new(Role::Server);
        config.settings.max_concurrent_streams = Some(2);
        let mut subject = Subject::new(config);
        subject.feed(&headers(1, POST, false));
        let other = subject.accept();
        let mut credit = 65_535;
        for round in 0..40 {
            let stream = 3 + 2 * round;
            subject.feed(&headers(
                stream,
                &format!("{POST} content-length=5000"),
                false,
            ));
            let key = subject.accept();
            match case {
                "reset by us" => subject.reset(key),
                "abandoned" => subject.abandon(key),
                _ => {}
            }
            let mut last = stream;
            if case == "refused" {
                // A third one at once.
                last += 2;
                subject.feed(&headers(stream + 1000, POST, false));
                last = last.max(stream + 1000);
            }
            let target = if case == "refused" { last } else { stream };
            let length = if case == "over its length" {
                5_001
            } else {
                5_000
            };
            subject.feed(&data(target, length, false));
            credit -= length as i64;
            if case == "reset by the peer" {
                subject.feed(&reset(stream));
            }
            if case != "abandoned" {
                subject.abandon(key);
            }
            for line in subject.take_lines() {
                if let Some(update) = line.strip_prefix("WINDOW_UPDATE 0 ") {
                    credit += update.parse::<i64>().unwrap();
                }
            }
            assert!(credit >= 65_535 * 2 / 3, "{case}: {credit} are left");
            if case == "refused" {
                break;
            }
        }
        assert_eq!(subject.received(other), "", "{case}");
        assert!(!subject.machine.is_over(), "{case}");
    }
}

/// Section 6.9.1: a window may grow to 2³¹−1 and no further.
#[test]
fn a_window_that_overflows_is_an_error_of_its_scope() {
    let rows = [
        (1, LARGEST - 65_535, Nothing),
        (1, LARGEST - 65_534, Stream(1, FLOW)),
        (0, LARGEST - 65_535, Nothing),
        (0, LARGEST - 65_534, Connection(FLOW)),
    ];
    for (stream, increment, answer) in rows {
        let mut subject = Subject::server();
        subject.feed(&headers(1, POST, false));
        subject.machine.poll_request();
        subject.feed(&window_update(stream, increment));
        assert_eq!(subject.take_answer(), answer, "{stream} {increment}");
    }
}

/// Section 6.9.2.
#[test]
fn a_new_initial_window_moves_those_of_open_streams() {
    // The peer's initial window, its new value, the increment of the stream's window in between,
    // and how many of 1,000 bytes are sent at first and after the change.
    type Row = (u32, u32, u32, usize, usize);
    let rows: &[Row] = &[
        (100, 150, 0, 100, 50),
        (100, 50, 0, 100, 0),
        (100, 0, 30, 130, 0),
        (0, 1_000, 0, 0, 1_000),
        (0, 0, 10, 10, 0),
        (100, 100, 0, 100, 0),
    ];
    for (before, after, update, first, second) in rows {
        let config = Config::new(Role::Server);
        let mut subject = Subject::with_settings(config, &[(4, *before)]);
        subject.feed(&headers(1, GET, true));
        if *update > 0 {
            subject.feed(&window_update(1, *update));
        }
        let key = subject.accept();
        subject.respond(key, false);
        subject.send(key, 1_000, true);
        let row = format!("{before} {after} {update}");
        assert_eq!(sent(&mut subject), *first, "{row}");
        subject.feed(&settings(&[(4, *after)]));
        assert_eq!(sent(&mut subject), *second, "{row}");
        // Only an update that makes a negative window positive opens it, and by no more.
        let missing = i64::from(before + update) + i64::from(*after) - i64::from(*before);
        let left = missing - (first + second) as i64;
        if left < 0 {
            let debt = u32::try_from(-left).unwrap();
            subject.feed(&window_update(1, debt));
            assert_eq!(sent(&mut subject), 0, "{row}");
            subject.feed(&window_update(1, 1));
            assert_eq!(sent(&mut subject), 1, "{row}");
        }
        assert_eq!(subject.take_answer(), Nothing);
    }
}

/// The number of DATA bytes that were written.
fn sent(subject: &mut Subject) -> usize {
    let lines = subject.take_lines();
    let words = lines.iter().filter_map(|line| line.strip_prefix("DATA 1 "));
    words
        .map(|words| words.split(' ').next().unwrap().parse::<usize>().unwrap())
        .sum()
}

/// Section 6.9.2: an initial window that overflows the window of one stream.
#[test]
fn an_initial_window_that_overflows_a_stream_s_ends_the_connection() {
    let mut subject = Subject::server();
    subject.feed(&headers(1, GET, true));
    subject.feed(&window_update(1, LARGEST - 65_535));
    subject.feed(&settings(&[(4, 65_535)]));
    assert_eq!(subject.take_answer(), Nothing);
    subject.feed(&settings(&[(4, 65_536)]));
    assert_eq!(subject.take_answer(), Connection(FLOW));
}

/// Section 6.9: data has to fit both windows; an empty frame that ends a stream needs none.
#[test]
fn what_carries_no_bytes_needs_no_window() {
    let config = Config::new(Role::Server);
    let mut subject = Subject::with_settings(config, &[(4, 0)]);
    subject.feed(&headers(1, GET, true));
    let key = subject.accept();
    subject.respond(key, false);
    subject.send(key, 0, true);
    assert_eq!(subject.take_lines(), ["HEADERS 1", "DATA 1 0 end"]);

    subject.feed(&headers(3, GET, true));
    let key = subject.accept();
    subject.respond(key, false);
    subject.machine.send_trailers(key, http::HeaderMap::new());
    subject.flush();
    assert_eq!(subject.take_lines(), ["HEADERS 3", "HEADERS 3 end"]);
}

/// Section 4.2: no frame is larger than the peer accepts.
#[test]
fn frames_are_no_larger_than_the_peer_takes() {
    for largest in [16_384, 20_000] {
        let config = Config::new(Role::Client);
        let entries = [(5, largest), (4, 100_000)];
        let mut subject = Subject::with_settings(config, &entries);
        let key = subject.open(Method::POST, false);
        subject.take_lines();
        subject.send(key, 50_000, true);
        for line in subject.take_lines() {
            let mut words = line.split(' ').skip(2);
            let length: u32 = words.next().unwrap().parse().unwrap();
            assert!(length <= largest);
        }
    }
}

/// Section 5.2.1: window space is given back as bytes are read, not as they arrive.
#[test]
fn a_window_opens_as_bytes_are_taken() {
    let mut subject = server(1_000, 65_535);
    subject.feed(&headers(1, POST, false));
    let key = subject.accept();
    subject.feed(&data(1, 1_000, false));
    assert!(subject.take_lines().is_empty());
    let Received::Data(bytes) = subject.machine.receive(key) else {
        panic!("no data");
    };
    subject.flush();
    assert!(subject.take_lines().is_empty());
    subject.machine.release(key, bytes.len());
    subject.flush();
    assert_eq!(subject.take_lines(), ["WINDOW_UPDATE 1 1000"]);
    // None behind the end.
    subject.feed(&data(1, 1_000, true));
    assert_eq!(subject.received(key), "1000b end");
    assert!(subject.take_lines().is_empty());
}

/// Streams that wait for the connection's window are forgotten when they are reset: nothing else
/// bounds their number while the window stays closed.
#[test]
fn streams_reset_while_the_window_is_closed_leave_nothing() {
    let mut subject = Subject::server();
    subject.feed(&headers(1, GET, true));
    let key = subject.accept();
    subject.respond(key, false);
    subject.send(key, 65_536, true);
    for round in 0..5_000 {
        let stream = 3 + 2 * round;
        subject.feed(&headers(stream, GET, true));
        let key = subject.accept();
        subject.respond(key, false);
        subject.send(key, 10, true);
        subject.feed(&reset(stream));
        subject.abandon(key);
        while subject.machine.poll_woken().is_some() {}
    }
    assert_eq!(subject.take_answer(), Nothing);
    assert_eq!(
        (subject.machine.open_streams(), subject.machine.held()),
        (1, 1)
    );
    let size = format!("{:?}", subject.machine).len();
    assert!(size < 20_000, "{size} bytes of state as text");
    subject.feed(&window_update(0, 10));
    subject.serves(20_001, None);
}

/// Once a stream is reset, other streams may use its share of the common buffer.
#[test]
fn a_reset_makes_room_for_those_that_wait() {
    let mut config = Config::new(Role::Client);
    config.connection_send_buffer = 1_000;
    let mut subject = Subject::with_settings(config, &[(4, 0)]);
    let first = subject.open(Method::POST, false);
    let second = subject.open(Method::POST, false);
    subject.send(first, 1_000, false);
    subject.feed(&window_update(second.id(), 500));
    assert_eq!(subject.machine.capacity(second), Some(0));
    subject.machine.want_capacity(second);
    subject.feed(&reset(first.id()));
    assert_eq!(subject.machine.capacity(second), Some(500));
    let woken: Vec<_> = std::iter::from_fn(|| subject.machine.poll_woken()).collect();
    assert!(
        woken
            .iter()
            .any(|(key, woken)| *key == second && woken.sender)
    );
}

/// Section 5.1: a frame that arrives for a stream on which nothing more is sent is not an error, even
/// if it would overflow the window.
#[test]
fn a_window_without_use_does_not_overflow() {
    for ended in [true, false] {
        let mut subject = Subject::server();
        subject.feed(&headers(1, POST, ended));
        let key = subject.accept();
        subject.respond(key, true);
        for _ in 0..2 {
            subject.feed(&window_update(1, LARGEST));
        }
        assert_eq!(subject.take_answer(), Nothing, "{ended}");
        subject.serves(3, None);
    }
}
