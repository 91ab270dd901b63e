//! Fields that servers take for other ones.

use http::HeaderName;
use pingora_http::RequestHeader;
use std::borrow::Cow;

/// The name that this one may be taken for: with `-` for `_`. CGI and its heirs can't tell the two apart.
fn taken_for(name: &HeaderName) -> Cow<'_, str> {
    if name.as_str().contains('_') {
        Cow::Owned(name.as_str().replace('_', "-"))
    } else {
        Cow::Borrowed(name.as_str())
    }
}

/// Removes the fields whose name, or what it may be taken for, is one of these.
pub(super) fn remove(request: &mut RequestHeader, is_meant: impl Fn(&str) -> bool) {
    // Usually none: then nothing is copied.
    let mut gone: Vec<HeaderName> = Vec::new();
    for name in request.headers.keys() {
        if is_meant(&taken_for(name)) {
            gone.push(name.clone());
        }
    }
    for name in gone {
        request.remove_header(&name);
    }
}

/// Removes the fields that may be taken for this one, but not the field itself.
pub(super) fn remove_aliases(request: &mut RequestHeader, name: &HeaderName) {
    let has_alias = |other: &HeaderName| other != name && taken_for(other) == name.as_str();
    let gone: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|other| has_alias(other))
        .cloned()
        .collect();
    for name in gone {
        request.remove_header(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_may_be_taken_for_a_field_goes_with_it() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for name in ["X-User", "x_user", "X_USER", "x-users", "xuser", "x-_user"] {
            request.append_header(name, "v").unwrap();
        }
        let name = HeaderName::from_static("x-user");
        let mut without_aliases = request.clone();
        remove_aliases(&mut without_aliases, &name);
        assert!(without_aliases.headers.contains_key("x-user"));
        assert!(!without_aliases.headers.contains_key("x_user"));
        remove(&mut request, |other| other == "x-user");
        let mut left: Vec<_> = request.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-_user", "x-users", "xuser"]);
    }
}
