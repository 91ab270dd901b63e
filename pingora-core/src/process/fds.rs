//! Sockets, indexed by the transports and addresses they are bound to, so that they can be handed
//! over.

mod datagrams;

use super::activation::means;
use super::handover::{Given, GivenFd, Handover, Passed};
use super::names::{SocketKind, names};
use datagrams::Datagrams;
use log::warn;
use nix::NixPath;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt::Display;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The time that one server waits for the other.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(60);

/// The table of listening sockets, shared by all services of a server.
pub type ListenFds = Arc<Mutex<Fds>>;

/// Listening sockets, indexed by the address they are bound to (`127.0.0.1:80`, `/run/proxy.sock`), and
/// datagram sockets, indexed by theirs: the same address may be in both. All are handed to the next server
/// in an upgrade.
///
/// Methods are about listening sockets unless they say otherwise. The table does not own their descriptors: the
/// service that claimed one closes it. For a datagram socket it keeps a descriptor of its own.
#[derive(Clone, Debug, Default)]
pub struct Fds {
    datagrams: Datagrams,
    by_address: HashMap<String, RawFd>,
    /// Of these, the ones that this process received and that are unclaimed: the table owns them.
    /// Shared among clones of the table.
    received: HashMap<String, Arc<OwnedFd>>,
    /// The names of those that a service in this process listens on.
    claimed: HashSet<String>,
    handed_over: bool,
}

/// A socket that was passed to this process.
#[derive(Debug)]
pub(crate) enum Claimed {
    Owned(OwnedFd),
    /// Entered by its number.
    Number(RawFd),
}

impl Fds {
    /// An empty table.
    pub fn new() -> Self {
        Fds::default()
    }

    /// Enters a socket, replacing an earlier one with the same address. The descriptor is given away: the
    /// service that claims the address closes it.
    pub fn add(&mut self, bind: String, fd: RawFd) {
        self.received.remove(&bind);
        self.by_address.insert(bind, fd);
    }

    /// The socket that is bound to this address, if it is known.
    pub fn get(&self, bind: &str) -> Option<&RawFd> {
        self.by_address.get(bind)
    }

    /// Takes an unclaimed socket with this address that was passed to this process; also returns
    /// its name in the table. The caller owns it, and reports with [`moved`](Fds::moved) if its
    /// descriptor changes.
    pub(crate) fn claim(&mut self, bind: &str) -> Option<(String, Claimed)> {
        let by_address = names(bind)
            .map_while(|name| self.by_address.get(&name).map(|fd| (name, *fd)))
            .find(|(name, _)| !self.claimed.contains(name));
        let (name, fd) = by_address.or_else(|| self.external(bind))?;
        self.claimed.insert(name.clone());
        let owned = self.received.remove(&name).and_then(Arc::into_inner);
        Some((name, owned.map_or(Claimed::Number(fd), Claimed::Owned)))
    }

    /// The descriptor of a claimed socket has changed.
    pub(crate) fn moved(&mut self, name: &str, fd: RawFd) {
        if let Some(known) = self.by_address.get_mut(name) {
            *known = fd;
        }
    }

    /// The first unclaimed socket of the service manager that this address refers to.
    fn external(&self, bind: &str) -> Option<(String, RawFd)> {
        let free = |name: &&String| means(bind, name) && !self.claimed.contains(*name);
        let name = self.by_address.keys().filter(free).min()?;
        Some((name.clone(), *self.by_address.get(name)?))
    }

    /// Enters a socket that this process created and listens on, and returns its name: the address,
    /// with a number if there are several.
    pub(crate) fn offer(&mut self, bind: &str, fd: RawFd) -> String {
        let name = names(bind)
            .find(|name| !self.by_address.contains_key(name))
            .unwrap_or_default();
        self.by_address.insert(name.clone(), fd);
        self.claimed.insert(name.clone());
        name
    }

    /// Removes a socket that its owner is about to close.
    pub(crate) fn withdraw(&mut self, name: &str) {
        self.by_address.remove(name);
        self.received.remove(name);
        self.claimed.remove(name);
    }

