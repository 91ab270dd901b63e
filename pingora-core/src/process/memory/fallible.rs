//! Allocations whose size a peer decides: if there is no memory, its request fails, and the process
//! continues.

use bytes::{Bytes, BytesMut};
use std::io;

#[cold]
fn exhausted<E>(_: E) -> io::Error {
    io::ErrorKind::OutOfMemory.into()
}

/// An empty buffer with this capacity.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn buffer(bytes: usize) -> io::Result<BytesMut> {
    let mut room = Vec::<u8>::new();
    room.try_reserve_exact(bytes).map_err(exhausted)?;
    // Via `Bytes`, because `BytesMut` can't be created from a vector; nothing is copied.
    Ok(BytesMut::from(Bytes::from(room)))
}

/// A copy of these bytes, without spare capacity.
///
/// # Errors
/// `OutOfMemory`.
#[inline]
pub(crate) fn copy(bytes: &[u8]) -> io::Result<Bytes> {
    if bytes.is_empty() {
        return Ok(Bytes::new());
    }
    let mut room = Vec::new();
    room.try_reserve_exact(bytes.len()).map_err(exhausted)?;
    room.extend_from_slice(bytes);
    Ok(room.into())
}

/// A copy of these bytes, concatenated.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn join(first: &[u8], second: &[u8]) -> io::Result<Bytes> {
    let mut room = Vec::new();
    let length = first.len().saturating_add(second.len());
    room.try_reserve_exact(length).map_err(exhausted)?;
    room.extend_from_slice(first);
    room.extend_from_slice(second);
    Ok(room.into())
}

/// Appends these bytes. Grows by doubling.
///
/// # Errors
/// `OutOfMemory`. The buffer is unchanged in that case.
pub(crate) fn append(buffer: &mut BytesMut, bytes: &[u8]) -> io::Result<()> {
    if buffer.capacity() - buffer.len() < bytes.len() {
        let needed = buffer.len().saturating_add(bytes.len());
        let mut larger = self::buffer(needed.max(buffer.len().saturating_mul(2)))?;
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_memory_for_is_an_error() {
        let error = buffer(isize::MAX as usize).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }

    #[test]
    fn buffers_have_the_room_that_was_asked_for() {
        let mut room = buffer(1000).unwrap();
        assert_eq!((room.len(), room.capacity()), (0, 1000));
        room.extend_from_slice(&[7; 1000]);
        let at = room.as_ptr();
        assert_eq!(room.freeze().as_ptr(), at, "it stays where it is");
        assert_eq!(copy(b"abc").unwrap(), "abc");
        assert_eq!(join(b"abc", b"de").unwrap(), "abcde");
    }

    #[test]
    fn appending_grows_by_doubling() {
        let mut buffer = BytesMut::new();
        let mut moves = 0;
        for n in 0..10_000_u32 {
            let before = buffer.capacity();
            append(&mut buffer, &[n as u8]).unwrap();
            moves += u32::from(buffer.capacity() != before);
        }
        assert_eq!(buffer.len(), 10_000);
        assert!(
            buffer
                .iter()
                .zip(0..10_000_u32)
                .all(|(got, n)| *got == n as u8)
        );
        assert!(moves < 20, "{moves}");
    }
}
