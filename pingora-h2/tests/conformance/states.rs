//! Section 5.1: the frames that a stream accepts in each of its states.

use http::Method;
use pingora_h2::Reason;
use pingora_h2::frame::Role;
use pingora_h2::machine::Config;
use std::time::Duration;

use crate::subject::{Answer::*, *};

/// The frames that arrive for a stream.
const FRAMES: [&str; 9] = [
    "data",
    "data, the last",
    "head",
    "trailers",
    "reset",
    "window",
    "priority",
    "priority update",
    "continuation",
];

fn bytes(name: &str, stream: u32, role: Role) -> Vec<u8> {
    let head = match role {
        Role::Server => format!("{POST} x-last=1"),
        Role::Client => ":status=200 x-last=1".to_owned(),
    };
    match name {
        "data" => data(stream, 1, false),
        "data, the last" => data(stream, 1, true),
        "head" => headers(stream, &head, false),
        "trailers" => headers(stream, "x-last=1", true),
        "reset" => reset(stream),
        "window" => window_update(stream, 1),
        "priority" => frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 7]),
        "priority update" => {
            let payload = [&stream.to_be_bytes()[..], b"u=1"].concat();
            frame(PRIORITY_UPDATE, 0, 0, &payload)
        }
        "continuation" => frame(CONTINUATION, END_HEADERS, stream, &block("x-last=1")),
        other => panic!("{other}"),
    }
}

/// A server whose stream 3 is in this state; streams from 9 on are idle, 1 is closed.
fn server_in(state: &str) -> Subject {
    let mut subject = Subject::server();
    subject.feed(&headers(1, GET, true));
    let first = subject.accept();
    subject.respond(first, true);
    subject.abandon(first);
    let ends = ["half closed (remote)", "closed by both"].contains(&state);
    match state {
        "idle" => {}
        "passed over" => {
            subject.serves(5, None);
        }
        _ => {
            subject.feed(&headers(3, POST, ends));
            let key = subject.accept();
            match state {
                "open" | "half closed (remote)" => {}
                "half closed (local)" | "closed by both" => subject.respond(key, true),
                "reset by us" => subject.reset(key),
                "reset by us, long ago" => {
                    subject.reset(key);
                    subject.pass(Duration::from_secs(3_600));
                }
                "reset by us, abandoned" => subject.abandon(key),
                "reset by the peer" => subject.feed(&reset(3)),
                other => panic!("{other}"),
            }
            if state == "closed by both" {
                subject.abandon(key);
            }
        }
    }
    subject.take_answer();
    subject
}

/// A client whose stream 1 is in this state.
fn client_in(state: &str) -> Subject {
    let mut config = Config::new(Role::Client);
    config.initial_peer_streams = 0;
    let waits = state == "idle, waiting for the limit";
    let streams = if waits { 0 } else { 100 };
    let mut subject = Subject::with_settings(config, &[(3, streams)]);
    if state != "idle" {
        let half = ["half closed (local)", "closed by both"].contains(&state);
        let key = subject.open(if half { Method::GET } else { Method::POST }, half);
        match state {
            "idle, waiting for the limit" | "open" | "half closed (local)" => {}
            "open, answered" => subject.feed(&headers(1, ":status=200", false)),
            "half closed (remote)" | "closed by both" => {
                subject.feed(&headers(1, ":status=200", true));
            }
            "reset by us" => subject.reset(key),
            "reset by the peer" => subject.feed(&reset(1)),
            other => panic!("{other}"),
        }
        if state == "closed by both" {
            subject.abandon(key);
        }
    }
    subject.take_answer();
    subject
}

const P: Reason = Reason::PROTOCOL_ERROR;
const X: Reason = Reason::STREAM_CLOSED;

#[test]
fn a_server_takes_what_the_state_of_a_stream_allows() {
    const CP: Answer = Connection(P);
    const SP: Answer = Stream(3, P);
    const SX: Answer = Stream(3, X);
    const OK: Answer = Nothing;
    // In the order of `FRAMES`. CONTINUATION without a block is always an error (6.10).
    let rows: [(&str, [Answer; 9]); 10] = [
        ("idle", [CP, CP, OK, OK, CP, CP, OK, OK, CP]),
        ("open", [OK, OK, SP, OK, OK, OK, OK, OK, CP]),
        ("half closed (remote)", [SX, SX, SX, SX, OK, OK, OK, OK, CP]),
        ("half closed (local)", [OK, OK, SP, OK, OK, OK, OK, OK, CP]),
        // HEADERS on a closed stream also have an unexpected identifier (5.1.1).
        ("closed by both", [SX, SX, CP, CP, OK, OK, OK, OK, CP]),
        ("reset by us", [OK, OK, OK, OK, OK, OK, OK, OK, CP]),
        (
            "reset by us, long ago",
            [SX, SX, SX, SX, OK, OK, OK, OK, CP],
        ),
        (
            "reset by us, abandoned",
            [OK, OK, OK, OK, OK, OK, OK, OK, CP],
        ),
        ("reset by the peer", [SX, SX, CP, CP, OK, OK, OK, OK, CP]),
        // Closed because a higher stream was opened.
        ("passed over", [SX, SX, CP, CP, OK, OK, OK, OK, CP]),
    ];
    for (state, answers) in rows {
        for (name, answer) in FRAMES.into_iter().zip(answers) {
            let mut subject = server_in(state);
            subject.feed(&bytes(name, 3, Role::Server));
            let found = subject.take_answer();
            assert_eq!(found, answer, "{state}: {name}");
            let ends = matches!(answer, Connection(_));
            assert_eq!(subject.machine.is_over(), ends, "{state}: {name}");
            if !ends {
                while let Some((key, _)) = subject.machine.poll_request() {
                    assert_eq!((state, key.id()), ("idle", 3));
                }
                let block = ["head", "trailers"].contains(&name);
                subject.serves(9, block.then_some("x-last=1"));
            }
        }
    }
}

