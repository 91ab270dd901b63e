//! What is between two neighbours only, and must not travel on (RFC 9110 section 7.6.1).
//!
//! A proxy speaks with each side over a connection of its own. Fields that are about the connection
//! with one side say nothing true about the other, and a client that could pass them on would speak
//! to the upstream in the proxy's name. They are taken out before the user's filters run, so that
//! what a filter adds stays.
//!
//! Which field has which rule, in which direction, is a table: `rules::RULES`. Fields that it does
//! not name pass. `Proxy-Authenticate`, `Proxy-Authorization` and `Proxy-Authentication-Info` are
//! among those: they are for the next proxy that wants them, which may stand behind this one
//! (RFC 9110 section 11.7).
//!
//! A name that servers may take for one of these, or for one that a proxy sets, is taken out with them: see
//! [`aliases`](super::aliases).
//!
//! Pure functions. A head without such fields costs one look at each of its names.

mod nomination;
mod rules;

use http::header::{CONNECTION, CONTENT_TYPE, EXPECT, HeaderValue, TE, UPGRADE};
use http::{Method, StatusCode, Version};
use pingora_error::Result;
use pingora_http::{ControlField, RequestHeader, ResponseHeader};

use super::aliases::{OnAlias, drop_aliases, refused_alias};
use super::bridge::grpc_web::media_type;
use super::h1::{BodyLength, list_elements, outgoing_request};
use nomination::{remove_option, take_out_nominated, take_out_nominated_of_response};
use rules::{Present, Rule, is_about_the_connection};

/// What happens to an `Upgrade` that the client asks for on HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum H1UpgradePolicy {
    /// A well-formed WebSocket upgrade passes, in normal form; any other is taken out.
    WebSocketOnly,
    /// Any well-formed upgrade passes as it came, whatever its method, with a body or without; the
    /// 101 that answers it opens a tunnel, once the body is complete (RFC 9110 section 7.8). One to
    /// `h2c` is taken out, unless hop-by-hop fields are left alone altogether.
    Preserve,
    /// Taken out.
    Deny,
}

/// What is done to the hop-by-hop fields of a request before it goes upstream (RFC 9110
/// section 7.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpUpstreamRequestPolicy {
    /// Take out `Connection`, `Keep-Alive`, `TE`, `Transfer-Encoding` and the like, and names that servers
    /// may take for them or for those that a proxy sets (`Transfer_Encoding`, `X_Forwarded_For`).
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

/// Makes of the request that came in the one that goes upstream over HTTP of the version `over`, as
/// far as `policy` says.
///
/// With the standard policy, afterwards: no field that is about the client's connection, none that
/// the client's `Connection` named, none that is taken for one that a proxy relies on; `Connection: Upgrade` and `Upgrade: websocket` if that is what
/// the client soundly asked for; `TE: trailers` if the client soundly said so (gRPC needs it), named
/// by `Connection` where that exists. `Transfer-Encoding` is among the fields taken out: whoever
/// sends the body frames it anew.
///
/// Whatever the policy, an expectation of `100-continue` stays only where it has a meaning.
///
/// # Errors
/// `InvalidHTTPHeader`, the client's fault: `Connection` names a field that no client may have taken
/// out, is no list of tokens, or has more than 64 options.
pub fn prepare_upstream_request(
    request: &mut RequestHeader,
    policy: &HttpUpstreamRequestPolicy,
    over: Version,
) -> Result<()> {
    prepare_aliased_request(request, policy, over, OnAlias::Drop)
}

