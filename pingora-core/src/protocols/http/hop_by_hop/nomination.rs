//! Fields that `Connection` names.

use http::header::{CONNECTION, HeaderName, HeaderValue};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader, is_relied_on};

use super::super::h1::{is_token, list_elements};
use super::HttpUpstreamRequestPolicy;
use super::rules::is_hop_by_hop;

/// More `Connection` options than this are an attack: each one costs a look-up.
const MOST_CONNECTION_OPTIONS: usize = 64;

/// Removes the fields that `Connection` names, and refuses names that it must not contain.
pub(super) fn take_out_nominated(
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

/// Removes the fields that the upstream's `Connection` names. Names that it must not contain are
/// ignored.
pub(super) fn take_out_nominated_of_response(response: &mut ResponseHeader) {
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

const MALFORMED: &str = "Connection is not a list of tokens";
const PROTECTED: &str = "Connection names a field that it must not take out";
const TOO_MANY: &str = "Connection has too many options";

#[cold]
fn refused(why: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, why).into_down()
}

/// The meaning of a `Connection` option for the fields of the head.
enum Nomination {
    /// An option without a field, or with one that is hop-by-hop anyway.
    Option,
    /// A field to remove.
    Field(HeaderName),
    /// A field without which the message would have another meaning or another apparent sender.
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

/// Fields that frame or route the message, or name its origin. `Connection` may name one that is only for
/// the next proxy.
fn is_protected(name: &str) -> bool {
    const NAMES: [&str; 3] = ["content-length", "content-type", "host"];
    NAMES.contains(&name) || is_relied_on(name) && name != "proxy-authorization"
}

/// Removes one `Connection` option and keeps the others.
#[cold]
pub(super) fn remove_option(request: &mut RequestHeader, gone: &str) {
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
