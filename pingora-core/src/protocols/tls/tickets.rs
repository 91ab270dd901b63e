//! Session tickets (RFC 5077, RFC 8446 section 4.6.1) and the keys that they are written with.

use crate::protocols::tls::TLS_CONF_ERR;
use crate::sys::random;
use crate::sys::ticket_key::CipherKey;
pub use crate::sys::ticket_key::{Found, TicketKey, TicketKeySource};
use arc_swap::ArcSwap;
use pingora_error::{Error, OrErr, Result};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a key is replaced by default.
const INTERVAL: Duration = Duration::from_secs(12 * 60 * 60);
/// The sizes of a key in a file: with AES-128 and with AES-256.
const SIZES: [usize; 2] = [48, 80];

/// Which session tickets a TLS listener gives out: with them a client resumes its session without the
/// costly part of the handshake, and the server keeps nothing.
///
/// The holder of a ticket's key can read the TLS 1.2 sessions that the ticket resumes, so keys
/// should not last. By default a listener makes its own at random, replaces it every 12 hours, and
/// accepts the previous one for as long; a client with an older ticket makes a full handshake. Such
/// keys exist only in the memory of the process.
///
/// Clones have the same keys: with one, several listeners accept each other's tickets. Between processes
/// and machines, files share keys.
#[derive(Clone)]
pub struct SessionTickets(Kind);

#[derive(Clone)]
enum Kind {
    Off,
    Own(Arc<OwnKeys>),
    Files(Arc<KeyFiles>),
}

impl SessionTickets {
    /// With a key of its own that is replaced every `interval`. The previous key is accepted for another
    /// `interval`.
    pub fn rotating(interval: Duration) -> Self {
        SessionTickets(Kind::Own(Arc::new(OwnKeys {
            interval,
            state: ArcSwap::from_pointee(OwnState::default()),
            rotating: Mutex::new(()),
        })))
    }

    /// With keys from files, each of 48 or 80 random bytes, in the format that other servers have, too
    /// (`openssl rand 80`). The first is for new tickets; tickets of the others are accepted, and renewed.
    /// A reload reads them again: that is how they are rotated. Reads files: blocks.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`](crate::listeners::tls::TLS_CONF_ERR) naming the file that can't be used.
    pub fn key_files<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self> {
        let absolute = |path: P| {
            let path = path.as_ref();
            std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
        };
        let paths: Vec<PathBuf> = paths.into_iter().map(absolute).collect();
        let keys = ArcSwap::from_pointee(read_all(&paths)?);
        Ok(SessionTickets(Kind::Files(Arc::new(KeyFiles {
            paths,
            keys,
        }))))
    }

    /// No tickets. Sessions are resumed from a bounded cache in the server's memory.
    pub fn off() -> Self {
        SessionTickets(Kind::Off)
    }

    /// Reads the key files again; without files, does nothing. Blocks.
    ///
    /// # Errors
    /// As [`key_files`](Self::key_files); the keys stay as they were.
    pub fn reload(&self) -> Result<()> {
        if let Some(renewal) = self.prepare_reload()? {
            renewal();
        }
        Ok(())
    }

    /// Where the keys are, for backends; `None` where there are no tickets.
    pub fn source(&self) -> Option<Arc<dyn TicketKeySource>> {
        match &self.0 {
            Kind::Off => None,
            Kind::Own(keys) => Some(keys.clone()),
            Kind::Files(keys) => Some(keys.clone()),
        }
    }

    /// Reads the files again; what is returned puts them into force. Blocks.
    ///
    /// # Errors
    /// Naming the file that can't be used.
    pub(crate) fn prepare_reload(&self) -> Result<Option<Box<dyn FnOnce() + Send>>> {
        let Kind::Files(files) = &self.0 else {
            return Ok(None);
        };
        let (files, keys) = (files.clone(), Arc::new(read_all(&files.paths)?));
        Ok(Some(Box::new(move || files.keys.store(keys))))
    }
}

impl Default for SessionTickets {
    fn default() -> Self {
        SessionTickets::rotating(INTERVAL)
    }
}

impl fmt::Debug for SessionTickets {
    /// Never shows a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Off => f.write_str("off"),
            Kind::Own(keys) => write!(f, "rotating every {:?}", keys.interval),
            Kind::Files(files) => write!(f, "with the keys in {:?}", files.paths),
        }
    }
}

/// Keys of this process alone.
struct OwnKeys {
    interval: Duration,
    state: ArcSwap<OwnState>,
    /// Held while a key is made.
    rotating: Mutex<()>,
}

