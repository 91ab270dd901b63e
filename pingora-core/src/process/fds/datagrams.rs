//! Datagram sockets, indexed by the addresses they are bound to: the half of [`Fds`] that owns its content.

use super::Fds;
use crate::process::activation::{is_external, means};
use crate::process::handover::{Given, GivenFd};
use crate::process::names::{SocketKind, names};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Bounded by the sockets that services create and other processes pass, and therefore by the descriptors
/// that this process may have.
#[derive(Clone, Debug, Default)]
pub(super) struct Datagrams(BTreeMap<String, Datagram>);

#[derive(Clone, Debug)]
struct Datagram {
    /// Shared among clones of the table, and with a hand-over in progress.
    fd: Arc<OwnedFd>,
    /// A service in this process receives from it.
    is_claimed: bool,
}

impl Datagrams {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Enters a socket that was passed to this process.
    pub(super) fn receive(&mut self, name: String, fd: OwnedFd) {
        let (fd, is_claimed) = (Arc::new(fd), false);
        self.0.insert(name, Datagram { fd, is_claimed });
    }

    pub(super) fn given(&self) -> impl Iterator<Item = Given> {
        self.0.iter().map(|(name, datagram)| Given {
            kind: SocketKind::Datagram,
            name: name.clone(),
            fd: GivenFd::Shared(datagram.fd.clone()),
        })
    }

    /// The name of the first unclaimed socket with this address: one that was bound by an earlier
    /// server, or one of the service manager.
    fn free(&self, bind: &str) -> Option<String> {
        let is_free = |name: &String| self.0.get(name).is_some_and(|d| !d.is_claimed);
        let mut known = names(bind).take_while(|name| self.0.contains_key(name));
        known.find(is_free).or_else(|| {
            let mut external = self.0.keys().filter(|name| means(bind, name));
            external.find(|name| is_free(name)).cloned()
        })
    }
}

