//! Streams of HTTP/2 that were reset, by whom and why.

use super::block::Block;
use super::collect::Kind::Counter;
use super::shape::{Shape, Spec};
use std::sync::LazyLock;

pub(super) const RESETS: &[Spec] = &[Spec {
    name: "pingora_http2_resets_total",
    help: "Streams of HTTP/2 that were reset, by the other end, by direction, and by code.",
    kind: Counter,
    labels: &["reason"],
    // In the order of their codes (RFC 9113 section 7).
    series: &[
        &["no_error"],
        &["protocol_error"],
        &["internal_error"],
        &["flow_control_error"],
        &["settings_timeout"],
        &["stream_closed"],
        &["frame_size_error"],
        &["refused_stream"],
        &["cancel"],
        &["compression_error"],
        &["connect_error"],
        &["enhance_your_calm"],
        &["inadequate_security"],
        &["http_1_1_required"],
        &["other"],
    ],
}];

/// The place of codes that RFC 9113 does not know.
const OTHER: u32 = 14;

static SHAPE: Shape = Shape {
    specs: RESETS,
    most: 4,
};

/// By the other end (a client, an upstream), then by direction (sent, received).
static BLOCKS: LazyLock<[[Block; 2]; 2]> = LazyLock::new(|| {
    let of = |peer| {
        ["sent", "received"]
            .map(|direction| Block::find(&SHAPE, &[("peer", peer), ("direction", direction)]))
    };
    ["client", "upstream"].map(of)
});

/// Streams of HTTP/2 that were reset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Http2Resets;

impl Http2Resets {
    /// A RST_STREAM with this code went to a client, or came from it.
    #[cold]
    pub(crate) fn of_client(received: bool, code: u32) {
        Self::count(0, received, code);
    }

    /// The same of an upstream.
    #[cold]
    pub(crate) fn of_upstream(received: bool, code: u32) {
        Self::count(1, received, code);
    }

    fn count(peer: usize, received: bool, code: u32) {
        let blocks = BLOCKS
            .get(peer)
            .and_then(|of| of.get(usize::from(received)));
        if let Some(block) = blocks {
            block.here().add(code.min(OTHER) as usize, 1);
        }
    }

    /// Makes the series, so that they are there from the start with nothing in them.
    pub(super) fn enter() {
        LazyLock::force(&BLOCKS);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{counted_resets, gather};
    use super::*;

    #[test]
    fn whatever_code_a_peer_sends_there_are_sixty_series() {
        for code in [14, 15, 1 << 20, u32::MAX] {
            Http2Resets::of_upstream(true, code);
        }
        Http2Resets::of_upstream(false, 13);
        let families = gather();
        let mut found = families.iter();
        let family = found.find(|one| one.name == RESETS[0].name).unwrap();
        assert_eq!(family.series.len(), 60);
        // Other tests reset streams at the same time.
        assert!(counted_resets(["upstream", "received", "other"]) >= 4.0);
        assert!(counted_resets(["upstream", "sent", "http_1_1_required"]) >= 1.0);
    }
}
