//! The user and the group that a server switches to.

use super::configuration::ServerConf;
use log::{info, warn};
use nix::unistd::{Gid, Group, Uid, User};
use pingora_error::{BError, Error, ErrorType, Result};
use std::ffi::CString;

/// The user that the configuration names, by name or number.
///
/// # Errors
/// If there is no such user.
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
        Ok(None) => Err(refused("user", format!("there is no `{name}`"))),
        Err(e) => Err(refused("user", format!("can't look up `{name}`: {e}"))),
    }
}

/// The group that the configuration names, by name or number; without one, the user's own.
///
/// # Errors
/// If there is no such group.
pub(super) fn group(conf: &ServerConf, user: Option<&User>) -> Result<Option<Gid>> {
    let Some(name) = &conf.group else {
        return Ok(user.map(|user| user.gid));
    };
    let found = match name.parse() {
        Ok(id) => Group::from_gid(Gid::from_raw(id)),
        Err(_) => Group::from_name(name),
    };
    match found {
        Ok(Some(group)) => Ok(Some(group.gid)),
        Ok(None) => Err(refused("group", format!("there is no `{name}`"))),
        Err(e) => Err(refused("group", format!("can't look up `{name}`: {e}"))),
    }
}

/// Switches to the configured user and group in the foreground. Call it once everything that needs the
/// initial privileges is bound. Only root can switch: for other users the keys have no effect, and the log
/// says so.
///
/// # Errors
/// One line that names the key: there is no such user or group, or the kernel refuses.
pub(super) fn drop_in_foreground(conf: &ServerConf) -> Result<()> {
    let user = account(conf)?;
    let group = group(conf, user.as_ref())?;
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        warn!("user, group: have no effect, since only root can become somebody else");
        return Ok(());
    }
    if let Some(user) = &user {
        // The groups of root must not remain.
        let name = CString::new(user.name.as_str()).map_err(|e| refused("user", e.to_string()))?;
        let gid = group.unwrap_or(user.gid);
        nix::unistd::initgroups(&name, gid)
            .map_err(|e| refused("user", format!("can't take over its groups: {e}")))?;
    }
    if let Some(group) = group {
        nix::unistd::setgid(group).map_err(|e| refused("group", e.to_string()))?;
    }
    if let Some(user) = &user {
        nix::unistd::setuid(user.uid).map_err(|e| refused("user", e.to_string()))?;
        info!("the server goes on as the user {}", user.name);
    }
    Ok(())
}

fn refused(key: &str, reason: String) -> BError {
    Error::explain(ErrorType::InternalError, format!("{key}: {reason}")).into_in()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(user: Option<&str>, group: Option<&str>) -> ServerConf {
        ServerConf {
            user: user.map(Into::into),
            group: group.map(Into::into),
            ..ServerConf::default()
        }
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_by_number() {
        let root = account(&of(Some("root"), None)).unwrap().unwrap();
        assert!(root.uid.is_root());
        assert!(account(&of(Some("0"), None)).unwrap().is_some());
        assert!(account(&of(None, None)).unwrap().is_none());
        let gid = |conf, user| group(&conf, user).unwrap();
        assert_eq!(gid(of(None, None), Some(&root)), Some(root.gid));
        assert_eq!(gid(of(None, Some("0")), None), Some(Gid::from_raw(0)));
        assert_eq!(gid(of(None, None), None), None);
    }

    #[test]
    fn a_name_that_nobody_has_is_an_error_with_its_key() {
        for (conf, key) in [
            (
                of(Some("no-such-user"), None),
                "user: there is no `no-such-user`",
            ),
            (
                of(None, Some("no-such-group")),
                "group: there is no `no-such-group`",
            ),
        ] {
            let error = drop_in_foreground(&conf).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
