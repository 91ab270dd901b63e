//! One HTTP/2 connection, client or server: a pure state machine.
//!
//! Bytes and the time go in; bytes, messages and deadlines come out. It does no I/O, reads no clock
//! and knows no task, so a test can run two of them against each other in virtual time.
//!
//! | file | RFC 9113 |
//! |---|---|
//! | `config` | 6.5: what is announced; all bounds |
//! | `state` | 5.1: the states of a stream, and of a connection |
//! | `stream`, `streams` | one stream; all of them, in places that are used again |
//! | `flow` | 5.2, 6.9: windows |
//! | `ready` | which stream writes next (RFC 9218) |
//! | `forgotten` | 5.1: frames that still arrive for streams that are over |
//! | `allowance` | 10.5: limits on work that a peer causes without doing anything useful |
//! | `input` | 3.4, 6: frames that arrive |
//! | `blocks` | 6.2, 8: field blocks that arrive, and the messages that they begin or end |
//! | `output` | frames that leave |
//! | `verbs` | what a program does with a stream |
//! | `ending` | 5.4, 6.8: GOAWAY, errors, the end |

mod allowance;
mod blocks;
mod config;
mod ending;
mod flow;
mod forgotten;
mod input;
mod output;
mod ready;
mod state;
mod stream;
mod streams;
mod verbs;

#[cfg(test)]
mod tests;

pub use allowance::Offence;
pub use config::{Config, ResetFrame};
pub(crate) use state::{Cause, Initiator};
pub use stream::{Key, Woken};
pub use verbs::Received;

use crate::frame::{PREFACE, Reader, Role, StreamId, encode};
use crate::head::Head;
use crate::hpack::{DEFAULT_TABLE_SIZE, Decoder, Encoder};
use allowance::Allowance;
use blocks::Block;
use flow::{INITIAL_WINDOW, ReceiveWindow, SendWindow};
use forgotten::Forgotten;
use ready::Ready;
use state::Life;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use streams::Streams;

/// Tells the time on demand: almost no event on a connection needs it.
pub type Clock<'a> = &'a dyn Fn() -> Instant;

/// The number of bytes of answers to PING, SETTINGS and the like that may wait to be written. Beyond
/// it, reading pauses until they have been sent.
const MOST_CONTROL: usize = 16 * 1024;
/// The largest data frame that we send, in bytes, even if the peer accepts larger ones: streams
/// take turns by the frame.
const LARGEST_DATA: usize = 16 * 1024;

/// The capacity that a queue keeps when no stream is left.
pub(crate) const LITTLE: usize = 4;

/// The settings that the peer has announced (RFC 9113 section 6.5.2).
#[derive(Debug, Clone, Copy)]
struct Peer {
    /// Its first SETTINGS have arrived.
    settled: bool,
    max_streams: u32,
    initial_window: u32,
    max_frame: u32,
    extended_connect: bool,
}

/// A PING that has not been answered yet.
#[derive(Debug, Default)]
enum Ping {
    #[default]
    None,
    Sent(Instant),
    Answered(Duration),
}

/// One HTTP/2 connection, client or server.
///
/// # The grammar of its verbs
/// | verb | |
/// |---|---|
/// | `handle_input`, `handle_eof`, `handle_timeout` | events of the connection |
/// | `poll_output` | the bytes to write next |
/// | `poll_request`, `poll_woken`, `poll_pong`, `poll_timeout` | the results: requests, streams that need attention, the deadline |
/// | `open`, `respond`, `inform`, `send_data`, `send_trailers`, `reset`, `abandon` | actions of the program on a stream |
/// | `receive`, `release`, `capacity`, `reset_cause` | queries of the program about a stream |
/// | `shut_down`, `abort`, `ping` | actions of the program on the connection |
/// | `is_...`, `wants_...` | queries of the driver: whether to read, to write, to stop |
///
/// After any verb of the first or fourth row there may be something to poll.
///
/// # Bounds
/// | data | per stream | per connection |
/// |---|---|---|
/// | received, not read | its window | `connection_window` |
/// | heads received, not read | 1, and 16 informational ones | the streams |
/// | queued by the program, not written | `send_buffer` | `connection_send_buffer` |
/// | fields of a head | the header list, `fields`, `crumbs` | one that is being decoded |
/// | streams | | twice `max_concurrent_streams`, including those whose handles still exist |
/// | answers to PING and SETTINGS | | 16 KiB |
/// | streams remembered after a reset | | `reset_memory` |
#[derive(Debug)]
pub struct Machine {
    config: Config,
    life: Life,
    /// The cause of the end, if the connection did not end in an orderly way.
    cause: Option<Cause>,
    offence: Option<Offence>,

