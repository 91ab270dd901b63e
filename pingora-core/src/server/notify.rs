//! Reports the server's state to the service manager (sd_notify(3)): datagrams to the socket that the
//! environment names. If it names none, nothing is sent.

use log::{debug, warn};
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The service manager reads at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(1);

/// The notification socket of the service manager.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    socket: Option<OsString>,
    /// Whether it was notified that the server serves.
    ready: AtomicBool,
}

impl ServiceManager {
    /// The service manager that the environment names.
    pub(super) fn from_environment() -> Self {
        ServiceManager::at(std::env::var_os("NOTIFY_SOCKET"))
    }

    fn at(socket: Option<OsString>) -> Self {
        ServiceManager {
            socket,
            ready: AtomicBool::new(false),
        }
    }

    /// The server serves. Its process may differ from the one that the service manager started:
    /// after an upgrade, or in the background.
    pub(super) fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
        self.tell(&format!("READY=1\nMAINPID={}", std::process::id()));
    }

    /// The server is reloading its configuration, until [`ServiceManager::reloaded`].
    pub(super) fn reloading(&self) {
        if !self.ready.load(Ordering::Relaxed) {
            return;
        }
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
        let now = now.map_or(Duration::ZERO, Duration::from).as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// The reload is over.
    pub(super) fn reloaded(&self) {
        if self.ready.load(Ordering::Relaxed) {
            self.tell("READY=1");
        }
    }

    /// The server ends. Must not be sent after an upgrade: the service continues.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// A status line for humans.
    pub(super) fn status(&self, text: &str) {
        self.tell(&format!("STATUS={}", text.replace('\n', " ")));
    }

    fn tell(&self, text: &str) {
        let Some(place) = &self.socket else { return };
        match send(place, text) {
            Ok(()) => debug!("told the service manager: {text:?}"),
            Err(e) => warn!("can't tell the service manager {text:?} at {place:?}: {e}"),
        }
    }
}

fn send(place: &OsString, text: &str) -> io::Result<()> {
    let address = match place.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(listener: &UnixDatagram) -> String {
        listener.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 200];
        let length = listener.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn messages_have_the_form_that_is_expected() {
        let name = format!("notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        let manager = ServiceManager::at(Some(format!("@{name}").into()));
        manager.reloading();
        manager.reloaded();
        manager.ready();
        let expected = format!("READY=1\nMAINPID={}", std::process::id());
        assert_eq!(told(&listener), expected);
        manager.reloading();
        let text = told(&listener);
        let stamp = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(stamp.parse::<u64>().unwrap() > 0);
        manager.reloaded();
        assert_eq!(told(&listener), "READY=1");
        manager.stopping();
        assert_eq!(told(&listener), "STOPPING=1");
        manager.status("two\nlines");
        assert_eq!(told(&listener), "STATUS=two lines");
    }

    #[test]
    fn nobody_to_tell_is_no_trouble() {
        ServiceManager::default().ready();
        ServiceManager::at(Some("/nonexistent/notify".into())).ready();
    }
}
