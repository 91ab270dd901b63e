//! Accepts connections, even if the system runs out of resources.

use crate::sys::descriptor;
use log::{error, warn};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use tokio::time::Instant;

/// The number of connections that are accepted before other tasks of the thread get their turn.
const BATCH: usize = 32;
/// The number of connections taken from the queue of a socket that is about to close: more than the
/// default queue length, and a bound if new ones come faster than they are taken.
const QUEUE: usize = 8192;
/// The number of connections that are turned away at once while no descriptor is left.
const SHED: usize = 64;
/// The first and the longest pause after an error that does not concern a single connection.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// The minimum interval between log lines about such an error.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// An accepted connection that is not registered with a runtime yet: it is registered where it will
/// be used.
#[derive(Debug)]
pub(crate) struct AcceptedSocket {
    pub(crate) fd: OwnedFd,
    /// `None` on Unix sockets.
    pub(crate) peer: Option<SocketAddr>,
}

/// The cause of a failed accept(2).
#[derive(Debug, PartialEq, Eq)]
enum AcceptFailure {
    /// One connection was lost before it was accepted; the next one may be fine.
    Connection,
    /// No descriptor or memory is left.
    Exhausted,
    /// An unexpected error.
    Listener,
}

impl AcceptFailure {
    fn of(error: &io::Error) -> AcceptFailure {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                AcceptFailure::Exhausted
            }
            // Linux passes errors that are pending on the new connection to accept(2).
            Some(
                libc::ECONNABORTED
                | libc::EPROTO
                | libc::EPERM
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::ETIMEDOUT,
            ) => AcceptFailure::Connection,
            _ => AcceptFailure::Listener,
        }
    }
}

/// Accepts connections from one socket and passes each to `hand_over`.
#[derive(Debug)]
pub(crate) struct Acceptor {
    socket: descriptor::Watched,
    name: String,
    trouble: Trouble,
}

impl Acceptor {
    /// `socket` must listen and be non-blocking. Must be called on the runtime that will accept.
    ///
    /// # Errors
    /// If the socket can't be registered with the runtime.
    pub(crate) fn new(socket: OwnedFd, name: String) -> io::Result<Self> {
        Ok(Acceptor {
            socket: descriptor::Watched::readable_on(socket)?,
            name,
            trouble: Trouble::new(),
        })
    }

    /// Accepts until `stop` is done, and closes the socket. If `stop` says so, first takes the
    /// connections waiting in the socket's queue, so that no established connection is turned away,
    /// except for those that the kernel still holds back because they have sent nothing.
    pub(crate) async fn run(
        mut self,
        stop: impl Future<Output = bool>,
        mut hand_over: impl FnMut(AcceptedSocket),
    ) {
        let mut stop = std::pin::pin!(stop);
        let empty_the_queue = loop {
            let pause = tokio::select! {
                biased;
                queue = stop.as_mut() => break queue,
                pause = self.batch(&mut hand_over) => pause,
            };
            match pause {
                None => tokio::task::yield_now().await,
                Some(pause) => tokio::select! {
                    biased;
                    queue = stop.as_mut() => break queue,
                    () = tokio::time::sleep(pause) => {}
                },
            }
        };
        let most = if empty_the_queue { QUEUE } else { 0 };
        for _ in 0..most {
            let Ok((fd, peer)) = descriptor::accept(self.socket.as_fd()) else {
                break;
            };
            hand_over(AcceptedSocket { fd, peer });
        }
    }

    /// Waits for connections and accepts some; returns how long to pause after an error.
    async fn batch(&mut self, hand_over: &mut impl FnMut(AcceptedSocket)) -> Option<Duration> {
        let mut ready = match self.socket.readable().await {
            Ok(ready) => ready,
            Err(e) => {
                // The runtime is shutting down, and this task with it.
                warn!("{}: can't wait for connections: {e}", self.name);
                return Some(PAUSE.1);
            }
        };
        for _ in 0..BATCH {
            match ready.try_io(|socket| descriptor::accept(socket.as_fd())) {
                Err(_empty) => break,
                Ok(Ok((fd, peer))) => {
                    self.trouble.over();
                    hand_over(AcceptedSocket { fd, peer });
                }
                Ok(Err(e)) => {
                    let pause = self
                        .trouble
                        .pause_after(ready.get_inner().as_fd(), &self.name, &e);
                    if pause.is_some() {
                        return pause;
                    }
                }
            }
        }
        None
    }
}

/// The behaviour while connections can't be accepted.
#[derive(Debug)]
struct Trouble {
    /// A reserved descriptor, released in order to accept a connection just to close it: its client
    /// then knows, instead of waiting for a server that seems to be there.
    reserve: Option<File>,
    pause: Duration,
    last_logged: Option<Instant>,
}

impl Trouble {
    fn new() -> Self {
        Trouble {
            reserve: reserve(),
            pause: PAUSE.0,
            last_logged: None,
        }
    }

    fn over(&mut self) {
        self.pause = PAUSE.0;
    }

    /// How long to pause after an error; `None`: the next connection may be fine.
    fn pause_after(
        &mut self,
        socket: BorrowedFd<'_>,
        name: &str,
        error: &io::Error,
    ) -> Option<Duration> {
        match AcceptFailure::of(error) {
            AcceptFailure::Connection => None,
            AcceptFailure::Exhausted => Some(self.exhausted(socket, name, error)),
            AcceptFailure::Listener => Some(self.pause(name, error)),
        }
    }

