//! The process: its configuration, its services, its signals, its end.

mod bootstrap;
mod check;
pub mod configuration;
mod daemon;
mod health;
mod hosted;
mod notify;
mod phase;
mod privileges;
mod reload;
mod report;
mod signals;
mod supervise;

pub use crate::process::{Fds, ListenFds, Reload, ReloadHook, ServerBounds, ShutdownWatch};
pub use crate::runtime::{RuntimeMetricsOpts, RuntimeOpts};
pub use health::{Health, HealthApp};
pub use phase::ExecutionPhase;
pub use reload::ReloadHandle;
pub use signals::{ShutdownSignal, ShutdownSignalWatch, UnixShutdownSignalWatch};
pub use tokio::signal::unix::SignalKind;

use crate::process::memory::tell_figures;
use crate::process::{Handover, expect_signals, sockets_of_the_service_manager};
use crate::services::{Dependencies, ServiceHandle, ServiceWithDependents};
use bootstrap::Late;
use configuration::{Opt, ServerConf};
use futures::FutureExt;
use hosted::Hosted;
use log::{info, warn};
use notify::ServiceManager;
use phase::Phases;
use pingora_error::{Error, ErrorType, Result};
use std::fmt;
use std::sync::Arc;
use supervise::Supervisor;
use tokio::sync::{Mutex, broadcast};

/// Logged if adding a service was forgotten.
const WITHOUT_SERVICES: &str = "no service was added to the server (`Server::add_service`): it does nothing until it is told to stop";

/// The arguments of [`Server::run`] besides the configuration.
pub struct RunArgs {
    /// Tells the server when to stop. Default: signals sent to this process.
    pub shutdown_signal: Box<dyn ShutdownSignalWatch>,
}

impl Default for RunArgs {
    fn default() -> Self {
        RunArgs {
            shutdown_signal: Box::new(UnixShutdownSignalWatch),
        }
    }
}

impl RunArgs {
    /// Stops the server gracefully when `done` completes: a channel, a token, a task of the program's
    /// own. Signals sent to this process are not handled.
    ///
    /// ```
    /// # use pingora_core::server::{RunArgs, Server};
    /// # async fn run(server: Server) -> pingora_core::Result<()> {
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let serving = server.serve(RunArgs::until(async {
    ///     let _ = stopped.await;
    /// }));
    /// # drop(stop);
    /// serving.await
    /// # }
    /// ```
    pub fn until(done: impl Future<Output = ()> + Send + 'static) -> Self {
        RunArgs {
            shutdown_signal: Box::new(signals::Until::new(done)),
        }
    }
}

impl fmt::Debug for RunArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunArgs").finish_non_exhaustive()
    }
}

/// A process that hosts services: it reads the configuration, binds the sockets, goes into the
/// background if requested, gives each service its own runtime, and stops in an orderly way.
///
/// ```no_run
/// use pingora_core::prelude::*;
///
/// fn main() -> Result<()> {
///     let mut server = Server::new(Opt::parse_args())?;
///     server.bootstrap();
///     // server.add_service(...);
///     server.run_forever()
/// }
/// ```
pub struct Server {
    /// The configuration.
    pub configuration: Arc<ServerConf>,
    /// The options of the command line; `None` if the program did not parse it.
    pub options: Option<Opt>,
    services: Vec<Hosted>,
    /// The position of the bootstrap, if it is a service.
    bootstrap_service: Option<usize>,
    /// Set if the bootstrap waits for other services.
    late: Option<Late>,
    dependencies: Arc<Dependencies>,
    listen_fds: Option<ListenFds>,
    /// The server that we take over from, or the error that prevents it.
    predecessor: Result<Option<Handover>>,
    phases: Phases,
    /// The source of the configuration.
    source: Option<reload::Source>,
    /// As set by the program and the file.
    bounds: ServerBounds,
    reread_bounds: Option<ReloadHook>,
    reload_hooks: Vec<ReloadHook>,
    reload: (ReloadHandle, reload::Requests),
    signal_hooks: Vec<signals::SignalHook>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("configuration", &self.configuration)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server with the configuration that the command line names, or with the defaults if it
    /// names none or there is no command line (`None`).
    ///
    /// # Errors
    /// If the configuration is unusable: one line that names the file, the key and the reason.
    pub fn new(opt: impl Into<Option<Opt>>) -> Result<Server> {
        Server::with_defaults(opt, ServerConf::default())
    }

