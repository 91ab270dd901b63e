//! Random bytes for keys, from the kernel.

use std::io;

/// Fills `bytes` with random bytes that are good for keys. Does not block once the system has booted.
///
/// # Errors
/// The kernel's, where it has none to give.
pub(crate) fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        // SAFETY: the pointer and the length are those of a live, exclusive slice of plain bytes.
        let filled = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(filled) {
            Ok(filled) => rest = rest.get_mut(filled..).unwrap_or_default(),
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(e),
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_filled() {
        // The kernel gives 256 bytes without interruption; more come in pieces.
        let (mut one, mut other) = ([0; 4096], [0; 4096]);
        fill(&mut one).unwrap();
        fill(&mut other).unwrap();
        assert_ne!(one, other);
        assert!(one.chunks(64).all(|piece| piece != [0; 64]));
        fill(&mut []).unwrap();
    }
}
