//! A machine, and a scripted peer.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use pingora_h2::frame::{Frame, PREFACE, Reader, ReaderLimits, Role};
use pingora_h2::hpack::{Decoder, Discard, PseudoFields};
use pingora_h2::machine::{Config, Key, Machine, Received};
use pingora_h2::{Head, Reason};
use std::time::{Duration, Instant};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const PRIORITY_UPDATE: u8 = 16;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// A frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// A block of the fields `name=value`, as literals that are added to the table. An underscore stands
/// for a space, a tilde for a tab.
pub(crate) fn block(fields: &str) -> Vec<u8> {
    let mut out = vec![];
    for field in fields.split_whitespace() {
        let (name, value) = field.split_once('=').unwrap();
        out.push(0x40);
        for text in [name, value] {
            let text = text.replace('_', " ").replace('~', "\t");
            out.push(u8::try_from(text.len()).unwrap());
            out.extend(text.bytes());
        }
    }
    out
}

pub(crate) fn headers(stream: u32, fields: &str, end: bool) -> Vec<u8> {
    let flags = END_HEADERS | u8::from(end);
    frame(HEADERS, flags, stream, &block(fields))
}

pub(crate) const GET: &str = ":method=GET :scheme=https :authority=a.test :path=/";
pub(crate) const POST: &str = ":method=POST :scheme=https :authority=a.test :path=/";

pub(crate) fn data(stream: u32, length: usize, end: bool) -> Vec<u8> {
    frame(DATA, u8::from(end), stream, &vec![b'x'; length])
}

pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])
}

pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub(crate) fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = vec![];
    for (id, value) in entries {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// A machine's reaction to invalid input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// No reaction.
    Nothing,
    /// RST_STREAM.
    Stream(u32, Reason),
    /// GOAWAY, and the end of the connection.
    Connection(Reason),
}

pub(crate) struct Subject {
    pub(crate) machine: Machine,
    now: Instant,
    input: BytesMut,
    reader: Reader,
    decoder: Decoder,
    /// One line for each frame that was written and not inspected yet.
    pub(crate) lines: Vec<String>,
    answer: Answer,
    role: Role,
}

impl Subject {
    /// After the preface and both sides' SETTINGS.
    pub(crate) fn new(config: Config) -> Self {
        Self::with_settings(config, &[])
    }

    /// As [`Subject::new`], with the peer's SETTINGS.
    pub(crate) fn with_settings(config: Config, entries: &[(u16, u32)]) -> Self {
        let mut subject = Self::bare(config);
        if subject.role == Role::Server {
            subject.feed(PREFACE);
        }
        subject.feed(&settings(entries));
        subject.feed(&frame(SETTINGS, ACK, 0, &[]));
        subject.lines.clear();
        subject
    }

    /// Before any input has arrived.
    pub(crate) fn bare(config: Config) -> Self {
        let now = Instant::now();
        let (role, peer) = match config.role {
            Role::Client => (Role::Client, Role::Server),
            Role::Server => (Role::Server, Role::Client),
        };
        Subject {
            machine: Machine::new(config, now),
            now,
            input: BytesMut::new(),
            reader: Reader::new(peer, ReaderLimits::default()),
            decoder: Decoder::new(4096),
            lines: vec![],
            answer: Answer::Nothing,
            role,
        }
    }

    pub(crate) fn server() -> Self {
        Self::new(Config::new(Role::Server))
    }

    pub(crate) fn client() -> Self {
        Self::new(Config::new(Role::Client))
    }

    /// Feeds bytes in, and collects the output.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        let now = self.now;
        self.machine.handle_input(&mut self.input, &|| now);
        self.flush();
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Lets time pass, together with a deadline.
    pub(crate) fn expire(&mut self, time: Duration) {
        self.pass(time);
        self.machine.handle_timeout(self.now);
        self.flush();
    }

