//! Hooks that run when a server is told to reload.

use super::ServerConf;
use pingora_error::{Error, ErrorType, Result};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

/// The argument of a reload hook.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reload {
    /// The new configuration, already validated. If the server was started without a configuration
    /// file, the configuration that it was started with.
    pub configuration: Arc<ServerConf>,
    /// The configuration file, for programs that keep their own settings in it.
    pub file: Option<PathBuf>,
}

impl Reload {
    pub(crate) fn new(configuration: Arc<ServerConf>, file: Option<PathBuf>) -> Self {
        Reload {
            configuration,
            file,
        }
    }
}

/// Puts the changes that a hook has prepared into force.
type Commit = Box<dyn FnOnce() + Send>;
type Prepared = Pin<Box<dyn Future<Output = Result<Option<Commit>>> + Send>>;

/// An action of a server that is told to reload, with a name for the log.
///
/// A reload changes everything or nothing. First all hooks prepare, one after the other; when all of them
/// have succeeded, the prepared changes are put into force. A hook that [does both at
/// once](ReloadHook::new) is called after all those that [only prepare](ReloadHook::in_two_steps), and
/// only if they succeeded.
#[derive(Clone)]
pub struct ReloadHook {
    name: Arc<str>,
    at_once: bool,
    run: Arc<dyn Fn(Reload) -> Prepared + Send + Sync>,
}

impl ReloadHook {
    /// A hook that reads the new state and puts it into force, or fails and leaves everything
    /// unchanged.
    pub fn new<H, R>(name: &str, hook: H) -> Self
    where
        H: Fn(Reload) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        ReloadHook {
            name: name.into(),
            at_once: true,
            run: Arc::new(move |reload| {
                let done = hook(reload);
                Box::pin(async move { done.await.map(|()| None) })
            }),
        }
    }

    /// A hook that reads the new state and returns a closure that puts it into force. The closure
    /// is called when all hooks of this kind have succeeded, and must not block.
    pub fn in_two_steps<H, R, C>(name: &str, hook: H) -> Self
    where
        H: Fn(Reload) -> R + Send + Sync + 'static,
        R: Future<Output = Result<C>> + Send + 'static,
        C: FnOnce() + Send + 'static,
    {
        ReloadHook {
            name: name.into(),
            at_once: false,
            run: Arc::new(move |reload| {
                let prepared = hook(reload);
                Box::pin(async move { Ok(Some(Box::new(prepared.await?) as Commit)) })
            }),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for ReloadHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadHook")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Runs all hooks; the changes of those that only prepare are made when nothing can fail any more.
///
/// # Errors
/// The error of the first hook that failed, with its name. Later hooks did not run. The exception is a
/// panic in a closure that puts something into force: all the other closures are called nevertheless.
pub(crate) async fn run_hooks(
    hooks: &[ReloadHook],
    reload: &Reload,
) -> Result<(), (String, pingora_error::BError)> {
    let mut commits = vec![];
    let (at_once, in_steps): (Vec<_>, Vec<_>) = hooks.iter().partition(|hook| hook.at_once);
    for hook in in_steps.into_iter().chain(at_once) {
        // On a separate task, which also calls the hook, so that a panic ends only the hook.
        let (run, reload) = (hook.run.clone(), reload.clone());
        let outcome = tokio::spawn(async move { run(reload).await }).await;
        let failed = |e| (hook.name.to_string(), e);
        let prepared = outcome
            .unwrap_or_else(|e| Err(panicked(&e)))
            .map_err(failed)?;
        commits.extend(prepared.map(|commit| (hook.name(), commit)));
    }
    let mut outcome = Ok(());
    for (name, commit) in commits {
        // The others are unaffected, and the changes can't be undone any more.
        if catch_unwind(AssertUnwindSafe(commit)).is_err() {
            let reason = "it panicked when what is new was put into force";
            let error = Error::explain(ErrorType::InternalError, reason).into_in();
            outcome = outcome.and(Err((name.to_string(), error)));
        }
    }
    outcome
}

fn panicked(error: &tokio::task::JoinError) -> pingora_error::BError {
    let reason = format!("the hook did not end well: {error}");
    Error::explain(ErrorType::InternalError, reason).into_in()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn journal() -> (Arc<Mutex<Vec<&'static str>>>, Reload) {
        let reload = Reload::new(Arc::default(), None);
        (Arc::default(), reload)
    }

    fn step(name: &'static str, journal: &Arc<Mutex<Vec<&'static str>>>, good: bool) -> ReloadHook {
        let journal = journal.clone();
        ReloadHook::in_two_steps(name, move |_| {
            let journal = journal.clone();
            async move {
                if !good {
                    return Error::e_explain(ErrorType::InternalError, "no");
                }
                Ok(move || journal.lock().unwrap().push(name))
            }
        })
    }

    fn whole(name: &'static str, journal: &Arc<Mutex<Vec<&'static str>>>) -> ReloadHook {
        let journal = journal.clone();
        ReloadHook::new(name, move |_| {
            journal.lock().unwrap().push(name);
            async { Ok(()) }
        })
    }

    #[tokio::test]
    async fn changes_are_made_when_nothing_can_fail_any_more() {
        let (seen, reload) = journal();
        let hooks = [
            whole("whole", &seen),
            step("a", &seen, true),
            step("b", &seen, true),
        ];
        run_hooks(&hooks, &reload).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), ["whole", "a", "b"]);
    }

    #[tokio::test]
    async fn one_that_fails_keeps_all_from_changing() {
        let (seen, reload) = journal();
        let hooks = [
            whole("whole", &seen),
            step("good", &seen, true),
            step("bad", &seen, false),
        ];
        let (name, _) = run_hooks(&hooks, &reload).await.unwrap_err();
        assert_eq!(name, "bad");
        assert!(seen.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn one_that_panics_has_failed() {
        let (_, reload) = journal();
        async fn panicking() -> Result<()> {
            panic!("as asked for")
        }
        fn panics_at_once(_: Reload) -> std::future::Ready<Result<()>> {
            panic!("as asked for")
        }
        for hook in [
            ReloadHook::new("panicking", |_| panicking()),
            ReloadHook::new("panicking", panics_at_once),
        ] {
            let (name, error) = run_hooks(&[hook], &reload).await.unwrap_err();
            assert_eq!(name, "panicking");
            assert!(error.to_string().contains("did not end well"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_panic_while_things_are_put_into_force_keeps_nothing_else_from_it() {
        let (seen, reload) = journal();
        let panicking =
            ReloadHook::in_two_steps("panicking", |_| async { Ok(|| panic!("as asked for")) });
        let hooks = [step("a", &seen, true), panicking, step("b", &seen, true)];
        let (name, error) = run_hooks(&hooks, &reload).await.unwrap_err();
        assert_eq!(name, "panicking");
        assert!(error.to_string().contains("put into force"), "{error}");
        assert_eq!(*seen.lock().unwrap(), ["a", "b"]);
    }
}