/// The key for new tickets with the time when it was made, and the one before it.
#[derive(Clone, Default)]
struct OwnState {
    current: Option<(Arc<TicketKey>, Instant)>,
    previous: Option<(Arc<TicketKey>, Instant)>,
}

impl OwnState {
    fn is_due(&self, now: Instant, interval: Duration) -> bool {
        let age = |made: &Instant| now.saturating_duration_since(*made);
        let current = self.current.as_ref();
        current.is_none_or(|(_, made)| age(made) >= interval)
    }

    /// The state after a rotation.
    fn rotated(&self, fresh: Arc<TicketKey>, now: Instant) -> Self {
        OwnState {
            current: Some((fresh, now)),
            previous: self.current.clone(),
        }
    }

    /// A key is accepted for two intervals after it was made.
    fn find(
        &self,
        name: &[u8; 16],
        now: Instant,
        interval: Duration,
    ) -> Option<(Arc<TicketKey>, Found)> {
        let keys = self.current.iter().chain(&self.previous);
        let (key, made) = keys.into_iter().find(|(key, _)| key.name == *name)?;
        match now.saturating_duration_since(*made) {
            age if age < interval => Some((key.clone(), Found::Current)),
            age if age < interval * 2 => Some((key.clone(), Found::Aged)),
            _ => None,
        }
    }
}

impl OwnKeys {
    fn current_at(&self, now: Instant) -> Option<Arc<TicketKey>> {
        if self.state.load().is_due(now, self.interval) {
            let _one_at_a_time = self.rotating.lock().unwrap_or_else(PoisonError::into_inner);
            let state = self.state.load();
            if state.is_due(now, self.interval) {
                match random_key() {
                    Ok(fresh) => self.state.store(Arc::new(state.rotated(fresh, now))),
                    // Better an old key than none, and better none than a weak one.
                    Err(e) => log::error!("no fresh key for session tickets: {e}"),
                }
            }
        }
        let state = self.state.load();
        state.current.as_ref().map(|(key, _)| key.clone())
    }
}

impl TicketKeySource for OwnKeys {
    fn current(&self) -> Option<Arc<TicketKey>> {
        self.current_at(Instant::now())
    }

    fn find(&self, name: &[u8; 16]) -> Option<(Arc<TicketKey>, Found)> {
        self.state.load().find(name, Instant::now(), self.interval)
    }
}

fn random_key() -> io::Result<Arc<TicketKey>> {
    let (mut name, mut cipher, mut mac) = ([0; 16], [0; 32], [0; 32]);
    random::fill(&mut name)?;
    random::fill(&mut cipher)?;
    random::fill(&mut mac)?;
    Ok(Arc::new(TicketKey {
        name,
        cipher: CipherKey::Aes256(cipher),
        mac,
    }))
}

/// Keys that are shared with other processes.
struct KeyFiles {
    paths: Vec<PathBuf>,
    keys: ArcSwap<Vec<Arc<TicketKey>>>,
}

impl TicketKeySource for KeyFiles {
    fn current(&self) -> Option<Arc<TicketKey>> {
        self.keys.load().first().cloned()
    }

