//! The phases of a server's lifetime.

use super::*;
use crate::services::background::{BackgroundService, background_service};
use crate::services::{Service, ServiceReadyNotifier};
use async_trait::async_trait;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Stops the server when it is told to; each further signal must be requested again.
struct Told(Mutex<mpsc::UnboundedReceiver<ShutdownSignal>>);

#[async_trait]
impl ShutdownSignalWatch for Told {
    async fn recv(&self) -> ShutdownSignal {
        match self.0.lock().await.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    fn repeats(&self) -> bool {
        true
    }
}

pub(super) fn told() -> (mpsc::UnboundedSender<ShutdownSignal>, RunArgs) {
    let (tell, told) = mpsc::unbounded_channel();
    let shutdown_signal = Box::new(Told(Mutex::new(told)));
    (tell, RunArgs { shutdown_signal })
}

pub(super) fn server() -> Server {
    let conf = ServerConf {
        threads: 1,
        grace_period_seconds: Some(20),
        ..ServerConf::default()
    };
    Server::new_with_opt_and_conf(None, conf)
}

/// Records events, in order.
#[derive(Clone, Default)]
pub(super) struct Journal(Arc<StdMutex<Vec<String>>>, Arc<Notify>);

impl Journal {
    fn note(&self, what: &str) {
        self.0.lock().unwrap().push(what.to_string());
        self.1.notify_waiters();
    }

    pub(super) fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until there are this many entries.
    pub(super) fn wait_for(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.entries().len() < count {
            assert!(Instant::now() < deadline, "only {:?}", self.entries());
            thread::sleep(Duration::from_millis(1));
        }
        self.entries()
    }
}

/// Records its start, waits for the shutdown, then works for a while.
pub(super) struct Noting {
    name: &'static str,
    pub(super) journal: Journal,
    work: Duration,
}

#[async_trait]
impl Service for Noting {
    async fn start_service(&mut self, _: Option<ListenFds>, mut shutdown: ShutdownWatch, _: usize) {
        self.journal.note(&format!("{} started", self.name));
        let _ = shutdown.wait_for(|begun| *begun).await;
        tokio::time::sleep(self.work).await;
        self.journal.note(&format!("{} ended", self.name));
    }

