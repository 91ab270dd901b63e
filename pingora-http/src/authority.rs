//! The authority of a raw request target (RFC 9112 section 3.2).

use crate::grammar::{is_authority, is_http_scheme, is_scheme};

/// The authority in a request target, determined before any URI parser runs.
///
/// The split is strict: if two readers could find different hosts in the same bytes, it reports the
/// ambiguity instead of choosing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawTargetAuthority<'a> {
    /// Origin-form (`/path`) or asterisk-form (`*`): only the `Host` field names the host.
    None,
    /// Absolute-form: `scheme://authority/path?query`.
    Absolute {
        /// The scheme, without the colon.
        scheme: &'a [u8],
        /// The host and, if given, the port: see [`is_authority`].
        authority: &'a [u8],
        /// The rest after the authority: empty, or beginning with `/` or `?`.
        path_and_query: &'a [u8],
    },
    /// Neither form: user information, a backslash, a missing host, the authority-form of CONNECT, or
    /// anything else that readers disagree about.
    AmbiguousAuthority,
}

impl<'a> RawTargetAuthority<'a> {
    /// The authority of an absolute-form target.
    pub fn authority(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Absolute { authority, .. } => Some(authority),
            Self::None | Self::AmbiguousAuthority => None,
        }
    }
}

/// Splits a request target into scheme, authority and the rest.
///
/// `target` is the second word of the request line. This function does not handle the authority-form of
/// CONNECT: it returns [`RawTargetAuthority::AmbiguousAuthority`].
///
/// ```
/// use pingora_http::authority::raw_target_authority;
///
/// let target = raw_target_authority(b"http://example.com:8080/path?q");
/// assert_eq!(target.authority(), Some(&b"example.com:8080"[..]));
/// assert_eq!(raw_target_authority(b"/path").authority(), None);
/// ```
pub fn raw_target_authority(target: &[u8]) -> RawTargetAuthority<'_> {
    if target.is_empty() || target.starts_with(b"/") || target == b"*" {
        return RawTargetAuthority::None;
    }
    absolute_form(target).unwrap_or(RawTargetAuthority::AmbiguousAuthority)
}

fn absolute_form(target: &[u8]) -> Option<RawTargetAuthority<'_>> {
    let colon = target.iter().position(|&b| b == b':')?;
    let (scheme, rest) = target.split_at_checked(colon)?;
    let rest = rest.strip_prefix(b"://")?;
    if !is_scheme(scheme) {
        return None;
    }
    let end = rest
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (authority, path_and_query) = rest.split_at_checked(end)?;
    if !is_authority(authority) {
        return None;
    }
    Some(RawTargetAuthority::Absolute {
        scheme,
        authority,
        path_and_query,
    })
}

/// Whether the scheme is `http` or `https`, in any case.
pub fn is_http_family_scheme(scheme: &[u8]) -> bool {
    is_http_scheme(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;
    use RawTargetAuthority::{AmbiguousAuthority, None};

    #[test]
    fn targets() {
        let absolute = |scheme, authority, path_and_query| RawTargetAuthority::Absolute {
            scheme,
            authority,
            path_and_query,
        };
        let cases: &[(&[u8], RawTargetAuthority<'_>)] = &[
            (b"/", None),
            (b"", None),
            (b"*", None),
            (b"//evil.example/path", None),
            (b"/http://a/b", None),
            (b"http://a", absolute(b"http", b"a", b"")),
            (b"http://a/", absolute(b"http", b"a", b"/")),
            (b"http://a?q", absolute(b"http", b"a", b"?q")),
            (b"HTTPS://a:443/b?c", absolute(b"HTTPS", b"a:443", b"/b?c")),
            (b"http://[::1]:80/", absolute(b"http", b"[::1]:80", b"/")),
            (b"ftp://a/b", absolute(b"ftp", b"a", b"/b")),
            (b"http://a/b@c", absolute(b"http", b"a", b"/b@c")),
            (b"http://", AmbiguousAuthority),
            (b"http:///path", AmbiguousAuthority),
            (b"http:/a/b", AmbiguousAuthority),
            (b"http:a", AmbiguousAuthority),
            (b"http://user@a/", AmbiguousAuthority),
            (b"http://a\\b/", AmbiguousAuthority),
            (b"http://a b/", AmbiguousAuthority),
            (b"http://\xe4/", AmbiguousAuthority),
            (b"http://a,b/", AmbiguousAuthority),
            (b"http://a:65536/", AmbiguousAuthority),
            (b"http://[::1/", AmbiguousAuthority),
            (b"://a/", AmbiguousAuthority),
            (b"1ttp://a/", AmbiguousAuthority),
            (b"a:443", AmbiguousAuthority),
            (b"a", AmbiguousAuthority),
            (b"?q", AmbiguousAuthority),
            (b"**", AmbiguousAuthority),
        ];
        for (target, expected) in cases {
            let name = String::from_utf8_lossy(target);
            assert_eq!(raw_target_authority(target), *expected, "{name}");
        }
    }

    #[test]
    fn schemes() {
        assert!(is_http_family_scheme(b"http"));
        assert!(is_http_family_scheme(b"HttpS"));
        assert!(!is_http_family_scheme(b"ws"));
        assert!(!is_http_family_scheme(b""));
    }
}
