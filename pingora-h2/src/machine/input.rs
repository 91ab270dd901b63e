//! Received frames (RFC 9113 sections 3.4 and 6).

use super::flow::Overflow;
use super::forgotten::Late;
use super::ready::urgency_in;
use super::state::{Cause, Initiator, Life, Receiving, Sending};
use super::stream::Key;
use super::{Clock, Machine, Offence, Ping};
use crate::error::{Error, Reason, Scope};
use crate::frame::{Data, Frame, GoAway, PREFACE, Settings, StreamId, encode};
use bytes::{Buf, Bytes, BytesMut};

/// The payloads of our PINGs: the round-trip measurement, and the one that checks whether a client
/// has seen our GOAWAY.
pub(super) const PING_PAYLOAD: [u8; 8] = *b"how long";
pub(super) const DRAIN_PAYLOAD: [u8; 8] = *b"draining";
/// The maximum amount of a GOAWAY's debug data that is kept, in bytes.
const MOST_DEBUG: usize = 256;

impl Machine {
    /// Processes received bytes. Bytes of an incomplete frame stay in the buffer, at most one frame of
    /// them; append the next bytes to them.
    pub fn handle_input(&mut self, buffer: &mut BytesMut, clock: Clock<'_>) {
        if self.preface_left > 0 {
            self.take_preface(buffer);
        }
        if self.preface_left > 0 {
            return;
        }
        while self.life < Life::Closing {
            let handled = match self.reader.next(buffer) {
                Ok(Some(frame)) => self.handle_frame(frame, clock),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            if let Err(error) = handled {
                self.judge(error, clock);
            }
        }
        buffer.clear();
    }

    /// RFC 9113 section 3.4.
    fn take_preface(&mut self, buffer: &mut BytesMut) {
        let expected = PREFACE.iter().skip(PREFACE.len() - self.preface_left);
        let same = buffer.iter().zip(expected).all(|(a, b)| a == b);
        let n = buffer.len().min(self.preface_left);
        buffer.advance(n);
        self.preface_left -= n;
        if !same {
            self.preface_left = 0;
            let detail = "the client's preface is wrong";
            self.fail(Error::connection(Reason::PROTOCOL_ERROR, "3.4", detail));
        }
    }

    /// Ends the stream or the connection, depending on the scope of the error.
    pub(super) fn judge(&mut self, error: Error, clock: Clock<'_>) {
        match error.scope {
            Scope::Connection => self.fail(error),
            Scope::Stream(id) => self.stream_error(id.get(), error, clock),
        }
    }

    fn handle_frame(&mut self, frame: Frame<'_>, clock: Clock<'_>) -> Result<(), Error> {
        if !self.peer.settled && !matches!(frame, Frame::Settings(_)) {
            let detail = "the first frame is not SETTINGS";
            return Err(Error::connection(Reason::PROTOCOL_ERROR, "3.4", detail));
        }
        match frame {
            Frame::Data(data) => self.handle_data(data, clock),
            Frame::Headers(headers) => self.begin_block(&headers, clock),
            Frame::Continuation(more) => {
                self.count_overhead(clock)?;
                self.continue_block(more.fragment, more.end_headers, clock)
            }
            Frame::Reset { stream, reason } => self.handle_reset(stream, reason, clock),
            Frame::Settings(settings) => self.handle_settings(&settings, clock),
            Frame::SettingsAck => self.handle_settings_ack(clock),
            Frame::Ping { ack, payload } => self.handle_ping(ack, payload, clock),
            Frame::GoAway(go_away) => self.handle_go_away(&go_away, clock),
            Frame::WindowUpdate { stream, increment } => {
                self.count_overhead(clock)?;
                self.handle_window_update(stream, increment)
            }
            Frame::PriorityUpdate { stream, value } => {
                self.count_overhead(clock)?;
                let key = self.streams.find(stream.get());
                if let Some(stream) = key.and_then(|key| self.streams.get_mut(key)) {
                    stream.urgency = urgency_in(value);
                }
                Ok(())
            }
            Frame::Priority { .. } | Frame::Unknown { .. } => self.count_overhead(clock),
            Frame::PushPromise(_) => {
                let detail = "a stream is pushed that was not wanted";
                Err(Error::connection(Reason::PROTOCOL_ERROR, "6.6", detail))
            }
        }
    }

    pub(super) fn count_overhead(&mut self, clock: Clock<'_>) -> Result<(), Error> {
        let counted = self.allowance.overhead(clock);
        counted.map_err(|offence| self.offended(offence))
    }

    pub(super) fn count_reset(&mut self, clock: Clock<'_>) -> Result<(), Error> {
        let counted = self.allowance.reset(clock);
        counted.map_err(|offence| self.offended(offence))
    }

    #[cold]
    fn offended(&mut self, offence: Offence) -> Error {
        self.offence = Some(offence);
        Error::connection(Reason::ENHANCE_YOUR_CALM, "10.5", offence.describe())
    }

    /// Whether a stream was never opened (RFC 9113 section 5.1, "idle").
    pub(super) fn is_idle(&self, id: u32) -> bool {
        let ours = StreamId::new(id).is_client() != self.is_server();
        if ours {
            // The peer learns of a stream when its head is written, and never of one that ended before.
            id > self.last_begun
        } else {
            id > self.last_peer
        }
    }

    /// Handles a frame for a stream that does not exist. `Ok`: ignore it.
    pub(super) fn is_late(&self, id: u32, clock: Clock<'_>) -> Result<(), Error> {
        if self.is_idle(id) {
            let detail = "a frame for a stream that was not opened";
            return Err(Error::connection(Reason::PROTOCOL_ERROR, "5.1", detail));
        }
        let detail = "a frame for a stream that is closed";
        match self.forgotten.late(id, clock) {
            Late::InFlight => Ok(()),
            // Other streams must not suffer for it.
            Late::Stale | Late::AfterEnd => {
                let id = StreamId::new(id);
                Err(Error::stream(id, Reason::STREAM_CLOSED, "5.1", detail))
            }
        }
    }

    /// RFC 9113 section 6.1.
    fn handle_data(&mut self, data: Data, clock: Clock<'_>) -> Result<(), Error> {
        if !self.receive_window.take(data.flow_length) {
            let detail = "more data than the connection's window allows";
            return Err(Error::connection(
                Reason::FLOW_CONTROL_ERROR,
                "6.9.1",
                detail,
            ));
        }
        if data.payload.is_empty() && !data.end_stream {
            self.count_overhead(clock)?;
        } else {
            self.allowance.data_received();
        }
        let taken = self.take_data(&data, clock);
        // Window space for data that will not be read is given back at once (RFC 9113 section 6.9).
        let kept = taken.unwrap_or_default();
        self.receive_window
            .give_back((data.flow_length as usize).saturating_sub(kept));
        taken.map(|_| ())
    }

    /// Returns the number of bytes that are kept.
    fn take_data(&mut self, data: &Data, clock: Clock<'_>) -> Result<usize, Error> {
        let id = data.stream;
        let Some(key) = self.streams.find(id.get()) else {
            return self.is_late(id.get(), clock).map(|()| 0);
        };
        let Some(stream) = self.streams.get_mut(key) else {
            return Ok(0);
        };
        match stream.receiving {
            Receiving::Body => {}
            Receiving::Head if !stream.begun => {
                let detail = "a frame for a stream that was not opened";
                return Err(Error::connection(Reason::PROTOCOL_ERROR, "5.1", detail));
            }
            Receiving::Head => {
                let detail = "data before the head of the response";
                return Err(Error::stream(id, Reason::PROTOCOL_ERROR, "8.1", detail));
            }
            Receiving::Ended if stream.sending != Sending::Ended => {
                let detail = "data behind the end of the stream";
                return Err(Error::stream(id, Reason::STREAM_CLOSED, "5.1", detail));
            }
            Receiving::Ended | Receiving::Closed => {
                return self.is_late(id.get(), clock).map(|()| 0);
            }
        }
        if !stream.receive_window.take(data.flow_length) {
            let detail = "more data than the stream's window allows";
            return Err(Error::stream(
                id,
                Reason::FLOW_CONTROL_ERROR,
                "6.9.1",
                detail,
            ));
        }
        let length = data.payload.len();
        let sound = stream.expected.take(length) && (!data.end_stream || stream.expected.may_end());
        if !sound {
            let detail = "the payload is not as long as declared";
            return Err(Error::stream(id, Reason::PROTOCOL_ERROR, "8.1.1", detail));
        }
        let kept = if stream.unread { 0 } else { length };
        // Padding is never read, so its window space is given back here.
        stream
            .receive_window
            .give_back(data.flow_length as usize - length);
        if kept > 0 {
            stream.inbox.push(data.payload.clone());
        }
        if data.end_stream {
            stream.receiving = Receiving::Ended;
        }
        self.holding += kept;
        self.note_update(key);
        self.wake(key, |woken| woken.receiver = true);
        if data.end_stream {
            self.settle(key);
        }
        Ok(kept)
    }

    /// Schedules a WINDOW_UPDATE if one is due.
    pub(super) fn note_update(&mut self, key: Key) {
        if let Some(stream) = self.streams.get_mut(key)
            && !stream.update_due
            && stream.receiving == Receiving::Body
            && stream.receive_window.is_due()
        {
            stream.update_due = true;
            self.updates.push_back(key);
        }
    }

    /// RFC 9113 section 6.4.
    fn handle_reset(
        &mut self,
        id: StreamId,
        reason: Reason,
        clock: Clock<'_>,
    ) -> Result<(), Error> {
        if self.is_idle(id.get()) {
            let detail = "a stream is reset that was not opened";
            return Err(Error::connection(Reason::PROTOCOL_ERROR, "6.4", detail));
        }
        self.note_reset(true, reason);
        self.count_reset(clock)?;
        if let Some(key) = self.streams.find(id.get()) {
            self.end_stream(key, Cause::Reset(reason, Initiator::Remote, ""));
        }
        Ok(())
    }

    /// RFC 9113 sections 6.5 and 6.5.3.
    fn handle_settings(&mut self, settings: &Settings, clock: Clock<'_>) -> Result<(), Error> {
        if self.peer.settled {
            self.count_overhead(clock)?;
        } else if settings.max_concurrent_streams.is_none() {
            self.peer.max_streams = u32::MAX;
        }
        self.peer.settled = true;
        if let Some(least) = settings.least_header_table_size {
            self.encoder.set_max_size(least);
        }
        if let Some(size) = settings.header_table_size {
            self.encoder.set_max_size(size);
        }
        if let Some(most) = settings.max_concurrent_streams {
            self.peer.max_streams = most;
        }
        if let Some(most) = settings.max_frame_size {
            self.peer.max_frame = most;
        }
        if let Some(enabled) = settings.enable_connect_protocol {
            self.peer.extended_connect |= enabled;
        }
        if let Some(window) = settings.initial_window_size {
            self.set_peer_window(window)?;
        }
        encode::settings_ack(&mut self.control);
        Ok(())
    }

    /// RFC 9113 section 6.9.2: the windows of all streams move.
    fn set_peer_window(&mut self, window: u32) -> Result<(), Error> {
        let by = i64::from(window) - i64::from(self.peer.initial_window);
        self.peer.initial_window = window;
        if by == 0 {
            return Ok(());
        }
        for stream in self.streams.iter_mut() {
            stream
                .send_window
                .shift(by)
                .map_err(|_| overflow("6.9.2"))?;
        }
        if by > 0 {
            for key in self.streams.keys() {
                self.schedule(key);
                self.note_capacity(key);
            }
        }
        Ok(())
    }

    /// The peer has applied our settings.
    fn handle_settings_ack(&mut self, clock: Clock<'_>) -> Result<(), Error> {
        if self.acknowledged {
            return self.count_overhead(clock);
        }
        self.acknowledged = true;
        self.settings_deadline = None;
        if let Some(size) = self.config.settings.header_table_size {
            self.decoder.set_max_size(size);
        }
        let window = self.config.stream_window();
        let by = i64::from(window) - i64::from(self.stream_window);
        self.stream_window = window;
        if by != 0 {
            for stream in self.streams.iter_mut() {
                stream.receive_window.shift(by);
            }
            for key in self.streams.keys() {
                self.note_update(key);
            }
        }
        Ok(())
    }

    /// RFC 9113 section 6.7.
    fn handle_ping(&mut self, ack: bool, payload: [u8; 8], clock: Clock<'_>) -> Result<(), Error> {
        if !ack {
            self.count_overhead(clock)?;
            encode::ping(&mut self.control, true, payload);
            return Ok(());
        }
        match self.ping {
            Ping::Sent(when) if payload == PING_PAYLOAD => {
                self.ping = Ping::Answered(clock().saturating_duration_since(when));
                Ok(())
            }
            _ if payload == DRAIN_PAYLOAD && self.life == Life::Warned => {
                self.drain();
                Ok(())
            }
            _ => self.count_overhead(clock),
        }
    }

    /// RFC 9113 section 6.8.
    fn handle_go_away(&mut self, go_away: &GoAway<'_>, clock: Clock<'_>) -> Result<(), Error> {
        self.count_overhead(clock)?;
        let last = go_away.last.get();
        if self.peer_last.is_some_and(|before| last > before) {
            let detail = "a GOAWAY takes back what an earlier one refused";
            return Err(Error::connection(Reason::PROTOCOL_ERROR, "6.8", detail));
        }
        self.peer_last = Some(last);
        let debug = go_away.debug.get(..MOST_DEBUG).unwrap_or(go_away.debug);
        let debug = Bytes::copy_from_slice(debug);
        for key in self.streams.keys() {
            let ours = StreamId::new(key.id).is_client() != self.is_server();
            // A stream that has not begun must not begin any more, whatever its number.
            let begun = self.streams.get(key).is_some_and(|stream| stream.begun);
            if ours && (key.id > last || !begun) {
                let debug = debug.clone();
                self.end_stream(key, Cause::GoAway(go_away.reason, Initiator::Remote, debug));
            }
        }
        if go_away.reason != Reason::NO_ERROR && self.cause.is_none() {
            self.cause = Some(Cause::GoAway(go_away.reason, Initiator::Remote, debug));
        }
        self.close_if_drained();
        Ok(())
    }

    /// RFC 9113 section 6.9.
    fn handle_window_update(&mut self, id: StreamId, increment: u32) -> Result<(), Error> {
        if id.is_connection() {
            self.send_window
                .shift(i64::from(increment))
                .map_err(|_| overflow("6.9.1"))?;
            self.connection_opened();
            return Ok(());
        }
        if self.is_idle(id.get()) {
            let detail = "a window is opened of a stream that was not";
            return Err(Error::connection(Reason::PROTOCOL_ERROR, "5.1", detail));
        }
        let Some(key) = self.streams.find(id.get()) else {
            return Ok(());
        };
        if let Some(stream) = self.streams.get_mut(key) {
            if matches!(stream.sending, Sending::Ended | Sending::Closed) {
                // Nothing more is sent that would need the window (RFC 9113 section 5.1).
                return Ok(());
            }
            let moved = stream.send_window.shift(i64::from(increment));
            if moved == Err(Overflow) {
                let detail = "a window beyond the largest";
                let reason = Reason::FLOW_CONTROL_ERROR;
                return Err(Error::stream(id, reason, "6.9.1", detail));
            }
        }
        self.schedule(key);
        self.note_capacity(key);
        Ok(())
    }

    /// The connection's window has room: streams that waited for it continue.
    fn connection_opened(&mut self) {
        while let Some(key) = self.waiting.pop_front() {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.is_waiting = false;
                self.schedule(key);
            }
        }
        self.note_all_capacity();
    }
}

#[cold]
fn overflow(section: &'static str) -> Error {
    let detail = "a window beyond the largest";
    Error::connection(Reason::FLOW_CONTROL_ERROR, section, detail)
}
