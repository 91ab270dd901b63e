//! The values of SETTINGS (RFC 9113 section 6.5.2).

use super::{DEFAULT_MAX_FRAME_SIZE, LARGEST_MAX_FRAME_SIZE, LARGEST_WINDOW, Role};
use crate::error::{Error, Reason};

/// Identifiers of settings.
mod id {
    pub(super) const HEADER_TABLE_SIZE: u16 = 0x1;
    pub(super) const ENABLE_PUSH: u16 = 0x2;
    pub(super) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub(super) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub(super) const MAX_FRAME_SIZE: u16 = 0x5;
    pub(super) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
    pub(super) const NO_RFC7540_PRIORITIES: u16 = 0x9;
}

/// The changes that a SETTINGS frame makes. `None`: the setting is unchanged.
///
/// If a frame contains a setting twice, the later value counts. Unknown settings are ignored.
///
/// | setting | error of the connection |
/// |---|---|
/// | ENABLE_PUSH | not 0 or 1, or 1 from a server: PROTOCOL_ERROR |
/// | INITIAL_WINDOW_SIZE | over 2³¹−1: FLOW_CONTROL_ERROR |
/// | MAX_FRAME_SIZE | below 2¹⁴, over 2²⁴−1: PROTOCOL_ERROR |
/// | ENABLE_CONNECT_PROTOCOL (RFC 8441), NO_RFC7540_PRIORITIES (RFC 9218) | not 0 or 1: PROTOCOL_ERROR |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// The largest dynamic table that the sender keeps for decoding, in bytes.
    pub header_table_size: Option<u32>,
    /// If the frame contains several table sizes, the smallest: the table has to be shrunk to it
    /// before it grows again (RFC 7541 section 4.2). Never written.
    pub least_header_table_size: Option<u32>,
    /// Whether the sender accepts PUSH_PROMISE.
    pub enable_push: Option<bool>,
    /// The number of streams that the other side may have open at once.
    pub max_concurrent_streams: Option<u32>,
    /// The window of each stream, in bytes; 0 to 2³¹−1.
    pub initial_window_size: Option<u32>,
    /// The largest payload of a frame that the sender accepts, in bytes; 2¹⁴ to 2²⁴−1.
    pub max_frame_size: Option<u32>,
    /// The largest field list that the sender accepts, in bytes (name, value and 32 for each field).
    pub max_header_list_size: Option<u32>,
    /// Whether extended CONNECT may be used (RFC 8441 section 3).
    pub enable_connect_protocol: Option<bool>,
    /// Whether the sender ignores the priorities of RFC 7540 (RFC 9218 section 2.1).
    pub no_rfc7540_priorities: Option<bool>,
}

impl Settings {
    /// Parses a payload whose length is a multiple of six.
    pub(super) fn parse(payload: &[u8], from: Role) -> Result<Self, Error> {
        let mut settings = Self::default();
        let (entries, _) = payload.as_chunks::<6>();
        for &[i0, i1, v0, v1, v2, v3] in entries {
            let id = u16::from_be_bytes([i0, i1]);
            settings.set(id, u32::from_be_bytes([v0, v1, v2, v3]), from)?;
        }
        Ok(settings)
    }

    fn set(&mut self, id: u16, value: u32, from: Role) -> Result<(), Error> {
        match id {
            id::HEADER_TABLE_SIZE => {
                let least = self.least_header_table_size.unwrap_or(value);
                self.least_header_table_size = Some(least.min(value));
                self.header_table_size = Some(value);
            }
            id::ENABLE_PUSH => {
                let push = boolean(value, "6.5.2", "ENABLE_PUSH is neither 0 nor 1")?;
                if push && from == Role::Server {
                    return Err(refused("a server can't accept pushed streams"));
                }
                self.enable_push = Some(push);
            }
            id::MAX_CONCURRENT_STREAMS => self.max_concurrent_streams = Some(value),
            id::INITIAL_WINDOW_SIZE => {
                if value > LARGEST_WINDOW {
                    return Err(Error::connection(
                        Reason::FLOW_CONTROL_ERROR,
                        "6.5.2",
                        "INITIAL_WINDOW_SIZE is over the largest window",
                    ));
                }
                self.initial_window_size = Some(value);
            }
            id::MAX_FRAME_SIZE => {
                if !(DEFAULT_MAX_FRAME_SIZE..=LARGEST_MAX_FRAME_SIZE).contains(&value) {
                    return Err(refused("MAX_FRAME_SIZE is out of range"));
                }
                self.max_frame_size = Some(value);
            }
            id::MAX_HEADER_LIST_SIZE => self.max_header_list_size = Some(value),
            id::ENABLE_CONNECT_PROTOCOL => {
                let detail = "ENABLE_CONNECT_PROTOCOL is neither 0 nor 1";
                self.enable_connect_protocol = Some(boolean(value, "RFC 8441 3", detail)?);
            }
            id::NO_RFC7540_PRIORITIES => {
                let detail = "NO_RFC7540_PRIORITIES is neither 0 nor 1";
                self.no_rfc7540_priorities = Some(boolean(value, "RFC 9218 2.1", detail)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// The settings that have a value, with their identifiers.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u16, u32)> {
        [
            (id::HEADER_TABLE_SIZE, self.header_table_size),
            (id::ENABLE_PUSH, self.enable_push.map(u32::from)),
            (id::MAX_CONCURRENT_STREAMS, self.max_concurrent_streams),
            (id::INITIAL_WINDOW_SIZE, self.initial_window_size),
            (id::MAX_FRAME_SIZE, self.max_frame_size),
            (id::MAX_HEADER_LIST_SIZE, self.max_header_list_size),
            (
                id::ENABLE_CONNECT_PROTOCOL,
                self.enable_connect_protocol.map(u32::from),
            ),
            (
                id::NO_RFC7540_PRIORITIES,
                self.no_rfc7540_priorities.map(u32::from),
            ),
        ]
        .into_iter()
        .filter_map(|(id, value)| Some((id, value?)))
    }
}

fn boolean(value: u32, section: &'static str, detail: &'static str) -> Result<bool, Error> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::connection(Reason::PROTOCOL_ERROR, section, detail)),
    }
}

#[cold]
fn refused(detail: &'static str) -> Error {
    Error::connection(Reason::PROTOCOL_ERROR, "6.5.2", detail)
}