/// [`prepare_upstream_request`], where `on_alias` says what is to be done about names that are taken for
/// those that a proxy relies on. It says nothing where hop-by-hop fields are left alone.
///
/// # Errors
/// As above; the same where there is an alias and it is to be refused.
pub fn prepare_aliased_request(
    request: &mut RequestHeader,
    policy: &HttpUpstreamRequestPolicy,
    over: Version,
    on_alias: OnAlias,
) -> Result<()> {
    let (present, plain) = Present::in_passing(|f| request.for_each_control_field(f));
    if present == Present::default() {
        return Ok(());
    }
    let aliased = present.has(Present::ALIAS) && policy.strip_hop_by_hop;
    if aliased && on_alias == OnAlias::Refuse {
        return Err(refused_alias());
    }
    let drops_alias = on_alias == OnAlias::Drop;
    let is_gone =
        |field| is_about_the_connection(field) || field == ControlField::Alias && drops_alias;
    if plain && policy.strip_hop_by_hop && request.remove_unsettled(is_gone) {
        return Ok(());
    }
    if aliased && drops_alias {
        drop_aliases(request);
    }
    if present.has(Present::EXPECT) {
        settle_expectation(request);
    }
    let upgrade = Upgrade::of(request, present, policy);
    if present.has(Present::CONNECTION) {
        take_out_nominated(request, policy)?;
    }
    if policy.strip_hop_by_hop {
        return strip_request(request, present, upgrade, over);
    }
    match upgrade {
        Upgrade::TakenOut => {
            request.remove_header(&UPGRADE);
            remove_option(request, "upgrade");
        }
        Upgrade::WebSocket => {
            request.insert_header(CONNECTION, UPGRADE_OPTION)?;
            request.insert_header(UPGRADE, HeaderValue::from_static("websocket"))?;
        }
        Upgrade::Absent | Upgrade::AsItCame => {}
    }
    Ok(())
}

const UPGRADE_OPTION: HeaderValue = HeaderValue::from_static("Upgrade");

/// What becomes of a request's wish to switch protocols.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    /// There is none, or none that would be understood as one.
    Absent,
    TakenOut,
    AsItCame,
    WebSocket,
}

impl Upgrade {
    fn of(request: &RequestHeader, present: Present, policy: &HttpUpstreamRequestPolicy) -> Self {
        if !present.has(Present::UPGRADE) {
            return Self::Absent;
        }
        match policy.h1_upgrade {
            H1UpgradePolicy::Deny => Self::TakenOut,
            H1UpgradePolicy::WebSocketOnly if asks_for_websocket(request) => Self::WebSocket,
            H1UpgradePolicy::WebSocketOnly => Self::TakenOut,
            // Without `HTTP2-Settings`, which is for one hop, it is unsound; a server that takes it
            // nevertheless would speak to the client behind the proxy's back.
            H1UpgradePolicy::Preserve if policy.strip_hop_by_hop && names(request, "h2c") => {
                Self::TakenOut
            }
            H1UpgradePolicy::Preserve if asks_for_upgrade(request) => Self::AsItCame,
            H1UpgradePolicy::Preserve => Self::Absent,
        }
    }
}

/// Whether the session that the request came on takes this as a wish to switch protocols, and so does
/// the one that it leaves on: only then will a 101 that answers it be let through.
fn asks_for_upgrade(request: &RequestHeader) -> bool {
    outgoing_request(request).is_ok_and(|outgoing| outgoing.upgrade)
}

/// RFC 6455 section 4.1: a GET without a body whose `Upgrade` names websocket.
fn asks_for_websocket(request: &RequestHeader) -> bool {
    let sound = outgoing_request(request).is_ok_and(|outgoing| {
        outgoing.upgrade && matches!(outgoing.body, BodyLength::Empty | BodyLength::Exact(0))
    });
    sound && request.method == Method::GET && names(request, "websocket")
}

/// Whether `Upgrade` names this protocol.
fn names(request: &RequestHeader, protocol: &str) -> bool {
    let mut protocols = request
        .headers
        .get_all(UPGRADE)
        .iter()
        .flat_map(|value| list_elements(value.as_bytes()));
    protocols.any(|named| named.eq_ignore_ascii_case(protocol.as_bytes()))
}

/// RFC 9110 section 10.1.1: an expectation of HTTP/1.0 is to be ignored, and whoever sends one has to
/// send content. We speak a later version to the upstream, which would not know that it came from an
/// earlier one.
#[cold]
fn settle_expectation(request: &mut RequestHeader) {
    let content_follows = match request.send_end_stream() {
        Some(ends_with_its_head) => !ends_with_its_head,
        None => !matches!(
            outgoing_request(request).map(|outgoing| outgoing.body),
            Ok(BodyLength::Empty | BodyLength::Exact(0))
        ),
    };
    let waits_in_vain = || {
        let mut expectations = request.headers.get_all(EXPECT).iter();
        !content_follows
            && expectations.any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    };
    if request.version <= Version::HTTP_10 || waits_in_vain() {
        request.remove_header(&EXPECT);
    }
}

