//! Fields that are for one hop only and must not be forwarded (RFC 9110 section 7.6.1).
//!
//! A proxy has a separate connection with each side. Fields about the connection with one side are
//! wrong for the other, and a client that could pass them on would speak to the upstream in the
//! proxy's name. They are removed before the user's filters run, so fields that a filter adds are
//! kept.
//!
//! The table `rules::RULES` lists the rule of each field and direction. Fields that it does not
//! list pass. Among those are `Proxy-Authenticate`, `Proxy-Authorization` and
//! `Proxy-Authentication-Info`: they are for the next proxy that wants them, which may be behind
//! this one (RFC 9110 section 11.7).
//!
//! A name that servers may confuse with one of these, or with one that a proxy sets, is removed as well:
//! see [`aliases`](super::aliases).
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

/// The treatment of an `Upgrade` that the client asks for on HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum H1UpgradePolicy {
    /// A well-formed WebSocket upgrade passes, in normalised form; any other is removed.
    WebSocketOnly,
    /// Any well-formed upgrade passes unchanged, with any method, with or without a body; the 101
    /// that answers it opens a tunnel once the body is complete (RFC 9110 section 7.8). An upgrade
    /// to `h2c` is removed, unless hop-by-hop fields are left alone altogether.
    Preserve,
    /// The upgrade is removed.
    Deny,
}

/// The treatment of a request's hop-by-hop fields before it goes upstream (RFC 9110 section 7.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpUpstreamRequestPolicy {
    /// Remove `Connection`, `Keep-Alive`, `TE`, `Transfer-Encoding` and the like, and names that servers
    /// may confuse with them or with fields that a proxy sets (`Transfer_Encoding`, `X_Forwarded_For`).
    pub strip_hop_by_hop: bool,
    /// Remove the fields that `Connection` names.
    pub strip_connection_nominated: bool,
    /// Refuse a request whose `Connection` names fields that must not be removed.
    pub reject_malformed_connection_nominations: bool,
    /// The treatment of upgrades.
    pub h1_upgrade: H1UpgradePolicy,
}

impl HttpUpstreamRequestPolicy {
    /// Follows the RFC, with WebSocket upgrades. The default.
    pub const fn standard() -> Self {
        Self {
            strip_hop_by_hop: true,
            strip_connection_nominated: true,
            reject_malformed_connection_nominations: true,
            h1_upgrade: H1UpgradePolicy::WebSocketOnly,
        }
    }

    /// Leaves every field unchanged: for upstreams that are part of the same hop.
    pub const fn preserve() -> Self {
        Self {
            strip_hop_by_hop: false,
            strip_connection_nominated: false,
            reject_malformed_connection_nominations: false,
            h1_upgrade: H1UpgradePolicy::Preserve,
        }
    }

    /// Like [`standard`](Self::standard), without upgrades.
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

/// Turns the received request into the one that goes upstream over HTTP of the version `over`, as
/// far as `policy` requires.
///
/// With the standard policy, the result has no field about the client's connection, none that the client's `Connection`
/// named, and none that may be confused with a field that a proxy relies on. It has `Connection: Upgrade` and `Upgrade:
/// websocket` if the client validly asked for that, and `TE: trailers` if the client validly sent it (gRPC needs it),
/// named by `Connection` where that exists. `Transfer-Encoding` is among the removed fields: the session that sends the
/// body frames it anew.
///
/// With any policy, a `100-continue` expectation is kept only if it has a meaning.
///
/// # Errors
/// `InvalidHTTPHeader`, the client's fault: `Connection` names a field that no client may have
/// removed, is not a list of tokens, or has more than 64 options.
pub fn prepare_upstream_request(
    request: &mut RequestHeader,
    policy: &HttpUpstreamRequestPolicy,
    over: Version,
) -> Result<()> {
    prepare_aliased_request(request, policy, over, OnAlias::Drop)
}

/// [`prepare_upstream_request`], with `on_alias` as the treatment of names that may be confused with
/// those that a proxy relies on. It has no effect if hop-by-hop fields are left alone.
///
/// # Errors
/// As above; also if there is an alias and it is to be refused.
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

/// The outcome of a request's upgrade.
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
            // Without `HTTP2-Settings`, which is for one hop, it is invalid; a server that accepts
            // it nevertheless would speak to the client behind the proxy's back.
            H1UpgradePolicy::Preserve if policy.strip_hop_by_hop && names(request, "h2c") => {
                Self::TakenOut
            }
            H1UpgradePolicy::Preserve if asks_for_upgrade(request) => Self::AsItCame,
            H1UpgradePolicy::Preserve => Self::Absent,
        }
    }
}

/// Whether both the session that received the request and the one that sends it recognise this as an
/// upgrade: only then is a 101 let through.
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

/// RFC 9110 section 10.1.1: an expectation of HTTP/1.0 must be ignored, and an expectation requires
/// content. We speak a later version to the upstream, which could not tell that the expectation came
/// from an earlier one.
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

/// gRPC is only spoken over HTTP/2: a request over another version was translated on the way.
fn is_grpc(request: &RequestHeader) -> bool {
    let content_type = request.headers.get(CONTENT_TYPE);
    content_type.is_some_and(|value| media_type::is_grpc(value.as_bytes()))
}

/// Whether the client validly announces that it accepts trailers, which every session of ours
/// passes on (RFC 9110 section 10.1.4): on HTTP/1.1, `Connection` has to name the field.
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

/// Removes the fields that [`rules::RULES`] removes from a request, and rewrites those that are
/// kept.
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
    // RFC 9113 section 8.2.2: HTTP/2 has no connection options.
    match (upgrades, keep_te && over != Version::HTTP_2) {
        (true, false) => request.insert_header(CONNECTION, UPGRADE_OPTION),
        (false, true) => request.insert_header(CONNECTION, HeaderValue::from_static("TE")),
        (true, true) => request.insert_header(CONNECTION, HeaderValue::from_static("Upgrade, TE")),
        (false, false) => Ok(()),
    }
}

/// Turns the upstream's response into the one that goes to the client: without fields about the
/// upstream's connection, and without those that the upstream's `Connection` named. `Upgrade` and
/// its `Connection` option are kept if the response is about them: a 101 (RFC 9110 section 15.2.2)
/// or a 426 (section 15.5.22). A session that writes the response over HTTP/2 omits both.
///
/// `Transfer-Encoding` is among the removed fields: the session that sends the body frames it anew.
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
        // Fields were just removed, or one more field fits.
        let _ = response.insert_header(CONNECTION, UPGRADE_OPTION);
    }
}

#[cfg(test)]
mod tests;