    pub(crate) fn flush(&mut self) {
        let now = self.now;
        let mut out = vec![];
        while self.machine.wants_output() && !self.machine.is_over() {
            self.machine.poll_output(&mut out, usize::MAX, &|| now);
        }
        let out = out.strip_prefix(PREFACE).unwrap_or(&out);
        let mut buffer = BytesMut::from(out);
        while let Some(frame) = self.reader.next(&mut buffer).unwrap() {
            let line = match frame {
                Frame::Data(data) => {
                    let end = if data.end_stream { " end" } else { "" };
                    format!("DATA {} {}{end}", data.stream, data.payload.len())
                }
                Frame::Headers(headers) => {
                    let (fragment, whole) = (headers.fragment, headers.end_headers);
                    self.decoder.decode(fragment, whole, &mut Discard).unwrap();
                    let end = if headers.end_stream { " end" } else { "" };
                    format!("HEADERS {}{end}", headers.stream)
                }
                Frame::Reset { stream, reason } => {
                    self.answer = Answer::Stream(stream.get(), reason);
                    format!("RST_STREAM {stream} {reason:?}")
                }
                Frame::GoAway(go_away) => {
                    if go_away.reason != Reason::NO_ERROR {
                        self.answer = Answer::Connection(go_away.reason);
                    }
                    format!("GOAWAY {} {:?}", go_away.last, go_away.reason)
                }
                Frame::WindowUpdate { stream, increment } => {
                    format!("WINDOW_UPDATE {stream} {increment}")
                }
                Frame::Ping { ack, payload } => {
                    let ack = if ack { " ack" } else { "" };
                    format!("PING {}{ack}", String::from_utf8_lossy(&payload))
                }
                Frame::SettingsAck => "SETTINGS ack".to_owned(),
                Frame::Settings(_) => "SETTINGS".to_owned(),
                other => format!("{other:?}"),
            };
            self.lines.push(line);
        }
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// The machine's first answer since the last call.
    pub(crate) fn take_answer(&mut self) -> Answer {
        self.lines.clear();
        std::mem::replace(&mut self.answer, Answer::Nothing)
    }

    pub(crate) fn accept(&mut self) -> Key {
        self.machine.poll_request().expect("a request").0
    }

    pub(crate) fn respond(&mut self, key: Key, end: bool) {
        let head = Head::response(StatusCode::OK, HeaderMap::new());
        self.machine.respond(key, head, end);
        self.flush();
    }

    pub(crate) fn send(&mut self, key: Key, bytes: usize, end: bool) {
        let data = Bytes::from(vec![b'x'; bytes]);
        self.machine.send_data(key, data, end);
        self.flush();
    }

    pub(crate) fn reset(&mut self, key: Key) {
        let now = self.now;
        self.machine.reset(key, Reason::CANCEL, &|| now);
        self.flush();
    }

    pub(crate) fn abandon(&mut self, key: Key) {
        let now = self.now;
        self.machine.abandon(key, Some(&|| now));
        self.flush();
    }

    /// Begins a request.
    pub(crate) fn open(&mut self, method: Method, end: bool) -> Key {
        let pseudo = PseudoFields {
            method: Some(method),
            scheme: Some(Bytes::from_static(b"https")),
            authority: Some(Bytes::from_static(b"a.test")),
            path: Some(Bytes::from_static(b"/")),
            ..PseudoFields::default()
        };
        let head = Head {
            pseudo,
            ..Head::default()
        };
        let key = self.machine.open(head, end).expect("room");
        self.flush();
        key
    }

    /// Everything that has arrived on a stream, one word per item.
    pub(crate) fn received(&mut self, key: Key) -> String {
        let mut words = vec![];
        loop {
            words.push(match self.machine.receive(key) {
                Received::Head(head) => {
                    let status = head.pseudo.status.map_or(0, |status| status.as_u16());
                    format!("{status}")
                }
                Received::Data(data) => {
                    self.machine.release(key, data.len());
                    self.flush();
                    format!("{}b", data.len())
                }
                Received::Trailers(_) => "trailers".to_owned(),
                Received::End => {
                    words.push("end".to_owned());
                    break;
                }
                Received::Broken => {
                    words.push("broken".to_owned());
                    break;
                }
                Received::Pending => break,
            });
        }
        words.join(" ")
    }

    /// Whether an unrelated stream is served normally: if `refer` is set, its fields refer to
    /// entries that the block before it added to the table.
    pub(crate) fn serves(&mut self, stream: u32, refer: Option<&str>) {
        assert!(!self.machine.is_over(), "the connection is gone");
        let fields = match self.role {
            Role::Server => GET,
            Role::Client => ":status=200",
        };
        let mut bytes = block(fields);
        if refer.is_some() {
            let count = u8::try_from(fields.split_whitespace().count()).unwrap();
            bytes.push(0x80 | (62 + count));
        }
        let bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &bytes);
        let found = match self.role {
            Role::Server => {
                self.feed(&bytes);
                let (key, head) = self.machine.poll_request().expect("the other request");
                assert_eq!(key.id(), stream);
                assert!(head.fault.is_none());
                self.respond(key, true);
                self.abandon(key);
                head.fields
            }
            Role::Client => {
                let key = self.open(Method::GET, true);
                assert_eq!(key.id(), stream);
                self.feed(&bytes);
                let Received::Head(head) = self.machine.receive(key) else {
                    panic!("no head");
                };
                self.abandon(key);
                head.fields
            }
        };
        if let Some(refer) = refer {
            let (name, value) = refer.split_once('=').unwrap();
            assert_eq!(found.get(name).unwrap(), value);
        }
        assert_eq!(self.take_answer(), Answer::Nothing);
    }
}
