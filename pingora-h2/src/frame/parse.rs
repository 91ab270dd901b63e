//! The payload of each type of frame (RFC 9113 section 6).

use bytes::Bytes;

use super::{
    Continuation, Data, Frame, GoAway, HEAD_LENGTH, Headers, Priority, PushPromise, Role, Settings,
    StreamId, flag, kind,
};
use crate::error::{Error, Reason};

/// The head of a frame (section 4.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: StreamId,
}

impl Head {
    pub(super) fn parse(bytes: &[u8; HEAD_LENGTH]) -> Self {
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: StreamId::new(u32::from_be_bytes([s0, s1, s2, s3])),
        }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn on_a_stream(&self, section: &'static str) -> Result<(), Error> {
        if self.stream.is_connection() {
            let detail = "a frame of a stream has the identifier 0";
            return Err(protocol(section, detail));
        }
        Ok(())
    }

    fn on_the_connection(&self, section: &'static str) -> Result<(), Error> {
        if !self.stream.is_connection() {
            let detail = "a frame of the connection has the identifier of a stream";
            return Err(protocol(section, detail));
        }
        Ok(())
    }
}

#[cold]
fn protocol(section: &'static str, detail: &'static str) -> Error {
    Error::connection(Reason::PROTOCOL_ERROR, section, detail)
}

#[cold]
fn size(section: &'static str, detail: &'static str) -> Error {
    Error::connection(Reason::FRAME_SIZE_ERROR, section, detail)
}

/// The number of padding bytes in front (the pad length) and behind.
fn padding(head: &Head, payload: &[u8], section: &'static str) -> Result<(usize, usize), Error> {
    if !head.has(flag::PADDED) {
        return Ok((0, 0));
    }
    let Some(&length) = payload.first() else {
        return Err(size(section, "a padded frame without the padding's length"));
    };
    let length = usize::from(length);
    if length >= payload.len() {
        return Err(protocol(section, "more padding than payload"));
    }
    Ok((1, length))
}

/// The first bytes of a payload as a number, and the rest.
fn number(payload: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = payload.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}

/// A payload that consists of one number only.
fn only_number(payload: &[u8], section: &'static str) -> Result<u32, Error> {
    match number(payload) {
        Some((number, [])) => Ok(number),
        _ => Err(size(section, "the length is not 4")),
    }
}

pub(super) fn data(head: &Head, payload: Bytes) -> Result<Frame<'static>, Error> {
    head.on_a_stream("6.1")?;
    let (front, back) = padding(head, &payload, "6.1")?;
    let payload = if head.has(flag::PADDED) {
        payload.slice(front..payload.len().saturating_sub(back))
    } else {
        payload
    };
    Ok(Frame::Data(Data {
        stream: head.stream,
        payload,
        flow_length: head.length,
        end_stream: head.has(flag::END_STREAM),
    }))
}

/// All frames except DATA. `role` is ours, the receiver's.
pub(super) fn parse<'a>(head: &Head, payload: &'a [u8], role: Role) -> Result<Frame<'a>, Error> {
    match head.kind {
        kind::HEADERS => headers(head, payload),
        kind::PRIORITY => priority(head, payload),
        kind::RST_STREAM => {
            head.on_a_stream("6.4")?;
            let reason = only_number(payload, "6.4")?.into();
            let stream = head.stream;
            Ok(Frame::Reset { stream, reason })
        }
        kind::SETTINGS => settings(head, payload, role),
        kind::PUSH_PROMISE => push_promise(head, payload, role),
        kind::PING => {
            head.on_the_connection("6.7")?;
            let payload = payload
                .try_into()
                .map_err(|_| size("6.7", "the length of PING is not 8"))?;
            let ack = head.has(flag::ACK);
            Ok(Frame::Ping { ack, payload })
        }
        kind::GOAWAY => go_away(head, payload),
        kind::WINDOW_UPDATE => window_update(head, payload),
        kind::CONTINUATION => {
            head.on_a_stream("6.10")?;
            Ok(Frame::Continuation(Continuation {
                stream: head.stream,
                fragment: payload,
                end_headers: head.has(flag::END_HEADERS),
            }))
        }
        kind::PRIORITY_UPDATE => priority_update(head, payload, role),
        kind => {
            let length = head.length;
            Ok(Frame::Unknown { kind, length })
        }
    }
}

/// The length of a priority, in bytes.
const PRIORITY_LENGTH: usize = 5;

fn headers<'a>(head: &Head, payload: &'a [u8]) -> Result<Frame<'a>, Error> {
    head.on_a_stream("6.2")?;
    let (front, back) = padding(head, payload, "6.2")?;
    let unpadded = front..payload.len().saturating_sub(back);
    let mut fragment = payload.get(unpadded).unwrap_or_default();
    let mut priority = None;
    if head.has(flag::PRIORITY) {
        let Some((found, rest)) = take_priority(fragment) else {
            // Without the padding there would have been room.
            if payload.len() >= front + PRIORITY_LENGTH {
                return Err(protocol("6.2", "the padding reaches into the priority"));
            }
            return Err(size("6.2", "HEADERS are too short for their priority"));
        };
        fragment = rest;
        priority = Some(found);
    }
    Ok(Frame::Headers(Headers {
        stream: head.stream,
        fragment,
        end_stream: head.has(flag::END_STREAM),
        end_headers: head.has(flag::END_HEADERS),
        priority,
    }))
}

