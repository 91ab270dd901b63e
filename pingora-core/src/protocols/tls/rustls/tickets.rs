//! Session tickets, sealed with the keys of the listener.

use crate::protocols::tls::certificate::rustls::sha256;
use crate::protocols::tls::{TicketKey, TicketKeySource};
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;
use std::fmt;
use std::sync::Arc;

/// The lifetime that is told to clients, in seconds: that of a key that rotates by default.
const LIFETIME: u32 = 12 * 60 * 60;
/// The name of the key at the beginning of each ticket.
const NAME: usize = 16;
const NONCE: usize = 12;

/// Tickets for sessions that began under the same demands on clients: what seals them is made of the listener's
/// key and of these demands, so that a ticket of other demands can't be opened.
pub(super) struct Tickets {
    keys: Arc<dyn TicketKeySource>,
    scope: [u8; 32],
}

impl Tickets {
    pub(super) fn new(keys: Arc<dyn TicketKeySource>, scope: [u8; 32]) -> Self {
        Tickets { keys, scope }
    }

    fn cipher(&self, key: &TicketKey) -> Option<RandomizedNonceKey> {
        let parts = [&b"rustls ticket"[..], key.secret(), key.mac(), &self.scope];
        RandomizedNonceKey::new(&AES_256_GCM, &sha256(&parts.concat())).ok()
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.current()?;
        let mut sealed = plain.to_vec();
        let cipher = self.cipher(&key)?;
        let nonce = cipher.seal_in_place_append_tag(Aad::from(key.name()), &mut sealed);
        let nonce = nonce.ok()?;
        Some([&key.name()[..], nonce.as_ref(), &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        let (key, _) = self.keys.find(name)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self
            .cipher(&key)?
            .open_in_place(nonce, Aad::from(name), &mut opened);
        let length = plain.ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

impl fmt::Debug for Tickets {
    /// Never shows a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocols::tls::SessionTickets;

    #[test]
    fn a_ticket_is_opened_by_its_key_and_under_its_demands_alone() {
        let keys = SessionTickets::default().source().unwrap();
        let tickets = Tickets::new(keys.clone(), [1; 32]);
        let sealed = tickets.encrypt(b"a session").unwrap();
        assert_eq!(tickets.decrypt(&sealed).as_deref(), Some(&b"a session"[..]));
        assert_ne!(tickets.encrypt(b"a session").unwrap(), sealed);
        assert!(Tickets::new(keys, [2; 32]).decrypt(&sealed).is_none());
        let others = SessionTickets::default().source().unwrap();
        assert!(Tickets::new(others, [1; 32]).decrypt(&sealed).is_none());
        for at in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[at] ^= 1;
            assert!(tickets.decrypt(&broken).is_none(), "{at}");
            assert!(tickets.decrypt(&sealed[..at]).is_none(), "{at}");
        }
    }
}
