//! `pingora_core`: the server, its configuration, services.

mod process {
    use crate::any;
    use async_trait::async_trait;
    use pingora_core::server::configuration::{Opt, ServerConf};
    use pingora_core::server::*;
    use pingora_core::services::{ServiceHandle, ServiceWithDependents};
    use pingora_error::Result;
    use std::collections::HashSet;
    use std::os::fd::RawFd;
    use std::sync::Arc;
    use tokio::sync::Mutex;
    use tokio::sync::broadcast::Receiver;

    fn whether_to_stop() -> ShutdownWatch {
        any::<tokio::sync::watch::Receiver<bool>>()
    }

    fn the_fds(it: &mut Fds) {
        let _: Fds = Fds::new();
        it.add(String::new(), any::<RawFd>());
        let _: Option<&RawFd> = it.get("a");
        let _: bool = it.is_empty();
        let _: (Vec<String>, Vec<RawFd>) = it.serialize();
        it.deserialize(any::<Vec<String>>(), any::<Vec<RawFd>>());
        let _: bool = it.send_to_sock("a").is_ok();
        let _: bool = it.get_from_sock("a").is_ok();
        let _: Vec<String> = it.close_unclaimed(any::<&HashSet<String>>());
    }

    fn the_execution_phase(it: &mut ExecutionPhase) {
        match it {
            ExecutionPhase::Setup => {}
            ExecutionPhase::Bootstrap => {}
            ExecutionPhase::BootstrapComplete => {}
            ExecutionPhase::Running => {}
            ExecutionPhase::GracefulUpgradeTransferringFds => {}
            ExecutionPhase::GracefulUpgradeCloseTimeout => {}
            ExecutionPhase::GracefulTerminate => {}
            ExecutionPhase::ShutdownStarted => {}
            ExecutionPhase::ShutdownGracePeriod => {}
            ExecutionPhase::ShutdownRuntimes => {}
            ExecutionPhase::Terminated => {}
        }
    }

    fn the_shutdown_signal(it: &mut ShutdownSignal) {
        match it {
            ShutdownSignal::GracefulUpgrade => {}
            ShutdownSignal::GracefulTerminate => {}
            ShutdownSignal::FastShutdown => {}
        }
    }

    struct OwnShutdownSignalWatch;
    #[async_trait]
    impl ShutdownSignalWatch for OwnShutdownSignalWatch {
        async fn recv(&self) -> ShutdownSignal {
            any()
        }
    }

    fn the_unix_shutdown_signal_watch() {
        is_shutdown_signal_watch::<UnixShutdownSignalWatch>();
    }

    fn the_run_args(it: &mut RunArgs) {
        let _ = RunArgs {
            shutdown_signal: any::<Box<dyn ShutdownSignalWatch>>(),
        };
        let _: &Box<dyn ShutdownSignalWatch> = &it.shutdown_signal;
        is_default::<RunArgs>();
    }

    fn the_server(it: &mut Server) {
        let _: &Arc<ServerConf> = &it.configuration;
        let _: &Option<Opt> = &it.options;
        let _: Receiver<ExecutionPhase> = it.watch_execution_phase();
        let _: Server = Server::new_with_opt_and_conf(None, any::<ServerConf>());
        let _: Result<Server> = Server::new(Opt::default());
        let _: ServiceHandle = it.add_service(any::<
            pingora_core::services::background::GenBackgroundService<super::services::Nothing>,
        >());
        let _: ServiceHandle = it.add_boxed_service(any::<Box<dyn ServiceWithDependents>>());
        let _: Vec<ServiceHandle> = it.add_services(any::<Vec<Box<dyn ServiceWithDependents>>>());
        it.bootstrap();
        let _: ServiceHandle = it.bootstrap_as_a_service();
        let _: fn(Server) -> ! = |server| server.run_forever();
        any::<Server>().run(any::<RunArgs>());
    }

    fn functions_and_constants() {
        let _: ListenFds = any::<Arc<Mutex<Fds>>>();
    }

    fn is_shutdown_signal_watch<T: ShutdownSignalWatch>() {}
    fn is_default<T: Default>() {}
}

mod configuration {
    use crate::any;
    use pingora_core::server::RuntimeOpts;
    use pingora_core::server::configuration::*;
    use pingora_error::Result;
    use std::num::NonZeroU64;
    use std::path::PathBuf;

