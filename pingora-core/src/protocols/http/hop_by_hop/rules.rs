//! The rules for each field.

use http::header::{CONNECTION, EXPECT, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use pingora_http::ControlField;

use super::super::h1::list_elements;

/// The treatment of a field on its way through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Forwarded unchanged.
    Passes,
    /// About the connection it came on: removed.
    Drops,
    /// Forwarded with its `Connection` option: in a request if it is valid and the policy allows
    /// it; in a response if it switches protocols or demands the switch.
    Upgrade,
    /// Forwarded as `TE: trailers`, with its `Connection` option on HTTP/1.1, if the client validly
    /// sent that.
    Trailers,
    /// Forwarded if content follows and the client may wait for a 100.
    Expectation,
}

/// A field's rule in each direction, the same for all versions of HTTP.
pub(super) struct FieldRule {
    pub(super) field: ControlField,
    pub(super) name: HeaderName,
    pub(super) request: Rule,
    pub(super) response: Rule,
}

const fn rule(field: ControlField, name: HeaderName, request: Rule, response: Rule) -> FieldRule {
    FieldRule {
        field,
        name,
        request,
        response,
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The fields that don't simply pass; a field's bit in [`Present`] is its index in this list.
#[rustfmt::skip]
pub(super) static RULES: [FieldRule; 8] = [
    rule(ControlField::Connection,       CONNECTION,        Rule::Drops,       Rule::Drops),
    rule(ControlField::KeepAlive,        KEEP_ALIVE,        Rule::Drops,       Rule::Drops),
    rule(ControlField::ProxyConnection,  PROXY_CONNECTION,  Rule::Drops,       Rule::Drops),
    rule(ControlField::Te,               TE,                Rule::Trailers,    Rule::Drops),
    rule(ControlField::TransferEncoding, TRANSFER_ENCODING, Rule::Drops,       Rule::Drops),
    rule(ControlField::Upgrade,          UPGRADE,           Rule::Upgrade,     Rule::Upgrade),
    rule(ControlField::Http2Settings,    HTTP2_SETTINGS,    Rule::Drops,       Rule::Drops),
    rule(ControlField::Expect,           EXPECT,            Rule::Expectation, Rule::Passes),
];

/// The fields of [`RULES`] that a head has: one bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Present(pub(super) u16);

impl Present {
    pub(super) const CONNECTION: Self = Self(1);
    pub(super) const TE: Self = Self(1 << 3);
    pub(super) const UPGRADE: Self = Self(1 << 5);
    pub(super) const EXPECT: Self = Self(1 << 7);
    /// [`ControlField::Alias`], which has no rule in the table: see `aliases`.
    pub(super) const ALIAS: Self = Self(1 << 15);

    /// The fields that are present, and whether they only say whether the connection persists. In
    /// that case nothing depends on them, and removing them is enough.
    #[inline]
    pub(super) fn in_passing<'a>(
        fields: impl FnOnce(&mut dyn FnMut(ControlField, &'a [u8])),
    ) -> (Self, bool) {
        let (mut found, mut plain) = (0, true);
        fields(&mut |field, value| {
            let bit = Self::bit(field);
            found |= bit;
            plain &= match field {
                ControlField::Connection => names_persistence_alone(value),
                ControlField::KeepAlive | ControlField::ProxyConnection | ControlField::Alias => {
                    true
                }
                _ => bit == 0,
            };
        });
        (Self(found), plain)
    }

    #[inline]
    pub(super) fn bit(field: ControlField) -> u16 {
        // These are first in the order of the fields; a test checks this.
        match field as u16 {
            place @ ..8 => 1 << place,
            _ if field == ControlField::Alias => Self::ALIAS.0,
            _ => 0,
        }
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Without aliases, which are irrelevant in a response.
    pub(super) fn of_response(self) -> Self {
        Self(self.0 & !Self::ALIAS.0)
    }

    /// The rules of the fields that are present.
    pub(super) fn rules(self) -> impl Iterator<Item = &'static FieldRule> {
        RULES
            .iter()
            .filter(move |rule| self.0 & Self::bit(rule.field) != 0)
    }
}

/// Whether a `Connection` field has no options other than `keep-alive` and `close`.
#[inline]
fn names_persistence_alone(connection: &[u8]) -> bool {
    let known = |option: &[u8]| {
        option.eq_ignore_ascii_case(b"keep-alive") || option.eq_ignore_ascii_case(b"close")
    };
    connection == b"keep-alive" || connection == b"close" || list_elements(connection).all(known)
}

/// Whether this is a hop-by-hop field.
#[inline]
pub(super) fn is_about_the_connection(field: ControlField) -> bool {
    (field as u16) < ControlField::Expect as u16
}

pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    ControlField::of(name.as_str().as_bytes()).is_some_and(is_about_the_connection)
}