    /// Bytes of the client's preface that have not arrived yet.
    preface_left: usize,
    reader: Reader,
    decoder: Decoder,
    block: Option<Block>,
    encoder: Encoder,
    peer: Peer,
    /// Our SETTINGS were acknowledged.
    acknowledged: bool,
    /// The window of new streams, as the peer may believe it to be.
    stream_window: u32,

    streams: Streams,
    /// The number of open streams that the peer opened (for a server) or that we opened (for a
    /// client).
    open: usize,
    /// Streams that the peer counts as open; of ours, those whose heads were written.
    begun: usize,
    /// The highest stream that the peer has opened, and the highest one that was processed.
    last_peer: u32,
    last_processed: u32,
    /// The highest stream of ours whose head was written.
    last_begun: u32,
    /// The next stream that we open; beyond the largest id once they are exhausted.
    next_id: u32,
    /// The peer will not process streams beyond this one (its GOAWAY).
    peer_last: Option<u32>,
    forgotten: Forgotten,
    allowance: Allowance,

    receive_window: ReceiveWindow,
    send_window: SendWindow,
    /// Bytes in all outboxes, and in all inboxes.
    sending: usize,
    /// Bytes of bodies that were put into frames so far.
    sent: u64,
    holding: usize,

    control: Vec<u8>,
    ready: Ready,
    /// Streams that a client has opened and not begun yet, in their order.
    opening: VecDeque<Key>,
    /// Streams that have data and a window while the connection's window is empty.
    waiting: VecDeque<Key>,
    /// Streams with a WINDOW_UPDATE due.
    updates: VecDeque<Key>,
    /// Streams whose owner waits for room.
    wanting: VecDeque<Key>,

    requests: VecDeque<(Key, Box<Head>)>,
    woken: VecDeque<Key>,
    ping: Ping,
    drain_deadline: Option<Instant>,
    /// The deadline for the acknowledgement of our SETTINGS; `None` once they were acknowledged.
    settings_deadline: Option<Instant>,
}

impl Machine {
    /// A new connection.
    pub fn new(config: Config, now: Instant) -> Self {
        let server = config.role == Role::Server;
        let mut control = Vec::new();
        if !server {
            control.extend_from_slice(PREFACE);
        }
        encode::settings(&mut control, &config.settings);
        let stream_window = config.stream_window().max(INITIAL_WINDOW);
        let table = config.settings.header_table_size;
        Machine {
            life: Life::Open,
            cause: None,
            offence: None,
            preface_left: if server { PREFACE.len() } else { 0 },
            reader: Reader::new(config.role, config.reader_limits()),
            decoder: Decoder::new(table.unwrap_or(DEFAULT_TABLE_SIZE).max(DEFAULT_TABLE_SIZE)),
            block: None,
            encoder: Encoder::new(),
            peer: Peer {
                settled: false,
                max_streams: config.initial_peer_streams,
                initial_window: INITIAL_WINDOW,
                max_frame: crate::frame::DEFAULT_MAX_FRAME_SIZE,
                extended_connect: false,
            },
            acknowledged: false,
            stream_window,
            streams: Streams::default(),
            open: 0,
            begun: 0,
            last_peer: 0,
            last_processed: 0,
            last_begun: 0,
            next_id: 1,
            peer_last: None,
            forgotten: Forgotten::new(config.reset_memory, config.reset_lifetime),
            allowance: Allowance::new(config.resets, config.overhead, now),
            receive_window: ReceiveWindow::believed(INITIAL_WINDOW, config.connection_window),
            send_window: SendWindow::new(INITIAL_WINDOW),
            sending: 0,
            sent: 0,
            holding: 0,
            control,
            ready: Ready::default(),
            opening: VecDeque::new(),
            waiting: VecDeque::new(),
            updates: VecDeque::new(),
            wanting: VecDeque::new(),
            requests: VecDeque::new(),
            woken: VecDeque::new(),
            ping: Ping::None,
            drain_deadline: None,
            settings_deadline: now.checked_add(config.settings_timeout),
            config,
        }
    }

    /// The next request that arrived, with its stream. Servers only.
    pub fn poll_request(&mut self) -> Option<(Key, Box<Head>)> {
        while let Some((key, head)) = self.requests.pop_front() {
            // A request that was reset before the program saw it is discarded.
            match self.streams.get(key) {
                Some(stream) if stream.cause.is_none() => return Some((key, head)),
                Some(_) => self.abandon(key, None),
                None => {}
            }
        }
        None
    }

