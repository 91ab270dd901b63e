//! The authority that a request is addressed to: the target and `Host` must agree (RFC 9112 section 3.2).

use http::header::HOST;
use http::{HeaderValue, Method, Version};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use std::net::Ipv6Addr;

pub use pingora_http::authority::{
    RawTargetAuthority, is_http_family_scheme, raw_target_authority,
};

use super::h1::{authority_host_and_port, is_valid_authority};
use crate::protocols::l4::socket::SocketAddr;

/// Checks that a request names its destination in only one way.
///
/// A request has at most one `Host`, and exactly one on HTTP/1.1; it is a host and a port. If the
/// target names an authority too, both must be equal, ignoring case and the default port of the
/// scheme. Requests from an HTTP/1 connection fulfil this after parsing; those from HTTP/2, or
/// changed by a filter, may not.
///
/// # Errors
/// `InvalidHTTPHeader`, the client's fault.
pub fn validate_request_authority(req: &RequestHeader) -> Result<()> {
    let mut hosts = req.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(refused("more than one Host"));
    }
    if host.is_some_and(|host| authority_host_and_port(host).is_none()) {
        return Err(refused("Host is not a host and a port"));
    }
    let Some((scheme, target)) = target_authority(req)? else {
        if host.is_none() && req.version == Version::HTTP_11 {
            return Err(refused("no Host"));
        }
        return Ok(());
    };
    if authority_host_and_port(target).is_none() {
        return Err(refused("the authority of the target is malformed"));
    }
    match host {
        None if req.version == Version::HTTP_11 => Err(refused("no Host")),
        Some(host) if !same_authority(scheme, host, target) => {
            Err(refused("Host and the authority of the target differ"))
        }
        _ => Ok(()),
    }
}

/// The scheme (may be empty) and authority in the target.
fn target_authority(req: &RequestHeader) -> Result<Option<(&[u8], &[u8])>> {
    if let Some(authority) = req.uri.authority() {
        let scheme = req.uri.scheme_str().unwrap_or_default().as_bytes();
        return Ok(Some((scheme, authority.as_str().as_bytes())));
    }
    if req.method == Method::CONNECT {
        return Ok(Some((b"", req.raw_path())));
    }
    match raw_target_authority(req.raw_path()) {
        RawTargetAuthority::None => Ok(None),
        RawTargetAuthority::Absolute {
            scheme, authority, ..
        } if is_http_family_scheme(scheme) => Ok(Some((scheme, authority))),
        RawTargetAuthority::Absolute { .. } => {
            Err(refused("the scheme of the target is not http or https"))
        }
        RawTargetAuthority::AmbiguousAuthority => {
            Err(refused("the authority of the target is ambiguous"))
        }
    }
}

fn same_authority(scheme: &[u8], a: &[u8], b: &[u8]) -> bool {
    let default_port: Option<&[u8]> = match () {
        () if scheme.eq_ignore_ascii_case(b"http") => Some(b"80"),
        () if scheme.eq_ignore_ascii_case(b"https") => Some(b"443"),
        () => None,
    };
    let normal = |authority| {
        let (host, port) = authority_host_and_port(authority)?;
        Some((
            host,
            port.filter(|p| !p.is_empty() && Some(*p) != default_port),
        ))
    };
    match (normal(a), normal(b)) {
        (Some((host, port)), Some((other, other_port))) => {
            host.eq_ignore_ascii_case(other) && port == other_port
        }
        _ => false,
    }
}

/// The `Host` for a server if the client sent none (HTTP/1.0): its `name` if that is valid there,
/// else its address. A Unix socket has no suitable address, and is `localhost`.
#[cold]
pub fn authority_of_server(name: &str, address: &SocketAddr) -> String {
    if is_valid_authority(name.as_bytes()) {
        return name.to_string();
    }
    if let Ok(literal) = name.parse::<Ipv6Addr>() {
        return format!("[{literal}]");
    }
    match address {
        // Without the zone, which means nothing on another machine (RFC 6874).
        SocketAddr::Inet(address) if address.is_ipv6() => {
            format!("[{}]:{}", address.ip(), address.port())
        }
        SocketAddr::Inet(address) => address.to_string(),
        SocketAddr::Unix(_) => "localhost".to_string(),
    }
}

#[cold]
fn refused(why: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, why).into_down()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_and_host_agree() {
        let http2 = Version::HTTP_2;
        let rows: &[(&str, Version, &str, &[&str], bool)] = &[
            ("/", Version::HTTP_11, "GET", &["a"], true),
            ("/", Version::HTTP_11, "GET", &[], false),
            ("/", Version::HTTP_10, "GET", &[], true),
            ("/", Version::HTTP_11, "GET", &["a", "a"], false),
            ("/", Version::HTTP_11, "GET", &["a b"], false),
            ("/", Version::HTTP_11, "GET", &[""], false),
            ("http://a/", Version::HTTP_11, "GET", &["a"], true),
            ("http://a/", Version::HTTP_11, "GET", &["A:80"], true),
            ("https://a:443/", Version::HTTP_11, "GET", &["a"], true),
            ("https://a/", Version::HTTP_11, "GET", &["a:80"], false),
            ("http://a/", Version::HTTP_11, "GET", &["b"], false),
            ("http://a/", Version::HTTP_11, "GET", &[], false),
            ("http://a/", http2, "GET", &[], true),
            ("http://a/", http2, "GET", &["b"], false),
            ("http://u@a/", http2, "GET", &[], false),
            ("/", http2, "GET", &[], true),
            ("a:443", http2, "CONNECT", &[], true),
            ("a:443", Version::HTTP_11, "CONNECT", &["a:443"], true),
            ("a:443", Version::HTTP_11, "CONNECT", &["b:443"], false),
            ("*", Version::HTTP_11, "OPTIONS", &["a"], true),
        ];
        for (target, version, method, hosts, expected) in rows {
            let mut req = RequestHeader::build(*method, target.as_bytes(), None).unwrap();
            req.set_version(*version);
            for host in *hosts {
                req.append_header("Host", *host).unwrap();
            }
            let found = validate_request_authority(&req);
            assert_eq!(found.is_ok(), *expected, "{target} {version:?} {hosts:?}");
        }
    }

    #[test]
    fn a_server_without_a_sound_name_is_named_by_its_address() {
        let rows = [
            ("a.test", "127.0.0.1:80", "a.test"),
            ("", "127.0.0.1:80", "127.0.0.1:80"),
            ("", "[::1]:8080", "[::1]:8080"),
            ("", "[fe80::1%3]:80", "[fe80::1]:80"),
            ("::1", "[::1]:80", "[::1]"),
            ("not a name", "127.0.0.1:80", "127.0.0.1:80"),
            ("", "unix:/run/a.sock", "localhost"),
            ("a.test", "unix:/run/a.sock", "a.test"),
        ];
        for (name, address, expected) in rows {
            let found = authority_of_server(name, &address.parse().unwrap());
            assert_eq!(found, expected, "{name:?} {address}");
            assert!(is_valid_authority(found.as_bytes()));
        }
    }
}
