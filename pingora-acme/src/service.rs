//! The loop that manages certificates.

use crate::answers::{Answers, DnsProvider, Http01};
use crate::builder::AcmeBuilder;
use crate::issuer::Authority;
use crate::kept::Kept;
use crate::keys::CertificateKey;
use crate::managed::{Managed, storage_key};
use crate::on_demand::Desk;
use crate::order::{self, Failed, Wanted};
use crate::plan::{Challenge, Step, Window};
use crate::storage::Storage;
use async_trait::async_trait;
use instant_acme::Error as AcmeError;
use pingora_core::listeners::tls::CertificateStore;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_core::services::background::BackgroundService;
use pingora_error::{Error, ErrorType, Result};
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

/// How many certificates are ordered at once.
const MOST_AT_ONCE: usize = 4;
/// How long to wait for another host that works on the same certificate.
const OTHERS: Duration = Duration::from_secs(60);
const OTHERS_SOON: Duration = Duration::from_secs(3);
/// The interval at which the plan is checked, because the clock may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);
/// How long a renewal window is good if it can't be asked for.
const WINDOW_UNREACHABLE: Duration = Duration::from_secs(6 * 3600);

/// Obtains certificates, puts them into a [`CertificateStore`], and renews them. A background service.
///
/// When it starts, it reads the storage; after that, it is ready for the services that depend on it. A certificate that
/// can't be renewed is served until it expires, and after that. Made by [`Acme::builder`].
pub struct Acme {
    shared: Arc<Shared>,
    configured: Vec<Vec<String>>,
    requests: Mutex<Option<mpsc::Receiver<String>>>,
}

/// The state that the tasks share.
pub(crate) struct Shared {
    pub(crate) store: CertificateStore,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) authorities: Vec<Authority>,
    pub(crate) answers: Answers,
    pub(crate) preference: Vec<Challenge>,
    pub(crate) key: CertificateKey,
    pub(crate) desk: Option<Arc<Desk>>,
    pub(crate) revoked: Revoked,
}

/// The keys of certificates that were revoked and not looked at since; of those that are kept, so not more.
#[derive(Default)]
pub(crate) struct Revoked {
    keys: Mutex<HashSet<String>>,
    told: Notify,
}

impl Acme {
    /// Certificates for `store`, kept in `storage`.
    pub fn builder(store: CertificateStore, storage: impl Storage) -> AcmeBuilder {
        AcmeBuilder::new(store, Arc::new(storage))
    }

    pub(crate) fn new(
        shared: Shared,
        configured: Vec<Vec<String>>,
        requests: Option<mpsc::Receiver<String>>,
    ) -> Self {
        Acme {
            shared: Arc::new(shared),
            configured,
            requests: Mutex::new(requests),
        }
    }

