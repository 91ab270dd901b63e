//! Digests of the request fields that a response varies on.

use crate::digest::Digest;
use crate::key::HashBinary;
use std::borrow::Cow;

/// Collects the values that a response varies on (`Vary`, RFC 9111 section 4.1), and digests them. The order in
/// which names are added makes no difference; the order of several values of one name does.
///
/// # Example
/// ```
/// use pingora_cache::VarianceBuilder;
///
/// let mut one = VarianceBuilder::new();
/// one.add_value("accept-encoding", "gzip");
/// one.add_value("accept-language", "en");
/// let mut two = VarianceBuilder::new();
/// two.add_value("accept-language", "en");
/// two.add_value("accept-encoding", "gzip");
/// assert_eq!(one.finalize(), two.finalize());
/// assert_eq!(VarianceBuilder::new().finalize(), None);
/// ```
#[derive(Debug, Default)]
pub struct VarianceBuilder<'a> {
    values: Vec<(Cow<'a, str>, Cow<'a, [u8]>)>,
}

impl<'a> VarianceBuilder<'a> {
    /// Without a value: no variance.
    pub fn new() -> Self {
        VarianceBuilder::default()
    }

    /// Adds a value by its name, for example that of the request field. A field that is absent is something else
    /// than an empty one: leave it out, or add a value that says so.
    pub fn add_value(&mut self, name: &'a str, value: &'a (impl AsRef<[u8]> + ?Sized)) {
        self.values
            .push((Cow::Borrowed(name), Cow::Borrowed(value.as_ref())));
    }

    /// The same, with a value that was made for it.
    pub fn add_owned_value(&mut self, name: &'a str, value: Vec<u8>) {
        self.values.push((Cow::Borrowed(name), Cow::Owned(value)));
    }

    /// The same, with a name that was made for it as well.
    pub fn add_owned_name_value(&mut self, name: String, value: Vec<u8>) {
        self.values.push((Cow::Owned(name), Cow::Owned(value)));
    }

    /// Whether there is a value.
    pub fn has_variance(&self) -> bool {
        !self.values.is_empty()
    }

    /// The digest of all values; `None` if there is none.
    pub fn finalize(mut self) -> Option<HashBinary> {
        if self.values.is_empty() {
            return None;
        }
        // Stable: several values of one name keep their order.
        self.values.sort_by(|one, other| one.0.cmp(&other.0));
        let mut digest = Digest::new();
        for (name, value) in &self.values {
            digest.update_part(name.as_bytes());
            digest.update_part(value);
        }
        Some(digest.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(values: &[(&str, &str)]) -> Option<HashBinary> {
        let mut variance = VarianceBuilder::new();
        for (name, value) in values {
            variance.add_value(name, *value);
        }
        assert_eq!(variance.has_variance(), !values.is_empty());
        variance.finalize()
    }

    #[test]
    fn different_values_never_meet() {
        let rows: &[&[(&str, &str)]] = &[
            &[],
            &[("a", "")],
            &[("a", "b")],
            &[("ab", "")],
            &[("", "ab")],
            &[("a", "b"), ("c", "d")],
            &[("a", "bc"), ("", "d")],
            &[("a", "d"), ("c", "b")],
            &[("a", "1"), ("a", "2")],
            &[("a", "2"), ("a", "1")],
        ];
        let digests: std::collections::BTreeSet<_> = rows.iter().map(|row| digest(row)).collect();
        assert_eq!(digests.len(), rows.len());
    }

    #[test]
    fn owned_values_are_the_same() {
        let mut owned = VarianceBuilder::new();
        owned.add_owned_name_value("c".into(), b"d".to_vec());
        owned.add_owned_value("a", b"b".to_vec());
        assert_eq!(owned.finalize(), digest(&[("a", "b"), ("c", "d")]));
    }
}
