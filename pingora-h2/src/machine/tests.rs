//! The machine against handwritten frames, section by section, and against itself.

mod closed;
mod floods;
mod messages;
mod random;
mod windows;

use super::*;
use crate::error::Reason;
use crate::frame::{Frame, ReaderLimits, Settings};
use crate::hpack::PseudoFields;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::cell::Cell;

/// Types and flags of frames (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of literals without indexing or Huffman coding, so that it can contain anything.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![];
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            bytes.push(text.len() as u8);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "a.test"),
    (":path", "/"),
];

/// A request with additional fields; its body follows if `end` is not set.
fn request(stream: u32, more: &[(&str, &str)], end: bool) -> Vec<u8> {
    let flags = END_HEADERS | u8::from(end);
    frame(HEADERS, flags, stream, &block(&[&GET, more].concat()))
}

fn response(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | u8::from(end), stream, &block(fields))
}

/// The output of a machine, one line for each frame.
#[derive(Debug, Default)]
struct Written(Vec<String>);

impl Written {
    fn contains(&self, line: &str) -> bool {
        self.0.iter().any(|other| other == line)
    }

    /// The lines of RST_STREAM and GOAWAY frames.
    fn ends(&self) -> Vec<&str> {
        let ends = |line: &&String| line.starts_with("RST") || line.starts_with("GOAWAY");
        self.0.iter().filter(ends).map(String::as_str).collect()
    }
}

/// A machine, its clock, and a reader for its output.
struct Subject {
    machine: Machine,
    now: Cell<Instant>,
    input: BytesMut,
    reader: Reader,
    decoder: Decoder,
}

impl Subject {
    fn new(config: Config) -> Self {
        let now = Instant::now();
        let reads = match config.role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        Subject {
            machine: Machine::new(config, now),
            now: Cell::new(now),
            input: BytesMut::new(),
            reader: Reader::new(reads, ReaderLimits::default()),
            decoder: Decoder::new(4096),
        }
    }

    /// A server after a client's preface and SETTINGS, with its output so far discarded.
    fn server() -> Self {
        Self::begin(Config::new(Role::Server))
    }

    fn client() -> Self {
        Self::begin(Config::new(Role::Client))
    }

    fn begin(config: Config) -> Self {
        let server = config.role == Role::Server;
        let mut subject = Subject::new(config);
        if server {
            subject.feed(PREFACE);
        }
        subject.feed(&frame(SETTINGS, 0, 0, &[]));
        subject.feed(&frame(SETTINGS, ACK, 0, &[]));
        subject.written();
        subject
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        let now = self.now.get();
        self.machine.handle_input(&mut self.input, &|| now);
    }

    fn pass(&self, time: Duration) {
        self.now.set(self.now.get() + time);
    }

    /// All output that the machine has now, over any number of calls.
    fn written(&mut self) -> Written {
        let mut out = Vec::new();
        let now = self.now.get();
        while self.machine.wants_output() {
            let before = out.len();
            self.machine.poll_output(&mut out, before + 1, &|| now);
            // Nothing is written while all streams wait for the connection's window.
            assert!(out.len() > before || !self.machine.wants_output());
        }
        self.read(&out)
    }

    fn read(&mut self, mut out: &[u8]) -> Written {
        if let Some(rest) = out.strip_prefix(PREFACE) {
            out = rest;
        }
        let mut buffer = BytesMut::from(out);
        let mut lines = Written::default();
        while let Some(frame) = self.reader.next(&mut buffer).unwrap() {
            let line = describe(frame, &mut self.decoder);
            lines.0.push(line);
        }
        lines
    }

    fn reset(&mut self, key: Key, reason: Reason) {
        let now = self.now.get();
        self.machine.reset(key, reason, &|| now);
    }

    fn abandon(&mut self, key: Key) {
        let now = self.now.get();
        self.machine.abandon(key, Some(&|| now));
    }

    /// The stream of the next request.
    fn accept(&mut self) -> Key {
        self.machine.poll_request().expect("a request").0
    }

    fn respond(&mut self, key: Key, end: bool) {
        let head = Head::response(StatusCode::OK, HeaderMap::new());
        self.machine.respond(key, head, end);
    }

    /// A client's GET or POST.
    fn open(&mut self, end: bool) -> Key {
        let pseudo = PseudoFields {
            method: Some(if end { Method::GET } else { Method::POST }),
            scheme: Some(Bytes::from_static(b"https")),
            authority: Some(Bytes::from_static(b"a.test")),
            path: Some(Bytes::from_static(b"/")),
            ..PseudoFields::default()
        };
        let head = Head {
            pseudo,
            ..Head::default()
        };
        self.machine.open(head, end).expect("room")
    }
}