fn take_priority(payload: &[u8]) -> Option<(Priority, &[u8])> {
    let (number, rest) = number(payload)?;
    let (&weight, rest) = rest.split_first()?;
    let priority = Priority {
        dependency: StreamId::new(number),
        exclusive: number >> 31 == 1,
        weight,
    };
    Some((priority, rest))
}

fn priority<'a>(head: &Head, payload: &'a [u8]) -> Result<Frame<'a>, Error> {
    head.on_a_stream("6.3")?;
    let stream = head.stream;
    let Some((priority, [])) = take_priority(payload) else {
        let detail = "the length of PRIORITY is not 5";
        return Err(Error::stream(
            stream,
            Reason::FRAME_SIZE_ERROR,
            "6.3",
            detail,
        ));
    };
    if priority.dependency == stream {
        let detail = "a stream depends on itself";
        let section = "RFC 7540 5.3.1";
        return Err(Error::stream(
            stream,
            Reason::PROTOCOL_ERROR,
            section,
            detail,
        ));
    }
    Ok(Frame::Priority { stream, priority })
}

fn settings<'a>(head: &Head, payload: &'a [u8], role: Role) -> Result<Frame<'a>, Error> {
    head.on_the_connection("6.5")?;
    if head.has(flag::ACK) {
        return match payload {
            [] => Ok(Frame::SettingsAck),
            _ => Err(size("6.5", "an acknowledgement of SETTINGS has a payload")),
        };
    }
    if !payload.len().is_multiple_of(6) {
        return Err(size("6.5", "the length of SETTINGS is no multiple of 6"));
    }
    Settings::parse(payload, peer(role)).map(Frame::Settings)
}

fn peer(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

fn push_promise<'a>(head: &Head, payload: &'a [u8], role: Role) -> Result<Frame<'a>, Error> {
    head.on_a_stream("6.6")?;
    if role == Role::Server {
        return Err(protocol("8.4", "a client can't push"));
    }
    let (front, back) = padding(head, payload, "6.6")?;
    let unpadded = front..payload.len().saturating_sub(back);
    let unpadded = payload.get(unpadded).unwrap_or_default();
    let Some((promised, fragment)) = number(unpadded) else {
        if payload.len() >= front + 4 {
            let detail = "the padding reaches into the promised identifier";
            return Err(protocol("6.6", detail));
        }
        let detail = "PUSH_PROMISE is too short for its identifier";
        return Err(size("6.6", detail));
    };
    let promised = StreamId::new(promised);
    if promised.is_connection() || promised.is_client() {
        return Err(protocol(
            "6.6",
            "a stream is promised that can't be a server's",
        ));
    }
    Ok(Frame::PushPromise(PushPromise {
        stream: head.stream,
        promised,
        fragment,
        end_headers: head.has(flag::END_HEADERS),
    }))
}

fn go_away<'a>(head: &Head, payload: &'a [u8]) -> Result<Frame<'a>, Error> {
    head.on_the_connection("6.8")?;
    let parts = number(payload).and_then(|(last, rest)| Some((last, number(rest)?)));
    let Some((last, (reason, debug))) = parts else {
        return Err(size("6.8", "the length of GOAWAY is below 8"));
    };
    Ok(Frame::GoAway(GoAway {
        last: StreamId::new(last),
        reason: reason.into(),
        debug,
    }))
}

fn window_update<'a>(head: &Head, payload: &'a [u8]) -> Result<Frame<'a>, Error> {
    let stream = head.stream;
    let increment = StreamId::new(only_number(payload, "6.9")?).get();
    if increment == 0 {
        let detail = "WINDOW_UPDATE without an increment";
        return Err(if stream.is_connection() {
            protocol("6.9", detail)
        } else {
            Error::stream(stream, Reason::PROTOCOL_ERROR, "6.9", detail)
        });
    }
    Ok(Frame::WindowUpdate { stream, increment })
}

fn priority_update<'a>(head: &Head, payload: &'a [u8], role: Role) -> Result<Frame<'a>, Error> {
    const SECTION: &str = "RFC 9218 7.1";
    head.on_the_connection(SECTION)?;
    if role == Role::Client {
        return Err(protocol(SECTION, "a server can't send PRIORITY_UPDATE"));
    }
    let Some((stream, value)) = number(payload) else {
        return Err(size(SECTION, "the length of PRIORITY_UPDATE is below 4"));
    };
    let stream = StreamId::new(stream);
    if stream.is_connection() {
        return Err(protocol(SECTION, "the connection has no priority"));
    }
    Ok(Frame::PriorityUpdate { stream, value })
}
