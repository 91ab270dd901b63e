//! Saying that a service is ready.

use tokio::sync::watch;

/// Turns from `false` to `true` when a service is ready.
pub type ServiceReadyWatch = watch::Receiver<bool>;

/// Says, once, that a service is ready for the services that depend on it.
///
/// Dropping it says so too: a service that fails, or does not care, must not hold up the others
/// forever.
#[derive(Debug)]
pub struct ServiceReadyNotifier {
    sender: watch::Sender<bool>,
}

impl ServiceReadyNotifier {
    /// A notifier for those who watch the other end of `sender`.
    pub fn new(sender: watch::Sender<bool>) -> Self {
        ServiceReadyNotifier { sender }
    }

    /// Says that the service is ready.
    pub fn notify_ready(self) {
        drop(self);
    }
}

impl Drop for ServiceReadyNotifier {
    fn drop(&mut self) {
        self.sender.send_replace(true);
    }
}
