//! A check and a discovery that do as they are told.
#![allow(dead_code)] // each suite uses what it needs

use async_trait::async_trait;
use pingora_error::{Error, Result};
use pingora_load_balancing::Backend;
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::health_check::HealthCheck;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// A backend at port `number`.
pub(crate) fn backend(number: usize) -> Backend {
    Backend::new(&format!("127.0.0.1:{number}")).unwrap()
}

/// The backends 1, 2 and 3.
pub(crate) fn three() -> BTreeSet<Backend> {
    (1..=3).map(backend).collect()
}

#[derive(Default)]
struct Lines {
    down: BTreeSet<Backend>,
    panics: BTreeSet<Backend>,
    duration: Duration,
    checks: BTreeMap<Backend, usize>,
    changes: Vec<(Backend, bool)>,
}

/// The results that checks find, and the backends that they were asked about.
#[derive(Clone, Default)]
pub(crate) struct Script(Arc<Mutex<Lines>>);

impl Script {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap()
    }

    pub(crate) fn check(&self, successes: usize, failures: usize) -> Box<ScriptedCheck> {
        Box::new(ScriptedCheck {
            script: self.clone(),
            successes,
            failures,
        })
    }

    pub(crate) fn set_up(&self, target: &Backend, up: bool) {
        if up {
            self.lines().down.remove(target);
        } else {
            self.lines().down.insert(target.clone());
        }
    }

    pub(crate) fn set_panics(&self, target: &Backend) {
        self.lines().panics.insert(target.clone());
    }

    pub(crate) fn set_duration(&self, duration: Duration) {
        self.lines().duration = duration;
    }

    pub(crate) fn checks_of(&self, target: &Backend) -> usize {
        self.lines().checks.get(target).copied().unwrap_or(0)
    }

    pub(crate) fn changes(&self) -> Vec<(Backend, bool)> {
        self.lines().changes.clone()
    }
}

pub(crate) struct ScriptedCheck {
    script: Script,
    successes: usize,
    failures: usize,
}

#[async_trait]
impl HealthCheck for ScriptedCheck {
    async fn check(&self, target: &Backend) -> Result<()> {
        let (duration, up, panics) = {
            let mut lines = self.script.lines();
            *lines.checks.entry(target.clone()).or_default() += 1;
            (
                lines.duration,
                !lines.down.contains(target),
                lines.panics.contains(target),
            )
        };
        assert!(!panics, "told to panic");
        tokio::time::sleep(duration).await;
        if up {
            Ok(())
        } else {
            Err(Error::new_str("told to be down"))
        }
    }

    async fn health_status_change(&self, target: &Backend, healthy: bool) {
        self.script.lines().changes.push((target.clone(), healthy));
    }

    fn health_threshold(&self, success: bool) -> usize {
        if success {
            self.successes
        } else {
            self.failures
        }
    }
}

type Answer = (BTreeSet<Backend>, HashMap<u64, bool>);

/// The backends that a discovery finds.
#[derive(Clone, Default)]
pub(crate) struct Found(Arc<Mutex<Option<Answer>>>);

impl Found {
    /// From now on: these, and whether they may be selected.
    pub(crate) fn set(
        &self,
        backends: impl IntoIterator<Item = Backend>,
        enablement: &[(&Backend, bool)],
    ) {
        let enablement = enablement.iter().map(|(b, e)| (b.hash_key(), *e)).collect();
        *self.0.lock().unwrap() = Some((backends.into_iter().collect(), enablement));
    }

    /// From now on: nothing but an error.
    pub(crate) fn fail(&self) {
        *self.0.lock().unwrap() = None;
    }

    pub(crate) fn discovery(&self) -> Box<Self> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl ServiceDiscovery for Found {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let found = self.0.lock().unwrap().clone();
        found.ok_or_else(|| Error::new_str("told to fail"))
    }
}
