//! `pingora_load_balancing`: backends, health, selection.

mod root {
    use crate::any;

    use pingora_core::protocols::l4::socket::SocketAddr;
    use pingora_core::server::ShutdownWatch;
    use pingora_core::services::ServiceReadyNotifier;
    use pingora_core::services::background::BackgroundService;
    use pingora_error::Result;
    use pingora_load_balancing::discovery::ServiceDiscovery;
    use pingora_load_balancing::health_check::HealthCheck;
    use pingora_load_balancing::selection::RoundRobin;
    use pingora_load_balancing::*;
    use std::collections::BTreeSet;
    use std::io::Result as IoResult;
    use std::sync::Arc;
    use std::time::Duration;

    fn the_backend(it: &mut Backend) {
        let _ = Backend {
            addr: any::<SocketAddr>(),
            weight: any::<usize>(),
            ext: any::<Extensions>(),
        };
        let _: &SocketAddr = &it.addr;
        let _: &usize = &it.weight;
        let _: &Extensions = &it.ext;
        let _: Result<Backend> = Backend::new("a");
        let _: Result<Backend> = Backend::new_with_weight("a", 1);
        is_eq::<Backend>();
        is_hash::<Backend>();
        is_ord::<Backend>();
        is_partial_eq::<Backend>();
        is_partial_ord::<Backend>();
    }

