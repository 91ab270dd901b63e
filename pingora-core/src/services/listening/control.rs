//! Adding and removing endpoints of a service that runs.

use crate::listeners::ListenerConfig;
use pingora_error::{Error, ErrorType, Result};
use std::fmt;
use std::net::SocketAddr;
use tokio::sync::{mpsc, oneshot};

/// Adds endpoints to a service that runs, and removes them. Take it from the service before that goes
/// into the server, with [`Service::listener_control`](super::Service::listener_control); clones control
/// the same service.
///
/// A change that is asked for before the service has started is made when it starts. As long as a control
/// exists, the service runs on without any endpoint.
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

/// A change, and where to say what came of it.
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

    /// Listens on one more endpoint, with the privileges that the server has by now. Returns the address
    /// where it is a TCP one; port 0 has become a port.
    ///
    /// Dropping the future does not take it back.
    ///
    /// # Errors
    /// When the address can't be listened on, or the service has ended.
    pub async fn add(&self, endpoint: ListenerConfig) -> Result<Option<SocketAddr>> {
        let (reply, outcome) = oneshot::channel();
        let sent = self.0.send(Change::Add(Box::new(endpoint), reply));
        sent.map_err(|_| over())?;
        outcome.await.map_err(|_| over())?
    }

    /// Stops listening at this address, as it was given or as it is bound, once who waits in its queue
    /// was served. Connections that are open stay. `false` where the service does not listen there.
    ///
    /// Dropping the future does not take it back.
    ///
    /// # Errors
    /// When the service has ended.
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