    /// [`Server::new`] with the program's own defaults. The configuration file takes precedence over
    /// them, and the command line over both.
    ///
    /// # Errors
    /// See [`Server::new`].
    pub fn with_defaults(opt: impl Into<Option<Opt>>, defaults: ServerConf) -> Result<Server> {
        let opt = opt.into();
        let file = opt.as_ref().and_then(|opt| opt.conf.clone());
        let mut conf = match &file {
            Some(path) => ServerConf::load_over(defaults.clone(), path)?,
            None => defaults.clone().validate()?,
        };
        if let Some(opt) = &opt {
            conf.merge_with_opt(opt);
        }
        let mut server = Server::assemble(opt, conf);
        server.source = file.map(|path| reload::Source {
            file: std::path::absolute(&path).unwrap_or_else(|_| path.into()),
            defaults,
        });
        server.set_bounds(ServerBounds::default())?;
        Ok(server)
    }

    /// Sets limits on what peers may take of this process. The configuration file takes precedence, now
    /// and at each reload. See [`ServerBounds`] for the defaults.
    ///
    /// # Errors
    /// One line that names the key and the reason.
    pub fn set_bounds(&mut self, bounds: ServerBounds) -> Result<()> {
        bounds.validate()?;
        let file = self.source.as_ref().map(|source| source.file.clone());
        self.bounds = match &file {
            Some(file) => bounds.overruled_by(&file.display().to_string())?,
            None => bounds.clone(),
        };
        let Some(file) = file else { return Ok(()) };
        self.reread_bounds = Some(ReloadHook::in_two_steps("bounds", move |_| {
            let (program, file) = (bounds.clone(), file.display().to_string());
            async move {
                let bounds = program.overruled_by(&file)?;
                Ok(move || bounds.put_into_force())
            }
        }));
        Ok(())
    }

    /// A server with this configuration, to which the command line is applied. A file that the
    /// command line names is not read.
    pub fn new_with_opt_and_conf(raw_opt: impl Into<Option<Opt>>, mut conf: ServerConf) -> Server {
        let opt = raw_opt.into();
        if let Some(opt) = &opt {
            conf.merge_with_opt(opt);
        }
        Server::assemble(opt, conf)
    }

    fn assemble(options: Option<Opt>, conf: ServerConf) -> Server {
        expect_signals();
        tell_figures();
        Server {
            configuration: Arc::new(conf),
            options,
            services: vec![],
            bootstrap_service: None,
            late: None,
            dependencies: Arc::default(),
            listen_fds: None,
            predecessor: Ok(None),
            phases: Phases::new(),
            source: None,
            bounds: ServerBounds::default(),
            reread_bounds: None,
            reload_hooks: vec![],
            reload: ReloadHandle::new(),
            signal_hooks: vec![],
        }
    }

