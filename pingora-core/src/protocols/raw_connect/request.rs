//! The CONNECT request.

use crate::protocols::http::h1::{encode_request, is_valid_authority};
use ::http::header::{
    CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
};
use ::http::request::Parts;
use ::http::{Method, Request, Uri, Version};
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use std::net::Ipv6Addr;

/// Fields that would announce a body: a tunnel has none (RFC 9110 section 9.3.6).
const FRAMING: [HeaderName; 4] = [CONTENT_LENGTH, TRANSFER_ENCODING, TE, TRAILER];

/// The head of a request for a tunnel to `host` and `port`, with these fields. An IPv6 address may
/// have brackets or not. `Host` names the same destination, unless the fields contain one.
///
/// # Errors
/// `InvalidHTTPHeader` for an invalid host, a name that is not a token, a value with CR, LF or another
/// control character, a field that comes twice in different spellings, or a field that announces a
/// body.
pub fn generate_connect_header<'a, H, S>(host: &str, port: u16, headers: H) -> Result<Box<Parts>>
where
    S: AsRef<[u8]>,
    H: Iterator<Item = (S, &'a Vec<u8>)>,
{
    let authority = match host.parse::<Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    };
    if host.is_empty() || !is_valid_authority(authority.as_bytes()) {
        return invalid(format!("{host:?} is no host to connect to"));
    }
    let uri = Uri::try_from(authority.as_str())
        .or_err(ErrorType::InvalidHTTPHeader, "the target of CONNECT")?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::CONNECT;
    parts.uri = uri;
    parts.version = Version::HTTP_11;
    let host = HeaderValue::try_from(authority)
        .or_err(ErrorType::InvalidHTTPHeader, "the target of CONNECT")?;
    parts.headers.insert(HOST, host);
    let mut own_host = false;
    for (name, value) in headers {
        let (name, value) = field(name.as_ref(), value)?;
        let replaces = parts.headers.insert(name.clone(), value).is_some();
        if replaces && (name != HOST || own_host) {
            return invalid(format!("the proxy's field {name} is there twice"));
        }
        own_host |= name == HOST;
    }
    Ok(Box::new(parts))
}

/// One field. Its value stays out of every error: it may be a password.
fn field(name: &[u8], value: &[u8]) -> Result<(HeaderName, HeaderValue)> {
    let Ok(name) = HeaderName::from_bytes(name) else {
        let name = name.escape_ascii();
        return invalid(format!("\"{name}\" is no name of a field for the proxy"));
    };
    if FRAMING.contains(&name) {
        return invalid(format!("a request for a tunnel has no {name}"));
    }
    match HeaderValue::from_bytes(value) {
        Ok(value) => Ok((name, value)),
        Err(_) => invalid(format!(
            "the value of the proxy's field {name} has a control character"
        )),
    }
}

fn invalid<T>(context: String) -> Result<T> {
    Error::e_explain(ErrorType::InvalidHTTPHeader, context)
}

/// The bytes of a request for a tunnel.
///
/// # Errors
/// `InvalidHTTPHeader` for an invalid request.
pub(super) fn encode(request: &Parts) -> Result<Vec<u8>> {
    let is_tunnel = request.method == Method::CONNECT && request.uri.authority().is_some();
    if !is_tunnel
        || FRAMING
            .iter()
            .any(|name| request.headers.contains_key(name))
    {
        return invalid("this is no request for a tunnel".to_string());
    }
    let mut bytes = Vec::with_capacity(256);
    encode_request(&RequestHeader::from(request.clone()), &mut bytes);
    Ok(bytes)
}
