//! Which names a certificate is for. No I/O.

use crate::protocols::tls::names::is_host_name;
use std::borrow::Cow;
use std::collections::HashMap;

/// Values by the name of a host, exact or with a wildcard for its first label.
#[derive(Debug)]
pub(super) struct NameTable<V> {
    exact: HashMap<Box<str>, V>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, V>,
}

/// A name as it may stand in the table: lower case, without the dot at its end.
///
/// A wildcard stands for one whole label, the first; nothing else is a wildcard (RFC 9525 section 6.3).
pub(super) fn normal(name: &str) -> Option<Cow<'_, str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let host = name.strip_prefix("*.").unwrap_or(name);
    if name.len() > 253 || !is_host_name(host) {
        return None;
    }
    Some(lower(name))
}

fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

impl<V: Default> NameTable<V> {
    pub(super) fn new() -> Self {
        NameTable {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        }
    }

    /// The value of this name, which has to be [`normal`]; made if there is none yet.
    pub(super) fn entry(&mut self, name: &str) -> &mut V {
        match name.strip_prefix("*.") {
            Some(parent) => self.wildcard.entry(parent.into()).or_default(),
            None => self.exact.entry(name.into()).or_default(),
        }
    }
}

impl<V> NameTable<V> {
    /// The values for the name that a client asks for: that of exactly this name, and that of the wildcard that
    /// covers it.
    pub(super) fn find(&self, asked: &str) -> (Option<&V>, Option<&V>) {
        let asked = asked.strip_suffix('.').unwrap_or(asked);
        let asked = lower(asked);
        let covering = asked
            .split_once('.')
            .filter(|(label, _)| !label.is_empty())
            .and_then(|(_, parent)| self.wildcard.get(parent));
        (self.exact.get(&*asked), covering)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        let mut table = NameTable::<Vec<&str>>::new();
        for name in ["one.example", "*.example", "*.two.example", "localhost"] {
            let name = normal(name).unwrap();
            table.entry(&name).push("x");
        }
        for (asked, exact, wildcard) in [
            ("one.example", true, true),
            ("ONE.Example.", true, true),
            ("localhost", true, false),
            ("other.example", false, true),
            ("two.example", false, true),
            ("a.two.example", false, true),
            ("a.b.two.example", false, false),
            ("a.one.example", false, false),
            ("example", false, false),
            (".example", false, false),
            ("*.example", false, true),
            ("", false, false),
            (".", false, false),
            ("one.example.evil", false, false),
        ] {
            let (found_exact, found_wildcard) = table.find(asked);
            let found = (found_exact.is_some(), found_wildcard.is_some());
            assert_eq!(found, (exact, wildcard), "{asked}");
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