    fn name(&self) -> &str {
        self.name
    }
}

pub(super) fn noting(name: &'static str, journal: &Journal, work: Duration) -> Noting {
    Noting {
        name,
        journal: journal.clone(),
        work,
    }
}

pub(super) fn in_thread(server: Server, args: RunArgs) -> thread::JoinHandle<Result<()>> {
    thread::spawn(move || server.try_run(args))
}

#[test]
fn an_idle_server_stops_at_once_and_passes_through_its_phases() {
    let journal = Journal::default();
    let mut server = server();
    let mut phases = server.watch_execution_phase();
    server.bootstrap();
    server.bootstrap();
    server.add_service(noting("a", &journal, Duration::ZERO));
    let (tell, args) = told();
    let running = in_thread(server, args);
    journal.wait_for(1);
    let begin = Instant::now();
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    running.join().unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(journal.entries(), ["a started", "a ended"]);
    assert_eq!(
        seen(&mut phases),
        [
            ExecutionPhase::Bootstrap,
            ExecutionPhase::BootstrapComplete,
            ExecutionPhase::Running,
            ExecutionPhase::GracefulTerminate,
            ExecutionPhase::ShutdownStarted,
            ExecutionPhase::ShutdownGracePeriod,
            ExecutionPhase::ShutdownRuntimes,
            ExecutionPhase::Terminated,
        ]
    );
}

/// The phases since the last call.
pub(super) fn seen(phases: &mut broadcast::Receiver<ExecutionPhase>) -> Vec<ExecutionPhase> {
    std::iter::from_fn(|| phases.try_recv().ok()).collect()
}

#[test]
fn a_fast_shutdown_passes_by_the_grace_period() {
    let journal = Journal::default();
    let mut server = server();
    let mut phases = server.watch_execution_phase();
    server.add_service(noting("a", &journal, Duration::ZERO));
    let (tell, args) = told();
    tell.send(ShutdownSignal::FastShutdown).unwrap();
    server.try_run(args).unwrap();
    assert_eq!(
        seen(&mut phases)[2..],
        [
            ExecutionPhase::Running,
            ExecutionPhase::ShutdownStarted,
            ExecutionPhase::ShutdownRuntimes,
            ExecutionPhase::Terminated,
        ]
    );
}

/// A configuration for an upgrade between two servers of this process.
pub(super) fn upgrading(name: &str, retries: usize) -> ServerConf {
    let socket = format!("upgrade-{}-{name}.sock", std::process::id());
    ServerConf {
        threads: 1,
        upgrade_sock: std::env::temp_dir().join(socket).display().to_string(),
        upgrade_sock_connect_accept_max_retries: Some(retries),
        ..ServerConf::default()
    }
}

#[test]
fn an_upgrade_passes_through_its_phases_and_the_next_server_runs() {
    let (journal, next) = (Journal::default(), Journal::default());
    let conf = upgrading("good", 10);
    let mut old = Server::new_with_opt_and_conf(None, conf.clone());
    let mut phases = old.watch_execution_phase();
    old.add_service(noting("old", &journal, Duration::ZERO));
    let (tell, args) = told();
    let running = in_thread(old, args);
    journal.wait_for(1);
    tell.send(ShutdownSignal::GracefulUpgrade).unwrap();
    // Requested twice: the upgrade in progress continues.
    tell.send(ShutdownSignal::GracefulUpgrade).unwrap();
    let opt = Opt {
        upgrade: true,
        ..Opt::default()
    };
    let mut new = Server::new_with_opt_and_conf(Some(opt), conf);
    new.add_service(noting("new", &next, Duration::ZERO));
    let (tell_new, args) = told();
    let new = in_thread(new, args);
    next.wait_for(1);
    running.join().unwrap().unwrap();
    assert_eq!(
        seen(&mut phases)[2..],
        [
            ExecutionPhase::Running,
            ExecutionPhase::GracefulUpgradeTransferringFds,
            ExecutionPhase::GracefulUpgradeCloseTimeout,
            ExecutionPhase::ShutdownStarted,
            ExecutionPhase::ShutdownGracePeriod,
            ExecutionPhase::ShutdownRuntimes,
            ExecutionPhase::Terminated,
        ]
    );
    tell_new.send(ShutdownSignal::GracefulTerminate).unwrap();
    new.join().unwrap().unwrap();
}

#[test]
fn an_upgrade_that_fails_leads_back_to_running() {
    let journal = Journal::default();
    let mut server = Server::new_with_opt_and_conf(None, upgrading("bad", 1));
    let mut phases = server.watch_execution_phase();
    server.add_service(noting("a", &journal, Duration::ZERO));
    let (tell, args) = told();
    let running = in_thread(server, args);
    journal.wait_for(1);
    tell.send(ShutdownSignal::GracefulUpgrade).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut passed = vec![];
    while !passed.ends_with(&[
        ExecutionPhase::GracefulUpgradeTransferringFds,
        ExecutionPhase::Running,
    ]) {
        assert!(Instant::now() < deadline, "{passed:?}");
        passed.extend(seen(&mut phases));
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(journal.entries(), ["a started"], "serves on");
    // A signal to stop cuts the next attempt short.
    tell.send(ShutdownSignal::GracefulUpgrade).unwrap();
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    running.join().unwrap().unwrap();
    assert_eq!(
        seen(&mut phases)[..3],
        [
            ExecutionPhase::GracefulUpgradeTransferringFds,
            ExecutionPhase::GracefulTerminate,
            ExecutionPhase::ShutdownStarted,
        ]
    );
}

#[test]
fn a_fast_shutdown_cuts_short_whatever_is_under_way() {
    use ExecutionPhase::*;
    for (first, passed) in [
        (
            ShutdownSignal::GracefulUpgrade,
            &[GracefulUpgradeTransferringFds, ShutdownStarted][..],
        ),
        (
            ShutdownSignal::GracefulTerminate,
            &[GracefulTerminate, ShutdownStarted, ShutdownGracePeriod],
        ),
    ] {
        let journal = Journal::default();
        let mut server = Server::new_with_opt_and_conf(None, upgrading("fast", 10));
        let mut phases = server.watch_execution_phase();
        server.add_service(noting("stuck", &journal, Duration::from_secs(3600)));
        let (tell, args) = told();
        tell.send(first).unwrap();
        tell.send(ShutdownSignal::FastShutdown).unwrap();
        server.try_run(args).unwrap();
        let seen = seen(&mut phases);
        let (before, end) = seen.split_at(seen.len() - 2);
        assert_eq!(&before[3..], passed);
        assert_eq!(end, [ShutdownRuntimes, Terminated]);
    }
}

#[test]
fn work_under_way_is_waited_for() {
    let journal = Journal::default();
    let mut server = server();
    server.add_service(noting("slow", &journal, Duration::from_millis(300)));
    let (tell, args) = told();
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    server.try_run(args).unwrap();
    assert_eq!(journal.entries(), ["slow started", "slow ended"]);
}

#[test]
fn what_never_ends_is_left_behind_after_the_grace_period() {
    let journal = Journal::default();
    let conf = ServerConf {
        grace_period_seconds: Some(1),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.add_service(noting("stuck", &journal, Duration::from_secs(3600)));
    let (tell, args) = told();
    let begin = Instant::now();
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    server.try_run(args).unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(journal.entries(), ["stuck started"]);
}

#[test]
fn a_fast_shutdown_does_not_wait_and_may_come_later() {
    for first in [None, Some(ShutdownSignal::GracefulTerminate)] {
        let journal = Journal::default();
        let mut server = server();
        server.add_service(noting("stuck", &journal, Duration::from_secs(3600)));
        let (tell, args) = told();
        let running = in_thread(server, args);
        journal.wait_for(1);
        let begin = Instant::now();
        if let Some(first) = first {
            tell.send(first).unwrap();
            tell.send(first).unwrap();
        }
        tell.send(ShutdownSignal::FastShutdown).unwrap();
        running.join().unwrap().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(3));
        assert_eq!(journal.entries(), ["stuck started"]);
    }
}

#[test]
fn two_servers_live_in_one_process() {
    let (one, two) = (Journal::default(), Journal::default());
    let runs = [&one, &two].map(|journal| {
        let mut server = server();
        server.add_service(noting("a", journal, Duration::ZERO));
        let (tell, args) = told();
        (tell, in_thread(server, args))
    });
    one.wait_for(1);
    two.wait_for(1);
    let [(tell_one, run_one), (tell_two, run_two)] = runs;
    tell_one.send(ShutdownSignal::GracefulTerminate).unwrap();
    run_one.join().unwrap().unwrap();
    assert_eq!(two.entries(), ["a started"], "the other one runs on");
    tell_two.send(ShutdownSignal::GracefulTerminate).unwrap();
    run_two.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_server_fits_into_a_runtime_of_the_callers_own() {
    let journal = Journal::default();
    let mut server = server();
    server.add_service(noting("a", &journal, Duration::ZERO));
    let (tell, args) = told();
    let serving = tokio::spawn(server.serve(args));
    while journal.entries().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    serving.await.unwrap().unwrap();
    assert_eq!(journal.entries().len(), 2);
}

#[tokio::test]
async fn a_server_that_is_dropped_while_it_runs_stops() {
    let journal = Journal::default();
    let mut server = server();
    server.add_service(noting("a", &journal, Duration::from_secs(3600)));
    let (_tell, args) = told();
    let serving = tokio::spawn(server.serve(args));
    while journal.entries().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
}

/// Reports that it is ready when it is told to.
pub(super) struct Gate {
    pub(super) journal: Journal,
    pub(super) open: Arc<Notify>,
}

#[async_trait]
impl BackgroundService for Gate {
    async fn start_with_ready_notifier(
        &self,
        mut shutdown: ShutdownWatch,
        ready_notifier: ServiceReadyNotifier,
    ) {
        self.journal.note("gate started");
        self.open.notified().await;
        self.journal.note("gate ready");
        ready_notifier.notify_ready();
        let _ = shutdown.wait_for(|begun| *begun).await;
    }
}

#[test]
fn a_service_starts_when_those_it_depends_on_are_ready() {
    let journal = Journal::default();
    let open = Arc::new(Notify::new());
    let mut server = server();
    // In an order that is wrong without dependencies.
    let last = server.add_service(noting("last", &journal, Duration::ZERO));
    let middle = server.add_service(noting("middle", &journal, Duration::ZERO));
    let gate = background_service(
        "gate",
        Gate {
            journal: journal.clone(),
            open: open.clone(),
        },
    );
    let gate = server.add_boxed_service(Box::new(gate));
    last.add_dependencies([&middle, &gate]);
    middle.add_dependency(&gate);
    gate.add_dependency(&last); // refused
    let (tell, args) = told();
    let running = in_thread(server, args);
    assert_eq!(journal.wait_for(1), ["gate started"]);
    open.notify_one();
    let order = journal.wait_for(4);
    assert_eq!(order[1], "gate ready");
    assert!(order.contains(&"middle started".into()) && order.contains(&"last started".into()));
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    running.join().unwrap().unwrap();
}

#[test]
fn a_shutdown_does_not_wait_for_services_that_never_started() {
    let journal = Journal::default();
    let mut server = server();
    let gate = server.add_service(background_service(
        "gate",
        Gate {
            journal: journal.clone(),
            open: Arc::default(),
        },
    ));
    let waiting = server.add_service(noting("waiting", &journal, Duration::ZERO));
    waiting.add_dependency(gate);
    let (tell, args) = told();
    let running = in_thread(server, args);
    journal.wait_for(1);
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    tell.send(ShutdownSignal::FastShutdown).unwrap();
    running.join().unwrap().unwrap();
    assert_eq!(journal.entries(), ["gate started"]);
}

struct Panicking;

#[async_trait]
impl BackgroundService for Panicking {
    async fn start_with_ready_notifier(&self, _: ShutdownWatch, _ready: ServiceReadyNotifier) {
        panic!("as asked for");
    }
}

struct Finished;

#[async_trait]
impl BackgroundService for Finished {}

#[test]
fn a_service_that_panics_or_ends_takes_nobody_down() {
    let journal = Journal::default();
    let mut server = server();
    let panicking = server.add_service(background_service("panicking", Panicking));
    server.add_service(background_service("finished", Finished));
    let steady = server.add_service(noting("steady", &journal, Duration::ZERO));
    steady.add_dependency(panicking);
    let (tell, args) = told();
    let running = in_thread(server, args);
    journal.wait_for(1);
    assert!(!running.is_finished());
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    running.join().unwrap().unwrap();
    assert_eq!(journal.entries(), ["steady started", "steady ended"]);
}

#[test]
fn a_background_task_is_shared_and_has_one_thread() {
    let service = background_service("mine", Finished);
    let task = service.task();
    assert_eq!(Arc::strong_count(&task), 2);
    let service: Box<dyn ServiceWithDependents> = Box::new(service);
    assert_eq!((service.name(), service.threads()), ("mine", Some(1)));
}

/// Refuses to start.
struct Refusing(Arc<AtomicBool>);

#[async_trait]
impl Service for Refusing {
    fn prepare(&mut self, _fds: &mut Fds) -> Result<()> {
        Error::e_explain(ErrorType::BindError, "no")
    }

    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, _: usize) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn name(&self) -> &str {
        "refusing"
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(vec!["127.0.0.1:http".into()])
    }
}

#[test]
fn nothing_starts_where_one_service_cannot() {
    let (journal, started) = (Journal::default(), Arc::<AtomicBool>::default());
    let mut server = server();
    server.add_service(noting("first", &journal, Duration::ZERO));
    server.add_service(Refusing(started.clone()));
    let error = server.try_run(told().1).unwrap_err();
    assert_eq!(error.etype(), &ErrorType::BindError);
    assert!(!started.load(Ordering::Relaxed));
    assert!(journal.entries().is_empty());
}

#[test]
fn testing_checks_addresses_and_starts_nothing() {
    let opt = Opt {
        test: true,
        ..Opt::default()
    };
    let journal = Journal::default();
    let mut server = Server::new(opt.clone()).unwrap();
    server.add_service(noting("a", &journal, Duration::ZERO));
    server.try_run(told().1).unwrap();

    let mut server = Server::new(Some(opt)).unwrap();
    server.add_service(Refusing(Arc::default()));
    assert!(server.try_run(told().1).is_err());
    assert!(journal.entries().is_empty());
}

#[test]
fn a_configuration_that_cannot_be_used_is_an_error() {
    let opt = Opt {
        conf: Some("/nonexistent/conf.yaml".into()),
        ..Opt::default()
    };
    let error = Server::new(opt).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("/nonexistent/conf.yaml: can't be read")
    );
    assert!(Server::new(None).unwrap().options.is_none());
}

/// Reports whether its runtime steals work.
struct OwnRuntime(mpsc::UnboundedSender<bool>);

#[async_trait]
impl Service for OwnRuntime {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, _: usize) {
        let steals = crate::runtime::Handle::current().unwrap().steals_work();
        self.0.send(steals).unwrap();
    }

    fn name(&self) -> &str {
        "own runtime"
    }

    fn runtime_opts_override(&self, global: &RuntimeOpts) -> Option<RuntimeOpts> {
        let mut own = global.clone();
        own.work_stealing = !own.work_stealing;
        Some(own)
    }
}

#[test]
fn a_service_may_have_a_runtime_that_differs() {
    let (tx, mut rx) = mpsc::unbounded_channel();
    let mut server = server();
    server.add_service(OwnRuntime(tx));
    let (tell, args) = told();
    let running = in_thread(server, args);
    assert_eq!(rx.blocking_recv(), Some(false));
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    running.join().unwrap().unwrap();
}
