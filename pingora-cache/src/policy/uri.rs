//! References of response fields, resolved against the target of the request (RFC 3986 section 5).

use super::keys::push_uri;

/// The path and query of `reference`, if it is one of the same origin; `None` if it is not, or can't be read.
/// `path` is the request's own path and query.
pub(super) fn same_origin(
    scheme: &str,
    authority: &[u8],
    path: &[u8],
    reference: &[u8],
) -> Option<Vec<u8>> {
    let reference = reference.trim_ascii();
    let reference = before(reference, b'#');
    if !reference.iter().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    if let Some((other, rest)) = split_scheme(reference) {
        let rest = rest.strip_prefix(b"//")?;
        return of_authority(scheme, authority, other, rest);
    }
    if let Some(rest) = reference.strip_prefix(b"//") {
        return of_authority(scheme, authority, scheme, rest);
    }
    if reference.starts_with(b"/") {
        return Some(without_dots(reference));
    }
    let own = before(path, b'?');
    match reference {
        [] => Some(path.to_vec()),
        [b'?', ..] => Some([own, reference].concat()),
        _ => {
            let end = own.iter().rposition(|&byte| byte == b'/')?;
            let folder = own.get(..=end)?;
            Some(without_dots(&[folder, reference].concat()))
        }
    }
}

fn before(text: &[u8], end: u8) -> &[u8] {
    text.split(|&byte| byte == end).next().unwrap_or_default()
}

fn split_scheme(reference: &[u8]) -> Option<(&str, &[u8])> {
    let end = reference
        .iter()
        .position(|byte| matches!(byte, b':' | b'/' | b'?'))?;
    let (scheme, rest) = reference.split_at_checked(end)?;
    let rest = rest.strip_prefix(b":")?;
    Some((std::str::from_utf8(scheme).ok()?, rest))
}

/// The path of what follows `//`, if scheme and authority are the same.
fn of_authority(scheme: &str, authority: &[u8], other: &str, rest: &[u8]) -> Option<Vec<u8>> {
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (other_authority, path) = rest.split_at_checked(end)?;
    let origin = |scheme: &str, authority: &[u8]| {
        let mut uri = Vec::new();
        push_uri(&mut uri, scheme, authority, b"/");
        uri
    };
    let is_same = origin(scheme, authority) == origin(other, other_authority);
    is_same.then(|| match path {
        [] => b"/".to_vec(),
        [b'?', ..] => [b"/", path].concat(),
        _ => without_dots(path),
    })
}

/// Removes `.` and `..` segments from the path; the query stays as it is.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let own = before(path, b'?');
    let query = path.get(own.len()..).unwrap_or_default();
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut all = own.split(|&byte| byte == b'/').skip(1).peekable();
    while let Some(segment) = all.next() {
        let is_last = all.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    segments.pop();
                }
                if is_last {
                    segments.push(b"");
                }
            }
            _ => segments.push(segment),
        }
    }
    [b"/", segments.join(&b'/').as_slice(), query].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3986 section 5.4, as far as the origin is the same.
    #[test]
    fn references() {
        let rows = [
            ("", Some("/b/c/d;p?q")),
            ("g", Some("/b/c/g")),
            ("./g", Some("/b/c/g")),
            ("g/", Some("/b/c/g/")),
            ("/g", Some("/g")),
            ("//a/g", Some("/g")),
            ("//A:443/g", Some("/g")),
            ("//a", Some("/")),
            ("//a?y", Some("/?y")),
            ("//g", None),
            ("?y", Some("/b/c/d;p?y")),
            ("g?y", Some("/b/c/g?y")),
            ("#s", Some("/b/c/d;p?q")),
            ("g#s", Some("/b/c/g")),
            (".", Some("/b/c/")),
            ("..", Some("/b/")),
            ("../g", Some("/b/g")),
            ("../..", Some("/")),
            ("../../../g", Some("/g")),
            ("/./g", Some("/g")),
            ("/../g", Some("/g")),
            ("g..", Some("/b/c/g..")),
            ("./g/.", Some("/b/c/g/")),
            ("g?y/../x", Some("/b/c/g?y/../x")),
            ("https://a/x", Some("/x")),
            ("HTTPS://A/x", Some("/x")),
            ("http://a/x", None),
            ("https://a:444/x", None),
            ("https://user@a/x", None),
            ("https:g", None),
            ("mailto:g", None),
            ("a b", None),
            ("g:h/x", None),
        ];
        for (reference, expected) in rows {
            let found = same_origin("https", b"a", b"/b/c/d;p?q", reference.as_bytes());
            let found = found.map(|path| String::from_utf8(path).unwrap());
            assert_eq!(found.as_deref(), expected, "{reference}");
        }
    }
}