    async fn the_health_registry(it: &mut HealthRegistry) {
        let _: HealthRegistry = HealthRegistry::new();
        let _: HealthRegistry = HealthRegistry::with_equivalence(|_| 1);
        it.set_health_check(any::<Box<dyn HealthCheck + Send + Sync + 'static>>());
        let _: usize = it.target_count();
        it.run_health_check(true).await;
        is_default::<HealthRegistry>();
    }

    async fn the_backends(it: &mut Backends) {
        let _: Backends = Backends::new(any::<Box<dyn ServiceDiscovery + Send + Sync + 'static>>());
        let _: Backends = Backends::new_with_health_registry(
            any::<Box<dyn ServiceDiscovery + Send + Sync + 'static>>(),
            any::<Arc<HealthRegistry>>(),
        );
        it.set_health_check(any::<Box<dyn HealthCheck + Send + Sync + 'static>>());
        let _: bool = it.ready(any::<&Backend>());
        it.set_enable(any::<&Backend>(), true);
        let _: Arc<BTreeSet<Backend>> = it.get_backend();
        let _: Result<()> = it.update(|_| ()).await;
        it.run_health_check(true).await;
    }

    async fn the_health_check_service(it: &mut HealthCheckService) {
        let _: &Option<Duration> = &it.health_check_frequency;
        let _: &bool = &it.parallel_health_check;
        it.run(
            any::<ShutdownWatch>(),
            any::<Option<ServiceReadyNotifier>>(),
        )
        .await;
        let _: HealthCheckService = HealthCheckService::new(any::<Arc<HealthRegistry>>());
        is_background_service::<HealthCheckService>();
    }

    fn the_update_timings(it: &mut UpdateTimings) {
        let _ = UpdateTimings {
            discovery_duration: any::<Duration>(),
            build_duration: any::<Duration>(),
        };
        let _: &Duration = &it.discovery_duration;
        let _: &Duration = &it.build_duration;
    }

    async fn the_load_balancer(it: &mut LoadBalancer<RoundRobin>) {
        let _: &Option<Duration> = &it.health_check_frequency;
        let _: &Option<Duration> = &it.update_frequency;
        let _: &bool = &it.parallel_health_check;
        it.run(
            any::<ShutdownWatch>(),
            any::<Option<ServiceReadyNotifier>>(),
        )
        .await;
        let _: IoResult<LoadBalancer<RoundRobin>> =
            LoadBalancer::<RoundRobin>::try_from_iter(["127.0.0.1:80"]);
        let _: LoadBalancer<RoundRobin> =
            LoadBalancer::<RoundRobin>::from_backends_with_config(any::<Backends>(), None);
        let _: LoadBalancer<RoundRobin> =
            LoadBalancer::<RoundRobin>::from_backends(any::<Backends>());
        let _: Result<()> = it.update().await;
        let _: Option<Backend> = it.select(b"a", 1);
        let _: Option<Backend> = it.select_with(b"a", 1, |_, healthy| healthy);
        it.set_health_check(any::<Box<dyn HealthCheck + Send + Sync + 'static>>());
        let _: &Backends = it.backends();
        let _: Option<UpdateTimings> = it.last_update_timing();
        is_background_service::<LoadBalancer<RoundRobin>>();
    }

    fn the_selector_update_timings(it: &mut SelectorUpdateTimings) {
        let _ = SelectorUpdateTimings {
            generation: any::<u64>(),
            queue_duration: any::<Duration>(),
            build_duration: any::<Duration>(),
        };
        let _: &u64 = &it.generation;
        let _: &Duration = &it.queue_duration;
        let _: &Duration = &it.build_duration;
    }

    fn the_selector_rebuild_gate() {
        let _: SelectorRebuildGate = SelectorRebuildGate::new();
        is_default::<SelectorRebuildGate>();
    }

    async fn the_load_balancer_group(it: &mut LoadBalancerGroup<RoundRobin>) {
        let _: &Option<Duration> = &it.health_check_frequency;
        let _: &Option<Duration> = &it.update_frequency;
        let _: &bool = &it.parallel_health_check;
        it.run(
            any::<ShutdownWatch>(),
            any::<Option<ServiceReadyNotifier>>(),
        )
        .await;
        let _: LoadBalancerGroup<RoundRobin> =
            LoadBalancerGroup::<RoundRobin>::from_backends_with_configs(
                any::<Backends>(),
                [None, None],
            );
        let _: LoadBalancerGroup<RoundRobin> = any::<LoadBalancerGroup<RoundRobin>>()
            .with_rebuild_gate(any::<Arc<SelectorRebuildGate>>());
        let _: usize = it.selector_count();
        let _: Result<()> = it.update().await;
        let _: Option<Backend> = it.select(1, b"a", 1);
        let _: Option<Backend> = it.select_with(1, b"a", 1, |_, healthy| healthy);
        it.set_health_check(any::<Box<dyn HealthCheck + Send + Sync + 'static>>());
        let _: &Backends = it.backends();
        let _: u64 = it.backend_generation();
        let _: Option<u64> = it.selector_generation(1);
        let _: bool = it.selectors_ready_for(1);
        let _: Option<SelectorUpdateTimings> = it.selector_last_update_timing(1);
        let _: Option<u64> = it.selector_coalesced_rebuilds(1);
        let _: Option<u64> = it.selector_failed_rebuilds(1);
        let _: Option<UpdateTimings> = it.last_update_timing();
        is_background_service::<LoadBalancerGroup<RoundRobin>>();
    }

    fn functions_and_constants() {
        let _: BackendView = any::<Backends>();
    }

    fn is_eq<T: Eq>() {}
    fn is_hash<T: std::hash::Hash>() {}
    fn is_ord<T: Ord>() {}
    fn is_partial_eq<T: PartialEq>() {}
    fn is_partial_ord<T: PartialOrd>() {}
    fn is_default<T: Default>() {}
    fn is_background_service<T: BackgroundService>() {}
}

mod discovery {
    use crate::any;
    use async_trait::async_trait;

    use pingora_error::Result;
    use pingora_load_balancing::discovery::*;
    use pingora_load_balancing::*;
    use std::collections::{BTreeSet, HashMap};
    use std::io::Result as IoResult;

    struct OwnServiceDiscovery;
    #[async_trait]
    impl ServiceDiscovery for OwnServiceDiscovery {
        async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
            any()
        }
    }

    fn the_static(it: &mut Static) {
        let _: Box<Static> = Static::new(any::<BTreeSet<Backend>>());
        let _: IoResult<Box<Static>> = Static::try_from_iter(["127.0.0.1:80"]);
        let _: BTreeSet<Backend> = it.get();
        is_default::<Static>();
        is_service_discovery::<Static>();
    }

    fn is_default<T: Default>() {}
    fn is_service_discovery<T: ServiceDiscovery>() {}
}

mod health_check {
    use crate::any;
    use async_trait::async_trait;
    use pingora_core::connectors::TransportConnector;
    use pingora_core::connectors::http::Connector as HttpConnector;

    use pingora_core::upstreams::peer::{BasicPeer, HttpPeer};
    use pingora_error::Result;
    use pingora_http::{RequestHeader, ResponseHeader};
    use pingora_load_balancing::health_check::*;
    use pingora_load_balancing::*;

    struct OwnHealthObserve;
    #[async_trait]
    impl HealthObserve for OwnHealthObserve {
        async fn observe(&self, _target: &Backend, _healthy: bool) {
            any()
        }
    }

    struct OwnHealthCheck;
    #[async_trait]
    impl HealthCheck for OwnHealthCheck {
        async fn check(&self, _target: &Backend) -> Result<()> {
            any()
        }

        async fn health_status_change(&self, _target: &Backend, _healthy: bool)
        where
            Self: Sync,
        {
            any()
        }

        fn backend_summary(&self, _target: &Backend) -> String {
            any()
        }

        fn health_threshold(&self, _success: bool) -> usize {
            any()
        }
    }

    fn the_tcp_health_check(it: &mut TcpHealthCheck) {
        let _: &usize = &it.consecutive_success;
        let _: &usize = &it.consecutive_failure;
        let _: &BasicPeer = &it.peer_template;
        let _: &Option<HealthObserveCallback> = &it.health_changed_callback;
        let _: Box<TcpHealthCheck> = TcpHealthCheck::new();
        let _: Box<TcpHealthCheck> = TcpHealthCheck::new_tls("a");
        it.set_connector(any::<TransportConnector>());
        is_default::<TcpHealthCheck>();
        is_health_check::<TcpHealthCheck>();
    }

    fn the_http_health_check(it: &mut HttpHealthCheck<()>) {
        let _: &usize = &it.consecutive_success;
        let _: &usize = &it.consecutive_failure;
        let _: &HttpPeer = &it.peer_template;
        let _: &bool = &it.reuse_connection;
        let _: &RequestHeader = &it.req;
        let _: &Option<Box<dyn Fn(&ResponseHeader) -> Result<()> + Send + Sync>> = &it.validator;
        let _: &Option<u16> = &it.port_override;
        let _: &Option<HealthObserveCallback> = &it.health_changed_callback;
        let _: &Option<BackendSummary> = &it.backend_summary_callback;
        let _: HttpHealthCheck = HttpHealthCheck::new("a", true);
        let _: HttpHealthCheck<()> =
            HttpHealthCheck::<()>::new_custom("a", true, any::<HttpConnector>());
        it.set_connector(any::<HttpConnector>());
        it.set_backend_summary(|backend| backend.addr.to_string());
        is_health_check::<HttpHealthCheck<()>>();
    }

    fn functions_and_constants() {
        let _: HealthObserveCallback = any::<Box<dyn HealthObserve + Send + Sync>>();
        let _: BackendSummary = any::<Box<dyn Fn(&Backend) -> String + Send + Sync>>();
    }

    fn is_default<T: Default>() {}
    fn is_health_check<T: HealthCheck>() {}
}

mod selection {
    use crate::any;

    use pingora_load_balancing::selection::consistent::KetamaHashing;
    use pingora_load_balancing::selection::*;
    use pingora_load_balancing::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    struct First(Option<Backend>);
    struct Once(Option<Backend>);
    impl BackendSelection for First {
        type Iter = Once;
        type Config = ();
        fn build_with_config(backends: &BTreeSet<Backend>, _config: &Self::Config) -> Self {
            Self::build(backends)
        }

        fn build(backends: &BTreeSet<Backend>) -> Self {
            First(backends.first().cloned())
        }

        fn iter(self: &Arc<Self>, _key: &[u8]) -> Self::Iter
        where
            Self::Iter: BackendIter,
        {
            Once(self.0.clone())
        }
    }

    impl BackendIter for Once {
        fn next(&mut self) -> Option<&Backend> {
            self.0.as_ref()
        }
    }

    struct Middle;
    impl SelectionAlgorithm for Middle {
        fn new() -> Self {
            Middle
        }

        fn next(&self, _key: &[u8]) -> u64 {
            1
        }
    }

    fn everyday(set: &BTreeSet<Backend>) {
        let _: LoadBalancer<First> = any();
        let _: LoadBalancer<weighted::Weighted<Middle>> = any();
        let _: (
            LoadBalancer<FNVHash>,
            LoadBalancer<Random>,
            LoadBalancer<RoundRobin>,
        ) = any();
        let ring: Arc<Consistent> = Arc::new(Consistent::build_with_config(
            set,
            &consistent::KetamaConfig {
                point_multiple: Some(1),
            },
        ));
        let turn: consistent::OwnedNodeIterator = ring.iter(b"a");
        let _: Option<Backend> = UniqueIterator::new(turn, 2).get_next();
        let wheel: Arc<weighted::Weighted> = Arc::new(weighted::Weighted::build(set));
        let _: Option<&Backend> = wheel.iter(b"a").next();
        let _ = (
            algorithms::RoundRobin::new().next(b"a"),
            algorithms::Random::new().next(b"a"),
        );
    }

    fn functions_and_constants() {
        let _: Consistent = any::<KetamaHashing>();
    }
}