/// gRPC is spoken over HTTP/2 alone: a request that came otherwise was translated on the way.
fn is_grpc(request: &RequestHeader) -> bool {
    let content_type = request.headers.get(CONTENT_TYPE);
    content_type.is_some_and(|value| media_type::is_grpc(value.as_bytes()))
}

/// Whether the client soundly says that it wants trailers, which every session of ours passes on
/// (RFC 9110 section 10.1.4): on HTTP/1.1, `Connection` has to name the field.
fn wants_trailers(request: &RequestHeader) -> bool {
    let lists = |name, element: &[u8]| {
        let values = request.headers.get_all(name).iter();
        let mut elements = values.flat_map(|value| list_elements(value.as_bytes()));
        elements.any(|listed| listed.eq_ignore_ascii_case(element))
    };
    lists(TE, b"trailers")
        && match request.version {
            Version::HTTP_2 => true,
            Version::HTTP_11 => lists(CONNECTION, b"te") || is_grpc(request),
            _ => false,
        }
}

/// Takes out what [`rules::RULES`] takes out of a request, and says anew what is kept of it.
fn strip_request(
    request: &mut RequestHeader,
    present: Present,
    upgrade: Upgrade,
    over: Version,
) -> Result<()> {
    let keep_te = present.has(Present::TE) && wants_trailers(request);
    for rule in present.rules() {
        let stays = match rule.request {
            Rule::Drops => false,
            Rule::Trailers => keep_te,
            Rule::Upgrade => upgrade == Upgrade::AsItCame,
            Rule::Passes | Rule::Expectation => true,
        };
        if !stays {
            request.remove_header(&rule.name);
        }
    }
    if upgrade == Upgrade::WebSocket {
        request.insert_header(UPGRADE, HeaderValue::from_static("websocket"))?;
    }
    if keep_te {
        request.insert_header(TE, HeaderValue::from_static("trailers"))?;
    }
    let upgrades = matches!(upgrade, Upgrade::AsItCame | Upgrade::WebSocket);
    // RFC 9113 section 8.2.2: HTTP/2 has no options of a connection.
    match (upgrades, keep_te && over != Version::HTTP_2) {
        (true, false) => request.insert_header(CONNECTION, UPGRADE_OPTION),
        (false, true) => request.insert_header(CONNECTION, HeaderValue::from_static("TE")),
        (true, true) => request.insert_header(CONNECTION, HeaderValue::from_static("Upgrade, TE")),
        (false, false) => Ok(()),
    }
}

/// Makes of the upstream's response the one that goes to the client: no field that is about the
/// upstream's connection, none that the upstream's `Connection` named; `Upgrade`, with its option of
/// `Connection`, where it is what the response is about: a 101 (RFC 9110 section 15.2.2) or a 426
/// (section 15.5.22). Whoever writes the response over HTTP/2 leaves both out.
///
/// `Transfer-Encoding` is among the fields taken out: whoever sends the body frames it anew.
pub fn prepare_downstream_response(response: &mut ResponseHeader) {
    let (present, plain) = Present::in_passing(|f| response.for_each_control_field(f));
    let present = present.of_response();
    if present == Present::default() {
        return;
    }
    if plain && response.remove_unsettled(is_about_the_connection) {
        return;
    }
    if present.has(Present::CONNECTION) {
        take_out_nominated_of_response(response);
    }
    let keep_upgrade = present.has(Present::UPGRADE)
        && matches!(
            response.status,
            StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED
        );
    for rule in present.rules() {
        let stays = match rule.response {
            Rule::Drops | Rule::Trailers => false,
            Rule::Upgrade => keep_upgrade,
            Rule::Passes | Rule::Expectation => true,
        };
        if !stays {
            response.remove_header(&rule.name);
        }
    }
    if keep_upgrade {
        // There was room a moment ago, or there is for one field more.
        let _ = response.insert_header(CONNECTION, UPGRADE_OPTION);
    }
}

#[cfg(test)]
mod tests;