    /// The next stream with an event that its owner may wait for.
    pub fn poll_woken(&mut self) -> Option<(Key, Woken)> {
        while let Some(key) = self.woken.pop_front() {
            if let Some(stream) = self.streams.get_mut(key) {
                return Some((key, std::mem::take(&mut stream.woken)));
            }
        }
        None
    }

    /// When to call [`Machine::handle_timeout`]; `None`: never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (self.drain_deadline, self.settings_deadline) {
            (Some(drain), Some(settings)) => Some(drain.min(settings)),
            (drain, settings) => drain.or(settings),
        }
    }

    /// The round-trip time of the last PING, once it has been answered.
    pub fn poll_pong(&mut self) -> Option<Duration> {
        match self.ping {
            Ping::Answered(round_trip) => {
                self.ping = Ping::None;
                Some(round_trip)
            }
            _ => None,
        }
    }

    /// Sends a PING; `false`: an earlier one has not been answered, or its answer has not been
    /// polled.
    pub fn ping(&mut self, now: Instant) -> bool {
        if !matches!(self.ping, Ping::None) || self.life >= Life::Closing {
            return false;
        }
        self.ping = Ping::Sent(now);
        encode::ping(&mut self.control, false, input::PING_PAYLOAD);
        true
    }

    /// Whether the connection wants to read: not while too much output is waiting for the peer, and
    /// not once it ends.
    pub fn wants_input(&self) -> bool {
        self.life < Life::Closing && self.control.len() < MOST_CONTROL
    }

    /// Whether nothing more will be read or written. Bytes that [`Machine::poll_output`] returned
    /// have to be written before the connection is closed.
    pub fn is_over(&self) -> bool {
        match self.life {
            Life::Over => true,
            Life::Closing => self.control.is_empty(),
            _ => false,
        }
    }

    /// Whether new streams are refused or ignored.
    pub fn is_draining(&self) -> bool {
        self.life >= Life::Draining || self.peer_last.is_some()
    }

    /// The kind of abuse that ended the connection, if any.
    pub fn offence(&self) -> Option<Offence> {
        self.offence
    }

    pub(crate) fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Whether the client's valid preface has arrived; always true for a client.
    pub fn has_begun(&self) -> bool {
        self.preface_left == 0 && self.cause.is_none()
    }

    /// Whether [`Machine::poll_woken`] has something to return.
    pub fn has_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    /// Whether [`Machine::poll_pong`] has something to return.
    pub fn has_pong(&self) -> bool {
        matches!(self.ping, Ping::Answered(_))
    }

    /// Whether the peer's first SETTINGS have arrived.
    pub fn is_settled(&self) -> bool {
        self.peer.settled
    }

    /// The number of streams of ours that the peer accepts at once.
    pub fn peer_max_streams(&self) -> usize {
        self.peer.max_streams as usize
    }

    /// Whether the peer accepts extended CONNECT (RFC 8441 section 3).
    pub fn peer_extended_connect(&self) -> bool {
        self.peer.extended_connect
    }

    /// How many streams are open.
    pub fn open_streams(&self) -> usize {
        self.open
    }

    /// Bytes of bodies that were queued but are not in frames yet.
    pub fn sending(&self) -> usize {
        self.sending
    }

    /// Bytes of bodies that were put into frames so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes of bodies that are held: received but not read, queued but not written.
    pub fn held(&self) -> usize {
        self.holding + self.sending
    }

    /// The next stream number, if any is left.
    fn take_id(&mut self) -> Option<u32> {
        let id = self.next_id;
        if id > StreamId::MAX.get() {
            return None;
        }
        self.next_id = id + 2;
        Some(id)
    }

    fn is_server(&self) -> bool {
        self.config.role == Role::Server
    }

    /// Tells a stream's owner that there is something to do.
    fn wake(&mut self, key: Key, tell: impl FnOnce(&mut Woken)) {
        if let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.owned) {
            let known = !stream.woken.is_empty();
            tell(&mut stream.woken);
            if !known && !stream.woken.is_empty() {
                self.woken.push_back(key);
            }
        }
    }

    /// Releases memory if no stream is left, unless the amount is small.
    fn shrink(&mut self) {
        if !self.streams.is_empty() {
            return;
        }
        self.ready.shrink();
        for queue in [
            &mut self.opening,
            &mut self.waiting,
            &mut self.updates,
            &mut self.wanting,
            &mut self.woken,
        ] {
            if queue.capacity() > LITTLE {
                *queue = VecDeque::new();
            }
        }
        if self.requests.is_empty() && self.requests.capacity() > LITTLE {
            self.requests = VecDeque::new();
        }
    }
}
