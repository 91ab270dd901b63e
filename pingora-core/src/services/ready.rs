//! Reporting that a service is ready.

use tokio::sync::watch;

/// Turns from `false` to `true` when a service is ready.
pub type ServiceReadyWatch = watch::Receiver<bool>;

/// Reports, once, that a service is ready for the services that depend on it.
///
/// Dropping it reports readiness too: a service that ends, or does not use it, must not hold up the
/// others forever. A service that panics before it is ready drops it without reporting: the watch
/// closes on `false`, services that depend on it start all the same, and a process that waits for
/// the background server is informed (`daemon_wait_for_ready`).
#[derive(Debug)]
pub struct ServiceReadyNotifier {
    sender: watch::Sender<bool>,
}

impl ServiceReadyNotifier {
    /// A notifier for watchers at the other end of `sender`.
    pub fn new(sender: watch::Sender<bool>) -> Self {
        ServiceReadyNotifier { sender }
    }

    /// Reports that the service is ready.
    pub fn notify_ready(self) {
        drop(self);
    }
}

impl Drop for ServiceReadyNotifier {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.sender.send_replace(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_that_panics_is_not_ready_and_waited_for_no_longer() {
        let (sender, mut ready) = watch::channel(false);
        let notifier = ServiceReadyNotifier::new(sender);
        let panicked = tokio::spawn(async move {
            let _notifier = notifier;
            tokio::task::yield_now().await;
            std::panic::resume_unwind(Box::new("as asked for"));
        });
        assert!(panicked.await.unwrap_err().is_panic());
        assert!(ready.wait_for(|ready| *ready).await.is_err());

        let (sender, mut ready) = watch::channel(false);
        drop(ServiceReadyNotifier::new(sender));
        assert!(*ready.wait_for(|ready| *ready).await.unwrap());
    }
}
