//! Which names a certificate is for. No I/O.

use crate::protocols::tls::names::lower;
use std::collections::HashMap;

/// Values by the name of a host, exact or with a wildcard for its first label.
#[derive(Debug)]
pub(super) struct NameTable<V> {
    exact: HashMap<Box<str>, V>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, V>,
}

impl<V: Default> NameTable<V> {
    pub(super) fn new() -> Self {
        NameTable {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        }
    }

    /// The value of this name, which has to be [`normal`](crate::protocols::tls::names::normal); made if there is none yet.
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
    use crate::protocols::tls::names::normal;

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
}