    /// Adds an action for when the server is told to reload, by SIGHUP or a [`ReloadHandle`]; `name` is
    /// for the log. The hook reads the new state and puts it into force, or fails and leaves everything
    /// unchanged.
    ///
    /// A reload begins with the configuration file: if that can't be used, no hook runs, and an error
    /// gives the reason. The same applies to certificates that endpoints load from files. Settings that
    /// the server itself takes from the configuration only change with the next start or upgrade; the
    /// log lists those keys. The file of `error_log` is reopened in any case.
    ///
    /// ```
    /// # use pingora_core::{ErrorType, OrErr, server::Server};
    /// # let mut server = Server::new(None).unwrap();
    /// let blocked = std::sync::Arc::new(std::sync::RwLock::new(String::new()));
    /// server.on_reload("blocked addresses", move |_reload| {
    ///     let blocked = blocked.clone();
    ///     async move {
    ///         let text = std::fs::read_to_string("blocked.txt")
    ///             .or_err(ErrorType::FileReadError, "reading blocked.txt")?;
    ///         *blocked.write().unwrap() = text;
    ///         Ok(())
    ///     }
    /// });
    /// ```
    pub fn on_reload<H, R>(&mut self, name: &str, hook: H)
    where
        H: Fn(Reload) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.add_reload_hook(ReloadHook::new(name, hook));
    }

    /// [`Server::on_reload`] for hooks of every kind: if several must change together or not at all,
    /// see [`ReloadHook::in_two_steps`].
    pub fn add_reload_hook(&mut self, hook: ReloadHook) {
        self.reload_hooks.push(hook);
    }

    /// A handle for making this server reload from within the program.
    pub fn reload_handle(&self) -> ReloadHandle {
        self.reload.0.clone()
    }

