//! Decides how a response's body is coded; nothing else does. Pure.

use super::accept::AcceptEncoding;
use super::coding::ContentCoding;
use super::transform::{Coded, content_coding, is_changeable, is_compressible};
use pingora_http::ResponseHeader;
use std::sync::Arc;

/// The wishes of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    /// The level of each coding; 0: not at all.
    pub(super) levels: [u32; ContentCoding::COUNT],
    pub(super) decompress: [bool; ContentCoding::COUNT],
    pub(super) preserve_etag: [bool; ContentCoding::COUNT],
    /// Bytes.
    pub(super) min_size: u64,
    pub(super) types: Option<Arc<[Box<str>]>>,
    /// Filters read the body behind this: decompression is for them, not for the client.
    pub(super) ahead_of_filters: bool,
}

/// Bodies below this size grow when compressed: bytes.
const WORTHWHILE: u64 = 20;

impl Default for Policy {
    fn default() -> Self {
        Policy {
            levels: [0; ContentCoding::COUNT],
            decompress: [false; ContentCoding::COUNT],
            preserve_etag: [false; ContentCoding::COUNT],
            min_size: WORTHWHILE,
            types: None,
            ahead_of_filters: false,
        }
    }
}

/// The steps for a body: first one coding is undone, then another one is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Plan {
    pub(super) undo: Option<ContentCoding>,
    pub(super) apply: Option<ContentCoding>,
    /// Another client's wish would make a difference.
    pub(super) varies: bool,
}

const LEAVE: Plan = Plan {
    undo: None,
    apply: None,
    varies: false,
};

/// As it is, for this client.
const LEAVE_THIS_TIME: Plan = Plan {
    varies: true,
    ..LEAVE
};

impl Policy {
    /// Whether there is anything to do for any response.
    pub(super) fn is_enabled(&self) -> bool {
        self.levels.iter().any(|level| *level > 0) || self.decompress.iter().any(|on| *on)
    }

    pub(super) fn level(&self, coding: ContentCoding) -> u32 {
        self.levels.get(coding.index()).copied().unwrap_or(0)
    }

    pub(super) fn preserves_etag(&self, plan: Plan) -> bool {
        let coding = plan.apply.or(plan.undo);
        let kept = coding.and_then(|coding| self.preserve_etag.get(coding.index()));
        kept.copied().unwrap_or(false)
    }

    fn decompresses(&self, coding: ContentCoding) -> bool {
        let on = self.decompress.get(coding.index()).copied();
        on.unwrap_or(false) && coding.can_decompress()
    }

    /// The codings that this response may be compressed with. `dictionary`: one was set, and the client has it.
    fn candidates(
        &self,
        dictionary: bool,
        resp: &ResponseHeader,
    ) -> impl Iterator<Item = ContentCoding> + Clone + '_ {
        let worth_it = is_compressible(&resp.headers, self.min_size, self.types.as_deref());
        ContentCoding::CANDIDATES
            .into_iter()
            .filter(move |coding| worth_it && (dictionary || !coding.needs_dictionary()))
            .filter(|coding| self.level(*coding) > 0 && coding.can_compress())
    }

    pub(super) fn plan(
        &self,
        accepted: &AcceptEncoding,
        dictionary: bool,
        resp: &ResponseHeader,
    ) -> Plan {
        if !is_changeable(resp) {
            return LEAVE;
        }
        let candidates = self.candidates(dictionary, resp);
        match content_coding(&resp.headers) {
            Coded::Unknown => LEAVE,
            Coded::Plain if candidates.clone().next().is_none() => LEAVE,
            Coded::Plain => Plan {
                apply: accepted
                    .prefer(candidates)
                    .filter(|_| !accepted.no_transform()),
                ..LEAVE_THIS_TIME
            },
            Coded::Once(coding) if !self.decompresses(coding) => LEAVE,
            Coded::Once(coding) => self.plan_coded(coding, accepted, candidates),
        }
    }

    /// The plan for a body whose coding may be undone.
    fn plan_coded(
        &self,
        coding: ContentCoding,
        accepted: &AcceptEncoding,
        candidates: impl Iterator<Item = ContentCoding> + Clone,
    ) -> Plan {
        let compresses = candidates.clone().next().is_some();
        let wanted = accepted.weight(coding) > 0;
        if self.ahead_of_filters && !compresses {
            return Plan {
                undo: Some(coding),
                ..LEAVE
            };
        }
        if wanted || accepted.no_transform() {
            return LEAVE_THIS_TIME;
        }
        let apply = accepted.prefer(candidates);
        if apply.is_none() && !accepted.takes_identity() {
            // Neither form is acceptable; RFC 9110 section 12.5.3 leaves the choice to the server.
            return LEAVE_THIS_TIME;
        }
        Plan {
            undo: Some(coding),
            apply,
            varies: true,
        }
    }
}

#[cfg(test)]
mod tests;
