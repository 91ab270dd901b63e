//! Servers in the background.

use super::process_tests::{MORE, Room, Running, ask, connect, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A process that is not a child of the test, but still ends with it.
struct Daemon(Pid);

/// A configuration for the background.
fn background(room: &Room, more: &str) -> PathBuf {
    let conf = room.file("conf.yaml");
    let text = format!(
        "pid_file: {}\nerror_log: {}\nupgrade_sock: {}\ndaemon: true\n\
         daemon_wait_for_ready: true\n{more}",
        room.file("pid").display(),
        room.file("log").display(),
        room.file("upgrade.sock").display(),
    );
    std::fs::write(&conf, text).unwrap();
    conf
}

fn daemon(room: &Room) -> Daemon {
    let text = std::fs::read_to_string(room.file("pid")).unwrap();
    Daemon(Pid::from_raw(text.trim().parse().unwrap()))
}

#[test]
fn a_server_goes_into_the_background() {
    let room = Room::new();
    let pid_file = room.file("pid");
    let conf = room.file("conf.yaml");
    let text = format!(
        "threads: 2\npid_file: {}\nerror_log: {}\n",
        pid_file.display(),
        room.file("log").display()
    );
    std::fs::write(&conf, text).unwrap();
    let arguments = ["-d", "-c", conf.to_str().unwrap()];
    let parent = room
        .command(&arguments)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(parent.code(), Some(0));
    let mut client = connect(room.address());
    assert_eq!(ask(&mut client, b'a'), Some(b'a'));
    let read = || std::fs::read_to_string(&pid_file).ok()?.trim().parse().ok();
    let daemon = Daemon(Pid::from_raw(poll("the pid", read)));
    kill(daemon.0, Signal::SIGTERM).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "closed");
    poll("the end", || (!is_alive(daemon.0)).then_some(()));
    assert_eq!(
        std::fs::read_to_string(room.file("log")).unwrap(),
        "listening\nannounced\n"
    );
}

#[test]
fn a_background_server_is_ready_when_its_starter_ends() {
    let room = Room::new();
    let conf = background(&room, "");
    let arguments = ["-c", conf.to_str().unwrap()];
    let started = room.command(&arguments).output().unwrap();
    let said = String::from_utf8(started.stderr).unwrap();
    assert_eq!((started.status.code(), said.as_str()), (Some(0), ""));
    let first = daemon(&room);
    assert!(is_alive(first.0));

    // The pid file is locked: a second server must not start.
    let second = room.command(&arguments).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    let expected = format!("belongs to a server that is running, {}", first.0);
    assert!(said.contains(&expected), "{said}");

    // A log that was moved away is reopened.
    let log = || std::fs::read_to_string(room.file("log")).unwrap_or_default();
    poll("the announcement", || {
        (log() == "listening\nannounced\n").then_some(())
    });
    std::fs::rename(room.file("log"), room.file("log.1")).unwrap();
    kill(first.0, Signal::SIGHUP).unwrap();
    poll("the new log", || {
        log().contains("reloaded with").then_some(())
    });

    kill(first.0, Signal::SIGTERM).unwrap();
    poll("the end", || (!is_alive(first.0)).then_some(()));
    assert!(!room.file("pid").exists());
}

/// Whoever may write to the pid file decides which process is stopped; and a log may hold anything.
#[test]
fn nobody_else_may_write_to_the_files_of_a_server() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::new();
    let conf = background(&room, "");
    let arguments = ["-c", conf.to_str().unwrap()];
    let server = room.command(&arguments);
    // Whatever the umask allows.
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "umask 0 && exec \"$0\" \"$@\""])
        .arg(server.get_program())
        .args(server.get_args());
    for (name, value) in server.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    let started = shell.output().unwrap();
    assert_eq!(started.status.code(), Some(0), "{started:?}");
    let daemon = daemon(&room);
    for name in ["pid", "log"] {
        let metadata = std::fs::metadata(room.file(name)).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        assert_eq!(mode & 0o022, 0, "{name}: {mode:o}");
    }
    drop(daemon);
}

