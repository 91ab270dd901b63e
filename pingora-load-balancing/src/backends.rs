use crate::Backend;
use crate::discovery::ServiceDiscovery;
use crate::health_check::HealthCheck;
use crate::registry::{HealthRegistry, Target};
use arc_swap::ArcSwap;
use pingora_error::Result;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A set of backends, where it comes from, and which of them may be selected.
pub struct Backends {
    discovery: Box<dyn ServiceDiscovery + Send + Sync + 'static>,
    registry: Arc<HealthRegistry>,
    current: ArcSwap<Current>,
    /// One update at a time: the later one's result is the one that stays.
    updating: tokio::sync::Mutex<()>,
}

/// The set as a whole, replaced as a whole.
#[derive(Default)]
struct Current {
    backends: Arc<BTreeSet<Backend>>,
    /// In the order of the backends.
    members: Box<[Member]>,
}

struct Member {
    backend: Backend,
    enabled: Arc<AtomicBool>,
    health: Arc<Target>,
}

impl Current {
    fn member(&self, backend: &Backend) -> Option<&Member> {
        let found = self.members.binary_search_by(|m| m.backend.cmp(backend));
        self.members.get(found.ok()?)
    }

    /// The set `backends`, whose members keep what is known of them.
    fn with(&self, backends: BTreeSet<Backend>, registry: &HealthRegistry) -> Self {
        let member = |backend: &Backend| Member {
            backend: backend.clone(),
            enabled: match self.member(backend) {
                Some(known) => known.enabled.clone(),
                None => Arc::new(AtomicBool::new(true)),
            },
            health: registry.register(backend),
        };
        Current {
            members: backends.iter().map(member).collect(),
            backends: Arc::new(backends),
        }
    }
}

/// A set of backends whose health is shared with other sets.
pub type BackendView = Backends;

impl Backends {
    /// The set that `discovery` finds: there at once if it is
    /// [known](ServiceDiscovery::known), else empty until the first [`update`](Self::update).
    pub fn new(discovery: Box<dyn ServiceDiscovery + Send + Sync + 'static>) -> Self {
        Backends::new_with_health_registry(discovery, Arc::new(HealthRegistry::new()))
    }

    /// [`Backends::new`] with a registry that may be shared with other sets.
    pub fn new_with_health_registry(
        discovery: Box<dyn ServiceDiscovery + Send + Sync + 'static>,
        health_registry: Arc<HealthRegistry>,
    ) -> Self {
        let known = discovery.known().unwrap_or_default();
        Backends {
            current: ArcSwap::from_pointee(Current::default().with(known, &health_registry)),
            discovery,
            registry: health_registry,
            updating: tokio::sync::Mutex::const_new(()),
        }
    }

    /// How backends are checked from now on; for all sets that share the registry.
    pub fn set_health_check(&mut self, hc: Box<dyn HealthCheck + Send + Sync + 'static>) {
        self.registry.set_health_check(hc);
    }

    /// Whether `backend` may be selected: it is in the set, healthy, and not disabled.
    #[inline]
    pub fn ready(&self, backend: &Backend) -> bool {
        self.current
            .load()
            .member(backend)
            .is_some_and(|m| m.enabled.load(Ordering::Relaxed) && m.health.is_healthy())
    }

    /// Says whether `backend` may be selected while it is healthy. Does nothing if it is not in the
    /// set. Stands until the backend leaves the set, or discovery says otherwise.
    pub fn set_enable(&self, backend: &Backend, enabled: bool) {
        if let Some(member) = self.current.load().member(backend) {
            member.enabled.store(enabled, Ordering::Relaxed);
        }
    }

    /// The set.
    pub fn get_backend(&self) -> Arc<BTreeSet<Backend>> {
        self.current.load().backends.clone()
    }

    /// Asks discovery for the set. If that changed, `callback` is called with the new one; members
    /// that stay keep their health. Backends with extensions always count as changed, because
    /// extensions can't be compared.
    ///
    /// Cancel-safe: the set is replaced as a whole or not at all.
    ///
    /// # Errors
    /// Discovery's; the set stays as it was.
    pub async fn update<F>(&self, callback: F) -> Result<()>
    where
        F: FnOnce(Arc<BTreeSet<Backend>>),
    {
        let _one_at_a_time = self.updating.lock().await;
        let (backends, enablement) = self.discovery.discover().await?;
        self.replace(backends, &enablement, callback);
        Ok(())
    }

    fn replace<F>(&self, backends: BTreeSet<Backend>, enablement: &HashMap<u64, bool>, callback: F)
    where
        F: FnOnce(Arc<BTreeSet<Backend>>),
    {
        let mut current = self.current.load_full();
        let changed = *current.backends != backends || backends.iter().any(|b| !b.ext.is_empty());
        if changed {
            current = Arc::new(current.with(backends, &self.registry));
        }
        if !enablement.is_empty() {
            for member in &current.members {
                if let Some(enabled) = enablement.get(&member.backend.hash_key()) {
                    member.enabled.store(*enabled, Ordering::Relaxed);
                }
            }
        }
        if changed {
            let backends = current.backends.clone();
            // Before the callback: what left the set is not ready any more, whoever selects it.
            self.current.store(current);
            callback(backends);
        }
    }

    /// Checks every backend of the registry once; see [`HealthRegistry::run_health_check`].
    pub async fn run_health_check(&self, parallel: bool) {
        self.registry.run_health_check(parallel).await;
    }
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backends")
            .field("backends", &self.current.load().backends)
            .finish_non_exhaustive()
    }
}