/// Datagram sockets. Their addresses are separate: a listening socket may have the same one.
///
/// A service binds a socket once, and each later server finds it again under the address that it was offered
/// with, as written:
///
/// ```
/// use pingora_core::server::Fds;
/// use std::net::UdpSocket;
///
/// fn socket(fds: &mut Fds, address: &str) -> std::io::Result<UdpSocket> {
///     if let Some((_name, passed)) = fds.claim_datagram(address)? {
///         return Ok(UdpSocket::from(passed));
///     }
///     let socket = UdpSocket::bind(address)?;
///     socket.set_nonblocking(true)?;
///     fds.offer_datagram(address, &socket)?;
///     Ok(socket)
/// }
/// # let mut fds = Fds::new();
/// # let bound = socket(&mut fds, "127.0.0.1:0").unwrap();
/// # assert!(fds.get_datagram("127.0.0.1:0").is_some());
/// ```
///
/// The table keeps a descriptor of its own, so the socket can be handed over whatever the service does with
/// its descriptor: the socket stays bound until [`Fds::withdraw_datagram`] or the end of the server.
/// [`services::datagram`](crate::services::datagram) does all this for a service with no other needs.
impl Fds {
    /// Takes an unclaimed socket with this address that was passed to this process, by the previous server or
    /// by the service manager. Returns its name in the table, and a descriptor that the caller owns,
    /// close-on-exec and non-blocking. `systemd:LABEL` means a socket of the service manager by its label,
    /// `external:LABEL:ADDRESS` by both. `None` if there is none (any more).
    ///
    /// A socket of the previous server that no service has claimed ten seconds after all were ready is
    /// closed; a socket of the service manager stays.
    ///
    /// # Errors
    /// If no descriptor is left. The socket is not claimed in that case.
    pub fn claim_datagram(&mut self, bind: &str) -> io::Result<Option<(String, OwnedFd)>> {
        let Some(name) = self.datagrams.free(bind) else {
            return Ok(None);
        };
        let Some(datagram) = self.datagrams.0.get_mut(&name) else {
            return Ok(None);
        };
        let own = datagram.fd.try_clone()?;
        let flags = OFlag::from_bits_retain(fcntl(&own, FcntlArg::F_GETFL)?);
        fcntl(&own, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        datagram.is_claimed = true;
        Ok(Some((name, own)))
    }

    /// Enters a socket that this process has bound and receives from. Returns its name: the address, with a
    /// number if there are several (`127.0.0.1:53#2`).
    ///
    /// # Errors
    /// If it is not a datagram socket, or no descriptor is left.
    pub fn offer_datagram(&mut self, bind: &str, socket: impl AsFd) -> io::Result<String> {
        let socket = socket.as_fd();
        if getsockopt(&socket, sockopt::SockType)? != SockType::Datagram {
            let message = format!("the socket of {bind} is not one of datagrams");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let fd = Arc::new(socket.try_clone_to_owned()?);
        let name = names(bind)
            .find(|name| !self.datagrams.0.contains_key(name))
            .unwrap_or_default();
        let is_claimed = true;
        let datagram = Datagram { fd, is_claimed };
        self.datagrams.0.insert(name.clone(), datagram);
        Ok(name)
    }

    /// The socket with this name, claimed or not.
    pub fn get_datagram(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.datagrams.0.get(name).map(|d| d.fd.as_fd())
    }

    /// The names of all datagram sockets, in order.
    pub fn datagram_names(&self) -> Vec<String> {
        self.datagrams.0.keys().cloned().collect()
    }

    /// Removes the socket with this name, and closes the table's descriptor of it; `false` if there is
    /// none. It stays bound for as long as another descriptor of it is open.
    pub fn withdraw_datagram(&mut self, name: &str) -> bool {
        self.datagrams.0.remove(name).is_some()
    }

    /// Closes and removes the previous server's sockets that no service has claimed; returns their names.
    /// The service manager's sockets stay: they are bound whether this server uses them or not.
    pub(crate) fn close_orphaned_datagrams(&mut self) -> Vec<String> {
        let mut orphans = vec![];
        self.datagrams.0.retain(|name, datagram| {
            let stays = datagram.is_claimed || is_external(name);
            if !stays {
                orphans.push(name.clone());
            }
            stays
        });
        orphans
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::handover::Passed;
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsRawFd;

    fn udp() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    /// A table of these sockets, as another process receives it.
    fn passed(names: &[&str]) -> Fds {
        let mut fds = Fds::new();
        let datagram = |name: &&str| Passed {
            kind: SocketKind::Datagram,
            name: name.to_string(),
            fd: udp().into(),
        };
        fds.receive(names.iter().map(datagram).collect());
        fds
    }

    fn claim(fds: &mut Fds, bind: &str) -> Option<String> {
        fds.claim_datagram(bind).unwrap().map(|(name, _)| name)
    }

    #[test]
    fn each_transport_has_its_own_addresses() {
        let mut fds = Fds::new();
        assert!(fds.is_empty());
        let socket = udp();
        assert_eq!(fds.offer_datagram("a:1", &socket).unwrap(), "a:1");
        assert!(!fds.is_empty());
        assert!(fds.get("a:1").is_none() && fds.claim("a:1").is_none());
        fds.add("a:1".into(), 1_000_000);
        assert_eq!(fds.get("a:1"), Some(&1_000_000));
        assert_eq!(fds.serialize(), (vec!["a:1".into()], vec![1_000_000]));
        let own = fds.get_datagram("a:1").unwrap();
        assert_ne!(
            own.as_raw_fd(),
            socket.as_raw_fd(),
            "a descriptor of its own"
        );
        assert_eq!(fds.given().len(), 2);
        fds.close_unclaimed(&std::collections::HashSet::new());
        assert_eq!(fds.datagram_names(), ["a:1"]);
        assert!(fds.withdraw_datagram("a:1") && !fds.withdraw_datagram("a:1"));
    }

    #[test]
    fn sockets_are_numbered_and_claimed_once() {
        let mut old = Fds::new();
        let (one, two) = (udp(), udp());
        assert_eq!(old.offer_datagram("a:0", &one).unwrap(), "a:0");
        assert_eq!(old.offer_datagram("a:0", &two).unwrap(), "a:0#2");
        assert_eq!(claim(&mut old, "a:0"), None, "those are our own");

        let mut new = passed(&["a:0", "a:0#2"]);
        assert_eq!(claim(&mut new, "a:0").unwrap(), "a:0");
        assert_eq!(claim(&mut new, "a:0").unwrap(), "a:0#2");
        assert_eq!(claim(&mut new, "a:0"), None);
        assert!(new.withdraw_datagram("a:0"));
        assert_eq!(new.offer_datagram("a:0", &one).unwrap(), "a:0");
    }

    #[test]
    fn what_is_claimed_is_ready_for_a_runtime() {
        let mut fds = passed(&["a:1"]);
        let (_, socket) = fds.claim_datagram("a:1").unwrap().unwrap();
        let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL).unwrap());
        assert!(flags.contains(OFlag::O_NONBLOCK));
        let error = UdpSocket::from(socket).recv(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_not_of_datagrams_is_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = Fds::new().offer_datagram("a:1", &listener).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Fds::new().offer_datagram("a:1", &file).is_err());
    }

    #[test]
    fn sockets_of_the_service_manager_are_claimed_by_label_and_address_and_never_orphans() {
        let all = [
            "127.0.0.1:1",
            "external:dns:127.0.0.1:53",
            "external:dns:[::]:53",
        ];
        let mut fds = passed(&all);
        assert_eq!(
            claim(&mut fds, "0.0.0.0:53").unwrap(),
            "external:dns:[::]:53"
        );
        assert_eq!(fds.close_orphaned_datagrams(), ["127.0.0.1:1"]);
        assert_eq!(claim(&mut fds, "systemd:web"), None);
        assert_eq!(
            claim(&mut fds, "systemd:dns").unwrap(),
            "external:dns:127.0.0.1:53"
        );
        assert_eq!(
            claim(&mut passed(&all), "external:dns:[::]:53").unwrap(),
            all[2]
        );
        assert_eq!(fds.given().len(), 2, "passed on");
    }

    #[test]
    fn they_are_sent_to_another_process_beside_the_others() {
        let path = std::env::temp_dir().join(format!("datagrams-{}.sock", std::process::id()));
        let path = path.to_str().unwrap().to_string();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let socket = UdpSocket::bind(address).unwrap();
        let mut sent = Fds::new();
        sent.add(address.to_string(), tcp.as_raw_fd());
        sent.offer_datagram(&address.to_string(), &socket).unwrap();
        let to = path.clone();
        let sender = std::thread::spawn(move || sent.send_to_sock(to.as_str()));
        let mut received = Fds::new();
        received.get_from_sock(path.as_str()).unwrap();
        assert_eq!(sender.join().unwrap(), Ok(2));
        let (_, own) = received
            .claim_datagram(&address.to_string())
            .unwrap()
            .unwrap();
        assert_eq!(UdpSocket::from(own).local_addr().unwrap(), address);
        assert!(received.claim(&address.to_string()).is_some());
    }
}
