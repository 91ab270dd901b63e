//! Going into the background.

use super::configuration::ServerConf;
use super::privileges::account;
use super::report;
use daemonize::{Daemonize, Outcome, Stdio};
use log::{info, warn};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, User};
use pingora_error::{BError, Error, ErrorType, Result};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Sent over the connection to the starting process; any other text is the reason why we ended.
const READY: &[u8] = b"ready";

/// The remaining duties of a background process: to the process that started it, and to its files.
#[derive(Debug)]
pub(super) struct Background {
    /// The starting process waits at the other end.
    waiting: Mutex<Option<UnixStream>>,
    pid_file: PathBuf,
    /// The pid file of the previous server, moved aside until that server may stop.
    set_aside: Option<PathBuf>,
    error_log: Option<PathBuf>,
}

impl Background {
    /// Lets the starting process exit with code 0: the server serves.
    pub(super) fn ready(&self) {
        self.say(READY);
    }

    /// Lets the starting process exit with code 1 and the reason, if it still waits.
    pub(super) fn failed(&self, reason: &str) {
        self.say(reason.as_bytes());
    }

    fn say(&self, word: &[u8]) {
        let waiting = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut waiting) = waiting
            && let Err(e) = waiting.write_all(word)
        {
            info!("the process that waited for this server to be ready has gone: {e}");
        }
    }

    /// Reopens the error log by name, in case the file was moved away.
    pub(super) fn reopen_log(&self) {
        let Some(path) = &self.error_log else { return };
        let shown = path.display();
        let reopened = open_log(path).and_then(|file| {
            nix::unistd::dup2_stdout(&file)?;
            Ok(nix::unistd::dup2_stderr(&file)?)
        });
        match reopened {
            Ok(()) => info!("the error log {shown} was opened anew"),
            Err(e) => warn!("error_log: {shown} can't be opened anew, so it stays open: {e}"),
        }
    }

    /// The previous server may stop: its pid file is no longer needed.
    pub(super) fn succeeded(&self) {
        if let Some(path) = &self.set_aside {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Removes the pid file, unless it already belongs to the next server. If the previous server
    /// continues to serve, restores that server's file.
    pub(super) fn remove_pid_file(&self) {
        if pid_in(&self.pid_file) == Some(std::process::id()) {
            let aside = self.set_aside.as_ref();
            if aside.is_some_and(|aside| std::fs::rename(aside, &self.pid_file).is_ok()) {
                return;
            }
            // If we may no longer write to the directory, it stays, without its lock.
            let _ = std::fs::remove_file(&self.pid_file);
        }
    }
}

/// Detaches from the terminal, writes the pid file, and switches to the configured user and group. The
/// starting process exits in here: with code 0 once its grandchild, which returns, has done so or
/// serves, depending on the configuration; with code 1 if that fails.
///
/// In an upgrade the pid file is replaced, because the previous server keeps its own locked.
///
/// Must be called before the first thread exists: only the calling thread survives. Bound sockets
/// stay bound.
///
/// # Errors
/// One line that names the configuration key, if one is to blame.
pub(super) fn detach(conf: &ServerConf, upgrade: bool) -> Result<Background> {
    let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let absolute = |path: &str| here.join(path);
    let directory = conf.working_directory.clone();
    let pid_file = absolute(&conf.pid_file);
    let set_aside = make_way(&pid_file, upgrade)?;
    let user = account(conf)?;
    let error_log = conf.error_log.as_deref().map(absolute);
    let mut daemon = Daemonize::new()
        .pid_file(&pid_file)
        .working_directory(directory.unwrap_or(here));
    if let Some(path) = &error_log {
        let log = open_log_for(path, user.as_ref())?;
        let same = log.try_clone().map_err(|e| failed(&e.to_string()))?;
        daemon = daemon.stdout(Stdio::from(same)).stderr(Stdio::from(log));
    } else {
        report::warning(
            "error_log is not set: what goes to standard output and standard error in the background, a log \
             for example, is lost",
        );
    }
    // Otherwise both processes would write the bytes left in the buffer.
    let _ = io::stdout().flush();
    // The primary group of root must not remain either.
    match (&conf.group, &user) {
        (Some(group), _) => daemon = daemon.group(group.as_str()),
        (None, Some(user)) => daemon = daemon.group(user.gid.as_raw()),
        (None, None) => {}
    }
    if let Some(user) = &user {
        daemon = daemon.user(user.uid.as_raw()).chown_pid_file(true);
    }
    let groups = supplementary_groups(user)?;
    let (waiting, told) = UnixStream::pair().map_err(|e| failed(&e.to_string()))?;
    let outcome = daemon
        .privileged_action(move || match groups {
            Some((user, group)) => nix::unistd::initgroups(&user, group),
            None => Ok(()),
        })
        .execute();
    let failure = match outcome {
        Outcome::Parent(Ok(_)) => {
            drop(told);
            std::process::exit(wait_for_child(conf, waiting));
        }
        Outcome::Parent(Err(e)) => return Err(failed(&e.to_string())),
        Outcome::Child(Ok(child)) => match child.privileged_action_result {
            Ok(()) => {
                let background = Background {
                    waiting: Mutex::new(Some(told)),
                    pid_file,
                    set_aside,
                    error_log,
                };
                if !conf.daemon_wait_for_ready {
                    background.ready();
                }
                return Ok(background);
            }
            Err(e) => failed(&format!("user: can't take over its groups: {e}")),
        },
        Outcome::Child(Err(e)) => failed(&e.to_string()),
    };
    if let Some(aside) = &set_aside {
        // The previous server continues to serve.
        let _ = std::fs::rename(aside, &pid_file);
    }
    // Standard error may already be closed; the waiting process can report it.
    let mut told = told;
    let _ = told.write_all(report::text(&failure).as_bytes());
    Err(failure)
}

/// The starting process: waits for its grandchild's message; returns the exit code.
fn wait_for_child(conf: &ServerConf, mut waiting: UnixStream) -> i32 {
    let limit = conf.daemon_ready_timeout();
    let deadline = Instant::now() + limit;
    let mut said = vec![];
    let mut chunk = [0; 256];
    let problem = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Zero would mean forever.
        let left = left.max(Duration::from_millis(1));
        let read = waiting
            .set_read_timeout(Some(left))
            .and_then(|()| waiting.read(&mut chunk));
        match read {
            Ok(0) if said.is_empty() => {
                break "the server ended before it was ready; its error log may say why"
                    .to_string();
            }
            Ok(0) => break String::from_utf8_lossy(&said).into_owned(),
            Ok(n) => said.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                break format!(
                    "the server was not ready after {limit:?} (daemon_ready_timeout_seconds); it \
                     goes on starting in the background"
                );
            }
        }
        if said == READY {
            return 0;
        }
    };
    report::problem(&problem);
    1
}

