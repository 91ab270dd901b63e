//! What is between two neighbours only, and must not travel on (RFC 9110 section 7.6.1).
//!
//! A proxy speaks with each side over a connection of its own. Fields that are about the connection
//! with one side say nothing true about the other, and a client that could pass them on would speak
//! to the upstream in the proxy's name. They are taken out before the user's filters run, so that
//! what a filter adds stays.
//!
//! Pure functions. A head without such fields costs one look at each of its names.

use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode, Version};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{ControlField, RequestHeader, ResponseHeader};

use super::bridge::grpc_web::media_type;
use super::h1::{BodyLength, is_token, list_elements, outgoing_request_length};

/// More options than this in `Connection` are an attack: each one costs a look-up.
const MOST_CONNECTION_OPTIONS: usize = 64;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What happens to an `Upgrade` that the client asks for on HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum H1UpgradePolicy {
    /// A well-formed WebSocket upgrade passes, in normal form; any other is taken out.
    WebSocketOnly,
    /// Passes as it came.
    Preserve,
    /// Taken out.
    Deny,
}

/// What is done to the hop-by-hop fields of a request before it goes upstream (RFC 9110
/// section 7.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpUpstreamRequestPolicy {
    /// Take out `Connection`, `Keep-Alive`, `TE`, `Transfer-Encoding` and the like.
    pub strip_hop_by_hop: bool,
    /// Take out the fields that `Connection` names.
    pub strip_connection_nominated: bool,
    /// Refuse a request whose `Connection` names fields that it must not take out.
    pub reject_malformed_connection_nominations: bool,
    /// What happens to upgrades.
    pub h1_upgrade: H1UpgradePolicy,
}

impl HttpUpstreamRequestPolicy {
    /// As the RFC wants it, with WebSocket upgrades. The default.
    pub const fn standard() -> Self {
        Self {
            strip_hop_by_hop: true,
            strip_connection_nominated: true,
            reject_malformed_connection_nominations: true,
            h1_upgrade: H1UpgradePolicy::WebSocketOnly,
        }
    }

    /// Leaves every field as it came: for upstreams that are part of the same hop.
    pub const fn preserve() -> Self {
        Self {
            strip_hop_by_hop: false,
            strip_connection_nominated: false,
            reject_malformed_connection_nominations: false,
            h1_upgrade: H1UpgradePolicy::Preserve,
        }
    }

    /// As [`standard`](Self::standard), without upgrades.
    pub const fn deny_upgrades() -> Self {
        Self {
            h1_upgrade: H1UpgradePolicy::Deny,
            ..Self::standard()
        }
    }
}

impl Default for HttpUpstreamRequestPolicy {
    fn default() -> Self {
        Self::standard()
    }
}

/// Which hop-by-hop fields a head has: one bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Present(u16);

/// The hop-by-hop fields; a field's bit is its place in this list.
const HOP_BY_HOP: [(ControlField, HeaderName); 9] = [
    (ControlField::Connection, CONNECTION),
    (ControlField::KeepAlive, KEEP_ALIVE),
    (ControlField::ProxyConnection, PROXY_CONNECTION),
    (ControlField::Te, TE),
    (ControlField::TransferEncoding, TRANSFER_ENCODING),
    (ControlField::Upgrade, UPGRADE),
    (ControlField::Http2Settings, HTTP2_SETTINGS),
    (ControlField::ProxyAuthenticate, PROXY_AUTHENTICATE),
    (ControlField::ProxyAuthorization, PROXY_AUTHORIZATION),
];

impl Present {
    const CONNECTION: Self = Self(1);
    const TE: Self = Self(1 << 3);
    const UPGRADE: Self = Self(1 << 5);

    /// Which fields there are, and whether all that they say is whether the connection lives on:
    /// then nothing depends on each other, and taking them out is all there is to do.
    #[inline]
    fn in_passing<'a>(fields: impl FnOnce(&mut dyn FnMut(ControlField, &'a [u8]))) -> (Self, bool) {
        let (mut found, mut plain) = (0, true);
        fields(&mut |field, value| {
            found |= Self::bit(field);
            plain &= match field {
                ControlField::Connection => names_persistence_alone(value),
                ControlField::KeepAlive | ControlField::ProxyConnection => true,
                _ => !is_about_the_connection(field),
            };
        });
        (Self(found), plain)
    }

    #[inline]
    fn bit(field: ControlField) -> u16 {
        match field {
            ControlField::Host | ControlField::Expect | ControlField::ContentLength => 0,
            // They stand first in the order of the fields; a test holds this.
            hop_by_hop => 1 << hop_by_hop as u16,
        }
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The fields, as names.
    fn names(self) -> impl Iterator<Item = &'static HeaderName> {
        static FIELDS: [(ControlField, HeaderName); 9] = HOP_BY_HOP;
        FIELDS
            .iter()
            .filter(move |(field, _)| self.0 & Self::bit(*field) != 0)
            .map(|(_, name)| name)
    }
}