    fn the_server_conf_1(it: &mut ServerConf) {
        let _: &usize = &it.version;
        let _: &bool = &it.daemon;
        let _: &Option<String> = &it.error_log;
        let _: &String = &it.pid_file;
        let _: &String = &it.upgrade_sock;
        let _: &Option<String> = &it.user;
        let _: &Option<String> = &it.group;
        let _: &Option<PathBuf> = &it.working_directory;
        let _: &usize = &it.threads;
        let _: &usize = &it.listener_tasks_per_fd;
        let _: &bool = &it.work_stealing;
        let _: &bool = &it.runtime_enable_alt_timer;
        let _: &Option<String> = &it.ca_file;
        let _: &Option<u64> = &it.grace_period_seconds;
        let _: &Option<u64> = &it.graceful_shutdown_timeout_seconds;
        let _: &Vec<String> = &it.client_bind_to_ipv4;
        let _: &Vec<String> = &it.client_bind_to_ipv6;
        let _: &usize = &it.upstream_keepalive_pool_size;
        let _: &Option<usize> = &it.upstream_connect_offload_threadpools;
        let _: &Option<usize> = &it.upstream_connect_offload_thread_per_pool;
        let _: &Option<usize> = &it.downstream_tls_offload_threadpools;
        let _: &Option<usize> = &it.downstream_tls_offload_thread_per_pool;
        let _: &bool = &it.upstream_debug_ssl_keylog;
        let _: &usize = &it.max_retries;
        let _: &Option<usize> = &it.upgrade_sock_connect_accept_max_retries;
        let _: &Option<usize> = &it.max_blocking_threads;
        let _: &Option<u64> = &it.blocking_threads_ttl_seconds;
        let _: &Option<u64> = &it.fast_timeout_to_tokio_threshold_seconds;
        let _: &bool = &it.runtime_metrics_poll_time_histogram;
        let _: &Option<RuntimeMetricsPollTimeHistogramScale> =
            &it.runtime_metrics_poll_time_histogram_scale;
        let _: &Option<u64> = &it.runtime_metrics_poll_time_histogram_resolution_micros;
        let _: &Option<usize> = &it.runtime_metrics_poll_time_histogram_buckets;
        let _: &bool = &it.daemon_wait_for_ready;
        let _: &Option<NonZeroU64> = &it.daemon_ready_timeout_seconds;
        let _: &Option<NonZeroU64> = &it.daemon_notify_timeout_seconds;
        let _: Result<ServerConf> = ServerConf::load_from_yaml("a");
        let _: Result<ServerConf> = ServerConf::load_yaml_with_opt_override(any::<&Opt>());
        let _: Option<ServerConf> = ServerConf::new();
        let _: Option<ServerConf> = ServerConf::new_with_opt_override(any::<&Opt>());
        let _: Result<ServerConf> = ServerConf::from_yaml("a");
    }

    fn the_server_conf_2(it: &mut ServerConf) {
        let _: String = it.to_yaml();
        let _: Result<ServerConf> = any::<ServerConf>().validate();
        let _: Option<(usize, usize)> = it.upstream_connect_offload_threadpool();
        let _: Option<(usize, usize)> = it.downstream_tls_offload_threadpool();
        let _: RuntimeOpts = it.runtime_opts();
        it.merge_with_opt(any::<&Opt>());
        is_default::<ServerConf>();
        is_eq::<ServerConf>();
        is_partial_eq::<ServerConf>();
    }

    fn the_opt(it: &mut Opt) {
        let _ = Opt {
            upgrade: any::<bool>(),
            daemon: any::<bool>(),
            nocapture: any::<bool>(),
            test: any::<bool>(),
            conf: any::<Option<String>>(),
        };
        let _: &bool = &it.upgrade;
        let _: &bool = &it.daemon;
        let _: &bool = &it.nocapture;
        let _: &bool = &it.test;
        let _: &Option<String> = &it.conf;
        let _: Opt = Opt::parse_args();
        let _: Opt = Opt::parse_from_args(["a", "-c", "b"]);
        is_default::<Opt>();
    }

    fn is_default<T: Default>() {}
    fn is_eq<T: Eq>() {}
    fn is_partial_eq<T: PartialEq>() {}
}

mod services {
    use crate::any;
    use async_trait::async_trait;
    use pingora_core::server::{ListenFds, RuntimeOpts, ShutdownWatch};
    use pingora_core::services::*;
    use std::time::Duration;
    use tokio::sync::watch::{Receiver, Sender};

    pub(crate) struct Nothing;
    struct Old;
    #[async_trait]
    impl Service for Old {
        async fn start_service(
            &mut self,
            _fds: Option<ListenFds>,
            _shutdown: ShutdownWatch,
            _listeners_per_fd: usize,
        ) {
        }

        fn name(&self) -> &str {
            "old"
        }

        fn threads(&self) -> Option<usize> {
            Some(1)
        }

        fn runtime_opts_override(&self, _global: &RuntimeOpts) -> Option<RuntimeOpts> {
            None
        }

        fn on_startup_delay(&self, _time_waited: Duration) {}
        fn listen_addresses(&self) -> Option<Vec<String>> {
            None
        }
    }

    fn a_service_of_the_old_kind_is_one_of_the_new() {
        let _: Box<dyn ServiceWithDependents> = Box::new(Old);
    }

