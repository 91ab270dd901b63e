//! Groups of upstreams that the page shows.

use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::metrics::{BackendState, states};
use pingora_load_balancing::selection::{BackendIter, BackendSelection};

/// A group of upstreams that the page shows. Every [`LoadBalancer`] is one.
pub trait UpstreamGroup: Send + Sync {
    /// The state of each backend, in a stable order. Called once a second for each open page; must not block.
    fn backends(&self) -> Vec<BackendState>;

    /// Enables or disables the selection of the backend at this address; its requests in progress continue. `false`: there
    /// is no such backend.
    fn set_enabled(&self, address: &str, enabled: bool) -> bool;
}

impl<S> UpstreamGroup for LoadBalancer<S>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    fn backends(&self) -> Vec<BackendState> {
        states(self)
    }

    fn set_enabled(&self, address: &str, enabled: bool) -> bool {
        let backends = self.backends().get_backend();
        let mut found = false;
        // Two of them may differ in their weights only.
        for backend in backends.iter() {
            if backend.addr.to_string() == address {
                self.backends().set_enable(backend, enabled);
                found = true;
            }
        }
        found
    }
}