fn describe(frame: Frame<'_>, decoder: &mut Decoder) -> String {
    match frame {
        Frame::Data(data) => {
            let end = if data.end_stream { " end" } else { "" };
            format!("DATA {} {}{end}", data.stream, data.payload.len())
        }
        Frame::Headers(headers) => {
            decoder
                .decode(
                    headers.fragment,
                    headers.end_headers,
                    &mut crate::hpack::Discard,
                )
                .unwrap();
            let end = if headers.end_stream { " end" } else { "" };
            format!("HEADERS {}{end}", headers.stream)
        }
        Frame::Reset { stream, reason } => format!("RST {stream} {reason:?}"),
        Frame::GoAway(go_away) => format!("GOAWAY {} {:?}", go_away.last, go_away.reason),
        Frame::WindowUpdate { stream, increment } => format!("WINDOW {stream} {increment}"),
        Frame::Settings(_) => "SETTINGS".to_string(),
        Frame::SettingsAck => "SETTINGS ack".to_string(),
        Frame::Ping { ack: true, .. } => "PING ack".to_string(),
        Frame::Ping { .. } => "PING".to_string(),
        other => format!("{other:?}"),
    }
}

/// RFC 9113 sections 3.4, 4.1, 5.1, 5.1.1, 6.x: a server's answer to one fault after a valid
/// beginning, with stream 1 half closed by the client, stream 3 open, and 5 closed by an answer.
#[test]
fn a_wrong_frame_ends_its_stream_or_the_connection() {
    let protocol = Reason::PROTOCOL_ERROR;
    let closed = Reason::STREAM_CLOSED;
    let flow = Reason::FLOW_CONTROL_ERROR;
    // `None`: the connection; the last stream is 5, as in a GOAWAY.
    type Row = (&'static str, Vec<u8>, Option<u32>, Reason);
    let rows: Vec<Row> = vec![
        ("data, idle", frame(DATA, 0, 7, b"x"), None, protocol),
        ("data, even", frame(DATA, 0, 2, b"x"), None, protocol),
        (
            "data, half closed",
            frame(DATA, 0, 1, b"x"),
            Some(1),
            closed,
        ),
        ("data, closed", frame(DATA, 0, 5, b"x"), Some(5), closed),
        ("head, even", request(2, &[], true), None, protocol),
        ("head, closed", request(5, &[], true), None, protocol),
        ("head, half closed", request(1, &[], true), Some(1), closed),
        (
            "trailers without end",
            response(3, &[("x", "1")], false),
            Some(3),
            protocol,
        ),
        (
            "trailers with pseudo",
            response(3, &[(":path", "/")], true),
            Some(3),
            protocol,
        ),
        (
            "reset, idle",
            frame(RST_STREAM, 0, 7, &[0; 4]),
            None,
            protocol,
        ),
        (
            "window, idle",
            frame(WINDOW_UPDATE, 0, 7, &[0, 0, 0, 1]),
            None,
            protocol,
        ),
        (
            "window 0",
            frame(WINDOW_UPDATE, 0, 3, &[0; 4]),
            Some(3),
            protocol,
        ),
        (
            "window 0 of all",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            None,
            protocol,
        ),
        (
            "window overflow",
            frame(WINDOW_UPDATE, 0, 3, &[0x7f, 255, 255, 255]),
            Some(3),
            flow,
        ),
        (
            "overflow of all",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            None,
            flow,
        ),
        (
            "push",
            frame(PUSH_PROMISE, 4, 3, &[0, 0, 0, 2]),
            None,
            protocol,
        ),
        (
            "continuation",
            frame(CONTINUATION, 4, 3, &[]),
            None,
            protocol,
        ),
        (
            "depends on itself",
            frame(PRIORITY, 0, 3, &[0, 0, 0, 3, 1]),
            Some(3),
            protocol,
        ),
        (
            "window too large",
            frame(SETTINGS, 0, 0, &[0, 4, 128, 0, 0, 0]),
            None,
            flow,
        ),
        (
            "bad block",
            frame(HEADERS, 5, 7, &[0x80]),
            None,
            Reason::COMPRESSION_ERROR,
        ),
    ];
    for (name, bytes, stream, reason) in rows {
        let mut subject = Subject::server();
        subject.feed(&request(1, &[], true));
        subject.feed(&request(3, &[], false));
        subject.feed(&request(5, &[], true));
        let keys = [subject.accept(), subject.accept(), subject.accept()];
        subject.respond(keys[2], true);
        subject.written();
        subject.abandon(keys[2]);
        subject.feed(&bytes);
        let written = subject.written();
        let expected = match stream {
            Some(id) => format!("RST {id} {reason:?}"),
            None => format!("GOAWAY 5 {reason:?}"),
        };
        assert_eq!(written.ends(), [expected], "{name}");
        assert_eq!(subject.machine.is_over(), stream.is_none(), "{name}");
    }
}

/// RFC 9113 section 3.4.
#[test]
fn a_connection_begins_with_the_preface_and_settings() {
    let rows: &[(&[u8], bool)] = &[
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true),
        (b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n", false),
        (b"GET / HTTP/1.1\r\n\r\n", false),
    ];
    for (preface, right) in rows {
        let mut subject = Subject::new(Config::new(Role::Server));
        for byte in *preface {
            subject.feed(&[*byte]);
        }
        assert_eq!(subject.machine.has_begun(), *right);
        assert!(!subject.machine.is_over(), "GOAWAY is to be written");
        let written = subject.written();
        assert_eq!(written.contains("GOAWAY 0 PROTOCOL_ERROR"), !right);
    }
    let mut subject = Subject::new(Config::new(Role::Server));
    subject.feed(PREFACE);
    subject.feed(&frame(PING, 0, 0, &[0; 8]));
    assert!(subject.written().contains("GOAWAY 0 PROTOCOL_ERROR"));
}

/// RFC 9113 section 6.7.
#[test]
fn a_ping_is_answered_and_measured() {
    let mut subject = Subject::server();
    subject.feed(&frame(PING, 0, 0, b"12345678"));
    assert!(subject.written().contains("PING ack"));
    assert!(subject.machine.ping(subject.now.get()));
    assert!(!subject.machine.ping(subject.now.get()), "one at a time");
    assert!(subject.written().contains("PING"));
    subject.pass(Duration::from_millis(30));
    subject.feed(&frame(PING, ACK, 0, b"another_"));
    assert_eq!(subject.machine.poll_pong(), None);
    subject.feed(&frame(PING, ACK, 0, &input::PING_PAYLOAD));
    assert_eq!(subject.machine.poll_pong(), Some(Duration::from_millis(30)));
}

/// RFC 9113 section 6.8: a warning, a round trip, the last stream's number, the end.
#[test]
fn a_server_drains_in_steps() {
    for answered in [true, false] {
        let mut subject = Subject::server();
        subject.feed(&request(1, &[], true));
        let first = subject.accept();
        subject.machine.shut_down(subject.now.get());
        let written = subject.written();
        assert_eq!(written.0, ["GOAWAY 2147483647 NO_ERROR", "PING"]);
        // In flight when the warning was written.
        subject.feed(&request(3, &[], true));
        let second = subject.accept();
        if answered {
            subject.feed(&frame(PING, ACK, 0, &input::DRAIN_PAYLOAD));
        } else {
            let deadline = subject.machine.poll_timeout().unwrap();
            subject.machine.handle_timeout(deadline);
        }
        assert_eq!(subject.written().0, ["GOAWAY 3 NO_ERROR"]);
        subject.feed(&request(5, &[], true));
        assert!(subject.machine.poll_request().is_none());
        for key in [first, second] {
            assert!(!subject.machine.is_over());
            subject.respond(key, true);
            assert!(!subject.machine.is_over());
            subject.written();
        }
        assert!(subject.machine.is_over());
    }
}

/// RFC 9113 section 6.8, from the other side.
#[test]
fn a_client_learns_what_was_not_processed() {
    let mut subject = Subject::client();
    let keys = [subject.open(true), subject.open(true)];
    subject.written();
    let go_away = |last: u8| frame(GOAWAY, 0, 0, &[0, 0, 0, last, 0, 0, 0, 0]);
    subject.feed(&go_away(1));
    assert!(!subject.machine.may_open());
    assert!(subject.machine.reset_cause(keys[0]).is_none());
    assert!(matches!(
        subject.machine.reset_cause(keys[1]),
        Some(Cause::GoAway(Reason::NO_ERROR, Initiator::Remote, _))
    ));
    assert!(!subject.machine.is_over());
    subject.feed(&response(1, &[(":status", "200")], true));
    subject.written();
    assert!(subject.machine.is_over());
    assert!(matches!(
        subject.machine.receive(keys[0]),
        Received::Head(_)
    ));
    assert!(matches!(subject.machine.receive(keys[0]), Received::End));
}

/// RFC 9113 section 5.1.2, both ways.
#[test]
fn streams_at_once_are_limited() {
    let mut config = Config::new(Role::Server);
    config.settings.max_concurrent_streams = Some(2);
    let mut subject = Subject::begin(config);
    for id in [1, 3, 5] {
        subject.feed(&request(id, &[], true));
    }
    assert_eq!(subject.written().ends(), ["RST 5 REFUSED_STREAM"]);
    let key = subject.accept();
    subject.respond(key, true);
    subject.written();
    subject.feed(&request(7, &[], true));
    assert!(subject.written().ends().is_empty(), "there is room again");

    let mut subject = Subject::client();
    subject.feed(&frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1]));
    let first = subject.open(true);
    let second = subject.open(true);
    assert_eq!(subject.written().0, ["SETTINGS ack", "HEADERS 1 end"]);
    subject.feed(&response(1, &[(":status", "204")], true));
    subject.abandon(first);
    assert_eq!(subject.written().0, ["HEADERS 3 end"]);
    // To the server, a stream that has not begun is idle, so it ends silently.
    let third = subject.open(true);
    subject.reset(third, Reason::CANCEL);
    assert!(subject.written().0.is_empty());
    subject.abandon(second);
    assert_eq!(subject.written().0, ["RST 3 CANCEL"]);
}