    /// Whether no socket is known, of either kind.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty() && self.datagrams.is_empty()
    }

    /// The listening sockets as two lists of equal length, in the order of the addresses. Datagram sockets are
    /// not included; [`Fds::send_to_sock`] sends those too.
    pub fn serialize(&self) -> (Vec<String>, Vec<RawFd>) {
        let mut entries: Vec<(&String, &RawFd)> = self.by_address.iter().collect();
        entries.sort();
        entries
            .into_iter()
            .map(|(bind, fd)| (bind.clone(), *fd))
            .unzip()
    }

    /// Enters the result of [`Fds::serialize`]. Items without a counterpart in the other list are
    /// ignored.
    pub fn deserialize(&mut self, binds: Vec<String>, fds: Vec<RawFd>) {
        for (bind, fd) in binds.into_iter().zip(fds) {
            self.add(bind, fd);
        }
    }

    /// Sends all sockets, including datagram sockets, to the process that waits for them in
    /// [`Fds::get_from_sock`] on the same path; waits for it for a minute. Returns the number of sockets.
    /// They stay open here too. Blocks.
    ///
    /// # Errors
    /// If no process takes them, or the receiver belongs to another user (`EPERM`) or speaks another
    /// version of the hand-over (`EPROTONOSUPPORT`).
    pub fn send_to_sock<P>(&self, path: &P) -> Result<usize, nix::Error>
    where
        P: ?Sized + NixPath + Display,
    {
        let path = owned_path(path)?;
        let deadline = Instant::now() + HANDOVER_TIMEOUT;
        Handover::give(&path, || self.given(), deadline)
            .and_then(|(sent, handover)| {
                handover.wait_until_accepting(deadline)?;
                Ok(sent)
            })
            .map_err(|e| number(&e))
    }

    /// Everything that the next server gets.
    pub(crate) fn given(&self) -> Vec<Given> {
        let (names, numbers) = self.serialize();
        let listening = names.into_iter().zip(numbers).map(|(name, fd)| Given {
            kind: SocketKind::Stream,
            name,
            fd: GivenFd::Number(fd),
        });
        listening.chain(self.datagrams.given()).collect()
    }

    /// Receives the sockets that another process sends with [`Fds::send_to_sock`] to the same path;
    /// waits for it for a minute. The path must not exist, except as the socket of a process that
    /// was killed. Blocks.
    ///
    /// # Errors
    /// If no process sends any, or the sender belongs to another user (`EPERM`) or speaks another
    /// version of the hand-over (`EPROTONOSUPPORT`).
    pub fn get_from_sock<P>(&mut self, path: &P) -> Result<(), nix::Error>
    where
        P: ?Sized + NixPath + Display,
    {
        let path = owned_path(path)?;
        let deadline = Instant::now() + HANDOVER_TIMEOUT;
        let (sockets, handover) = Handover::take(&path, None, deadline).map_err(|e| number(&e))?;
        self.receive(sockets);
        handover.accepting().map_err(|e| number(&e))
    }

    /// Enters sockets that were passed to this process. The service that claims one owns it. A socket whose
    /// name belongs to one that a service here has already bound is closed.
    pub(crate) fn receive(&mut self, sockets: Vec<Passed>) {
        for Passed { kind, name, fd } in sockets {
            match kind {
                SocketKind::Stream if self.claimed.contains(&name) => {
                    warn!(
                        "{name} is bound by a service already; the socket of the running server was closed"
                    );
                }
                SocketKind::Stream => {
                    self.by_address.insert(name.clone(), fd.as_raw_fd());
                    self.received.insert(name, Arc::new(fd));
                }
                SocketKind::Datagram => self.datagrams.receive(name, fd),
            }
        }
    }

    /// Closes and removes every listening socket that was passed to this process and never claimed;
    /// returns their names.
    pub(crate) fn close_orphans(&mut self) -> Vec<String> {
        let claimed = std::mem::take(&mut self.claimed);
        let closed = self.close_unclaimed(&claimed);
        self.claimed = claimed;
        closed
    }

    /// Records that another process also listens on all of these: their files must stay.
    pub(crate) fn set_handed_over(&mut self) {
        self.handed_over = true;
    }

    /// Whether another process also listens on all of these.
    pub(crate) fn are_handed_over(&self) -> bool {
        self.handed_over
    }

    /// Closes and removes every listening socket whose address is not in `keep`; returns the addresses of
    /// the closed ones, in order. Datagram sockets stay. A listening socket without a service would
    /// otherwise accept connections that are never answered.
    pub fn close_unclaimed(&mut self, keep: &HashSet<String>) -> Vec<String> {
        let mut closed: Vec<String> = self
            .by_address
            .keys()
            .filter(|bind| !keep.contains(*bind))
            .cloned()
            .collect();
        closed.sort();
        for bind in &closed {
            let Some(fd) = self.by_address.remove(bind) else {
                continue;
            };
            // Descriptors that the table owns are closed when they are dropped.
            if self.received.remove(bind).is_none() {
                let _ = nix::unistd::close(fd);
            }
        }
        closed
    }
}