/// Whether a `Connection` field has no other options than `keep-alive` and `close`.
#[inline]
fn names_persistence_alone(connection: &[u8]) -> bool {
    let known = |option: &[u8]| {
        option.eq_ignore_ascii_case(b"keep-alive") || option.eq_ignore_ascii_case(b"close")
    };
    connection == b"keep-alive" || connection == b"close" || list_elements(connection).all(known)
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    ControlField::of(name.as_str().as_bytes()).is_some_and(is_about_the_connection)
}

/// Whether this is a hop-by-hop field.
#[inline]
fn is_about_the_connection(field: ControlField) -> bool {
    Present::bit(field) != 0
}

/// Makes of the request that came in the one that goes upstream, as far as `policy` says.
///
/// With the standard policy, afterwards: no field that is about the client's connection, none that
/// the client's `Connection` named; `Connection: Upgrade` and `Upgrade: websocket` if that is what
/// the client soundly asked for; `TE: trailers` if the client speaks HTTP/2 and said so (gRPC needs
/// it). `Transfer-Encoding` is among the fields taken out: whoever sends the body frames it anew.
///
/// # Errors
/// `InvalidHTTPHeader`, the client's fault: `Connection` names a field that no client may have taken
/// out, is no list of tokens, or has more than 64 options.
pub fn prepare_upstream_request(
    request: &mut RequestHeader,
    policy: &HttpUpstreamRequestPolicy,
) -> Result<()> {
    let (present, plain) = Present::in_passing(|f| request.for_each_control_field(f));
    if present == Present::default() {
        return Ok(());
    }
    if plain && policy.strip_hop_by_hop && request.remove_unsettled(is_about_the_connection) {
        return Ok(());
    }
    let upgrade = match policy.h1_upgrade {
        _ if !present.has(Present::UPGRADE) => Upgrade::Absent,
        H1UpgradePolicy::Deny => Upgrade::TakenOut,
        H1UpgradePolicy::Preserve if asks_for_upgrade(request) => Upgrade::AsItCame,
        H1UpgradePolicy::WebSocketOnly if asks_for_websocket(request) => Upgrade::WebSocket,
        H1UpgradePolicy::WebSocketOnly => Upgrade::TakenOut,
        H1UpgradePolicy::Preserve => Upgrade::Absent,
    };
    if present.has(Present::CONNECTION) {
        take_out_nominated(request, policy)?;
    }
    if policy.strip_hop_by_hop {
        strip_request(request, present, upgrade == Upgrade::AsItCame);
    } else if upgrade == Upgrade::TakenOut {
        request.remove_header(&UPGRADE);
        remove_option(request, "upgrade");
    }
    match upgrade {
        Upgrade::Absent | Upgrade::TakenOut => Ok(()),
        Upgrade::AsItCame if !policy.strip_hop_by_hop => Ok(()),
        Upgrade::AsItCame => request.insert_header(CONNECTION, UPGRADE_OPTION),
        Upgrade::WebSocket => {
            request.insert_header(CONNECTION, UPGRADE_OPTION)?;
            request.insert_header(UPGRADE, HeaderValue::from_static("websocket"))
        }
    }
}

const UPGRADE_OPTION: HeaderValue = HeaderValue::from_static("Upgrade");

#[derive(PartialEq, Eq)]
enum Upgrade {
    /// There is none, or none that would be understood as one.
    Absent,
    TakenOut,
    AsItCame,
    WebSocket,
}

/// Whether an upstream may understand this as a wish to switch protocols.
fn asks_for_upgrade(request: &RequestHeader) -> bool {
    request.version == Version::HTTP_11
        && request
            .headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| list_elements(value.as_bytes()))
            .any(|option| option.eq_ignore_ascii_case(b"upgrade"))
}

/// RFC 6455 section 4.1: a GET without a body whose `Upgrade` names websocket.
fn asks_for_websocket(request: &RequestHeader) -> bool {
    let no_body = matches!(
        outgoing_request_length(request),
        Ok(BodyLength::Empty | BodyLength::Exact(0))
    );
    let mut protocols = request
        .headers
        .get_all(UPGRADE)
        .iter()
        .flat_map(|value| list_elements(value.as_bytes()));
    request.method == Method::GET
        && no_body
        && asks_for_upgrade(request)
        && protocols.any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
}

/// gRPC is spoken over HTTP/2 alone: a request that came otherwise was translated on the way.
fn is_grpc(request: &RequestHeader) -> bool {
    let content_type = request.headers.get(CONTENT_TYPE);
    content_type.is_some_and(|value| media_type::is_grpc(value.as_bytes()))
}

fn strip_request(request: &mut RequestHeader, present: Present, keep_upgrade: bool) {
    let keep_te = present.has(Present::TE)
        && (request.version == Version::HTTP_2 || is_grpc(request))
        && request
            .headers
            .get_all(TE)
            .iter()
            .flat_map(|value| list_elements(value.as_bytes()))
            .any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    for name in present.names() {
        if !(keep_upgrade && name == UPGRADE) {
            request.remove_header(name);
        }
    }
    if keep_te {
        // There was room a moment ago.
        let _ = request.insert_header(TE, HeaderValue::from_static("trailers"));
    }
}

