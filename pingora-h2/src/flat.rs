//! Fields in one piece of memory.

/// The memory that is kept for the next head, in bytes.
const KEPT: usize = 4096;
/// The bytes of each length.
const LENGTH: usize = size_of::<u32>();

/// Fields to be sent, one behind the other in one piece of memory: for a message whose fields are not looked up by name
/// any more, where a map would cost more than all the rest of sending them.
///
/// Each field is stored as the length of its name, the length of its value, the name in lower case, and the value.
#[derive(Debug, Clone, Default)]
pub struct FlatFields {
    bytes: Vec<u8>,
}

impl FlatFields {
    /// Adds a field. Its name may have any case; both must be valid, and a field that is too long for its length to be
    /// stored (4 GiB) is not added.
    #[inline]
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let lengths = (u32::try_from(name.len()), u32::try_from(value.len()));
        let (Ok(name_length), Ok(value_length)) = lengths else {
            return;
        };
        self.bytes.reserve(2 * LENGTH + name.len() + value.len());
        self.bytes.extend_from_slice(&name_length.to_ne_bytes());
        self.bytes.extend_from_slice(&value_length.to_ne_bytes());
        let at = self.bytes.len();
        self.bytes.extend_from_slice(name);
        if let Some(name) = self.bytes.get_mut(at..) {
            name.make_ascii_lowercase();
        }
        self.bytes.extend_from_slice(value);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Names and values, in the order in which they were added.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (name_length, after) = rest.split_first_chunk::<LENGTH>()?;
            let (value_length, after) = after.split_first_chunk::<LENGTH>()?;
            let (name, after) = after.split_at_checked(u32::from_ne_bytes(*name_length) as usize)?;
            let (value, after) =
                after.split_at_checked(u32::from_ne_bytes(*value_length) as usize)?;
            rest = after;
            Some((name, value))
        })
    }

    /// Empty, with its memory if that is not too large to keep.
    pub(crate) fn emptied(mut self) -> Self {
        if self.bytes.capacity() > KEPT {
            return Self::default();
        }
        self.clear();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_order_with_names_in_lower_case() {
        let mut fields = FlatFields::default();
        assert!(fields.is_empty() && fields.iter().next().is_none());
        let long = vec![b'v'; 70_000];
        let rows: [(&[u8], &[u8], &[u8]); 4] = [
            (b"Content-Type", b"content-type", b"Text/HTML"),
            (b"x", b"x", b""),
            (b"X-Long", b"x-long", &long),
            (b"x", b"x", b"again"),
        ];
        rows.iter()
            .for_each(|(name, _, value)| fields.push(name, value));
        let expected: Vec<(&[u8], &[u8])> = rows.iter().map(|row| (row.1, row.2)).collect();
        assert_eq!(fields.iter().collect::<Vec<_>>(), expected);
        assert_eq!(fields.emptied().bytes.capacity(), 0, "too large to keep");
        let mut small = FlatFields::default();
        small.push(b"a", b"b");
        let kept = small.emptied();
        assert!(kept.is_empty() && kept.bytes.capacity() > 0);
    }
}