fn owned_path<P: ?Sized + NixPath>(path: &P) -> Result<PathBuf, nix::Error> {
    path.with_nix_path(|path| Path::new(OsStr::from_bytes(path.to_bytes())).to_path_buf())
}

fn number(error: &std::io::Error) -> nix::Error {
    let other = nix::Error::EPROTO;
    error.raw_os_error().map_or(
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => nix::Error::EPERM,
            std::io::ErrorKind::Unsupported => nix::Error::EPROTONOSUPPORT,
            _ => other,
        },
        nix::Error::from_raw,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    impl Claimed {
        fn number(self) -> RawFd {
            match self {
                Claimed::Owned(fd) => fd.into_raw_fd(),
                Claimed::Number(fd) => fd,
            }
        }
    }

    fn claim(fds: &mut Fds, bind: &str) -> Option<(String, RawFd)> {
        let (name, claimed) = fds.claim(bind)?;
        Some((name, claimed.number()))
    }

    #[test]
    fn a_table_survives_being_taken_apart() {
        let mut fds = Fds::new();
        assert!(fds.is_empty());
        fds.add("b:1".into(), 8);
        fds.add("a:1".into(), 7);
        let (binds, raw) = fds.serialize();
        assert_eq!((binds.len(), raw.as_slice()), (2, [7, 8].as_slice()));
        let mut other = Fds::new();
        other.deserialize(binds, raw);
        assert_eq!(other.get("a:1"), Some(&7));
        assert_eq!(other.get("b:1"), Some(&8));
    }

    #[test]
    fn sockets_of_one_address_are_numbered_and_claimed_once() {
        let mut old = Fds::new();
        assert_eq!(old.offer("a:0", 5), "a:0");
        assert_eq!(old.offer("a:0", 6), "a:0#2");
        assert_eq!(claim(&mut old, "a:0"), None, "those are our own");

        let (binds, raw) = old.serialize();
        let mut new = Fds::new();
        new.deserialize(binds, raw);
        assert_eq!(claim(&mut new, "a:0"), Some(("a:0".into(), 5)));
        assert_eq!(claim(&mut new, "a:0"), Some(("a:0#2".into(), 6)));
        assert_eq!(claim(&mut new, "a:0"), None);
        new.withdraw("a:0");
        assert_eq!(new.get("a:0"), None);
        assert_eq!(new.offer("a:0", 9), "a:0");
    }

    #[test]
    fn sockets_of_the_service_manager_are_claimed_by_address_or_label() {
        let mut fds = Fds::new();
        for (name, fd) in [
            ("external:web:127.0.0.1:80", 5),
            ("external:web:127.0.0.1:81", 6),
        ] {
            fds.add(name.into(), fd);
        }
        assert_eq!(claim(&mut fds, "127.0.0.1:8"), None);
        assert_eq!(claim(&mut fds, "127.0.0.1:81").unwrap().1, 6);
        assert_eq!(claim(&mut fds, "systemd:web").unwrap().1, 5);
        assert_eq!(claim(&mut fds, "systemd:web"), None);
    }

    #[test]
    fn a_table_is_sent_to_another_process() {
        let path = std::env::temp_dir().join(format!("fds-{}.sock", std::process::id()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sent = Fds::new();
        sent.add("a:1".into(), listener.as_raw_fd());
        let name = path.to_str().unwrap().to_string();
        let to = name.clone();
        let sender = std::thread::spawn(move || sent.send_to_sock(to.as_str()));
        let mut received = Fds::new();
        received.get_from_sock(name.as_str()).unwrap();
        assert_eq!(sender.join().unwrap(), Ok(1));
        let (_, fd) = claim(&mut received, "a:1").unwrap();
        assert_ne!(fd, listener.as_raw_fd());
        assert_eq!(received.close_unclaimed(&HashSet::new()), ["a:1"]);
    }

    #[test]
    fn what_nobody_claims_is_closed() {
        let kept = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let dropped = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = dropped.local_addr().unwrap();
        let mut fds = Fds::new();
        fds.add("kept".into(), kept.as_raw_fd());
        fds.add("dropped".into(), dropped.into_raw_fd());
        let closed = fds.close_unclaimed(&HashSet::from(["kept".to_string()]));
        assert_eq!(closed, ["dropped"]);
        assert!(fds.get("kept").is_some() && fds.get("dropped").is_none());
        assert!(kept.local_addr().is_ok());
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