    /// The responder to challenges over HTTP, to be called by a proxy or to run as a service of its own.
    pub fn http01(&self) -> Http01 {
        self.shared.answers.http01.clone()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    async fn run(&self, mut shutdown: ShutdownWatch, ready: Option<ServiceReadyNotifier>) {
        let requests = self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut keeper = Keeper {
            shared: self.shared.clone(),
            managed: vec![],
            tasks: JoinSet::new(),
        };
        keeper.load(&self.configured).await;
        if let Some(ready) = ready {
            ready.notify_ready();
        }
        // Without on-demand certificates, a channel on which nothing comes.
        let (_unused, nothing) = mpsc::channel(1);
        let mut requests = requests.unwrap_or(nothing);
        loop {
            let sleep = keeper.begin_what_is_due(SystemTime::now());
            tokio::select! {
                _ = shutdown.changed() => return,
                Some(done) = keeper.tasks.join_next() => keeper.finish(done),
                Some(name) = requests.recv() => keeper.add_on_demand(name),
                () = self.shared.revoked.told.notified() => keeper.replace_revoked(),
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }
}

#[async_trait]
impl BackgroundService for Acme {
    async fn start_with_ready_notifier(
        &self,
        shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        self.run(shutdown, Some(ready)).await;
    }

    /// Orders under way are given up when the server stops.
    async fn start(&self, shutdown: ShutdownWatch) {
        self.run(shutdown, None).await;
    }
}

impl fmt::Debug for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acme")
            .field("certificates", &self.configured)
            .field("store", &self.shared.store)
            .finish_non_exhaustive()
    }
}

struct Keeper {
    shared: Arc<Shared>,
    managed: Vec<Managed>,
    tasks: JoinSet<Done>,
}

/// The result of a task for the certificate with this key.
struct Done {
    key: String,
    outcome: JobResult,
}

enum JobResult {
    Obtained(Box<Kept>),
    /// Another host is working on it.
    Busy,
    /// It is no longer wanted.
    Unwanted,
    Failed(Box<Failed>),
    Window(Option<Window>, Option<Duration>),
}

impl Keeper {
    /// Takes over the configured and the stored certificates.
    async fn load(&mut self, configured: &[Vec<String>]) {
        let issuers = self.shared.authorities.len();
        for names in configured {
            let mut managed = Managed::new(names.clone(), false, issuers);
            let kept = self.shared.kept(&managed.key).await;
            self.show_kept(&mut managed, kept);
            self.managed.push(managed);
        }
        let Some(desk) = self.shared.desk.clone() else {
            return;
        };
        let kept = self.shared.storage.list("certificates").await;
        let kept = kept.inspect_err(|e| log::error!("looking for certificates: {e}"));
        for key in kept.unwrap_or_default() {
            if self.managed.iter().any(|managed| managed.key == key) {
                continue;
            }
            let Ok(Some(kept)) = self.shared.kept(&key).await else {
                continue;
            };
            if kept.on_demand && desk.names.load(Ordering::Relaxed) < desk.rules.most_names {
                let mut managed = Managed::new(kept.names.clone(), true, issuers);
                self.show_kept(&mut managed, Ok(Some(kept)));
                desk.names.fetch_add(1, Ordering::Relaxed);
                self.managed.push(managed);
            }
        }
    }

    fn show_kept(&self, managed: &mut Managed, kept: Result<Option<Kept>>) {
        let shown = match kept {
            Ok(None) => return,
            Ok(Some(kept)) => managed.show(&self.shared.store, kept, SystemTime::now()),
            Err(e) => Err(e),
        };
        match shown {
            Ok(()) => log::info!("the certificate for {} is there", managed.key),
            Err(e) => log::error!("the certificate for {} that is kept: {e}", managed.key),
        }
    }

    /// A client asks for this name, which no task is working on.
    fn add_on_demand(&mut self, name: String) {
        let Some(desk) = &self.shared.desk else {
            return;
        };
        // It may have come in between, from a task that was just finishing.
        if self.managed.iter().any(|managed| managed.key == name) {
            desk.ended(&name, true);
            return;
        }
        desk.names.fetch_add(1, Ordering::Relaxed);
        let issuers = self.shared.authorities.len();
        self.managed.push(Managed::new(vec![name], true, issuers));
    }

    /// Certificates were revoked: others are due.
    fn replace_revoked(&mut self) {
        for key in self.shared.take_revoked() {
            let found = self.managed.iter_mut().find(|managed| managed.key == key);
            if let Some(managed) = found {
                managed.revoked();
            }
        }
    }

