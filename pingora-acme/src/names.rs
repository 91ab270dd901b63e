//! Names that a certificate may be for. No I/O.

use pingora_error::{Error, ErrorType, Result};
use std::net::IpAddr;

/// The type of errors in settings: invalid names, issuers without a URL.
pub const ACME_CONF_ERR: ErrorType = ErrorType::Custom("ACMEConfigError");

/// A name in lower case, without the dot at its end; `*.` in front stands for one label.
///
/// # Errors
/// [`ACME_CONF_ERR`] for anything else, such as an address.
pub(crate) fn normal(name: &str) -> Result<String> {
    let lower = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let host = lower.strip_prefix("*.").unwrap_or(&lower);
    if is_host(host) && lower.len() <= 253 {
        return Ok(lower);
    }
    Error::e_explain(ACME_CONF_ERR, format!("`{name}` is no name of a host"))
}

fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        let sound = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(sound)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // The last label of a name is not a number (RFC 3696 section 2); that of an IPv4 address is.
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit());
    host.split('.').all(label) && !numeric && host.parse::<IpAddr>().is_err()
}

/// Whether an authority would look at this name, which a client asked for.
pub(crate) fn is_worth_asking(name: &str) -> bool {
    name.contains('.') && !name.starts_with('*') && normal(name).is_ok_and(|normal| normal == name)
}

/// As a part of a key of the storage: a wildcard's star is no letter.
pub(crate) fn key(names: &[String]) -> String {
    let first = names.first().map_or("", String::as_str);
    match first.strip_prefix("*.") {
        Some(rest) => format!("_wildcard.{rest}"),
        None => first.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names() {
        for (name, is) in [
            ("One.Example.", Some("one.example")),
            ("*.one.example", Some("*.one.example")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("localhost", Some("localhost")),
            ("", None),
            (".", None),
            ("*", None),
            ("*.*.example", None),
            ("a..example", None),
            ("-a.example", None),
            ("a_b.example", None),
            ("a/b.example", None),
            ("a b.example", None),
            ("bücher.example", None),
            ("127.0.0.1", None),
            ("::1", None),
            ("a.1", None),
        ] {
            assert_eq!(normal(name).ok().as_deref(), is, "{name}");
        }
        assert!(normal(&format!("{}.example", "a".repeat(64))).is_err());
        assert!(normal(&format!("{}example", "a.".repeat(130))).is_err());
    }

    #[test]
    fn clients_ask_for_much_that_nobody_would_certify() {
        for (name, worth) in [
            ("one.example", true),
            ("One.example", false),
            ("localhost", false),
            ("*.example", false),
            ("127.0.0.1", false),
            ("one.example/..", false),
        ] {
            assert_eq!(is_worth_asking(name), worth, "{name}");
        }
    }

    #[test]
    fn keys_are_made_of_the_first_name() {
        let names = ["*.one.example", "one.example"].map(String::from);
        assert_eq!(key(&names), "_wildcard.one.example");
        assert_eq!(key(&names[1..]), "one.example");
    }
}
