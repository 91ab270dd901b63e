//! Request targets, including those that a [`Uri`] can't hold.

use bytes::Bytes;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::grammar::{LONGEST_TARGET, is_target};

/// The reason why a request target was refused.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetRefused {
    /// It is empty, contains a control character, a space or a `#`, or is not a URI.
    Malformed,
    /// It is longer than a [`Uri`] may be (65,534 bytes).
    TooLong,
}

/// A path of up to this many bytes is copied, which is cheaper than sharing the head and counting its
/// owners.
const COPIED: usize = 256;

/// A target as a URI, and its raw bytes if the URI differs from them.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) uri: Uri,
    pub(crate) raw: Option<Bytes>,
}

/// Reads a target in any form of RFC 9112 section 3.2.
pub(crate) fn any_form(target: Bytes) -> Result<Target, TargetRefused> {
    check(&target)?;
    if target.starts_with(b"/") || target == "*" {
        return path_form(&target, &target);
    }
    let uri = Uri::from_maybe_shared(target.clone()).map_err(|_| TargetRefused::Malformed)?;
    let raw = Some(target);
    Ok(Target { uri, raw })
}

/// Reads path and query, which are in `head`. A path that a [`Uri`] refuses although it is allowed on the
/// wire (not UTF-8, or characters like `<`) is kept raw, and the URI has it percent-encoded.
#[inline]
pub(crate) fn path_form(head: &Bytes, path: &[u8]) -> Result<Target, TargetRefused> {
    let (path, raw) = path_and_query(head, path)?;
    let uri = Uri::from(path);
    Ok(Target { uri, raw })
}

/// Reads a target with an authority: the URI gets all of it.
pub(crate) fn with_authority(
    scheme: &[u8],
    authority: Bytes,
    path: Bytes,
) -> Result<Target, TargetRefused> {
    // Memory of its own, which needs no copy.
    let (path, raw) = parse_path(&path, &path, path.clone())?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::try_from(scheme).map_err(|_| TargetRefused::Malformed)?);
    parts.authority =
        Some(Authority::from_maybe_shared(authority).map_err(|_| TargetRefused::Malformed)?);
    parts.path_and_query = Some(path);
    let uri = Uri::from_parts(parts).map_err(|_| TargetRefused::Malformed)?;
    Ok(Target { uri, raw })
}

/// The wire form of a URI that a program assembled: a query without a path needs its slash (RFC 9112
/// section 3.2.1).
pub(crate) fn raw_for_uri(uri: &Uri) -> Option<Bytes> {
    match uri.path_and_query() {
        Some(path) if path.as_str().starts_with('?') => Some(format!("/{}", path.as_str()).into()),
        _ => None,
    }
}

#[inline]
fn path_and_query(
    head: &Bytes,
    path: &[u8],
) -> Result<(PathAndQuery, Option<Bytes>), TargetRefused> {
    let kept = if path.len() <= COPIED {
        Bytes::copy_from_slice(path)
    } else {
        head.slice_ref(path)
    };
    parse_path(head, path, kept)
}

/// Reads `path`, which is in `head`. The result holds `kept`, which is equal to it.
#[inline]
fn parse_path(
    head: &Bytes,
    path: &[u8],
    kept: Bytes,
) -> Result<(PathAndQuery, Option<Bytes>), TargetRefused> {
    check(path)?;
    match PathAndQuery::from_maybe_shared(kept) {
        Ok(parsed) => Ok((parsed, None)),
        Err(_) => {
            let encoded = percent_encoded(path);
            if encoded.len() > LONGEST_TARGET {
                return Err(TargetRefused::TooLong);
            }
            let parsed = PathAndQuery::from_maybe_shared(Bytes::from(encoded))
                .map_err(|_| TargetRefused::Malformed)?;
            Ok((parsed, Some(head.slice_ref(path))))
        }
    }
}

#[inline]
fn check(target: &[u8]) -> Result<(), TargetRefused> {
    if is_target(target) {
        return Ok(());
    }
    Err(if target.len() > LONGEST_TARGET {
        TargetRefused::TooLong
    } else {
        TargetRefused::Malformed
    })
}

/// Encodes all but the characters that RFC 3986 allows in path and query.
#[cold]
fn percent_encoded(path: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(path.len() + 16);
    for &byte in path {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => encoded.push(byte),
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+'
            | b',' | b';' | b'=' | b':' | b'@' | b'/' | b'?' | b'%' => encoded.push(byte),
            _ => encoded.extend(
                [b'%']
                    .into_iter()
                    .chain([byte >> 4, byte & 15].map(|n| HEX[usize::from(n)])),
            ),
        }
    }
    encoded
}