/// Makes sure that the pid file is available: one left behind by a server is reused, one of a running server
/// is not. In an upgrade that server's file is moved aside; returns its new path in that case.
fn make_way(pid_file: &Path, upgrade: bool) -> Result<Option<PathBuf>> {
    let shown = pid_file.display();
    let Ok(metadata) = std::fs::symlink_metadata(pid_file) else {
        return Ok(None);
    };
    // In a world-writable directory, it could lead anywhere.
    if !metadata.is_file() {
        return Err(failed(&format!("pid_file: {shown} is not a plain file")));
    }
    if upgrade {
        let mut aside = pid_file.as_os_str().to_owned();
        aside.push(".before");
        return std::fs::rename(pid_file, &aside)
            .map(|()| Some(aside.into()))
            .map_err(|e| failed(&format!("pid_file: can't replace {shown}: {e}")));
    }
    let file = OpenOptions::new()
        .write(true)
        .open(pid_file)
        .map_err(|e| failed(&format!("pid_file: can't write to {shown}: {e}")))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_free) => Ok(None),
        Err(_) => {
            let who = pid_in(pid_file).map_or_else(String::new, |pid| format!(", {pid}"));
            let reason = format!("pid_file: {shown} belongs to a server that is running{who}");
            Err(failed(&reason))
        }
    }
}

fn pid_in(pid_file: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(pid_file).ok()?;
    text.trim().parse().ok()
}

/// The groups of root must not remain with the user that the server switches to.
fn supplementary_groups(user: Option<User>) -> Result<Option<(CString, Gid)>> {
    let Some(user) = user else { return Ok(None) };
    let name = CString::new(user.name).map_err(|e| failed(&format!("user: {e}")))?;
    Ok(Some((name, user.gid)))
}

/// Opens the error log at the start. The server's user becomes its owner, so that it can reopen it.
fn open_log_for(path: &Path, user: Option<&User>) -> Result<File> {
    let shown = path.display();
    let file =
        open_log(path).map_err(|e| failed(&format!("error_log: can't open {shown}: {e}")))?;
    if let Some(user) = user
        && nix::unistd::geteuid().is_root()
    {
        std::os::unix::fs::fchown(&file, Some(user.uid.as_raw()), None)
            .map_err(|e| failed(&format!("error_log: can't give {shown} to its user: {e}")))?;
    }
    Ok(file)
}

fn open_log(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).open(path)
}

fn failed(reason: &str) -> BError {
    let message = format!("can't go into the background: {reason}");
    Error::explain(ErrorType::InternalError, message).into_in()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("daemon-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_stale_pid_file_is_used_again_and_a_live_one_is_not() {
        let path = fresh("pid");
        make_way(&path, false).unwrap();
        std::fs::write(&path, "4242\n").unwrap();
        make_way(&path, false).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        let error = make_way(&path, false).unwrap_err().to_string();
        assert!(error.contains("a server that is running, 4242"), "{error}");
        let aside = make_way(&path, true).unwrap().unwrap();
        assert!(!path.exists(), "the next server makes its own");
        let background = Background {
            waiting: Mutex::default(),
            pid_file: path.clone(),
            set_aside: Some(aside.clone()),
            error_log: None,
        };
        std::fs::write(&path, std::process::id().to_string()).unwrap();
        background.remove_pid_file();
        assert_eq!(pid_in(&path), Some(4242), "the server before it serves on");
        let error = make_way(&path, false).unwrap_err().to_string();
        assert!(error.contains("a server that is running, 4242"), "{error}");
        std::fs::rename(&path, &aside).unwrap();
        background.succeeded();
        assert!(!aside.exists());
        drop(held);
    }

    #[test]
    fn a_pid_file_that_leads_elsewhere_is_refused() {
        let (path, precious) = (fresh("link"), fresh("precious"));
        std::fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        let refused = make_way(&path, false);
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(&precious).unwrap();
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("not a plain file")
        );
    }

    #[test]
    fn whoever_waits_learns_how_it_went() {
        let conf = ServerConf {
            daemon_ready_timeout_seconds: std::num::NonZeroU64::new(1),
            ..ServerConf::default()
        };
        for (said, code) in [(READY, 0), (b"no", 1), (b"", 1)] {
            let (waiting, mut told) = UnixStream::pair().unwrap();
            told.write_all(said).unwrap();
            drop(told);
            assert_eq!(wait_for_child(&conf, waiting), code, "{said:?}");
        }
        let (waiting, _told) = UnixStream::pair().unwrap();
        assert_eq!(wait_for_child(&conf, waiting), 1, "not in time");
    }
}
