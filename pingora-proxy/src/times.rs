//! When what happened in a request, for access logs and figures. Kept only if a phase asks for it.

use pingora_core::protocols::l4::socket::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// The time that a request spent on each step. See [`Session::record_times`](crate::Session::record_times).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RequestTimes {
    /// When the recording began.
    pub begun: Instant,
    /// The tries at upstreams since then, in order; of two at once, the one that went on alone stands last.
    /// Those that failed stand at the same places in
    /// [`Session::failed_tries`](crate::Session::failed_tries).
    pub tries: Vec<TryTimes>,
}

/// The time that one try spent on each step. All durations are measured from the choice of the peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TryTimes {
    /// The peer that was tried.
    pub address: SocketAddr,
    /// When the peer was chosen.
    pub begun: Instant,
    /// Whether the connection was kept from an earlier request; `false` as long as there is none.
    pub reused: bool,
    /// Until there was a connection, its TLS handshake included; about zero for a kept one. `None`: there was none.
    pub connected: Option<Duration>,
    /// Until the head of the response was there, informational ones not counted. `None`: none came.
    pub first_byte: Option<Duration>,
    /// Until the try was over; `None` while it is under way.
    pub total: Option<Duration>,
}

impl RequestTimes {
    pub(crate) fn begin() -> Box<Self> {
        Box::new(RequestTimes {
            begun: Instant::now(),
            tries: Vec::new(),
        })
    }

    #[cold]
    pub(crate) fn try_begins(&mut self, address: SocketAddr) {
        self.tries.push(TryTimes {
            address,
            begun: Instant::now(),
            reused: false,
            connected: None,
            first_byte: None,
            total: None,
        });
    }

    #[cold]
    pub(crate) fn connected(&mut self, reused: bool) {
        if let Some(present) = self.present() {
            present.reused = reused;
            present.connected = Some(present.begun.elapsed());
        }
    }

    #[cold]
    pub(crate) fn responded(&mut self) {
        if let Some(present) = self.present() {
            let elapsed = present.begun.elapsed();
            present.first_byte.get_or_insert(elapsed);
        }
    }

    #[cold]
    pub(crate) fn ended(&mut self) {
        if let Some(present) = self.present() {
            present.total = Some(present.begun.elapsed());
        }
    }

    /// Of two tries at once, the one that began first goes on alone.
    #[cold]
    pub(crate) fn first_goes_on(&mut self) {
        if let [.., one, other] = &mut self.tries[..] {
            std::mem::swap(one, other);
        }
        self.other_ends();
    }

    /// Of two tries at once, the one that stands ahead of the last has ended.
    #[cold]
    pub(crate) fn other_ends(&mut self) {
        if let [.., other, _] = &mut self.tries[..] {
            other.total.get_or_insert(other.begun.elapsed());
        }
    }

    /// The try that is under way.
    fn present(&mut self) -> Option<&mut TryTimes> {
        self.tries.last_mut().filter(|one| one.total.is_none())
    }
}
