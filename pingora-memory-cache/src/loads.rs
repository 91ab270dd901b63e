//! The look-ups that are under way, so that each key is looked up once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How a look-up ended: the value, or what was wrong.
pub(crate) type Loaded<T> = Result<T, String>;

/// The look-ups that are under way, by the hash of their keys. Bounded by the tasks that look something up: each
/// has one entry at most, and takes it out when it ends or is cancelled.
pub(crate) struct Loads<T> {
    under_way: Mutex<HashMap<u64, Load<T>>>,
    /// A look-up that has taken longer is no longer waited for.
    age: Option<Duration>,
}

struct Load<T> {
    started: Instant,
    outcome: watch::Receiver<Option<Loaded<T>>>,
}

/// The caller's part in looking up a key.
pub(crate) enum LoadRole<'a, T> {
    /// To look it up, and to say how that ended.
    Load(Loading<'a, T>),
    /// To wait for another caller that looks it up.
    Wait(Waiting<T>),
}

/// The look-up of a key: it is under way until this is dropped.
pub(crate) struct Loading<'a, T> {
    loads: &'a Loads<T>,
    hash: u64,
    outcome: watch::Sender<Option<Loaded<T>>>,
}

pub(crate) struct Waiting<T>(watch::Receiver<Option<Loaded<T>>>);

/// How the waiting ended.
pub(crate) enum Waited<T> {
    Loaded(Loaded<T>),
    /// The look-up was given up.
    Abandoned,
    TimedOut,
}

impl<T: Clone> Loads<T> {
    pub(crate) fn new(age: Option<Duration>) -> Self {
        Loads {
            under_way: Mutex::default(),
            age,
        }
    }

    pub(crate) fn turn(&self, hash: u64) -> LoadRole<'_, T> {
        let mut under_way = self.lock();
        if let Some(load) = under_way.get(&hash)
            && self.age.is_none_or(|age| load.started.elapsed() < age)
        {
            return LoadRole::Wait(Waiting(load.outcome.clone()));
        }
        let (outcome, receiver) = watch::channel(None);
        let load = Load {
            started: Instant::now(),
            outcome: receiver,
        };
        under_way.insert(hash, load);
        LoadRole::Load(Loading {
            loads: self,
            hash,
            outcome,
        })
    }
}

impl<T> Loads<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Load<T>>> {
        // Nothing in here panics while it is locked.
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Loading<'_, T> {
    /// Tells all who wait.
    pub(crate) fn end(self, outcome: Loaded<T>) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl<T> Drop for Loading<'_, T> {
    fn drop(&mut self) {
        let mut under_way = self.loads.lock();
        let of_this = |load: &Load<T>| load.outcome.same_channel(&self.outcome.subscribe());
        // Another one may have taken its place, if this took too long.
        if under_way.get(&self.hash).is_some_and(of_this) {
            under_way.remove(&self.hash);
        }
    }
}

impl<T: Clone> Waiting<T> {
    /// Waits until then, or without a limit. Safe to cancel.
    pub(crate) async fn wait(mut self, until: Option<Instant>) -> Waited<T> {
        let ended = self.0.wait_for(Option::is_some);
        let ended = match until {
            Some(until) => match timeout_at(until, ended).await {
                Ok(ended) => ended,
                Err(_) => return Waited::TimedOut,
            },
            None => ended.await,
        };
        match ended.ok().and_then(|outcome| outcome.clone()) {
            Some(outcome) => Waited::Loaded(outcome),
            None => Waited::Abandoned,
        }
    }
}
