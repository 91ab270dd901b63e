//! Backends that a file lists, and what becomes of them when it changes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use pingora_core::server::ShutdownWatch;
use pingora_load_balancing::discovery::{FileDiscovery, ServiceDiscovery};
use pingora_load_balancing::prelude::*;
use pingora_load_balancing::{Backend, Backends};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

type Balancer = LoadBalancer<RoundRobin>;

const LOOK: Duration = Duration::from_millis(20);

fn list(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backends");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

fn addresses(balancer: &Balancer) -> Vec<String> {
    let set = balancer.backends().get_backend();
    set.iter().map(|backend| backend.addr.to_string()).collect()
}

/// Runs the balancer as a background service. The sender stops it.
fn serve(path: &Path) -> (Arc<Balancer>, watch::Sender<bool>) {
    let set = Backends::new(FileDiscovery::new(path).look_every(LOOK));
    let balancer = Arc::new(Balancer::from_backends(set));
    let (stop, stopped): (_, ShutdownWatch) = watch::channel(false);
    let service = balancer.clone();
    tokio::spawn(async move { service.run(stopped, None).await });
    (balancer, stop)
}

async fn until(balancer: &Balancer, wanted: &[&str]) {
    let there = async {
        while addresses(balancer) != wanted {
            tokio::time::sleep(LOOK).await;
        }
    };
    let waited = timeout(Duration::from_secs(20), there).await;
    waited.unwrap_or_else(|_| assert_eq!(addresses(balancer), wanted));
}

#[tokio::test]
async fn a_good_file_is_known_from_the_start_and_a_bad_one_is_not() {
    let (_folder, path) = list("127.0.0.1:1\n127.0.0.1:2 weight=0\n");
    let known = FileDiscovery::new(&path).known().unwrap();
    assert_eq!(known.len(), 2);
    assert!(known.contains(&Backend::new_with_weight("127.0.0.1:2", 0).unwrap()));
    fs::write(&path, "127.0.0.1:1\n127.").unwrap();
    let discovery = FileDiscovery::new(&path);
    assert!(discovery.known().is_none());
    let error = discovery.discover().await.unwrap_err().to_string();
    assert!(
        error.contains("breaks off") && error.contains("backends"),
        "{error}"
    );
    fs::remove_file(&path).unwrap();
    assert!(discovery.discover().await.is_err());
}

#[tokio::test]
async fn a_running_balancer_follows_the_file_and_keeps_the_last_good_set() {
    let (_folder, path) = list("127.0.0.1:1\n");
    let (balancer, _stop) = serve(&path);
    until(&balancer, &["127.0.0.1:1"]).await;
    replace(&path, "127.0.0.1:2\n127.0.0.1:3\n");
    until(&balancer, &["127.0.0.1:2", "127.0.0.1:3"]).await;

    // Half of it, all of it with an error, nothing, no file at all: each is there for many looks.
    for bad in ["127.0.0.1:4\n127.0.0.1:5", "127.0.0.1:4\nwhat?\n", ""] {
        fs::write(&path, bad).unwrap();
        tokio::time::sleep(10 * LOOK).await;
        assert_eq!(
            addresses(&balancer),
            ["127.0.0.1:2", "127.0.0.1:3"],
            "{bad:?}"
        );
    }
    fs::remove_file(&path).unwrap();
    tokio::time::sleep(10 * LOOK).await;
    assert_eq!(addresses(&balancer), ["127.0.0.1:2", "127.0.0.1:3"]);

    replace(&path, "127.0.0.1:6\n");
    until(&balancer, &["127.0.0.1:6"]).await;
}

#[tokio::test]
async fn a_file_that_comes_later_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backends");
    let (balancer, _stop) = serve(&path);
    tokio::time::sleep(3 * LOOK).await;
    assert!(balancer.select(b"", 256).is_none());
    fs::write(&path, "127.0.0.1:1\n").unwrap();
    until(&balancer, &["127.0.0.1:1"]).await;
}

#[tokio::test]
async fn a_file_that_is_too_large_or_no_text_is_refused() {
    let (_folder, path) = list("127.0.0.1:1\n");
    let long = "# 456789\n".repeat(500_000) + "127.0.0.1:1\n";
    fs::write(&path, long).unwrap();
    assert!(FileDiscovery::new(&path).discover().await.is_err());
    fs::write(&path, b"127.0.0.1:1 zone=\xff\n").unwrap();
    assert!(FileDiscovery::new(&path).discover().await.is_err());
    assert!(
        FileDiscovery::new(path.parent().unwrap())
            .discover()
            .await
            .is_err()
    );
}
