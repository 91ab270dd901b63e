//! Sent frames: those of the connection first, then streams in turn, one data frame each.

use super::state::{Life, Receiving, Sending};
use super::stream::{End, Key, Stream};
use super::{Clock, LARGEST_DATA, Machine};
use crate::error::Reason;
use crate::frame::{StreamId, encode};
use crate::head::Head;
use crate::hpack::{Encoder, Pseudo};
use crate::spare::give_head;
use http::HeaderMap;

/// The result of one turn of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamStep {
    /// More may be written now.
    More,
    /// More data is queued, but the connection's window is empty.
    Waits,
    /// Nothing more may be written now.
    Done,
}

impl Machine {
    /// Whether [`Machine::poll_output`] has something to write.
    pub fn wants_output(&self) -> bool {
        !self.control.is_empty()
            || !self.ready.is_empty()
            || self.receive_window.is_due() && self.life < Life::Closing
            || !self.updates.is_empty()
            || self.may_begin()
    }

    /// Appends the frames to write next, until `out` is `limit` bytes long or at most one frame
    /// longer. All appended bytes have to be written, in this order.
    pub fn poll_output(&mut self, out: &mut Vec<u8>, limit: usize, clock: Clock<'_>) {
        if self.life == Life::Over {
            return;
        }
        out.append(&mut self.control);
        self.control = Vec::new();
        if self.life == Life::Closing {
            return;
        }
        self.write_updates(out);
        self.begin_streams(out);
        while out.len() < limit {
            let Some(key) = self.ready.pop() else {
                break;
            };
            if let Some(stream) = self.streams.get_mut(key) {
                stream.is_ready = false;
                let turn = self.write_turn(key, out, clock);
                self.after_turn(key, turn);
            }
        }
        if self.sending < self.config.connection_send_buffer {
            self.note_all_capacity();
        }
        // Resets of streams that have just ended.
        out.append(&mut self.control);
    }

    fn write_updates(&mut self, out: &mut Vec<u8>) {
        if let Some(update) = self.receive_window.take_update() {
            encode::window_update(out, StreamId::CONNECTION, update);
        }
        while let Some(key) = self.updates.pop_front() {
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            stream.update_due = false;
            if stream.receiving != Receiving::Body {
                continue;
            }
            if let Some(update) = stream.receive_window.take_update() {
                encode::window_update(out, StreamId::new(key.id), update);
            }
        }
    }

    /// Whether a client's stream is waiting to begin, and may.
    fn may_begin(&self) -> bool {
        !self.opening.is_empty() && self.begun < self.peer.max_streams as usize
    }

    /// Whether all streams that are waiting to begin may begin.
    pub(super) fn may_all_begin(&self) -> bool {
        self.begun + self.opening.len() <= self.peer.max_streams as usize
    }

    /// Heads of requests leave in the order of their streams' numbers (RFC 9113 section 5.1.1).
    fn begin_streams(&mut self, out: &mut Vec<u8>) {
        while self.may_begin() {
            let Some(key) = self.opening.pop_front() else {
                return;
            };
            let max_frame = self.peer.max_frame;
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            if stream.sending != Sending::Head {
                continue;
            }
            write_head(stream, &mut self.encoder, max_frame, out);
            stream.begun = true;
            self.last_begun = stream.id;
            self.begun += 1;
            self.allowance.message_sent();
            self.schedule(key);
            self.note_capacity(key);
            self.settle(key);
        }
    }

    fn write_turn(&mut self, key: Key, out: &mut Vec<u8>, clock: Clock<'_>) -> StreamStep {
        let max_frame = self.peer.max_frame;
        let Some(stream) = self.streams.get_mut(key) else {
            return StreamStep::Done;
        };
        while let Some(head) = stream.outbox.informational.pop_front() {
            write_block(stream.id, &head, false, &mut self.encoder, max_frame, out);
            self.allowance.message_sent();
        }
        if stream.outbox.head.is_some() {
            write_head(stream, &mut self.encoder, max_frame, out);
            self.allowance.message_sent();
        }
        if stream.sending != Sending::Body {
            self.after_end(key, clock);
            return StreamStep::Done;
        }
        let room = stream
            .send_window
            .available()
            .min(self.send_window.available());
        let length = stream
            .outbox
            .bytes
            .min(room)
            .min(max_frame as usize)
            .min(LARGEST_DATA);
        if length > 0 {
            write_data(stream, length, out);
            self.send_window.take(length);
            self.sending -= length;
            self.sent += length as u64;
            self.allowance.data_sent();
        }
        if stream.outbox.bytes == 0 {
            write_end(stream, &mut self.encoder, max_frame, out);
        }
        let turn = self.what_is_left(key);
        self.note_capacity(key);
        self.after_end(key, clock);
        turn
    }

    fn what_is_left(&self, key: Key) -> StreamStep {
        let Some(stream) = self.streams.get(key) else {
            return StreamStep::Done;
        };
        if stream.outbox.bytes == 0 || stream.send_window.available() == 0 {
            StreamStep::Done
        } else if self.send_window.available() == 0 {
            StreamStep::Waits
        } else {
            StreamStep::More
        }
    }

