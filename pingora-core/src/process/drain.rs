//! How long idle connections are still served once a shutdown has begun.
//!
//! A client can't know that its idle connection is about to be closed, and may be sending a request at
//! that very moment. The time that it gets depends on why the server stops, which [`ShutdownWatch`], a
//! plain `bool`, can't express: the server stores it here before it turns the watch to `true`.

use super::ShutdownWatch;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The default: long enough for a request that is already in flight.
const SHORT: Duration = Duration::from_millis(200);

/// The servers of this process that set another time, by their watches.
static SET: Mutex<Vec<(ShutdownWatch, Duration)>> = Mutex::new(vec![]);

/// Keeps the quiet time of one server in place until that server has stopped.
#[derive(Debug)]
pub(crate) struct QuietTime(ShutdownWatch);

impl QuietTime {
    /// Sets the waiting time for idle connections of the server with this `shutdown`. Call it before
    /// the shutdown begins.
    pub(crate) fn set(shutdown: ShutdownWatch, time: Duration) -> Self {
        lock().push((shutdown.clone(), time));
        QuietTime(shutdown)
    }
}

impl Drop for QuietTime {
    fn drop(&mut self) {
        lock().retain(|(watch, _)| !watch.same_channel(&self.0));
    }
}

/// The time that an idle connection waits for one more request once the shutdown has begun. Takes a
/// lock: call it once for each connection, when the shutdown begins.
pub(crate) fn quiet_time(shutdown: &ShutdownWatch) -> Duration {
    let set = lock();
    let found = set.iter().find(|(watch, _)| watch.same_channel(shutdown));
    found.map_or(SHORT, |(_, time)| *time)
}

fn lock() -> MutexGuard<'static, Vec<(ShutdownWatch, Duration)>> {
    SET.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::watch;

    #[test]
    fn each_server_has_its_own_until_it_ends() {
        let (_one, first) = watch::channel(false);
        let (_two, second) = watch::channel(false);
        let long = Duration::from_secs(9);
        let set = QuietTime::set(first.clone(), long);
        assert_eq!(quiet_time(&first.clone()), long);
        assert_eq!(quiet_time(&second), SHORT);
        drop(set);
        assert_eq!(quiet_time(&first), SHORT);
    }
}