    fn find(&self, name: &[u8; 16]) -> Option<(Arc<TicketKey>, Found)> {
        let keys = self.keys.load();
        let (index, key) = keys.iter().enumerate().find(|(_, key)| key.name == *name)?;
        let found = match index {
            0 => Found::Current,
            _ => Found::Aged,
        };
        Some((key.clone(), found))
    }
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Arc<TicketKey>>> {
    if paths.is_empty() {
        return Error::e_explain(TLS_CONF_ERR, "session tickets need a key file");
    }
    let read = |path: &PathBuf| {
        let reading = || format!("reading {}", path.display());
        let bytes = std::fs::read(path).or_err_with(TLS_CONF_ERR, reading)?;
        parse(&bytes).ok_or_else(|| {
            let (size, [short, long]) = (bytes.len(), SIZES);
            let path = path.display();
            let reason = format!("can't use {path}: {size} bytes instead of {short} or {long}");
            Error::explain(TLS_CONF_ERR, reason)
        })
    };
    paths.iter().map(read).collect()
}

/// 16 bytes of name, and then the key of AES-128 and the one of HMAC, or the key of HMAC and the one of
/// AES-256.
fn parse(bytes: &[u8]) -> Option<Arc<TicketKey>> {
    let (name, rest) = bytes.split_first_chunk::<16>()?;
    let (cipher, mac) = match bytes.len() {
        48 => {
            let (cipher, short) = rest.split_first_chunk::<16>()?;
            let mut mac = [0; 32];
            mac.split_at_mut(16).0.copy_from_slice(short);
            (CipherKey::Aes128(*cipher), mac)
        }
        80 => {
            let (mac, cipher) = rest.split_first_chunk::<32>()?;
            (CipherKey::Aes256(cipher.try_into().ok()?), *mac)
        }
        _ => return None,
    };
    Some(Arc::new(TicketKey {
        name: *name,
        cipher,
        mac,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    #[test]
    fn keys_are_replaced_in_time_and_accepted_for_as_long_again() {
        let Kind::Own(keys) = SessionTickets::default().0 else {
            panic!("they are its own");
        };
        let start = Instant::now();
        let at = |hours: u32| start + HOUR * hours;
        let find = |key: &Arc<TicketKey>, hours| {
            let found = keys.state.load().find(&key.name, at(hours), keys.interval);
            found.map(|(_, found)| found)
        };
        let first = keys.current_at(at(0)).unwrap();
        assert_eq!(keys.current_at(at(11)).unwrap().name, first.name);
        assert_eq!(find(&first, 11), Some(Found::Current));
        // A new one was not asked for yet, but the old one is old.
        assert_eq!(find(&first, 12), Some(Found::Aged));

        let second = keys.current_at(at(12)).unwrap();
        assert_ne!(second.name, first.name);
        assert_eq!(find(&first, 23), Some(Found::Aged));
        assert_eq!(find(&second, 23), Some(Found::Current));
        assert_eq!(find(&first, 24), None);

        let third = keys.current_at(at(24)).unwrap();
        assert_eq!(find(&first, 24), None);
        assert_eq!(find(&second, 24), Some(Found::Aged));
        assert_eq!(find(&third, 24), Some(Found::Current));
        // After a long silence, no earlier key is accepted.
        assert_eq!(find(&third, 100), None);
        let fourth = keys.current_at(at(100)).unwrap();
        assert_eq!(find(&third, 100), None);
        assert_eq!(find(&fourth, 100), Some(Found::Current));
        assert!(keys.find(&[0; 16]).is_none());
    }

    #[test]
    fn files_have_the_format_that_others_have() {
        let bytes: Vec<u8> = (0..80).collect();
        let long = parse(&bytes).unwrap();
        assert_eq!(long.name[..], bytes[..16]);
        assert_eq!(long.mac[..], bytes[16..48]);
        assert!(matches!(long.cipher, CipherKey::Aes256(key) if key[..] == bytes[48..]));
        let short = parse(&bytes[..48]).unwrap();
        assert!(matches!(short.cipher, CipherKey::Aes128(key) if key[..] == bytes[16..32]));
        assert_eq!(short.mac[..16], bytes[32..48]);
        for size in [0, 15, 16, 47, 49, 79] {
            assert!(parse(&bytes[..size]).is_none(), "{size}");
        }
    }

    #[test]
    fn the_first_file_is_for_new_tickets() {
        let dir = std::env::temp_dir().join(format!("ticket-keys-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = |name: &str, byte: u8, size: usize| {
            let path = dir.join(name);
            std::fs::write(&path, vec![byte; size]).unwrap();
            path
        };
        let (new, old) = (file("new", 0x5a, 80), file("old", 0x6b, 48));
        let tickets = SessionTickets::key_files([&new, &old]).unwrap();
        let source = tickets.source().unwrap();
        assert_eq!(source.current().unwrap().name, [0x5a; 16]);
        assert_eq!(source.find(&[0x5a; 16]).unwrap().1, Found::Current);
        assert_eq!(source.find(&[0x6b; 16]).unwrap().1, Found::Aged);
        assert!(source.find(&[1; 16]).is_none());

        file("new", 0x7c, 48);
        let renewal = tickets.prepare_reload().unwrap().unwrap();
        assert_eq!(source.current().unwrap().name, [0x5a; 16], "not yet");
        renewal();
        assert_eq!(source.current().unwrap().name, [0x7c; 16]);

        file("new", 0x7c, 47);
        let Err(error) = tickets.prepare_reload() else {
            panic!("47 bytes are no key");
        };
        assert!(error.to_string().contains("47 bytes"), "{error}");
        assert!(SessionTickets::key_files([dir.join("none")]).is_err());
        assert!(SessionTickets::key_files::<PathBuf>([]).is_err());
        let shown = format!("{tickets:?} {:?}", SessionTickets::default());
        assert!(shown.contains("/new") && !shown.contains("124"), "{shown}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
