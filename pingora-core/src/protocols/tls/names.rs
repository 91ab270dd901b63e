//! Names of hosts, as TLS needs them. Pure.
//!
//! A library takes some spellings for something else than a name: an empty one for "check nothing", a dot in
//! front for "any host below". Such values are refused here, with the option that holds them, before they
//! reach one.

use pingora_error::{Error, ErrorType, Result};
use std::borrow::Cow;
use std::net::IpAddr;

/// Longest name, in bytes (RFC 1035 section 2.3.4, without the length bytes of its form on the wire).
const LONGEST: usize = 253;
/// Longest label, in bytes.
const LONGEST_LABEL: usize = 63;
/// As much of a value as an error shows, in characters: it may come from a client.
const SHOWN: usize = 100;

/// Whether `name` is the name of one host: labels of letters, digits, hyphens and underscores with dots
/// between them. Neither a wildcard nor an address.
pub(crate) fn is_host_name(name: &str) -> bool {
    let good = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= LONGEST && name.split('.').all(good)
}

/// Checks that `name`, the value of `option`, is the name of one host, or an IP address.
///
/// # Errors
/// `InternalError` naming the option, the value and what is wrong with it.
pub(crate) fn check(option: &str, name: &str) -> Result<()> {
    if is_host_name(name) || name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let shown: String = name.chars().take(SHOWN).collect();
    let reason = reason(name);
    Error::e_explain(
        ErrorType::InternalError,
        format!("{option} is {shown:?}, which names no host: {reason}"),
    )
}

/// The reason why a text is not a name.
fn reason(name: &str) -> &'static str {
    if name.is_empty() {
        "it is empty; leave the option out instead"
    } else if name.bytes().any(|b| b.is_ascii_control()) {
        "it holds a control byte"
    } else if name.contains('*') {
        "a wildcard may stand in a certificate only"
    } else if name.starts_with('.') {
        "it begins with a dot"
    } else if name.ends_with('.') {
        "it ends with a dot; TLS writes names without (RFC 6066 section 3)"
    } else if name.contains([':', '[', ']']) {
        "it has a port or brackets; give the name or the address alone"
    } else if !name.is_ascii() {
        "it is not in its ASCII form (xn--...)"
    } else {
        "it has to be labels of at most 63 letters, digits, hyphens and underscores, 253 bytes in all"
    }
}

/// The part after the first label of a name that only a wildcard could cover but for an underscore in that
/// label. Libraries let a wildcard stand for letters, digits and hyphens alone.
pub(crate) fn parent_of_underscored(name: &str) -> Option<&str> {
    let (label, parent) = name.split_once('.')?;
    (label.contains('_') && is_host_name(name)).then_some(parent)
}

/// The normal form of a name that a certificate is shown for: lower case, without the dot at its end.
///
/// A wildcard stands for one whole label, the first; nothing else is a wildcard (RFC 9525 section 6.3).
pub(crate) fn normal(name: &str) -> Option<Cow<'_, str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let host = name.strip_prefix("*.").unwrap_or(name);
    if name.len() > LONGEST || !is_host_name(host) {
        return None;
    }
    Some(lower(name))
}

/// In lower case.
pub(crate) fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_library_could_take_for_something_else_is_refused() {
        let label = "a".repeat(64);
        let long = ["a".repeat(60).as_str(); 5].join(".");
        let rows: &[(&str, Option<&str>)] = &[
            ("one.example", None),
            ("ONE.Example", None),
            ("localhost", None),
            ("a_b.example", None),
            ("_._tcp.example", None),
            ("xn--bcher-kva.example", None),
            ("1e100.net", None),
            ("127.0.0.1", None),
            ("::1", None),
            ("", Some("empty")),
            ("\0", Some("control byte")),
            ("one.example\0", Some("control byte")),
            ("one\0.example", Some("control byte")),
            ("one.example\r\n", Some("control byte")),
            (".example", Some("begins with a dot")),
            (".", Some("begins with a dot")),
            ("..", Some("begins with a dot")),
            ("one.example.", Some("ends with a dot")),
            ("127.0.0.1.", Some("ends with a dot")),
            ("*", Some("wildcard")),
            ("*.example", Some("wildcard")),
            ("*one.example", Some("wildcard")),
            ("one.example:443", Some("port")),
            ("[::1]", Some("brackets")),
            ("[::1]:443", Some("brackets")),
            ("one..example", Some("labels")),
            ("one example", Some("labels")),
            (" one.example", Some("labels")),
            ("one.example/", Some("labels")),
            ("user@one.example", Some("labels")),
            ("bücher.example", Some("ASCII")),
            (&label, Some("labels")),
            (&long, Some("labels")),
        ];
        for (name, reason) in rows {
            let checked = check("sni", name).map_err(|e| e.to_string());
            match (reason, checked) {
                (None, Ok(())) => {}
                (Some(reason), Err(text)) => {
                    assert!(text.contains("sni is ") && text.contains(reason), "{text}");
                }
                (_, checked) => panic!("{name:?}: {checked:?}"),
            }
        }
    }

    #[test]
    fn little_of_a_long_value_is_shown() {
        let text = check("sni", &"x ".repeat(50_000)).unwrap_err().to_string();
        assert!(text.len() < 500, "{}", text.len());
    }

    #[test]
    fn an_underscore_in_the_first_label_is_found() {
        for (name, parent) in [
            ("a_b.example.com", Some("example.com")),
            ("_.example.com", Some("example.com")),
            ("ab.example.com", None),
            ("ab.exa_mple.com", None),
            ("a_b", None),
            ("a_b.", None),
            ("a_b..com", None),
        ] {
            assert_eq!(parent_of_underscored(name), parent, "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (name, is) in [
            ("a.example", Some("a.example")),
            ("A.EXAMPLE.", Some("a.example")),
            ("*.a.example", Some("*.a.example")),
            ("*.example", Some("*.example")),
            ("_dmarc.example", Some("_dmarc.example")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("*", None),
            ("*.", None),
            ("", None),
            (".", None),
            (".a.example", None),
            ("a.example..", None),
            ("a.example\0", None),
            ("a\0.example", None),
            ("a*.example", None),
            ("a.*.example", None),
            ("*.*.example", None),
            ("a..example", None),
            ("bücher.example", None),
            ("a b.example", None),
        ] {
            assert_eq!(normal(name).as_deref(), is, "{name}");
        }
        assert_eq!(
            normal(&"a".repeat(64)),
            None,
            "a label has at most 63 bytes"
        );
        let long = ["a".repeat(60).as_str(); 5].join(".");
        assert_eq!(normal(&long), None, "a name has at most 253 bytes");
    }
}