    /// Starts tasks; returns the time until the next step.
    fn begin_what_is_due(&mut self, now: SystemTime) -> Duration {
        for managed in &mut self.managed {
            if self.tasks.len() >= MOST_AT_ONCE {
                break;
            }
            let Some(step) = managed.due(now) else {
                continue;
            };
            managed.busy = true;
            let job = Job::new(self.shared.clone(), managed);
            match step {
                Step::Obtain { issuer } => drop(self.tasks.spawn(job.obtain(issuer))),
                Step::AskWindow => drop(self.tasks.spawn(job.ask_window())),
            }
        }
        let idle = self.managed.iter().filter(|managed| !managed.busy);
        let next = idle.map(|managed| managed.schedule.next().0).min();
        let sleep = next.map(|next| next.duration_since(now).unwrap_or_default());
        if self.tasks.len() >= MOST_AT_ONCE {
            return LONGEST_SLEEP;
        }
        sleep.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    fn finish(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let done = match done {
            Ok(done) => done,
            // A job catches its own panics.
            Err(e) => return log::error!("a task for certificates: {e}"),
        };
        let position = self
            .managed
            .iter()
            .position(|managed| managed.key == done.key);
        let Some(managed) = position.and_then(|position| self.managed.get_mut(position)) else {
            return;
        };
        managed.busy = false;
        let now = SystemTime::now();
        let was_held = managed.kept.is_some();
        let (mut well, mut gone) = (was_held, false);
        match done.outcome {
            JobResult::Window(window, again) => managed.schedule.set_window(now, window, again),
            JobResult::Busy => {
                // Clients wait for one that is not held.
                let wait = if was_held { OTHERS } else { OTHERS_SOON };
                let wait = wait.mul_f64(0.5 + fastrand::f64());
                return managed.schedule.postpone(now, wait);
            }
            JobResult::Unwanted => gone = true,
            JobResult::Obtained(kept) => match managed.show(&self.shared.store, *kept, now) {
                Ok(()) => {
                    well = true;
                    log::info!("the certificate for {} is in force", managed.key);
                }
                Err(e) => failed(managed, now, &e.into()),
            },
            JobResult::Failed(reason) => failed(managed, now, &reason),
        }
        let Some(desk) = self.shared.desk.as_ref().filter(|_| managed.on_demand) else {
            return;
        };
        if gone || !well {
            managed.hide(&self.shared.store);
            desk.names.fetch_sub(1, Ordering::Relaxed);
            if let Some(position) = position {
                self.managed.remove(position);
            }
        }
        desk.ended(&done.key, well && !gone);
    }
}

#[cold]
fn failed(managed: &mut Managed, now: SystemTime, reason: &Failed) {
    managed.schedule.failed(now, fastrand::f64(), reason.wait);
    let wait = managed
        .schedule
        .next()
        .0
        .duration_since(now)
        .unwrap_or_default();
    let (key, wait) = (&managed.key, wait.as_secs());
    log::error!(
        "the certificate for {key}: {}; tried again in {wait} s",
        reason.error
    );
}

impl Shared {
    /// The certificate with this key was revoked: wakes the loop.
    pub(crate) fn revoked_now(&self, key: &str) {
        let keys = self.revoked.keys.lock();
        keys.unwrap_or_else(PoisonError::into_inner)
            .insert(key.to_string());
        self.revoked.told.notify_one();
    }

    fn take_revoked(&self) -> HashSet<String> {
        let keys = self.revoked.keys.lock();
        std::mem::take(&mut keys.unwrap_or_else(PoisonError::into_inner))
    }

    /// The certificate with this key that is kept.
    pub(crate) async fn kept(&self, key: &str) -> Result<Option<Kept>> {
        let value = self.storage.read(&storage_key(key)).await?;
        value.map(|value| Kept::read(&value)).transpose()
    }
}

/// One task: all that it needs to know of its certificate.
struct Job {
    shared: Arc<Shared>,
    key: String,
    storage_key: String,
    names: Vec<String>,
    on_demand: bool,
    failures: u32,
    identifier: Option<instant_acme::CertificateIdentifier<'static>>,
    held: Option<Kept>,
}

impl Job {
    fn new(shared: Arc<Shared>, managed: &Managed) -> Self {
        Job {
            shared,
            key: managed.key.clone(),
            storage_key: managed.storage_key(),
            names: managed.names.clone(),
            on_demand: managed.on_demand,
            failures: managed.schedule.failures(),
            identifier: managed.identifier.clone(),
            held: managed.kept.clone(),
        }
    }

    async fn obtain(self, issuer: usize) -> Done {
        let key = self.key.clone();
        // A panic, in a provider for the DNS say, must not make this certificate busy for ever.
        let worked = tokio::spawn(async move { self.try_obtain(issuer).await }).await;
        let outcome = match worked {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(failed)) => JobResult::Failed(Box::new(failed)),
            Err(e) => JobResult::Failed(Box::new(
                Error::because(ErrorType::InternalError, "obtaining a certificate", e).into(),
            )),
        };
        Done { key, outcome }
    }