    /// Runs `hook` each time this process gets the signal, for as long as the server runs; one run after
    /// the other. SIGTERM, SIGINT, SIGQUIT and SIGHUP also keep their meaning.
    ///
    /// ```
    /// # use pingora_core::server::{Server, SignalKind};
    /// # let mut server = Server::new(None).unwrap();
    /// server.on_signal(SignalKind::user_defined1(), || async {
    ///     log::set_max_level(log::LevelFilter::Debug);
    /// });
    /// ```
    pub fn on_signal<H, R>(&mut self, kind: SignalKind, hook: H)
    where
        H: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let run = Box::new(move || hook().boxed());
        self.signal_hooks.push(signals::SignalHook { kind, run });
    }

    /// Follows the lifetime of the server: each phase is received here once, from now on.
    pub fn watch_execution_phase(&self) -> broadcast::Receiver<ExecutionPhase> {
        self.phases.watch()
    }

    /// Adds a service. It starts when the server runs.
    pub fn add_service(&mut self, service: impl ServiceWithDependents + 'static) -> ServiceHandle {
        self.add_boxed_service(Box::new(service))
    }

    /// Adds a service. It starts when the server runs.
    pub fn add_boxed_service(
        &mut self,
        service_box: Box<dyn ServiceWithDependents>,
    ) -> ServiceHandle {
        let handle = self.dependencies.enter(service_box.name());
        self.services.push(Hosted::new(service_box));
        handle
    }

    /// Adds services. They start when the server runs.
    pub fn add_services(
        &mut self,
        services: Vec<Box<dyn ServiceWithDependents>>,
    ) -> Vec<ServiceHandle> {
        let add = |service| self.add_boxed_service(service);
        services.into_iter().map(add).collect()
    }

    /// Prepares the server for binding its sockets: with `-u`, waits for the listening sockets of the
    /// server that it takes over from. An error is reported when the server is run. Calling this is
    /// only necessary if it has to happen at a certain point: otherwise running the server does it in
    /// time.
    pub fn bootstrap(&mut self) {
        if self.listen_fds.is_some() {
            return;
        }
        self.phases.enter(ExecutionPhase::Bootstrap);
        let mut fds = self.sockets_at_hand();
        if self.takes_over() {
            self.predecessor = bootstrap::take_over(&self.configuration).map(|taken| {
                let (sockets, handover) = taken;
                fds.receive(sockets);
                Some(handover)
            });
        }
        self.listen_fds = Some(Arc::new(Mutex::new(fds)));
        self.phases.enter(ExecutionPhase::BootstrapComplete);
    }

    /// Runs [`Server::bootstrap`] when the server runs, as a service that others can depend on. It
    /// is over before the first of them starts.
    ///
    /// It can depend on services as well. In that case, these start first, and it waits until they are
    /// ready: only then, in an upgrade, is the running server asked for its sockets. The other services
    /// receive these sockets, bind the missing ones and start when the bootstrap is over. This means
    /// for an upgrade: the services it waits for can't listen on the running server's addresses; a
    /// background server binds addresses that the running one did not have after it has switched to its
    /// user; and an error ends it while the running one continues to serve.
    ///
    /// Without an upgrade all sockets are bound before anything runs, as usual, and only services
    /// that depend on it wait.
    ///
    /// ```
    /// use pingora_core::prelude::*;
    /// use pingora_core::services::background::{BackgroundService, background_service};
    ///
    /// struct Routes;
    /// impl BackgroundService for Routes {}
    ///
    /// let mut server = Server::new(None).unwrap();
    /// let routes = server.add_service(background_service("routes", Routes));
    /// let bootstrap = server.bootstrap_as_a_service();
    /// bootstrap.add_dependency(&routes);
    /// // let proxy = server.add_service(proxy);
    /// // proxy.add_dependency(&bootstrap);
    /// ```
    pub fn bootstrap_as_a_service(&mut self) -> ServiceHandle {
        self.bootstrap_service.get_or_insert(self.services.len());
        self.add_service(bootstrap::Bootstrapped)
    }

    /// Sockets of the service manager.
    fn sockets_at_hand(&self) -> Fds {
        let mut fds = Fds::new();
        if !self.only_tests() {
            fds.receive(sockets_of_the_service_manager());
        }
        fds
    }

    fn takes_over(&self) -> bool {
        self.options.as_ref().is_some_and(|o| o.upgrade && !o.test)
    }

    /// Runs the server and ends the process: with code 0 after an orderly stop, with code 1 and an
    /// error message if it could not start.
    pub fn run_forever(self) -> ! {
        let code = match self.try_run(RunArgs::default()) {
            Ok(()) => 0,
            Err(e) => {
                report::fatal(&e);
                1
            }
        };
        std::process::exit(code)
    }

    /// Runs the server until `run_args` or a service says that it should stop, and returns when it
    /// has stopped. An error at the start is logged; [`Server::try_run`] returns it.
    ///
    /// Blocks the calling thread, so it must not be called from a task; see [`Server::serve`].
    pub fn run(self, run_args: RunArgs) {
        if let Err(e) = self.try_run(run_args) {
            report::fatal(&e);
        }
    }

    /// Runs the server until `run_args` says that it should stop, and returns when it has stopped.
    ///
    /// Blocks the calling thread, so it must not be called from a task; see [`Server::serve`].
    ///
    /// # Errors
    /// If the server can't start: an address is not available, no thread is left, it can't go into
    /// the background, or switch to the configured user. Nothing runs in that case.
    pub fn try_run(mut self, run_args: RunArgs) -> Result<()> {
        if self.only_tests() {
            return self.test();
        }
        self.prepare()?;
        let upgrade = self.takes_over();
        let background = if self.configuration.daemon {
            Some(Arc::new(daemon::detach(&self.configuration, upgrade)?))
        } else {
            privileges::drop_in_foreground(&self.configuration)?;
            None
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| supervise::no_runtime("server", &e))?;
        let manager = ServiceManager::from_environment();
        let supervisor = self.into_supervisor(manager, background.clone());
        let outcome = runtime.block_on(supervisor.run(run_args));
        if let Some(background) = background {
            if let Err(e) = &outcome {
                background.failed(&report::text(e));
            }
            background.remove_pid_file();
        }
        outcome
    }

    /// Runs the server inside the caller's own runtime, until `run_args` says that it should stop.
    /// The services have their own runtimes nevertheless. Never goes into the background.
    ///
    /// Dropping the future stops everything at once.
    ///
    /// # Errors
    /// See [`Server::try_run`].
    pub async fn serve(mut self, run_args: RunArgs) -> Result<()> {
        if self.only_tests() {
            return self.test();
        }
        self.prepare()?;
        if self.configuration.daemon {
            warn!("a server inside of another runtime can't go into the background");
        }
        // The service manager manages the program, which is more than this server.
        let manager = ServiceManager::default();
        self.into_supervisor(manager, None).run(run_args).await
    }

    fn only_tests(&self) -> bool {
        self.options.as_ref().is_some_and(|o| o.test)
    }

    /// Runs the checks of `-t`: the configuration was already read, so only the files that it names are left
    /// to check. Nothing is bound, because the server may be running.
    fn test(self) -> Result<()> {
        for hosted in &self.services {
            hosted.service.check()?;
        }
        check::environment(&self.configuration)?;
        if let Some(source) = &self.source {
            check::tell_unknown_keys(&source.file);
        }
        for note in self.configuration.without_effect() {
            report::notice(&note);
        }
        if self.services.is_empty() {
            report::notice(WITHOUT_SERVICES);
        }
        for hosted in &self.services {
            if hosted
                .service
                .listen_addresses()
                .is_some_and(|a| a.is_empty())
            {
                let name = hosted.service.name();
                report::notice(&format!("{name}: has no endpoint to listen on yet"));
            }
        }
        report::notice("the configuration is good");
        Ok(())
    }

    /// All steps that can fail, before anything runs.
    fn prepare(&mut self) -> Result<()> {
        if self.listen_fds.is_none() {
            let bootstrap = self.bootstrap_service;
            self.late = bootstrap.and_then(|p| Late::new(p, &self.dependencies, self.takes_over()));
        }
        match self.late {
            Some(_) => self.listen_fds = Some(Arc::new(Mutex::new(self.sockets_at_hand()))),
            None => self.bootstrap(),
        }
        if self.predecessor.is_err() {
            std::mem::replace(&mut self.predecessor, Ok(None))?;
        }
        let fds = self.listen_fds.get_or_insert_default();
        let Ok(mut fds) = fds.try_lock() else {
            return Error::e_explain(
                ErrorType::InternalError,
                "the table of listening sockets is in use",
            );
        };
        for (position, hosted) in self.services.iter_mut().enumerate() {
            if self.late.as_ref().is_some_and(|late| late.binds(position)) {
                continue;
            }
            hosted.service.prepare(&mut fds)?;
            self.reload_hooks.extend(hosted.service.reload_hooks());
        }
        self.reload_hooks.extend(self.reread_bounds.take());
        self.bounds.put_into_force();
        for note in self.configuration.without_effect() {
            warn!("{note}");
        }
        if self.services.is_empty() {
            warn!("{WITHOUT_SERVICES}");
        }
        Ok(())
    }

    fn into_supervisor(
        self,
        manager: ServiceManager,
        background: Option<Arc<daemon::Background>>,
    ) -> Supervisor {
        info!("starting {} services", self.services.len());
        let manager = Arc::new(manager);
        let listen_fds = self.listen_fds.unwrap_or_default();
        Supervisor {
            readiness: supervise::Readiness {
                services: self.services.iter().map(|h| h.ready.clone()).collect(),
                predecessor: self.predecessor.ok().flatten(),
                fds: listen_fds.clone(),
                manager: manager.clone(),
                background: background.clone(),
                made: false,
            },
            configuration: self.configuration,
            source: self.source,
            reload_hooks: self.reload_hooks,
            reload_requests: self.reload.1,
            signal_hooks: self.signal_hooks,
            manager,
            background,
            services: self.services.into_iter().map(Some).collect(),
            late: self.late,
            dependencies: self.dependencies,
            listen_fds,
            phases: self.phases,
        }
    }
}

#[cfg(test)]
mod bootstrap_tests;
#[cfg(test)]
mod daemon_tests;
#[cfg(test)]
mod datagram_tests;
#[cfg(test)]
mod foreign_tests;
#[cfg(test)]
mod process_tests;
#[cfg(test)]
mod reload_tests;
#[cfg(test)]
mod tests;
