//! Reports the addresses that a service actually listens on.

use pingora_error::{Error, ErrorType, Result};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The addresses that a service listens on, as soon as it does: for endpoints on port 0, whose port
/// the system chooses. Get it from the service before that is added to the server; clones see the
/// same.
///
/// ```no_run
/// # use pingora_core::server::Server;
/// # use pingora_core::services::listening::Service;
/// # fn run<A: pingora_core::apps::ServerApp + Send + Sync + 'static>(app: A) {
/// let mut service = Service::new("echo".into(), app);
/// service.add_tcp("127.0.0.1:0");
/// let addresses = service.bound_addresses();
/// std::thread::spawn(move || {
///     println!("listening on {:?}", addresses.wait_blocking(std::time::Duration::from_secs(5)));
/// });
///
/// let mut server = Server::new(None).unwrap();
/// server.add_service(service);
/// server.run_forever();
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct BoundAddresses(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    notify: Notify,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Pending,
    Bound(Vec<SocketAddr>),
    Never,
}

impl State {
    fn outcome(&self) -> Option<Result<Vec<SocketAddr>>> {
        match self {
            State::Pending => None,
            State::Bound(addresses) => Some(Ok(addresses.clone())),
            State::Never => Some(Error::e_explain(
                ErrorType::BindError,
                "the service ended before it listened",
            )),
        }
    }
}

impl BoundAddresses {
    /// The addresses of the TCP endpoints, or those of the UDP sockets of a
    /// [`datagram::Service`](crate::services::datagram::Service), in the order in which they were added;
    /// `None` until the service listens.
    pub fn get(&self) -> Option<Vec<SocketAddr>> {
        self.outcome()?.ok()
    }

    /// Waits until the service listens. Cancel-safe.
    ///
    /// # Errors
    /// If the service ended before.
    pub async fn wait(&self) -> Result<Vec<SocketAddr>> {
        loop {
            let changed = self.0.notify.notified();
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            changed.await;
        }
    }

    /// Waits until the service listens, at most for `timeout`, on a thread that may block.
    ///
    /// # Errors
    /// If the service ended before, or did not listen in time.
    pub fn wait_blocking(&self, timeout: Duration) -> Result<Vec<SocketAddr>> {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = |state: &mut State| matches!(state, State::Pending);
        let waited = self.0.changed.wait_timeout_while(state, timeout, pending);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.outcome().unwrap_or_else(|| {
            Error::e_explain(ErrorType::BindError, "the service did not listen in time")
        })
    }

    /// Announces the addresses.
    pub(crate) fn announce(&self, addresses: Vec<SocketAddr>) {
        self.change(State::Bound(addresses));
    }

    /// Announces that there won't be any addresses, unless there already were.
    pub(crate) fn give_up(&self) {
        if self.outcome().is_none() {
            self.change(State::Never);
        }
    }

    fn outcome(&self) -> Option<Result<Vec<SocketAddr>>> {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.outcome()
    }

    fn change(&self, to: State) {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.0.changed.notify_all();
        self.0.notify.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_when_the_service_listens_or_never_will() {
        let bound = BoundAddresses::default();
        assert!(bound.get().is_none());
        assert!(bound.wait_blocking(Duration::ZERO).is_err());
        let waiter = bound.clone();
        let task = tokio::spawn(async move { waiter.wait().await });
        tokio::task::yield_now().await;
        let address: SocketAddr = "127.0.0.1:5".parse().unwrap();
        bound.announce(vec![address]);
        assert_eq!(task.await.unwrap().unwrap(), [address]);
        bound.give_up();
        assert_eq!(bound.get(), Some(vec![address]), "what was announced stays");
        assert_eq!(bound.wait_blocking(Duration::ZERO).unwrap(), [address]);

        let never = BoundAddresses::default();
        never.give_up();
        assert!(never.wait().await.is_err());
        assert!(never.get().is_none());
    }
}