#[test]
fn without_a_log_it_is_said_what_is_lost() {
    let room = Room::new();
    let conf = room.file("conf.yaml");
    let pid_file = room.file("pid").display().to_string();
    std::fs::write(&conf, format!("pid_file: {pid_file}\ndaemon: true\n")).unwrap();
    let mut command = room.command(&["-c", conf.to_str().unwrap()]);
    let started = command.output().unwrap();
    let server = daemon(&room);
    let said = String::from_utf8(started.stderr).unwrap();
    assert!(
        said.starts_with("warning: error_log is not set: "),
        "{said}"
    );
    kill(server.0, Signal::SIGINT).unwrap();
    poll("the end", || (!is_alive(server.0)).then_some(()));
}

#[test]
fn whoever_starts_a_server_waits_until_all_services_are_ready() {
    let room = Room::new();
    let conf = background(&room, "");
    let file = room.file("ready");
    let mut command = room.command(&["-c", conf.to_str().unwrap()]);
    let mut starter = Running(command.env(MORE, &file).spawn().unwrap());
    // It serves already.
    assert_eq!(ask(&mut connect(room.address()), b'a'), Some(b'a'));
    let server = daemon(&room);
    assert!(starter.0.try_wait().unwrap().is_none());
    std::fs::write(&file, "").unwrap();
    assert_eq!(starter.end().code(), Some(0));
    kill(server.0, Signal::SIGTERM).unwrap();
    poll("the end", || (!is_alive(server.0)).then_some(()));
}

#[test]
fn whoever_starts_a_server_is_told_that_a_service_is_not_ready() {
    for (more, reason) in [
        ("/nonexistent", "was not ready after 1s"),
        ("panic", "1 of 3 services panicked before they were ready"),
    ] {
        let room = Room::new();
        let conf = background(&room, "daemon_ready_timeout_seconds: 1\n");
        let mut command = room.command(&["-c", conf.to_str().unwrap()]);
        let starter = command.env(MORE, more).output().unwrap();
        let server = daemon(&room);
        assert_eq!(starter.status.code(), Some(1));
        let said = String::from_utf8(starter.stderr).unwrap();
        assert!(said.contains(reason), "{said}");
        assert_eq!(ask(&mut connect(room.address()), b'a'), Some(b'a'));
        kill(server.0, Signal::SIGTERM).unwrap();
        poll("the end", || (!is_alive(server.0)).then_some(()));
    }
}

#[test]
fn a_server_that_cannot_go_into_the_background_says_so() {
    let room = Room::new();
    let conf = background(&room, "working_directory: /nonexistent\n");
    let arguments = ["-c", conf.to_str().unwrap()];
    let failed = room.command(&arguments).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8(failed.stderr).unwrap();
    assert!(said.contains("can't go into the background: "), "{said}");
}

#[test]
fn a_server_that_gave_up_its_privileges_is_replaced() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let room = Room::new();
    std::fs::set_permissions(room.file(""), std::fs::Permissions::from_mode(0o777)).unwrap();
    let conf = background(&room, "user: nobody\n");
    let conf = conf.to_str().unwrap();
    let start = |arguments: &[&str]| {
        let status = room.command(arguments).stderr(Stdio::null()).status();
        assert_eq!(status.unwrap().code(), Some(0));
        daemon(&room)
    };
    let old = start(&["-c", conf]);
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let process = std::fs::metadata(format!("/proc/{}", old.0)).unwrap();
    assert_eq!(
        (process.uid(), process.gid()),
        (nobody.uid.as_raw(), nobody.gid.as_raw())
    );
    let mut client = connect(room.address());
    assert_eq!(ask(&mut client, b'a'), Some(b'a'));

    kill(old.0, Signal::SIGQUIT).unwrap();
    let new = start(&["-c", conf, "-u"]);
    assert_ne!(old.0, new.0);
    poll("the end", || (!is_alive(old.0)).then_some(()));
    assert_eq!(ask(&mut connect(room.address()), b'b'), Some(b'b'));
    kill(new.0, Signal::SIGTERM).unwrap();
    poll("the end", || (!is_alive(new.0)).then_some(()));
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if is_alive(self.0) {
            let _ = kill(self.0, Signal::SIGKILL);
        }
    }
}

/// A process that has ended but was not waited for is not alive either.
fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|s| !s.contains(") Z "))
}
