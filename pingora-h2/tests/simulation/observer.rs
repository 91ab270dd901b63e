//! The frames that one side may send, according to RFC 9113 and to what it has received.

use bytes::BytesMut;
use pingora_h2::frame::{Frame, PREFACE, Reader, ReaderLimits, Role};
use pingora_h2::{Reason, StreamId};
use std::collections::HashMap;

/// A stream as one side sees it.
#[derive(Debug, Default)]
struct View {
    /// The number of bytes that it may send; negative after a smaller initial window (section
    /// 6.9.2).
    credit: i64,
    sent_end: bool,
    sent_reset: bool,
    got_end: bool,
    got_reset: bool,
}

impl View {
    fn is_open(&self) -> bool {
        !(self.sent_reset || self.got_reset || self.sent_end && self.got_end)
    }
}

/// The account of one side as a sender.
pub(crate) struct Observer {
    role: Role,
    streams: HashMap<u32, View>,
    highest: u32,
    pub(crate) credit: i64,
    initial: i64,
    max_streams: u32,
    max_frame: usize,
    settings: usize,
    acknowledged: usize,
    pings: usize,
    answered: usize,
    goodbye_received: Option<StreamId>,
    goodbye_sent: Option<StreamId>,
    pub(crate) data_sent: u64,
    pub(crate) data_received: u64,

    preface: usize,
    arriving: BytesMut,
    reader: Reader,
}

fn observing(role: Role) -> Reader {
    let limits = ReaderLimits {
        max_frame_size: 1 << 20,
        ..ReaderLimits::default()
    };
    Reader::new(role, limits)
}

fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

impl Observer {
    /// An observer of the side with this role. Before a client has SETTINGS, it may open
    /// `max_streams` streams.
    pub(crate) fn new(role: Role, max_streams: u32) -> Self {
        Observer {
            role,
            streams: HashMap::new(),
            highest: 0,
            credit: 65_535,
            initial: 65_535,
            max_streams,
            max_frame: 16_384,
            settings: 0,
            acknowledged: 0,
            pings: 0,
            answered: 0,
            goodbye_received: None,
            goodbye_sent: None,
            data_sent: 0,
            data_received: 0,
            preface: if role == Role::Server {
                PREFACE.len()
            } else {
                0
            },
            arriving: BytesMut::new(),
            reader: observing(role),
        }
    }