    /// The first time, only waits: connections that end release their descriptors. From then on
    /// turns waiting connections away.
    fn exhausted(&mut self, socket: BorrowedFd<'_>, name: &str, error: &io::Error) -> Duration {
        let mut shed = 0;
        if self.pause > PAUSE.0 {
            while shed < SHED && self.shed_one(socket) {
                shed += 1;
            }
        }
        if self.may_log() {
            error!(
                "{name}: can't accept connections: {error}; {shed} were turned away. Raise the \
                 limit of open files (ulimit -n), or lower the number of connections"
            );
        }
        self.next_pause()
    }

    fn shed_one(&mut self, socket: BorrowedFd<'_>) -> bool {
        if self.reserve.take().is_none() {
            // Another thread was faster; try to get the reserve back for the next time.
            self.reserve = reserve();
            return false;
        }
        let shed = descriptor::accept(socket).is_ok();
        self.reserve = reserve();
        shed
    }

    fn pause(&mut self, name: &str, error: &io::Error) -> Duration {
        if self.may_log() {
            error!("{name}: can't accept connections: {error}");
        }
        self.next_pause()
    }

    fn may_log(&mut self) -> bool {
        let due = self
            .last_logged
            .is_none_or(|at| at.elapsed() >= LOG_INTERVAL);
        if due {
            self.last_logged = Some(Instant::now());
        }
        due
    }

    fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE.1);
        pause
    }
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::sync::Arc;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;
    use tokio::sync::{Notify, mpsc};

    fn listener() -> (OwnedFd, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        (listener.into(), address)
    }

    #[test]
    fn errors_are_told_apart() {
        for (code, fault) in [
            (libc::EMFILE, AcceptFailure::Exhausted),
            (libc::ENFILE, AcceptFailure::Exhausted),
            (libc::ENOMEM, AcceptFailure::Exhausted),
            (libc::ECONNABORTED, AcceptFailure::Connection),
            (libc::EPROTO, AcceptFailure::Connection),
            (libc::EBADF, AcceptFailure::Listener),
            (libc::EINVAL, AcceptFailure::Listener),
        ] {
            assert_eq!(
                AcceptFailure::of(&io::Error::from_raw_os_error(code)),
                fault
            );
        }
    }

    /// CVE-2024-47609: an unexpected error of accept(2) ends the loop, and with it the service.
    ///
    /// The loop continues after every result of accept(2): at once, or after a pause of at most a
    /// second.
    #[tokio::test(start_paused = true)]
    async fn no_error_ends_the_loop() {
        let (socket, address) = listener();
        let mut acceptor = Acceptor::new(socket, "test".into()).unwrap();
        let begun = Instant::now();
        for code in 0..=200 {
            let error = io::Error::from_raw_os_error(code);
            let pause = acceptor
                .trouble
                .pause_after(acceptor.socket.as_fd(), "test", &error);
            assert!(pause.is_none_or(|pause| pause <= PAUSE.1), "{error}");
            if code % 50 == 0 {
                acceptor.trouble.over();
            }
        }
        assert!(begun.elapsed().is_zero(), "nothing blocks");
        let client = std::net::TcpStream::connect(address).unwrap();
        let mut accepted = None;
        acceptor
            .batch(&mut |connection| accepted = Some(connection))
            .await;
        assert_eq!(accepted.unwrap().peer, client.local_addr().ok());
    }

    #[test]
    fn pauses_grow_and_end_with_the_trouble() {
        let mut trouble = Trouble::new();
        let grown: Vec<u128> = (0..9).map(|_| trouble.next_pause().as_millis()).collect();
        assert_eq!(grown, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        trouble.over();
        assert_eq!(trouble.next_pause(), PAUSE.0);
    }

    #[tokio::test]
    async fn trouble_turns_connections_away_only_when_it_lasts() {
        let (socket, address) = listener();
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut trouble = Trouble::new();
        let error = io::Error::from_raw_os_error(libc::EMFILE);

        trouble.exhausted(socket.as_fd(), "test", &error);
        assert_eq!(trouble.pause, PAUSE.0 * 2);
        assert!(client.try_read(&mut [0]).is_err(), "still waiting");

        trouble.exhausted(socket.as_fd(), "test", &error);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "closed");
        assert!(trouble.reserve.is_some(), "ready for the next time");
    }

    #[tokio::test]
    async fn what_waits_in_the_queue_is_served_before_the_socket_closes() {
        let (socket, address) = listener();
        let acceptor = Acceptor::new(socket, "test".into()).unwrap();
        let waiting = std::net::TcpStream::connect(address).unwrap();
        let (tx, mut rx) = mpsc::unbounded_channel();
        let hand_over = |accepted| tx.send(accepted).unwrap();
        acceptor.run(std::future::ready(true), hand_over).await;
        let accepted = rx.try_recv().unwrap();
        assert_eq!(accepted.peer, Some(waiting.local_addr().unwrap()));
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[tokio::test]
    async fn accepts_more_than_a_batch() {
        let (socket, address) = listener();
        let acceptor = Acceptor::new(socket, "test".into()).unwrap();
        let (tx, mut rx) = mpsc::unbounded_channel();
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let hand_over = move |accepted: AcceptedSocket| tx.send(accepted).unwrap();
            let stop = async move {
                stopped.notified().await;
                false
            };
            acceptor.run(stop, hand_over).await;
        });
        let mut clients = vec![];
        for _ in 0..BATCH * 2 + 1 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        for _ in 0..clients.len() {
            rx.recv().await.unwrap();
        }
        stop.notify_one();
        task.await.unwrap();
        assert!(rx.recv().await.is_none());
    }
}