#[test]
fn a_client_takes_what_the_state_of_a_stream_allows() {
    const CP: Answer = Connection(P);
    const SP: Answer = Stream(1, P);
    const SX: Answer = Stream(1, X);
    const OK: Answer = Nothing;
    // In the order of `FRAMES`. A server sends no PRIORITY_UPDATE (RFC 9218 section 7.1). Trailers in
    // place of a head lack the status.
    let rows: [(&str, [Answer; 9]); 9] = [
        ("idle", [CP, CP, CP, CP, CP, CP, OK, CP, CP]),
        (
            "idle, waiting for the limit",
            [CP, CP, CP, CP, CP, CP, OK, CP, CP],
        ),
        ("open", [SP, SP, OK, SP, OK, OK, OK, CP, CP]),
        ("open, answered", [OK, OK, SP, OK, OK, OK, OK, CP, CP]),
        ("half closed (local)", [SP, SP, OK, SP, OK, OK, OK, CP, CP]),
        ("half closed (remote)", [SX, SX, SX, SX, OK, OK, OK, CP, CP]),
        ("closed by both", [SX, SX, SX, SX, OK, OK, OK, CP, CP]),
        ("reset by us", [OK, OK, OK, OK, OK, OK, OK, CP, CP]),
        ("reset by the peer", [SX, SX, SX, SX, OK, OK, OK, CP, CP]),
    ];
    for (state, answers) in rows {
        for (name, answer) in FRAMES.into_iter().zip(answers) {
            let mut subject = client_in(state);
            subject.feed(&bytes(name, 1, Role::Client));
            let found = subject.take_answer();
            assert_eq!(found, answer, "{state}: {name}");
            let ends = matches!(answer, Connection(_));
            assert_eq!(subject.machine.is_over(), ends, "{state}: {name}");
            if !ends && !state.starts_with("idle") {
                let block = ["head", "trailers"].contains(&name);
                subject.serves(3, block.then_some("x-last=1"));
            }
        }
    }
}

/// Section 5.1.1: which side may open which streams.
#[test]
fn identifiers_are_odd_for_clients_and_grow() {
    for (stream, right) in [(2, false), (4, false), (3, true), (0x7fff_ffff, true)] {
        let mut subject = Subject::server();
        subject.feed(&headers(1, GET, true));
        subject.feed(&headers(stream, GET, true));
        let answer = if right { Nothing } else { Connection(P) };
        assert_eq!(subject.take_answer(), answer, "{stream}");
    }
    // A server opens no streams: push is off.
    for (kind, payload) in [
        (HEADERS, block(":status=200")),
        (PUSH_PROMISE, vec![0, 0, 0, 2]),
    ] {
        let mut subject = Subject::client();
        subject.open(Method::GET, true);
        let stream = if kind == HEADERS { 2 } else { 1 };
        subject.feed(&frame(kind, END_HEADERS, stream, &payload));
        assert_eq!(subject.take_answer(), Connection(P), "{kind}");
    }
}

/// Section 5.1.2.
#[test]
fn more_streams_than_announced_are_refused() {
    let mut config = Config::new(Role::Server);
    config.settings.max_concurrent_streams = Some(2);
    let mut subject = Subject::new(config);
    subject.feed(&headers(1, POST, false));
    subject.feed(&headers(3, GET, true));
    assert_eq!(subject.take_answer(), Nothing);
    subject.feed(&headers(5, &format!("{GET} x-last=1"), true));
    assert_eq!(subject.take_answer(), Stream(5, Reason::REFUSED_STREAM));
    // Frames in flight after the refused request are ignored, and the window comes back.
    subject.feed(&headers(7, POST, false));
    subject.take_answer();
    subject.feed(&data(7, 10_000, true));
    assert_eq!(subject.take_answer(), Nothing);
    // Both open streams count until both sides have ended them.
    let (first, second) = (subject.accept(), subject.accept());
    subject.respond(first, true);
    subject.feed(&headers(9, GET, true));
    assert_eq!(subject.take_answer(), Stream(9, Reason::REFUSED_STREAM));
    subject.respond(second, true);
    subject.abandon(second);
    subject.serves(11, None);
}

