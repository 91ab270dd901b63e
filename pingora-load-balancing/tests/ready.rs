//! In a server: what depends on a balancer starts when that has found its backends and checked them.
#![allow(clippy::unwrap_used)]

mod scripted;

use async_trait::async_trait;
use pingora_core::server::{RunArgs, Server, ShutdownWatch};
use pingora_core::services::ServiceWithDependents;
use pingora_core::services::background::{BackgroundService, background_service};
use pingora_error::Result;
use pingora_load_balancing::discovery::{ServiceDiscovery, Static};
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{
    Backend, Backends, HealthCheckService, HealthRegistry, LoadBalancer, LoadBalancerGroup,
};
use scripted::{Script, backend, three};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the discovery and each check take. What does not wait for them has long started by then.
const SLOW: Duration = Duration::from_millis(50);

/// Finds three backends, in its own time.
struct Slow;

#[async_trait]
impl ServiceDiscovery for Slow {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        tokio::time::sleep(SLOW).await;
        Ok((three(), HashMap::new()))
    }
}

/// Notes what the balancer selects when this starts, and lets the server end.
struct Dependent<F> {
    select: F,
    told: Mutex<Option<oneshot::Sender<Vec<Backend>>>>,
}

#[async_trait]
impl<F: Fn() -> Option<Backend> + Send + Sync> BackgroundService for Dependent<F> {
    async fn start(&self, _: ShutdownWatch) {
        let mut selected: Vec<Backend> = (0..6).filter_map(|_| (self.select)()).collect();
        selected.sort();
        selected.dedup();
        let told = self.told.lock().unwrap().take().unwrap();
        told.send(selected).unwrap();
    }
}

/// The backend that is selected when a service starts that depends on `balancer`.
async fn selected_by_a_dependent(
    balancer: impl ServiceWithDependents + 'static,
    select: impl Fn() -> Option<Backend> + Send + Sync + 'static,
) -> Vec<Backend> {
    let mut server = Server::new(None).unwrap();
    let (told, selected) = oneshot::channel();
    let told = Mutex::new(Some(told));
    let dependent = server.add_service(background_service("dependent", Dependent { select, told }));
    dependent.add_dependency(server.add_service(balancer));
    let (done, ended) = oneshot::channel::<()>();
    let running = tokio::spawn(server.serve(RunArgs::until(async {
        let _ = ended.await;
    })));
    let limit = Duration::from_secs(20);
    let selected = tokio::time::timeout(limit, selected).await;
    drop(done);
    running.await.unwrap().unwrap();
    selected.unwrap().unwrap()
}

fn script() -> Script {
    let script = Script::default();
    script.set_duration(SLOW);
    script.set_up(&backend(2), false);
    script
}

#[tokio::test]
async fn a_balancer_is_ready_when_its_backends_are_found_and_checked() {
    let mut balancer = LoadBalancer::<RoundRobin>::from_backends(Backends::new(Box::new(Slow)));
    balancer.set_health_check(script().check(1, 1));
    let service = background_service("balancer", balancer);
    let balancer = service.task();
    let selected = selected_by_a_dependent(service, move || balancer.select(b"", 3));
    assert_eq!(selected.await, [backend(1), backend(3)]);
}

#[tokio::test]
async fn a_group_is_ready_when_its_backends_are_found_and_checked() {
    let backends = Backends::new(Box::new(Slow));
    let mut group =
        LoadBalancerGroup::<RoundRobin>::from_backends_with_configs(backends, [None, None]);
    group.set_health_check(script().check(1, 1));
    let service = background_service("group", group);
    let group = service.task();
    let selected = selected_by_a_dependent(service, move || group.select(1, b"", 3));
    assert_eq!(selected.await, [backend(1), backend(3)]);
}

#[tokio::test]
async fn a_service_of_checks_is_ready_when_all_were_checked() {
    let registry = Arc::new(HealthRegistry::new());
    registry.set_health_check(script().check(1, 1));
    let backends = Backends::new_with_health_registry(Static::new(three()), registry.clone());
    let balancer = LoadBalancer::<RoundRobin>::from_backends(backends);
    let service = background_service("checks", HealthCheckService::new(registry));
    let selected = selected_by_a_dependent(service, move || balancer.select(b"", 3));
    assert_eq!(selected.await, [backend(1), backend(3)]);
}