/// Takes out the fields that `Connection` names, and refuses names that it must not have.
fn take_out_nominated(
    request: &mut RequestHeader,
    policy: &HttpUpstreamRequestPolicy,
) -> Result<()> {
    if !policy.strip_connection_nominated && !policy.reject_malformed_connection_nominations {
        return Ok(());
    }
    let refuse = policy.reject_malformed_connection_nominations;
    let mut options = 0;
    let mut nominated = Vec::new();
    for value in request.headers.get_all(CONNECTION) {
        for option in list_elements(value.as_bytes()) {
            options += 1;
            match Nomination::of(option) {
                Nomination::Option => {}
                _ if options > MOST_CONNECTION_OPTIONS => return Err(refused(TOO_MANY)),
                Nomination::Malformed if refuse => return Err(refused(MALFORMED)),
                Nomination::Protected if refuse => return Err(refused(PROTECTED)),
                Nomination::Malformed | Nomination::Protected => {}
                Nomination::Field(name) => nominated.push(name),
            }
        }
    }
    if policy.strip_connection_nominated {
        for name in &nominated {
            request.remove_header(name);
        }
    }
    Ok(())
}

const MALFORMED: &str = "Connection is not a list of tokens";
const PROTECTED: &str = "Connection names a field that it must not take out";
const TOO_MANY: &str = "Connection has too many options";

#[cold]
fn refused(why: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, why).into_down()
}

/// What an option of `Connection` means for the fields of the head.
enum Nomination {
    /// An option without a field, or with one that is hop-by-hop anyway.
    Option,
    /// A field to take out.
    Field(HeaderName),
    /// A field without which the message would mean something else, or come from somebody else.
    Protected,
    Malformed,
}

impl Nomination {
    fn of(option: &[u8]) -> Self {
        const PLAIN: [&[u8]; 5] = [b"close", b"keep-alive", b"upgrade", b"te", b"trailer"];
        if option.is_empty() || PLAIN.iter().any(|plain| option.eq_ignore_ascii_case(plain)) {
            return Self::Option;
        }
        if !is_token(option) {
            return Self::Malformed;
        }
        match HeaderName::from_bytes(option) {
            Ok(name) if is_hop_by_hop(&name) => Self::Option,
            Ok(name) if is_protected(name.as_str()) => Self::Protected,
            Ok(name) => Self::Field(name),
            Err(_) => Self::Malformed,
        }
    }
}

/// Fields that frame or route the message, or say where it came from.
fn is_protected(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "cf-connecting-ip",
        "content-length",
        "content-type",
        "forwarded",
        "host",
        "true-client-ip",
        "via",
        "x-real-ip",
    ];
    NAMES.contains(&name) || name.starts_with("x-forwarded-")
}

/// Takes one option out of `Connection` and leaves the others.
#[cold]
fn remove_option(request: &mut RequestHeader, gone: &str) {
    let others: Vec<&[u8]> = request
        .headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| list_elements(value.as_bytes()))
        .filter(|option| !option.is_empty() && !option.eq_ignore_ascii_case(gone.as_bytes()))
        .collect();
    match HeaderValue::from_bytes(&others.join(&b", "[..])) {
        Ok(value) if !others.is_empty() => {
            let _ = request.insert_header(CONNECTION, value);
        }
        _ => drop(request.remove_header(&CONNECTION)),
    }
}

/// Makes of the upstream's response the one that goes to the client: no field that is about the
/// upstream's connection, none that the upstream's `Connection` named, and `Connection: Upgrade` if
/// the response switches protocols.
///
/// `Transfer-Encoding` is among the fields taken out: whoever sends the body frames it anew.
pub fn prepare_downstream_response(response: &mut ResponseHeader) {
    let (present, plain) = Present::in_passing(|f| response.for_each_control_field(f));
    if present == Present::default() {
        return;
    }
    if plain && response.remove_unsettled(is_about_the_connection) {
        return;
    }
    if present.has(Present::CONNECTION) {
        let nominated: Vec<HeaderName> = response
            .headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| list_elements(value.as_bytes()))
            .take(MOST_CONNECTION_OPTIONS)
            .filter_map(|option| match Nomination::of(option) {
                Nomination::Field(name) => Some(name),
                _ => None,
            })
            .collect();
        for name in &nominated {
            response.remove_header(name);
        }
    }
    let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
    for name in present.names() {
        if !(switches && name == UPGRADE) {
            response.remove_header(name);
        }
    }
    if switches && present.has(Present::UPGRADE) {
        // There was room a moment ago, or there is for one field more.
        let _ = response.insert_header(CONNECTION, UPGRADE_OPTION);
    }
}

#[cfg(test)]
mod tests;
