//! Fields that were added to a head whose other fields are still in the form in which they arrived.

use bytes::BufMut;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::case_header_name::{FieldName, put_titled};
use crate::name_cases::NameCases;

/// With more fields than this, comparing names costs more than a map.
const MOST_ADDED: usize = 16;

/// They follow all others, as they would in a map. No two have the same name, and none has the name of a
/// field that arrived.
#[derive(Debug, Clone, Default)]
pub(super) struct Added(Vec<(FieldName, HeaderValue)>);

impl Added {
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < MOST_ADDED
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn truncate(&mut self, fields: usize) {
        self.0.truncate(fields);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn assign_from(&mut self, other: &Self) {
        self.0.clone_from(&other.0);
    }

    pub(super) fn push(&mut self, field: FieldName, value: HeaderValue) {
        self.0.push((field, value));
    }

    pub(super) fn has(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|(field, _)| field.name == *name)
    }

    pub(super) fn value_of(&self, name: &HeaderName) -> Option<&[u8]> {
        let found = self.0.iter().find(|(field, _)| field.name == *name);
        found.map(|(_, value)| value.as_bytes())
    }

    pub(super) fn is_any_sensitive(&self) -> bool {
        self.0.iter().any(|(_, value)| value.is_sensitive())
    }

    /// Names in lower case, and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&HeaderName, &[u8])> {
        let fields = self.0.iter();
        fields.map(|(field, value)| (&field.name, value.as_bytes()))
    }

    /// Adds copies of the fields to a map.
    pub(super) fn fill(&self, headers: &mut HeaderMap, cases: &mut NameCases) {
        for (field, value) in &self.0 {
            let filled = cases.append_field(headers, field.clone(), value.clone());
            debug_assert!(filled.is_some(), "a map has room for so few fields");
        }
    }

    pub(super) fn write(&self, buf: &mut impl BufMut) {
        for (field, value) in &self.0 {
            match &field.case {
                Some(case) => buf.put_slice(case.as_slice()),
                None => put_titled(field.name.as_str().as_bytes(), buf),
            }
            buf.put_slice(b": ");
            buf.put_slice(value.as_bytes());
            buf.put_slice(b"\r\n");
        }
    }

    /// The number of bytes that [`Self::write`] will write.
    pub(super) fn written_len(&self) -> usize {
        let len =
            |(field, value): &(FieldName, HeaderValue)| field.name.as_str().len() + value.len() + 4;
        self.0.iter().map(len).sum()
    }
}