    async fn try_obtain(&self, issuer: usize) -> Result<JobResult, Failed> {
        let shared = &self.shared;
        if let Some(desk) = shared.desk.as_ref().filter(|_| self.on_demand) {
            let name = self.names.first().map_or("", String::as_str);
            if !desk.rules.rule.allows(name).await {
                log::info!("no certificate for {name}: it is not allowed");
                if self.held.is_some() {
                    shared.storage.remove(&self.storage_key).await?;
                }
                return Ok(JobResult::Unwanted);
            }
        }
        let Some(_lock) = shared.storage.try_lock(&self.storage_key).await? else {
            return Ok(JobResult::Busy);
        };
        // Another host may have been here before.
        if let Some(kept) = shared.kept(&self.key).await?
            && kept.names == self.names
            && !kept.revoked
            && self.held.as_ref() != Some(&kept)
        {
            return Ok(JobResult::Obtained(Box::new(kept)));
        }
        if let Some(desk) = shared
            .desk
            .as_ref()
            .filter(|_| self.on_demand && self.held.is_none())
            && !desk.may_order()
        {
            let reason = "there were too many orders on demand within an hour";
            return Err(Error::explain(ErrorType::InternalError, reason).into());
        }
        self.order(issuer).await
    }

    async fn order(&self, issuer: usize) -> Result<JobResult, Failed> {
        let shared = &self.shared;
        let Some(authority) = shared.authorities.get(issuer) else {
            return Err(Error::explain(ErrorType::InternalError, "no such issuer").into());
        };
        let issuer = &authority.issuer;
        let account = authority.account(&*shared.storage).await?;
        let same_issuer = |kept: &Kept| kept.issuer == issuer.directory && !kept.revoked;
        let replaces = self.held.as_ref().filter(|kept| same_issuer(kept));
        let wanted = Wanted {
            names: &self.names,
            profile: issuer.profile.as_deref(),
            replaces: replaces.and(self.identifier.as_ref()),
            key: shared.key,
            preference: &shared.preference,
            failures: self.failures,
        };
        let issued = match order::obtain(&account, &shared.answers, &wanted).await {
            Err(failed) if failed.account_is_gone => {
                authority.forget_account(&*shared.storage).await;
                return Err(failed);
            }
            issued => issued?,
        };
        let kept = Kept::new(&self.names, &issuer.directory, self.on_demand, issued);
        if let Err(e) = shared
            .storage
            .write(&self.storage_key, &kept.to_value()?)
            .await
        {
            log::error!(
                "the certificate for {} is used, but not kept: {e}",
                self.key
            );
        }
        Ok(JobResult::Obtained(Box::new(kept)))
    }

    async fn ask_window(self) -> Done {
        let (window, again) = self.window().await;
        let outcome = JobResult::Window(window, again);
        Done {
            key: self.key,
            outcome,
        }
    }

    /// The window of the issuer of the certificate that is held, and when to ask again.
    async fn window(&self) -> (Option<Window>, Option<Duration>) {
        let (Some(kept), Some(identifier)) = (&self.held, &self.identifier) else {
            return (None, None);
        };
        let from_there = |authority: &&Authority| authority.issuer.directory == kept.issuer;
        let Some(authority) = self.shared.authorities.iter().find(from_there) else {
            return (None, None);
        };
        let asked = match authority.account(&*self.shared.storage).await {
            Ok(account) => account.renewal_info(identifier).await,
            Err(e) => Err(AcmeError::Other(e)),
        };
        match asked {
            Ok((info, again)) => {
                let window = Window {
                    start: info.suggested_window.start.into(),
                    end: info.suggested_window.end.into(),
                };
                (Some(window), Some(again))
            }
            Err(AcmeError::Unsupported(_)) => (None, None),
            Err(e) => {
                log::warn!("asking when {} should be renewed: {e}", self.key);
                (None, Some(WINDOW_UNREACHABLE))
            }
        }
    }
}

/// For the builder.
pub(crate) fn answers(
    store: CertificateStore,
    storage: Arc<dyn Storage>,
    dns: Option<Arc<dyn DnsProvider>>,
) -> Answers {
    Answers {
        http01: Http01::new(storage),
        store,
        dns,
    }
}