    /// Bytes that the side has written: whole frames.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        let bytes = bytes.strip_prefix(PREFACE).unwrap_or(bytes);
        let mut reader = observing(other(self.role));
        let mut buffer = BytesMut::from(bytes);
        while let Some(frame) = reader.next(&mut buffer).expect("frames are sound") {
            self.sends(frame);
        }
        assert!(buffer.is_empty(), "frames are whole");
        assert!(!reader.in_block(), "blocks are whole");
    }

    fn sends(&mut self, frame: Frame<'_>) {
        match frame {
            Frame::Data(data) => {
                let length = i64::from(data.flow_length);
                assert!(
                    data.flow_length as usize <= self.max_frame,
                    "too large for the peer"
                );
                self.data_sent += u64::from(data.flow_length);
                let view = self.streams.get_mut(&data.stream.get()).expect("idle");
                assert!(
                    !view.sent_end && !view.sent_reset && !view.got_reset,
                    "closed"
                );
                self.credit -= length;
                view.credit -= length;
                let within = self.credit >= 0 && view.credit >= 0;
                assert!(length == 0 || within, "beyond a window");
                view.sent_end = data.end_stream;
            }
            Frame::Headers(headers) => {
                assert!(
                    headers.fragment.len() <= self.max_frame,
                    "too large for the peer"
                );
                self.sends_headers(headers.stream.get(), headers.end_stream);
            }
            Frame::Reset { stream, .. } => {
                let view = self.streams.get_mut(&stream.get()).expect("idle");
                // The reset may have been queued before the peer's arrived.
                assert!(!view.sent_reset, "reset twice");
                view.sent_reset = true;
            }
            Frame::WindowUpdate { stream, .. } if !stream.is_connection() => {
                let view = self.streams.get_mut(&stream.get()).expect("idle");
                assert!(!view.sent_reset && !view.got_reset, "closed");
                assert!(!view.got_end, "nothing more can come");
            }
            Frame::GoAway(go_away) => {
                assert_eq!(go_away.reason, Reason::NO_ERROR, "{:?}", go_away.debug);
                let before = self.goodbye_sent.unwrap_or(StreamId::MAX);
                assert!(go_away.last <= before, "a GOAWAY takes back");
                self.goodbye_sent = Some(go_away.last);
            }
            Frame::SettingsAck => {
                self.acknowledged += 1;
                assert!(self.acknowledged <= self.settings);
            }
            Frame::Ping { ack: true, .. } => {
                self.answered += 1;
                assert!(self.answered <= self.pings);
            }
            _ => {}
        }
    }

    fn sends_headers(&mut self, id: u32, end: bool) {
        if self.role == Role::Client && id > self.highest {
            assert!(self.goodbye_received.is_none(), "a stream behind a GOAWAY");
            let open = self.streams.values().filter(|view| view.is_open()).count();
            assert!(open < self.max_streams as usize, "too many streams");
            self.opened(id);
        }
        let view = self.streams.get_mut(&id).expect("idle");
        assert!(
            !view.sent_end && !view.sent_reset && !view.got_reset,
            "closed"
        );
        view.sent_end = end;
    }

    fn opened(&mut self, id: u32) {
        assert!(id % 2 == 1 && id > self.highest);
        self.highest = id;
        let credit = self.initial;
        let view = View {
            credit,
            ..View::default()
        };
        self.streams.insert(id, view);
    }

    /// Bytes that have arrived at the side.
    pub(crate) fn received(&mut self, bytes: &[u8]) {
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        self.arriving.extend_from_slice(&bytes[preface..]);
        let mut buffer = std::mem::take(&mut self.arriving);
        let mut reader = std::mem::replace(&mut self.reader, observing(self.role));
        while let Some(frame) = reader.next(&mut buffer).expect("frames are sound") {
            self.receives(frame);
        }
        self.arriving = buffer;
        self.reader = reader;
    }

    fn receives(&mut self, frame: Frame<'_>) {
        match frame {
            Frame::Data(data) => {
                self.data_received += u64::from(data.flow_length);
                self.got_end(data.stream, data.end_stream);
            }
            Frame::Headers(headers) => {
                let id = headers.stream.get();
                if self.role == Role::Server && id > self.highest {
                    self.opened(id);
                }
                self.got_end(headers.stream, headers.end_stream);
            }
            Frame::Reset { stream, .. } => {
                let view = self.streams.get_mut(&stream.get()).expect("idle");
                view.got_reset = true;
            }
            Frame::WindowUpdate { stream, increment } => {
                let increment = i64::from(increment);
                match self.streams.get_mut(&stream.get()) {
                    Some(view) => view.credit += increment,
                    None => self.credit += increment,
                }
            }
            Frame::Settings(settings) => {
                self.settings += 1;
                if let Some(window) = settings.initial_window_size {
                    let by = i64::from(window) - self.initial;
                    self.initial += by;
                    self.streams.values_mut().for_each(|view| view.credit += by);
                }
                if let Some(most) = settings.max_concurrent_streams {
                    self.max_streams = most;
                } else if self.settings == 1 {
                    self.max_streams = u32::MAX;
                }
                if let Some(most) = settings.max_frame_size {
                    self.max_frame = most as usize;
                }
            }
            Frame::Ping { ack: false, .. } => self.pings += 1,
            Frame::GoAway(go_away) => self.goodbye_received = Some(go_away.last),
            _ => {}
        }
    }

    fn got_end(&mut self, stream: StreamId, end: bool) {
        let view = self.streams.get_mut(&stream.get()).expect("idle");
        view.got_end |= end;
    }

    /// Whether all of the peer's PINGs and SETTINGS have been answered.
    pub(crate) fn owes_nothing(&self) -> bool {
        self.settings == self.acknowledged && self.pings == self.answered
    }

    /// Streams that are neither closed by both sides, nor reset, nor refused by the server's GOAWAY.
    pub(crate) fn open(&self) -> usize {
        let last = match self.role {
            Role::Client => self.goodbye_received,
            Role::Server => self.goodbye_sent,
        };
        let last = last.unwrap_or(StreamId::MAX).get();
        let streams = self.streams.iter();
        let open = streams.filter(|(id, view)| **id <= last && view.is_open());
        open.count()
    }
}
