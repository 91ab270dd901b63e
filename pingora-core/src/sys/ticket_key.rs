//! The keys of session tickets, as the callbacks of TLS libraries are given them. Plain data.

use std::fmt;
use std::sync::Arc;

/// A key of session tickets: AES in CBC mode and HMAC with SHA-256, as RFC 5077 section 4 recommends. A
/// backend that seals tickets in another way derives its keys from [`secret`](Self::secret).
#[derive(Clone)]
pub struct TicketKey {
    pub(crate) name: [u8; 16],
    pub(crate) cipher: CipherKey,
    /// Only the first 16 or all bytes, as for the cipher.
    pub(crate) mac: [u8; 32],
}

#[derive(Clone)]
pub(crate) enum CipherKey {
    Aes128([u8; 16]),
    Aes256([u8; 32]),
}

impl TicketKey {
    /// The name that tells this key from others. Stands in each ticket, in the clear.
    pub fn name(&self) -> &[u8; 16] {
        &self.name
    }

    /// The key of the cipher: 16 bytes for AES-128 or 32 bytes for AES-256.
    pub fn secret(&self) -> &[u8] {
        match &self.cipher {
            CipherKey::Aes128(key) => key,
            CipherKey::Aes256(key) => key,
        }
    }

    /// The key of the HMAC, as long as the one of the cipher.
    pub fn mac(&self) -> &[u8] {
        match self.cipher {
            CipherKey::Aes128(_) => self.mac.split_at(16).0,
            CipherKey::Aes256(_) => &self.mac,
        }
    }
}

impl fmt::Debug for TicketKey {
    /// Never shows a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey").finish_non_exhaustive()
    }
}

/// The use of a key that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// The ticket stays good.
    Current,
    /// The ticket is accepted, and the client gets a new one.
    Aged,
}

/// Where the keys of session tickets are. Called within handshakes: does not block.
pub trait TicketKeySource: Send + Sync {
    /// The key for new tickets; without one, no ticket is given out.
    fn current(&self) -> Option<Arc<TicketKey>>;
    /// The key with this name; `None` where the ticket is not accepted, and the handshake a full one.
    fn find(&self, name: &[u8; 16]) -> Option<(Arc<TicketKey>, Found)>;
}