/// Section 5.4.2: a stream error is sent once, and never in response to RST_STREAM.
#[test]
fn a_reset_is_not_answered_by_a_reset() {
    let mut subject = Subject::server();
    subject.feed(&headers(1, POST, false));
    subject.feed(&reset(1));
    subject.feed(&reset(1));
    assert_eq!(subject.take_answer(), Nothing);
    subject.feed(&headers(3, POST, false));
    subject.feed(&window_update(3, 0));
    assert_eq!(subject.take_answer(), Stream(3, P));
    subject.feed(&window_update(3, 1));
    subject.feed(&data(3, 1, false));
    subject.feed(&reset(3));
    assert_eq!(subject.take_answer(), Nothing);
}

/// Section 6.8.
#[test]
fn a_goodbye_refuses_what_lies_behind_it() {
    let goodbye = |last: u32, reason: u32| {
        let payload = [last.to_be_bytes(), reason.to_be_bytes()].concat();
        frame(GOAWAY, 0, 0, &payload)
    };
    let mut config = Config::new(Role::Client);
    config.initial_peer_streams = 0;
    let mut subject = Subject::with_settings(config, &[(3, 2)]);
    let keys = [0; 3].map(|_| subject.open(Method::POST, false));
    subject.feed(&goodbye(0x7fff_ffff, 0));
    assert!(!subject.machine.may_open());
    // Not begun yet, so it must not begin any more.
    assert_eq!(subject.received(keys[2]), "broken");
    assert_eq!(subject.received(keys[0]), "");
    subject.feed(&goodbye(1, 0));
    assert_eq!(subject.received(keys[1]), "broken");
    subject.feed(&headers(1, ":status=200", true));
    assert_eq!(subject.received(keys[0]), "200 end");
    assert_eq!(subject.take_answer(), Nothing);
    subject.send(keys[0], 0, true);
    assert!(subject.machine.is_over());

    let mut subject = Subject::client();
    subject.open(Method::POST, false);
    subject.feed(&goodbye(1, 0));
    subject.feed(&goodbye(3, 0));
    assert_eq!(subject.take_answer(), Connection(P));
}

/// Section 6.8: two steps, so that requests in flight are served.
#[test]
fn a_server_that_shuts_down_serves_what_it_said_it_would() {
    let mut subject = Subject::server();
    subject.feed(&headers(1, POST, false));
    let first = subject.accept();
    subject.machine.shut_down(std::time::Instant::now());
    subject.flush();
    let lines = subject.take_lines();
    assert_eq!(lines[0], "GOAWAY 2147483647 NO_ERROR");
    let payload = lines[1].strip_prefix("PING ").unwrap().to_owned();
    subject.feed(&headers(3, GET, true));
    let second = subject.accept();
    subject.feed(&frame(PING, ACK, 0, payload.as_bytes()));
    assert_eq!(subject.take_lines(), ["GOAWAY 3 NO_ERROR"]);
    // Ignored, but its block is decoded.
    subject.feed(&headers(5, &format!("{GET} x-last=1"), true));
    assert!(subject.machine.poll_request().is_none());
    subject.respond(second, true);
    subject.feed(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80 | 62]));
    assert_eq!(subject.received(first), "trailers end");
    assert!(!subject.machine.is_over());
    subject.respond(first, true);
    assert!(subject.machine.is_over());
    assert_eq!(subject.take_answer(), Nothing);
}

/// Section 3.4.
#[test]
fn a_connection_begins_with_the_preface_and_settings() {
    let preface = pingora_h2::frame::PREFACE;
    let mut rows = vec![
        (preface.to_vec(), Nothing),
        ([&preface[..], &settings(&[])].concat(), Nothing),
        ([&preface[..], &settings(&[(3, 1)])].concat(), Nothing),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), Connection(P)),
        (
            [&preface[..], &frame(SETTINGS, ACK, 0, &[])].concat(),
            Connection(P),
        ),
        (
            [&preface[..], &frame(PING, 0, 0, &[0; 8])].concat(),
            Connection(P),
        ),
        (
            [&preface[..], &headers(1, GET, true)].concat(),
            Connection(P),
        ),
    ];
    for place in 0..preface.len() {
        let mut wrong = preface.to_vec();
        wrong[place] ^= 0x20;
        rows.push((wrong, Connection(P)));
    }
    for (bytes, answer) in rows {
        for size in [1, 7, bytes.len()] {
            let mut subject = Subject::bare(Config::new(Role::Server));
            for piece in bytes.chunks(size) {
                if !subject.machine.is_over() {
                    subject.feed(piece);
                }
            }
            assert_eq!(subject.take_answer(), answer, "{}", bytes.escape_ascii());
        }
    }
    let mut subject = Subject::bare(Config::new(Role::Client));
    subject.feed(&frame(PING, 0, 0, &[0; 8]));
    assert_eq!(subject.take_answer(), Connection(P));
}
