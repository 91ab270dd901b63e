//! Connections that are being established, and the requests that wait for them.

use pingora_error::{Error, ErrorType};
use tokio::sync::watch;

/// The outcome of a connection that other requests waited for.
#[derive(Clone, Debug)]
pub(super) enum Landing {
    /// It is still being established.
    Flying,
    /// It is established, and may have room.
    Http2,
    /// The server speaks only HTTP/1: each request needs its own connection.
    Http1,
    /// There is none, and the reason.
    Failed(ErrorType, String),
    /// The task that was establishing it gave up.
    Abandoned,
}

impl Landing {
    pub(super) fn failed(error: &Error) -> Self {
        let why = error
            .context
            .as_ref()
            .map_or("", |context| context.as_str());
        let why = format!("another request that connected failed: {why}");
        Landing::Failed(error.etype().clone(), why)
    }
}

/// A connection that is being established.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) number: u64,
    /// The number of further requests that will find room on it.
    room: usize,
    landing: watch::Receiver<Landing>,
}

impl Flight {
    /// A flight with room for `seats` requests, including its leader's, and the channel that reports its
    /// outcome.
    pub(super) fn new(number: u64, seats: usize) -> (Self, watch::Sender<Landing>) {
        let (sender, landing) = watch::channel(Landing::Flying);
        let flight = Flight {
            number,
            room: seats.saturating_sub(1),
            landing,
        };
        (flight, sender)
    }

    /// A place among the waiters, if one is left.
    pub(super) fn join(&mut self) -> Option<Wait> {
        self.room = self.room.checked_sub(1)?;
        Some(Wait(self.landing.clone()))
    }
}

/// A place among the waiters for a connection.
#[derive(Debug)]
pub(super) struct Wait(watch::Receiver<Landing>);

impl Wait {
    /// Waits for the outcome of the connection.
    pub(super) async fn landed(mut self) -> Landing {
        let landed = self
            .0
            .wait_for(|landing| !matches!(landing, Landing::Flying))
            .await;
        match landed {
            Ok(landing) => landing.clone(),
            Err(_) => Landing::Abandoned,
        }
    }
}
