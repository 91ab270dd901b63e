//! Reading lines of directives.

use super::{DirectiveKey, DirectiveMap, DirectiveValue};
use indexmap::map::Entry;
use pingora_http::grammar::is_token;

/// Adds the directives of one line. Anything else is skipped, up to the next comma; a quote that does not
/// end is no quote, so that it hides nothing that comes after it.
pub(super) fn add_line(directives: &mut DirectiveMap, mut line: &[u8]) {
    while !line.is_empty() {
        let (element, rest) = split_element(line);
        line = rest;
        let (name, value) = match element.iter().position(|&byte| byte == b'=') {
            Some(at) => match element.split_at_checked(at) {
                Some((name, [_, value @ ..])) => (name.trim_ascii(), Some(value.trim_ascii())),
                _ => (element, None),
            },
            None => (element, None),
        };
        if !is_token(name) {
            continue;
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let key = DirectiveKey::from_lowercase_owned(name);
        add(
            directives,
            key,
            value.map(|value| DirectiveValue(value.to_vec())),
        );
    }
}

/// Cuts off the first element of a list. A comma within quotes belongs to the element.
fn split_element(line: &[u8]) -> (&[u8], &[u8]) {
    let end = end_of_element(line, true).or_else(|| end_of_element(line, false));
    match end.and_then(|end| line.split_at_checked(end)) {
        Some((element, [_, rest @ ..])) => (element.trim_ascii(), rest),
        _ => (line.trim_ascii(), &[]),
    }
}

/// Where the first element ends: at a comma, or at the end. `None` if a quote does not end before.
fn end_of_element(line: &[u8], quotes: bool) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, &byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if quotes => quoted = !quoted,
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(line.len())
}

fn add(directives: &mut DirectiveMap, key: DirectiveKey, value: Option<DirectiveValue>) {
    match directives.entry(key) {
        Entry::Vacant(entry) => {
            entry.insert(value);
        }
        Entry::Occupied(mut entry) => {
            let stricter = stricter(entry.key(), entry.get().as_ref(), value.as_ref());
            entry.insert(stricter);
        }
    }
}

/// Which of two values of a directive allows less (RFC 9111 section 4.2.1).
fn stricter(
    key: &DirectiveKey,
    one: Option<&DirectiveValue>,
    other: Option<&DirectiveValue>,
) -> Option<DirectiveValue> {
    match key {
        // Without field names they are about the whole response.
        DirectiveKey::Private | DirectiveKey::NoCache => {
            let (one, other) = (one?.parse_as_bytes(), other?.parse_as_bytes());
            if one.trim_ascii().is_empty() || other.trim_ascii().is_empty() {
                return None;
            }
            Some(DirectiveValue([one, other].join(&b","[..])))
        }
        DirectiveKey::Unknown(name) if name == "min-fresh" => largest(one, other).cloned(),
        // Without a value it allows any staleness.
        DirectiveKey::Unknown(name) if name == "max-stale" => match (one, other) {
            (Some(_), Some(_)) => smallest(one, other).cloned(),
            _ => one.or(other).cloned(),
        },
        DirectiveKey::MaxAge
        | DirectiveKey::SMaxAge
        | DirectiveKey::StaleWhileRevalidate
        | DirectiveKey::StaleIfError => smallest(one, other).cloned(),
        _ => one.cloned(),
    }
}

fn seconds(value: Option<&DirectiveValue>) -> Option<u32> {
    value?.parse_as_delta_seconds_floor().ok()
}

/// The smaller number; the value that is none if there is one.
fn smallest<'a>(
    one: Option<&'a DirectiveValue>,
    other: Option<&'a DirectiveValue>,
) -> Option<&'a DirectiveValue> {
    if seconds(other) < seconds(one) {
        other
    } else {
        one
    }
}

fn largest<'a>(
    one: Option<&'a DirectiveValue>,
    other: Option<&'a DirectiveValue>,
) -> Option<&'a DirectiveValue> {
    if seconds(other) > seconds(one) {
        other
    } else {
        one
    }
}

/// Whether a response without this field has another meaning, or another audience: copies must contain it.
pub(super) fn is_essential_field(name: &[u8]) -> bool {
    let essential = [
        "cache-control",
        "content-encoding",
        "content-language",
        "content-length",
        "content-range",
        "content-type",
        "date",
        "expires",
        "location",
        "transfer-encoding",
        "vary",
    ];
    essential
        .iter()
        .any(|essential| name.eq_ignore_ascii_case(essential.as_bytes()))
}
