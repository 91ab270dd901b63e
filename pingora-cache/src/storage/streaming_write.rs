//! Tags by which a reader finds a body that is still being written.
//!
//! A storage may use any bytes for [`HandleMiss::streaming_write_tag`](super::HandleMiss::streaming_write_tag);
//! these two types turn numbers into such bytes and back.

use pingora_error::{BError, Error, ErrorType};

macro_rules! write_id {
    ($name:ident, $number:ty) => {
        #[doc = concat!("A tag that stands for a `", stringify!($number), "`.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; size_of::<$number>()]);

        impl $name {
            /// The tag.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<$number> for $name {
            fn from(number: $number) -> Self {
                $name(number.to_be_bytes())
            }
        }

        impl From<$name> for $number {
            fn from(id: $name) -> Self {
                <$number>::from_be_bytes(id.0)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = BError;

            /// Fails with `InternalError` for a tag of another length.
            fn try_from(tag: &[u8]) -> Result<Self, BError> {
                match tag.try_into() {
                    Ok(bytes) => Ok($name(bytes)),
                    Err(_) => Error::e_explain(
                        ErrorType::InternalError,
                        concat!("the tag of a write is not a ", stringify!($number)),
                    ),
                }
            }
        }
    };
}

write_id!(U64WriteId, u64);
write_id!(U32WriteId, u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_tags_and_numbers_again() {
        let tag = U64WriteId::from(7);
        assert_eq!(u64::from(U64WriteId::try_from(tag.as_bytes()).unwrap()), 7);
        assert!(U32WriteId::try_from(tag.as_bytes()).is_err());
        let tag = U32WriteId::from(u32::MAX);
        assert_eq!(tag.as_bytes(), [0xff; 4]);
        assert_eq!(u32::from(tag), u32::MAX);
    }
}
