//! What a peer may send to the machine, in either role, behind a sound beginning: no panic, no frame
//! of ours that is wrong, nothing held beyond the bounds, and nothing left once all is over.
#![no_main]

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use libfuzzer_sys::fuzz_target;
use pingora_h2::Head;
use pingora_h2::frame::{PREFACE, Reader, ReaderLimits, Role};
use pingora_h2::hpack::PseudoFields;
use pingora_h2::machine::{Config, Key, Machine, Received};
use std::time::{Duration, Instant};

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
/// More than the connection's window, what a program gives below, and heads.
const MOST_HELD: usize = 65_535 + (1 << 20);

struct Side {
    machine: Machine,
    role: Role,
    now: Instant,
    keys: Vec<Key>,
}

impl Side {
    fn new(role: Role) -> Self {
        let now = Instant::now();
        let mut config = Config::new(role);
        config.settings.max_concurrent_streams = (role == Role::Server).then_some(5);
        Side {
            machine: Machine::new(config, now),
            role,
            now,
            keys: vec![],
        }
    }

    fn open(&mut self, method: Method, end: bool) {
        let text = Bytes::from_static;
        let pseudo = PseudoFields {
            method: Some(method),
            scheme: Some(text(b"https")),
            authority: Some(text(b"a")),
            path: Some(text(b"/")),
            ..PseudoFields::default()
        };
        let head = Head {
            pseudo,
            ..Head::default()
        };
        self.keys.extend(self.machine.open(head, end));
    }

    /// What a program does: `choice` decides what, on streams in turn.
    fn work(&mut self, choice: u8) {
        while let Some((key, _)) = self.machine.poll_request() {
            self.keys.push(key);
        }
        while self.machine.poll_woken().is_some() {}
        let now = self.now;
        let clock = || now;
        let place = usize::from(choice >> 4);
        let Some(&key) = self.keys.get(place % self.keys.len().max(1)) else {
            return;
        };
        match choice & 0xf {
            0 | 1 => {
                while let Received::Data(data) = self.machine.receive(key) {
                    self.machine.release(key, data.len());
                }
            }
            2 | 3 => {
                let head = Head::response(StatusCode::OK, HeaderMap::new());
                self.machine.respond(key, head, choice & 1 == 1);
            }
            4 | 5 => {
                let room = self.machine.capacity(key).unwrap_or(0).min(1_000);
                let data = Bytes::from(vec![b'x'; room]);
                self.machine.send_data(key, data, choice & 1 == 1);
            }
            6 => self.machine.send_trailers(key, HeaderMap::new()),
            7 => self.machine.reset(key, pingora_h2::Reason::CANCEL, &clock),
            8 => self.machine.ignore(key),
            9 => {
                self.machine.abandon(key, Some(&clock));
                self.keys.retain(|other| *other != key);
            }
            10 => self.now += Duration::from_secs(40),
            11 => self.machine.want_capacity(key),
            12 => self.machine.shut_down(now),
            13 if self.role == Role::Client => self.open(Method::HEAD, true),
            14 => self.machine.handle_timeout(now),
            _ => {}
        }
    }

    fn write(&mut self) {
        let now = self.now;
        let mut out = vec![];
        while self.machine.wants_output() && !self.machine.is_over() {
            let before = out.len();
            self.machine.poll_output(&mut out, before + 1, &|| now);
        }
        let mut buffer = BytesMut::from(out.strip_prefix(PREFACE).unwrap_or(&out));
        let peer = match self.role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        let mut reader = Reader::new(peer, ReaderLimits::default());
        while reader.next(&mut buffer).expect("our frames are sound").is_some() {}
        assert!(buffer.is_empty() && !reader.in_block());
    }
}

fuzz_target!(|input: (bool, Vec<(u8, &[u8])>)| {
    let (client, pieces) = input;
    let mut side = Side::new(if client { Role::Client } else { Role::Server });
    let mut buffer = BytesMut::new();
    if client {
        side.open(Method::GET, true);
        side.open(Method::POST, false);
    } else {
        buffer.extend_from_slice(PREFACE);
    }
    buffer.extend_from_slice(SETTINGS);
    buffer.extend_from_slice(SETTINGS_ACK);
    side.write();
    for (choice, piece) in pieces {
        buffer.extend_from_slice(piece);
        let now = side.now;
        side.machine.handle_input(&mut buffer, &|| now);
        assert!(side.machine.held() <= MOST_HELD);
        side.work(choice);
        side.write();
    }
    side.machine.handle_eof();
    let now = side.now;
    for key in std::mem::take(&mut side.keys) {
        side.machine.abandon(key, Some(&|| now));
    }
    while side.machine.poll_request().is_some() {}
    assert_eq!((side.machine.open_streams(), side.machine.held()), (0, 0));
});