    fn after_turn(&mut self, key: Key, turn: StreamStep) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        match turn {
            StreamStep::More => {
                stream.is_ready = true;
                self.ready.push(key, stream.urgency);
            }
            StreamStep::Waits if !stream.is_waiting => {
                stream.is_waiting = true;
                self.waiting.push_back(key);
            }
            StreamStep::Waits | StreamStep::Done => {}
        }
    }

    /// Our message is complete. If the rest of the peer's is not wanted, refuses it (RFC 9113 section
    /// 8.1).
    fn after_end(&mut self, key: Key, clock: Clock<'_>) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.sending != Sending::Ended {
            return;
        }
        let reason = match stream.reset_due.take() {
            _ if std::mem::take(&mut stream.condemned) => Some(Reason::PROTOCOL_ERROR),
            due => due.filter(|_| stream.is_receiving()),
        };
        let Some(reason) = reason else {
            return self.settle(key);
        };
        let at_fault = reason == Reason::PROTOCOL_ERROR;
        if stream.is_receiving() {
            stream.receiving = Receiving::Closed;
            self.forgotten.remember(key.id, clock);
        }
        self.drop_inbox(key);
        self.write_reset(key.id, reason);
        self.settle(key);
        if at_fault && let Err(offence) = self.count_reset(clock) {
            self.fail(offence);
        }
    }

    /// Queues a stream if it has something that may be written.
    pub(super) fn schedule(&mut self, key: Key) {
        let connection_room = self.send_window.available();
        let is_server = self.is_server();
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.is_ready {
            return;
        }
        let head = is_server && stream.outbox.head.is_some();
        let body = stream.sending == Sending::Body;
        let data = body && stream.outbox.bytes > 0 && stream.send_window.available() > 0;
        let end = body && stream.outbox.bytes == 0 && matches!(stream.outbox.end, End::Due(_));
        if head || end || !stream.outbox.informational.is_empty() || data && connection_room > 0 {
            stream.is_ready = true;
            self.ready.push(key, stream.urgency);
        } else if data && !stream.is_waiting {
            stream.is_waiting = true;
            self.waiting.push_back(key);
        }
    }
}

/// Writes the final head, with the end of the stream if nothing follows.
fn write_head(stream: &mut Stream, encoder: &mut Encoder, max_frame: u32, out: &mut Vec<u8>) {
    let Some(head) = stream.outbox.head.take() else {
        return;
    };
    let end = stream.outbox.bytes == 0 && matches!(stream.outbox.end, End::Due(None));
    write_block(stream.id, &head, end, encoder, max_frame, out);
    give_head(head);
    stream.sending = if end { Sending::Ended } else { Sending::Body };
    if end {
        stream.outbox.end = End::Written;
    }
}

fn write_block(
    id: u32,
    head: &Head,
    end: bool,
    encoder: &mut Encoder,
    max_frame: u32,
    out: &mut Vec<u8>,
) {
    encode::block(out, StreamId::new(id), end, max_frame, |out| {
        encoder.begin(out);
        let pseudo = &head.pseudo;
        if let Some(status) = pseudo.status {
            encoder.status(out, status);
        }
        if let Some(method) = &pseudo.method {
            encoder.method(out, method);
        }
        let texts = [
            (Pseudo::Scheme, &pseudo.scheme),
            (Pseudo::Authority, &pseudo.authority),
            (Pseudo::Path, &pseudo.path),
            (Pseudo::Protocol, &pseudo.protocol),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                encoder.pseudo(out, name, text);
            }
        }
        write_fields(&head.fields, encoder, out);
        for (name, value) in head.flat.iter() {
            encoder.text_field(out, name, value);
        }
    });
}

fn write_fields(fields: &HeaderMap, encoder: &mut Encoder, out: &mut Vec<u8>) {
    for (name, value) in fields {
        encoder.field(out, name, value);
    }
}

/// Writes a frame of `length` bytes from any number of pieces.
fn write_data(stream: &mut Stream, length: usize, out: &mut Vec<u8>) {
    let outbox = &mut stream.outbox;
    let end = length == outbox.bytes && matches!(outbox.end, End::Due(None));
    encode::data_head(out, StreamId::new(stream.id), length, end);
    let mut left = length;
    while left > 0 {
        let Some(first) = outbox.pieces.front_mut() else {
            break;
        };
        if first.len() <= left {
            out.extend_from_slice(first);
            left -= first.len();
            outbox.pieces.pop_front();
        } else {
            let piece = first.split_to(left);
            out.extend_from_slice(&piece);
            left = 0;
        }
    }
    outbox.bytes -= length;
    stream.send_window.take(length);
    if end {
        outbox.end = End::Written;
        stream.sending = Sending::Ended;
    }
}

/// Writes the end of the stream if it was not sent with the previous frame.
fn write_end(stream: &mut Stream, encoder: &mut Encoder, max_frame: u32, out: &mut Vec<u8>) {
    let End::Due(trailers) = &mut stream.outbox.end else {
        return;
    };
    let id = StreamId::new(stream.id);
    match trailers.take() {
        Some(trailers) => encode::block(out, id, true, max_frame, |out| {
            encoder.begin(out);
            write_fields(&trailers, encoder, out);
        }),
        None => encode::data_head(out, id, 0, true),
    }
    stream.outbox.end = End::Written;
    stream.sending = Sending::Ended;
}
