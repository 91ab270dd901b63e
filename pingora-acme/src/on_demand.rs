//! Certificates for names that clients ask for.

use crate::names;
use crate::plan::{Admission, Admitted};
use async_trait::async_trait;
use futures::future::BoxFuture;
use pingora_core::listeners::tls::CertificateProvider;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch};

/// Decides for which names certificates are obtained when clients ask for them.
///
/// Called for each name that was not asked for within the last minute, including invented ones, and again when the
/// certificate is to be renewed: if it refuses then, the certificate is no longer served.
#[async_trait]
pub trait AllowRule: Send + Sync + 'static {
    /// Whether `name`, in lower case, is one of ours. A database may be asked; the client's handshake waits.
    async fn allows(&self, name: &str) -> bool;
}

/// A rule that decides by itself.
#[async_trait]
impl<F: Fn(&str) -> bool + Send + Sync + 'static> AllowRule for F {
    async fn allows(&self, name: &str) -> bool {
        self(name)
    }
}

/// Obtains certificates when the first client asks for a name, within bounds.
///
/// Any client can ask for any name, so there is no sensible default for the rule. All bounds apply to the
/// process.
#[derive(Clone)]
pub struct OnDemand {
    pub(crate) rule: Arc<dyn AllowRule>,
    pub(crate) most_names: usize,
    per_hour: u32,
    most_at_once: usize,
    most_waiting: usize,
    patience: Duration,
}

impl OnDemand {
    /// For the names that `rule` allows.
    pub fn new(rule: impl AllowRule) -> Self {
        OnDemand {
            rule: Arc::new(rule),
            most_names: 1000,
            per_hour: 20,
            most_at_once: 8,
            most_waiting: 64,
            patience: Duration::from_secs(20),
        }
    }

    /// The most names with certificates. Default: 1000. Further ones are refused.
    pub fn most_names(mut self, most: usize) -> Self {
        self.most_names = most;
        self
    }

    /// The most orders per hour, renewals not included. Default: 20, possibly all at once.
    pub fn orders_per_hour(mut self, most: u32) -> Self {
        self.per_hour = most;
        self
    }

    /// The most names for which certificates are ordered at once. Default: 8.
    pub fn most_at_once(mut self, most: usize) -> Self {
        self.most_at_once = most;
        self
    }

    /// The most handshakes that wait for a certificate. Default: 64; further ones continue without it.
    pub fn most_waiting(mut self, most: usize) -> Self {
        self.most_waiting = most;
        self
    }

    /// How long a handshake waits. Default: 20 s. The order continues after that.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl fmt::Debug for OnDemand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnDemand")
            .field("most_names", &self.most_names)
            .field("per_hour", &self.per_hour)
            .field("most_at_once", &self.most_at_once)
            .field("most_waiting", &self.most_waiting)
            .finish_non_exhaustive()
    }
}

/// The state that handshakes query.
pub(crate) struct Desk {
    pub(crate) rules: OnDemand,
    waiting: Semaphore,
    /// How many names are held, or about to be.
    pub(crate) names: AtomicUsize,
    state: Mutex<State>,
    requests: mpsc::Sender<String>,
}

struct State {
    admission: Admission,
    /// Closed when the attempt has ended.
    under_way: HashMap<String, watch::Sender<()>>,
}

impl Desk {
    /// With what comes out for the service.
    pub(crate) fn new(rules: OnDemand) -> (Self, mpsc::Receiver<String>) {
        let (requests, received) = mpsc::channel(rules.most_at_once.max(1));
        let desk = Desk {
            waiting: Semaphore::new(rules.most_waiting),
            names: AtomicUsize::new(0),
            state: Mutex::new(State {
                admission: Admission::new(rules.most_at_once, rules.per_hour),
                under_way: HashMap::new(),
            }),
            rules,
            requests,
        };
        (desk, received)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an order may be made now.
    pub(crate) fn may_order(&self) -> bool {
        self.state().admission.order(Instant::now())
    }

    /// The attempt for this name has ended: its handshakes continue.
    pub(crate) fn ended(&self, name: &str, well: bool) {
        let mut state = self.state();
        state.admission.ended(name, well, Instant::now());
        state.under_way.remove(name);
    }

    /// Reports when the attempt for this name has ended; `None` if there is none.
    fn ask(&self, name: &str) -> Option<watch::Receiver<()>> {
        let mut state = self.state();
        match state.admission.ask(name, Instant::now()) {
            Admitted::Join => state.under_way.get(name).map(watch::Sender::subscribe),
            Admitted::Pause | Admitted::Busy => None,
            Admitted::Begin if self.names.load(Ordering::Relaxed) >= self.rules.most_names => {
                log::warn!("no certificate for {name:?}: there are too many names");
                state.admission.ended(name, false, Instant::now());
                None
            }
            Admitted::Begin => {
                let (sender, receiver) = watch::channel(());
                // There is room for as many as may be under way.
                if self.requests.try_send(name.to_string()).is_err() {
                    state.admission.ended(name, false, Instant::now());
                    return None;
                }
                state.under_way.insert(name.to_string(), sender);
                Some(receiver)
            }
        }
    }
}

impl CertificateProvider for Desk {
    fn provide<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if !names::is_worth_asking(name) {
                return;
            }
            let Ok(_place) = self.waiting.try_acquire() else {
                return;
            };
            if let Some(mut over) = self.ask(name) {
                let _ = tokio::time::timeout(self.rules.patience, over.changed()).await;
            }
        })
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.rules, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(rules: OnDemand) -> (Arc<Desk>, mpsc::Receiver<String>) {
        let (desk, requests) = Desk::new(rules);
        (Arc::new(desk), requests)
    }

    #[tokio::test(start_paused = true)]
    async fn many_clients_cause_one_order_and_wait_for_it_together() {
        let (desk, mut requests) = desk(OnDemand::new(|_: &str| true));
        let clients: Vec<_> = (0..10)
            .map(|_| {
                let desk = desk.clone();
                tokio::spawn(async move { desk.provide("one.example").await })
            })
            .collect();
        assert_eq!(requests.recv().await.unwrap(), "one.example");
        tokio::task::yield_now().await;
        assert!(requests.try_recv().is_err());
        assert!(clients.iter().all(|client| !client.is_finished()));
        desk.ended("one.example", true);
        for client in clients {
            client.await.unwrap();
        }
        assert_eq!(desk.waiting.available_permits(), 64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_does_not_wait_for_ever() {
        let (desk, _requests) = desk(OnDemand::new(|_: &str| true).most_waiting(1));
        let begun = tokio::time::Instant::now();
        let (first, second) = (desk.clone(), desk.clone());
        let first = tokio::spawn(async move { first.provide("one.example").await });
        tokio::task::yield_now().await;
        // There is no place for another one.
        second.provide("one.example").await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        first.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_bounds_for_all() {
        let (desk, mut requests) =
            desk(OnDemand::new(|_: &str| true).most_at_once(2).most_names(5));
        let begun = tokio::time::Instant::now();
        for name in ["127.0.0.1", "localhost", "*.example", "a_b.example"] {
            desk.provide(name).await;
        }
        desk.names.store(5, Ordering::Relaxed);
        desk.provide("one.example").await;
        desk.names.store(4, Ordering::Relaxed);
        // It has failed a moment ago.
        desk.provide("one.example").await;
        assert!(requests.try_recv().is_err());
        for name in ["two.example", "three.example"] {
            let desk = desk.clone();
            tokio::spawn(async move { desk.provide(name).await });
        }
        tokio::task::yield_now().await;
        desk.provide("four.example").await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(requests.len(), 2);
    }
}
