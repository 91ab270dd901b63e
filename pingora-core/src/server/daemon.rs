//! Going into the background.

use super::configuration::ServerConf;
use daemonize::{Daemonize, Stdio};
use nix::unistd::{Gid, Uid, User};
use pingora_error::{BError, Error, ErrorType, Result};
use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Detaches from the terminal, writes the pid file, and becomes the configured user and group. The
/// process that was started ends in here, with code 0; its grandchild returns.
///
/// In an upgrade the pid file is replaced, because the server before us keeps its own locked.
///
/// Must be called before the first thread exists: only the calling one survives. Sockets that are
/// bound stay so.
///
/// # Errors
/// One line that names the key of the configuration where one is to blame.
pub(super) fn detach(conf: &ServerConf, upgrade: bool) -> Result<()> {
    let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let absolute = |path: &str| here.join(path);
    let directory = conf
        .working_directory
        .clone()
        .unwrap_or_else(|| here.clone());
    let pid_file = absolute(&conf.pid_file);
    if upgrade {
        // Where there is none, there is nothing to replace.
        let _ = std::fs::remove_file(&pid_file);
    }
    let mut daemon = Daemonize::new()
        .pid_file(pid_file)
        .chown_pid_file(true)
        .working_directory(&directory);
    if let Some(path) = &conf.error_log {
        daemon = daemon.stderr(open_log(&absolute(path))?);
    }
    if let Some(user) = &conf.user {
        daemon = daemon.user(user.as_str());
    }
    if let Some(group) = &conf.group {
        daemon = daemon.group(group.as_str());
    }
    let groups = supplementary_groups(conf)?;
    let outcome = daemon
        .privileged_action(move || match groups {
            Some((user, group)) => nix::unistd::initgroups(&user, group),
            None => Ok(()),
        })
        .start();
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(failed(&format!("user: can't take over its groups: {e}"))),
        Err(e) => Err(failed(&e.to_string())),
    }
}

/// The groups of root must not stay with whoever the server becomes.
fn supplementary_groups(conf: &ServerConf) -> Result<Option<(CString, Gid)>> {
    let Some(user) = account(conf)? else {
        return Ok(None);
    };
    let name = CString::new(user.name).map_err(|e| failed(&format!("user: {e}")))?;
    Ok(Some((name, user.gid)))
}

/// The user that the configuration names, by name or number.
///
/// # Errors
/// When there is none of that name.
pub(super) fn account(conf: &ServerConf) -> Result<Option<User>> {
    let Some(name) = &conf.user else {
        return Ok(None);
    };
    let found = match name.parse() {
        Ok(id) => User::from_uid(Uid::from_raw(id)),
        Err(_) => User::from_name(name),
    };
    match found {
        Ok(Some(user)) => Ok(Some(user)),
        Ok(None) => Err(failed(&format!("user: there is no `{name}`"))),
        Err(e) => Err(failed(&format!("user: can't look up `{name}`: {e}"))),
    }
}

fn open_log(path: &Path) -> Result<Stdio> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
        .map(Stdio::from)
        .map_err(|e| failed(&format!("error_log: can't open {}: {e}", path.display())))
}

fn failed(reason: &str) -> BError {
    let message = format!("can't go into the background: {reason}");
    Error::explain(ErrorType::InternalError, message).into_in()
}