    #[async_trait]
    impl pingora_core::services::background::BackgroundService for Nothing {}

    fn the_service_ready_notifier() {
        let _: ServiceReadyNotifier = ServiceReadyNotifier::new(any::<Sender<bool>>());
        any::<ServiceReadyNotifier>().notify_ready();
    }

    fn the_service_handle(it: &mut ServiceHandle) {
        let _: &str = it.name();
        it.add_dependency(any::<ServiceHandle>());
        it.add_dependencies([any::<ServiceHandle>()]);
    }

    struct OwnServiceWithDependents;
    #[async_trait]
    impl ServiceWithDependents for OwnServiceWithDependents {
        async fn start_service(
            &mut self,
            _fds: Option<ListenFds>,
            _shutdown: ShutdownWatch,
            _listeners_per_fd: usize,
            _ready_notifier: ServiceReadyNotifier,
        ) {
            any()
        }

        fn name(&self) -> &str {
            any()
        }

        fn threads(&self) -> Option<usize> {
            any()
        }

        fn runtime_opts_override(&self, _global: &RuntimeOpts) -> Option<RuntimeOpts> {
            any()
        }

        fn on_startup_delay(&self, _time_waited: Duration) {
            any()
        }

        fn listen_addresses(&self) -> Option<Vec<String>> {
            any()
        }
    }

    fn functions_and_constants() {
        let _: ServiceReadyWatch = any::<Receiver<bool>>();
    }
}

mod background {
    use crate::any;
    use async_trait::async_trait;
    use pingora_core::server::ShutdownWatch;
    use pingora_core::services::background::*;
    use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};
    use std::sync::Arc;

    struct OwnBackgroundService;
    #[async_trait]
    impl BackgroundService for OwnBackgroundService {
        async fn start_with_ready_notifier(
            &self,
            _shutdown: ShutdownWatch,
            _ready_notifier: ServiceReadyNotifier,
        ) where
            Self: Sync,
        {
            any()
        }

        async fn start(&self, _shutdown: ShutdownWatch)
        where
            Self: Sync,
        {
            any()
        }
    }

    fn the_gen_background_service(it: &mut GenBackgroundService<OwnBackgroundService>) {
        let _: &Option<usize> = &it.threads;
        let _: GenBackgroundService<OwnBackgroundService> =
            GenBackgroundService::<OwnBackgroundService>::new(
                String::new(),
                any::<Arc<OwnBackgroundService>>(),
            );
        let _: Arc<OwnBackgroundService> = it.task();
        is_service_with_dependents::<GenBackgroundService<OwnBackgroundService>>();
    }

    fn functions_and_constants() {
        let _: GenBackgroundService<OwnBackgroundService> =
            background_service("a", OwnBackgroundService);
    }

    fn is_service_with_dependents<T: ServiceWithDependents>() {}
}

mod listening {
    use crate::any;
    use crate::apps::programs::Program;
    use pingora_core::listeners::tls::TlsSettings;
    use pingora_core::listeners::{
        ConnectionFilter, ListenerConfig, Listeners, ServerAddress, TcpSocketOptions,
    };
    use pingora_core::protocols::Stream;
    use pingora_core::server::{RuntimeOpts, ShutdownWatch};
    use pingora_core::services::listening::*;
    use pingora_error::Result;
    use std::fs::Permissions;
    use std::sync::Arc;

    async fn the_service(it: &mut Service<Program>) {
        let _: &Option<usize> = &it.threads;
        let _: Service<Program> = Service::<Program>::new(String::new(), Program);
        let _: Service<Program> =
            Service::<Program>::with_listeners(String::new(), any::<Listeners>(), Program);
        it.set_runtime_opts_override(any::<RuntimeOptsOverride>());
        it.set_connection_filter(any::<Arc<dyn ConnectionFilter>>());
        let _: &mut Listeners = it.endpoints();
        it.add_tcp("a");
        it.add_listener(any::<ListenerConfig>());
        it.add_tcp_with_settings("a", any::<TcpSocketOptions>());
        it.add_uds("a", any::<Option<Permissions>>());
        let _: Result<()> = it.add_tls("a", "a", "a");
        it.add_tls_with_settings("a", any::<Option<TcpSocketOptions>>(), any::<TlsSettings>());
        it.add_address(any::<ServerAddress>());
        let _: Option<&Program> = it.app_logic();
        let _: Option<&mut Program> = it.app_logic_mut();
        Service::<Program>::handle_event(
            any::<Stream>(),
            any::<Arc<Program>>(),
            any::<ShutdownWatch>(),
        )
        .await;
    }

    fn functions_and_constants() {
        let _: RuntimeOptsOverride =
            any::<Arc<dyn Fn(&RuntimeOpts) -> Option<RuntimeOpts> + Send + Sync>>();
    }
}