/// RFC 9113 section 5.1: a server that speaks of a stream of which it was never told has lost count.
#[test]
fn a_stream_that_ended_before_it_began_stays_idle() {
    let answers = [
        response(1, &[(":status", "200")], true),
        frame(DATA, 0, 1, b"x"),
        frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
    ];
    for answer in answers {
        let mut subject = Subject::client();
        let key = subject.open(true);
        subject.reset(key, Reason::CANCEL);
        subject.abandon(key);
        assert!(subject.written().0.is_empty());
        subject.feed(&answer);
        assert_eq!(subject.written().ends(), ["GOAWAY 0 PROTOCOL_ERROR"]);
    }
}

/// RFC 9113 section 6.5.3 and RFC 8441 section 3.
#[test]
fn settings_are_taken_over_and_acknowledged() {
    let mut subject = Subject::client();
    assert!(!subject.machine.peer_extended_connect());
    subject.feed(&frame(
        SETTINGS,
        0,
        0,
        &[0, 8, 0, 0, 0, 1, 0, 3, 0, 0, 0, 9],
    ));
    assert_eq!(subject.written().0, ["SETTINGS ack"]);
    assert!(subject.machine.peer_extended_connect());
    assert_eq!(subject.machine.peer_max_streams(), 9);
    let settings = Settings {
        max_concurrent_streams: Some(3),
        ..Settings::default()
    };
    let mut config = Config::new(Role::Server);
    config.settings = settings;
    let mut out = Vec::new();
    let mut machine = Machine::new(config, Instant::now());
    machine.poll_output(&mut out, 1, &Instant::now);
    assert_eq!(out, frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 3]));
}

#[test]
fn an_urgent_response_goes_first_and_equals_take_turns() {
    let mut subject = Subject::server();
    subject.feed(&request(1, &[], true));
    subject.feed(&request(3, &[], true));
    subject.feed(&request(5, &[("priority", "u=0")], true));
    for _ in 0..3 {
        let key = subject.accept();
        subject.respond(key, false);
        let data = Bytes::from(vec![0; 20_000]);
        subject.machine.send_data(key, data, true);
    }
    let order: Vec<_> = subject.written().0;
    let expected = [
        "HEADERS 5",
        "DATA 5 16384",
        "DATA 5 3616 end",
        "HEADERS 1",
        "DATA 1 16384",
        "HEADERS 3",
        "DATA 3 16384",
        "DATA 1 3616 end",
        "DATA 3 3616 end",
    ];
    assert_eq!(order, expected);
}

#[test]
fn a_value_of_header_is_kept() {
    let mut subject = Subject::server();
    subject.feed(&request(1, &[("x", "y")], true));
    let (_, head) = subject.machine.poll_request().unwrap();
    assert_eq!(head.fields.get("x"), Some(&HeaderValue::from_static("y")));
    assert_eq!(head.pseudo.path.as_deref(), Some(&b"/"[..]));
}
