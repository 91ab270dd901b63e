//! Adding and removing endpoints of a running service.

use crate::listeners::ListenerConfig;
use pingora_error::{Error, ErrorType, Result};
use std::fmt;
use std::net::SocketAddr;
use tokio::sync::{mpsc, oneshot};

/// Adds endpoints to a running service, and removes them. Get it with
/// [`Service::listener_control`](super::Service::listener_control) before the service is added to the
/// server; clones control the same service.
///
/// A change that is requested before the service has started is made when it starts. As long as a control
/// exists, the service keeps running even without any endpoint.
///
/// ```no_run
/// # use pingora_core::listeners::ListenerConfig;
/// # use pingora_core::services::listening::ListenerControl;
/// # async fn change(control: ListenerControl) -> pingora_core::Result<()> {
/// control.add(ListenerConfig::tcp("127.0.0.1:8081")).await?;
/// control.remove("127.0.0.1:8080").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ListenerControl(mpsc::UnboundedSender<Change>);

impl fmt::Debug for ListenerControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerControl").finish_non_exhaustive()
    }
}

/// A change, and the channel for its result.
pub(super) enum Change {
    Add(
        Box<ListenerConfig>,
        oneshot::Sender<Result<Option<SocketAddr>>>,
    ),
    Remove(String, oneshot::Sender<bool>),
}

/// The other end of the controls.
pub(super) type Changes = mpsc::UnboundedReceiver<Change>;

impl ListenerControl {
    pub(super) fn new() -> (Self, Changes) {
        let (sender, changes) = mpsc::unbounded_channel();
        (ListenerControl(sender), changes)
    }

    /// Listens on one more endpoint, with the server's current privileges. Returns the address if it is
    /// a TCP endpoint, with port 0 replaced by the actual port.
    ///
    /// Dropping the future does not undo it.
    ///
    /// # Errors
    /// If the address is not available, or the service has ended.
    pub async fn add(&self, endpoint: ListenerConfig) -> Result<Option<SocketAddr>> {
        let (reply, outcome) = oneshot::channel();
        let sent = self.0.send(Change::Add(Box::new(endpoint), reply));
        sent.map_err(|_| over())?;
        outcome.await.map_err(|_| over())?
    }

    /// Stops listening at this address, given as configured or as bound, once the connections waiting
    /// in its queue were served. Open connections stay open. `false` if the service does not listen
    /// there.
    ///
    /// Dropping the future does not undo it.
    ///
    /// # Errors
    /// If the service has ended.
    pub async fn remove(&self, address: &str) -> Result<bool> {
        let (reply, outcome) = oneshot::channel();
        let sent = self.0.send(Change::Remove(address.into(), reply));
        sent.map_err(|_| over())?;
        outcome.await.map_err(|_| over())
    }
}

fn over() -> pingora_error::BError {
    Error::explain(ErrorType::BindError, "the service has ended").into_in()
}
