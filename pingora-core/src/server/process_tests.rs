//! Servers in separate processes: signals, exit codes, output on standard error.
//!
//! The process is this test program again, run with [`child`] as the only test.

use super::*;
use crate::apps::ServerApp;
use crate::listeners::BoundAddresses;
use crate::protocols::Stream;
use crate::services::background::{BackgroundService, background_service};
use crate::services::listening;
use async_trait::async_trait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The command line of the server in the child process, one argument a line.
const ARGUMENTS: &str = "SERVER_TEST_ARGUMENTS";
/// The address for the child to listen on.
const LISTEN: &str = "SERVER_TEST_LISTEN";
/// The file that the child writes its address to.
const ADDRESS: &str = "SERVER_TEST_ADDRESS";
/// Names an additional service of the child: one that panics, or one that becomes ready when a file
/// exists.
pub(super) const MORE: &str = "SERVER_TEST_MORE";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Echoes every byte; `x` a second later, `y` three seconds later.
struct Echo;

#[async_trait]
impl ServerApp for Echo {
    async fn process_new(
        self: &Arc<Self>,
        mut session: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let (mut byte, mut shutdown) = ([0; 1], shutdown.clone());
        tokio::select! {
            read = session.read_exact(&mut byte) => { read.ok()?; }
            _ = shutdown.wait_for(|begun| *begun) => return None,
        }
        if let Some(seconds) = [b'x', b'-', b'y'].iter().position(|b| *b == byte[0]) {
            session.write_all(b"w").await.ok()?;
            tokio::time::sleep(Duration::from_secs(seconds as u64 + 1)).await;
        }
        session.write_all(&byte).await.ok()?;
        Some(session)
    }
}

/// Writes the address of the server to a file.
struct Announce(BoundAddresses, PathBuf);

#[async_trait]
impl BackgroundService for Announce {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let addresses = self.0.wait().await.unwrap();
        let unfinished = self.1.with_extension("unfinished");
        std::fs::write(&unfinished, addresses[0].to_string()).unwrap();
        std::fs::rename(&unfinished, &self.1).unwrap();
        println!("listening");
        eprintln!("announced");
    }
}

/// Panics, or becomes ready when its file exists.
struct Troubled(Option<PathBuf>);

#[async_trait]
impl BackgroundService for Troubled {
    async fn start_with_ready_notifier(
        &self,
        shutdown: ShutdownWatch,
        ready: crate::services::ServiceReadyNotifier,
    ) {
        let file = self.0.as_ref().expect("as asked for");
        while !file.exists() && !*shutdown.borrow() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        ready.notify_ready();
    }
}

#[test]
#[ignore = "the process that the other tests start"]
fn child() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else {
        return;
    };
    let arguments = std::iter::once("child").chain(arguments.lines());
    let mut server = Server::new(Opt::parse_from_args(arguments)).unwrap();
    server.bootstrap();
    server.on_reload("note", |reload| async move {
        let threads = reload.configuration.threads;
        eprintln!("reloaded with {threads} threads");
        Ok(())
    });
    server.on_signal(SignalKind::user_defined2(), || async { eprintln!("heard") });
    let mut echo = listening::Service::new("echo".into(), Echo);
    echo.add_tcp(&std::env::var(LISTEN).unwrap());
    let announce = Announce(
        echo.bound_addresses(),
        std::env::var_os(ADDRESS).unwrap().into(),
    );
    server.add_service(echo);
    server.add_service(background_service("announce", announce));
    if let Some(more) = std::env::var_os(MORE) {
        let troubled = Troubled((more != "panic").then(|| more.into()));
        server.add_service(background_service("troubled", troubled));
    }
    server.run_forever();
}

/// A directory for one child; removed with everything in it.
pub(super) struct Room(PathBuf);

impl Room {
    pub(super) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("server-{}-{n}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Room(path)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        // The process that runs the tests may ignore signals, as under `nohup`, and a child would inherit that.
        let script = "ulimit -n ${FILES:-1024}; exec env --default-signal \"$@\"";
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", script, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "server::process_tests::child", "--ignored"])
            .args(["--nocapture", "--test-threads=1"])
            .env(ARGUMENTS, arguments.join("\n"))
            .env(LISTEN, "127.0.0.1:0")
            .env(ADDRESS, self.file("address"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Waits until the child listens.
    pub(super) fn address(&self) -> SocketAddr {
        let path = self.file("address");
        let text = poll("the address", || std::fs::read_to_string(&path).ok());
        text.parse().unwrap()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn poll<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The child, which does not outlive the test.
pub(super) struct Running(pub(super) Child);

impl Running {
    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    pub(super) fn end(&mut self) -> ExitStatus {
        poll("the end", || self.0.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(room: &Room) -> (Running, SocketAddr) {
    let running = Running(room.command(&[]).spawn().unwrap());
    let address = room.address();
    (running, address)
}

pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The byte that comes back; `None` if the connection is closed instead.
pub(super) fn ask(stream: &mut TcpStream, byte: u8) -> Option<u8> {
    stream.write_all(&[byte]).ok()?;
    let mut answer = [0];
    stream.read_exact(&mut answer).ok()?;
    Some(answer[0])
}

#[test]
fn an_idle_server_ends_within_a_second_of_either_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let room = Room::new();
        let (mut child, address) = start(&room);
        let mut idle = connect(address);
        assert_eq!(ask(&mut idle, b'a'), Some(b'a'));
        let begin = Instant::now();
        child.signal(signal);
        assert_eq!(child.end().code(), Some(0), "{signal}");
        assert!(begin.elapsed() < Duration::from_secs(1), "{signal}");
    }
}

#[test]
fn a_request_under_way_is_finished_before_the_end() {
    let room = Room::new();
    let (mut child, address) = start(&room);
    let mut busy = connect(address);
    assert_eq!(ask(&mut busy, b'y'), Some(b'w'), "working");
    child.signal(Signal::SIGTERM);
    let mut answer = [0];
    busy.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"y");
    let answered = Instant::now();
    assert_eq!(child.end().code(), Some(0));
    assert!(answered.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_request_that_is_stuck_is_given_up_in_time() {
    let room = Room::new();
    let conf = room.file("conf.yaml");
    std::fs::write(
        &conf,
        "grace_period_seconds: 1\ngraceful_shutdown_timeout_seconds: 1\n",
    )
    .unwrap();
    let arguments = ["-c", conf.to_str().unwrap()];
    let mut child = Running(room.command(&arguments).spawn().unwrap());
    let mut stuck = connect(room.address());
    assert_eq!(ask(&mut stuck, b'y'), Some(b'w'), "working");
    let begin = Instant::now();
    child.signal(Signal::SIGTERM);
    assert_eq!(child.end().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_millis(2500));
}

#[test]
fn an_address_in_use_is_one_line_and_an_exit_code() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    let room = Room::new();
    let output = room.command(&[]).env(LISTEN, &taken).output().unwrap();
    drop(held);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = format!("error: echo: can't listen on {taken}: Address already in use");
    assert!(said.starts_with(&expected), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_test_of_the_configuration_ends_with_a_code() {
    let room = Room::new();
    let conf = room.file("conf.yaml");
    let conf = conf.to_str().unwrap();
    std::fs::write(conf, "threads: 1\n").unwrap();
    let good = room.command(&["-t", "-c", conf]).output().unwrap();
    assert_eq!(good.status.code(), Some(0));
    assert!(!room.file("address").exists());

    let bad = room
        .command(&["-t"])
        .env(LISTEN, "nowhere")
        .output()
        .unwrap();
    assert_eq!(bad.status.code(), Some(1));
    let said = String::from_utf8(bad.stderr).unwrap();
    assert!(
        said.starts_with("error: echo: can't listen on nowhere: not an address"),
        "{said}"
    );

    std::fs::write(conf, "treads: 1\nworking_directory: /\n").unwrap();
    let odd = room.command(&["-t", "-c", conf]).output().unwrap();
    assert_eq!(odd.status.code(), Some(0));
    let said = String::from_utf8(odd.stderr).unwrap();
    assert!(
        said.contains("`treads` is no key of the server's; is `threads` meant?"),
        "{said}"
    );
    assert!(said.contains("working_directory: has no effect"), "{said}");

    std::fs::write(conf, "ca_file: /nonexistent.pem\n").unwrap();
    let bad = room.command(&["-t", "-c", conf]).output().unwrap();
    assert_eq!(bad.status.code(), Some(1));
    let said = String::from_utf8(bad.stderr).unwrap();
    assert!(
        said.contains("ca_file: /nonexistent.pem can't be read"),
        "{said}"
    );

    std::fs::write(conf, "threads: many\n").unwrap();
    let bad = room.command(&["-t", "-c", conf]).output().unwrap();
    assert_ne!(bad.status.code(), Some(0));
    let said = String::from_utf8(bad.stderr).unwrap();
    assert!(said.contains(&format!("{conf}: threads: ")), "{said}");
}

#[test]
fn a_reload_takes_what_is_good_and_says_what_is_not() {
    let room = Room::new();
    let conf = room.file("conf.yaml");
    std::fs::write(&conf, "threads: 2\n").unwrap();
    let arguments = ["-c", conf.to_str().unwrap()];
    let mut child = Running(room.command(&arguments).spawn().unwrap());
    let mut client = connect(room.address());
    let mut said = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let mut next = || said.next().unwrap().unwrap();
    assert_eq!(next(), "announced");
    std::fs::write(&conf, "threads: 3\n").unwrap();
    child.signal(Signal::SIGHUP);
    assert_eq!(next(), "reloaded with 3 threads");
    std::fs::write(&conf, "threads: three\n").unwrap();
    child.signal(Signal::SIGHUP);
    let refused = next();
    let expected = format!(
        "error: the reload failed, everything stays as it was: {}: threads: ",
        conf.display()
    );
    assert!(refused.starts_with(&expected), "{refused}");
    child.signal(Signal::SIGUSR2);
    assert_eq!(next(), "heard");
    assert_eq!(ask(&mut client, b'a'), Some(b'a'), "who is in, stays");
    child.signal(Signal::SIGTERM);
    assert_eq!(child.end().code(), Some(0));
}

#[test]
fn signals_without_a_meaning_end_nothing() {
    let room = Room::new();
    let (mut child, address) = start(&room);
    let mut client = connect(address);
    for signal in [Signal::SIGXFSZ, Signal::SIGPIPE, Signal::SIGUSR1] {
        child.signal(signal);
        assert_eq!(ask(&mut client, b'a'), Some(b'a'), "{signal}");
    }
    let mut said = BufReader::new(child.0.stderr.take().unwrap()).lines();
    child.signal(Signal::SIGUSR2);
    let heard = said.find(|line| line.as_ref().unwrap() == "heard");
    assert!(heard.is_some(), "what the program listens for, it hears");
    assert_eq!(ask(&mut client, b'b'), Some(b'b'));
    child.signal(Signal::SIGTERM);
    assert_eq!(child.end().code(), Some(0));
}

#[test]
fn signals_that_come_early_take_effect_when_the_server_runs() {
    let room = Room::new();
    let (conf, socket) = (room.file("conf.yaml"), room.file("upgrade.sock"));
    let text = format!(
        "upgrade_sock: {}\nupgrade_sock_connect_accept_max_retries: 4\n",
        socket.display()
    );
    std::fs::write(&conf, text).unwrap();
    let conf = conf.to_str().unwrap();
    let mut old = Running(room.command(&["-c", conf]).spawn().unwrap());
    let address = room.address();
    std::fs::remove_file(room.file("address")).unwrap();
    let mut new = Running(room.command(&["-c", conf, "-u"]).spawn().unwrap());
    poll("the next server, which waits", || {
        socket.exists().then_some(())
    });
    for signal in [
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGXFSZ,
    ] {
        new.signal(signal);
    }
    std::thread::sleep(Duration::from_millis(20));
    assert!(new.0.try_wait().unwrap().is_none(), "it waits still");
    old.signal(Signal::SIGQUIT);
    assert_eq!(room.address(), address);
    assert_eq!(old.end().code(), Some(0));
    let mut said = BufReader::new(new.0.stderr.take().unwrap()).lines();
    let mut heard: Vec<String> = said.by_ref().take(4).map(Result::unwrap).collect();
    heard.sort();
    assert_eq!(heard[0], "announced");
    assert!(
        heard[1].starts_with("error: can't hand over to the next server"),
        "{heard:?}"
    );
    assert_eq!(heard[2], "heard");
    assert!(heard[3].starts_with("reloaded with"), "{heard:?}");
    assert_eq!(ask(&mut connect(address), b'a'), Some(b'a'));
    new.signal(Signal::SIGTERM);
    assert_eq!(new.end().code(), Some(0));
}

/// As in the background: the sockets are bound by then.
#[test]
fn a_server_in_the_foreground_becomes_its_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let room = Room::new();
    let conf = room.file("conf.yaml");
    std::fs::write(&conf, "user: nobody\n").unwrap();
    // Its address has been written by then.
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&room.0, all).unwrap();
    let mut server = Running(
        room.command(&["-c", conf.to_str().unwrap()])
            .spawn()
            .unwrap(),
    );
    let address = room.address();
    assert_eq!(ask(&mut connect(address), b'a'), Some(b'a'));
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.0.id())).unwrap();
    let ids = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let ids = line.unwrap().split_whitespace();
        ids.map(|id| id.parse().unwrap()).collect::<Vec<u32>>()
    };
    assert_eq!(ids("Uid:"), [nobody.uid.as_raw(); 4]);
    assert_eq!(ids("Gid:"), [nobody.gid.as_raw(); 4]);
    assert!(!ids("Groups:").contains(&0), "{status}");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn a_new_server_that_fails_leaves_the_old_one_serving() {
    let room = Room::new();
    let conf = room.file("conf.yaml");
    let socket = room.file("upgrade.sock");
    std::fs::write(&conf, format!("upgrade_sock: {}\n", socket.display())).unwrap();
    let conf = conf.to_str().unwrap();
    let mut old = Running(room.command(&["-c", conf]).spawn().unwrap());
    let address = room.address();
    let mut said = BufReader::new(old.0.stderr.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "announced");
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    old.signal(Signal::SIGQUIT);
    // It gets the sockets, and then can't listen on its configured address.
    let mut new = room.command(&["-c", conf, "-u"]);
    let new = new.env(LISTEN, &taken).output().unwrap();
    assert_eq!(new.status.code(), Some(1));
    let failure = said.next().unwrap().unwrap();
    assert!(
        failure.contains("can't hand over to the next server"),
        "{failure}"
    );
    assert_eq!(ask(&mut connect(address), b'a'), Some(b'a'));

    // The next one succeeds.
    old.signal(Signal::SIGQUIT);
    let new = Running(room.command(&["-c", conf, "-u"]).spawn().unwrap());
    assert_eq!(old.end().code(), Some(0));
    assert_eq!(ask(&mut connect(address), b'b'), Some(b'b'));
    drop(new);
}

/// Stands in for the service manager: its socket, and the socket's path.
fn service_manager(room: &Room) -> (UnixDatagram, PathBuf) {
    let path = room.file("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, path)
}

fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 500];
    let length = manager.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn the_service_manager_is_told_what_happens() {
    let room = Room::new();
    let (manager, place) = service_manager(&room);
    let conf = room.file("conf.yaml");
    let socket = room.file("upgrade.sock");
    std::fs::write(&conf, format!("upgrade_sock: {}\n", socket.display())).unwrap();
    let conf = conf.to_str().unwrap();
    let start = |arguments: &[&str]| {
        let mut command = room.command(arguments);
        Running(command.env("NOTIFY_SOCKET", &place).spawn().unwrap())
    };
    let mut old = start(&["-c", conf]);
    assert_eq!(told(&manager), format!("READY=1\nMAINPID={}", old.0.id()));
    old.signal(Signal::SIGHUP);
    assert!(told(&manager).starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told(&manager), "STATUS=reloaded");
    assert_eq!(told(&manager), "READY=1");

    old.signal(Signal::SIGQUIT);
    let mut new = start(&["-c", conf, "-u"]);
    assert_eq!(told(&manager), format!("READY=1\nMAINPID={}", new.0.id()));
    assert_eq!(old.end().code(), Some(0));
    new.signal(Signal::SIGTERM);
    assert_eq!(told(&manager), "STOPPING=1", "the old one did not say so");
    assert_eq!(new.end().code(), Some(0));
}

#[test]
fn sockets_of_the_service_manager_are_listened_on_and_passed_on() {
    let room = Room::new();
    let conf = room.file("conf.yaml");
    let upgrade = room.file("upgrade.sock");
    std::fs::write(&conf, format!("upgrade_sock: {}\n", upgrade.display())).unwrap();
    let conf = conf.to_str().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // A client that connects before the server starts.
    let mut early = connect(address);
    early.write_all(b"a").unwrap();
    let inner = room.command(&["-c", conf]);
    let mut command = Command::new("/bin/sh");
    command
        .args([
            "-c",
            "export LISTEN_PID=$$; exec \"$@\" 3<&0 </dev/null",
            "sh",
        ])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap());
    }
    command
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "web")
        .env(LISTEN, "systemd:web")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut old = Running(command.spawn().unwrap());
    assert_eq!(room.address(), address);
    let mut answer = [0];
    early.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"a");

    old.signal(Signal::SIGQUIT);
    std::fs::remove_file(room.file("address")).unwrap();
    let mut next = room.command(&["-c", conf, "-u"]);
    let mut new = Running(next.env(LISTEN, address.to_string()).spawn().unwrap());
    assert_eq!(room.address(), address, "found by its address");
    assert_eq!(old.end().code(), Some(0));
    assert_eq!(ask(&mut connect(address), b'b'), Some(b'b'));
    new.signal(Signal::SIGTERM);
    assert_eq!(new.end().code(), Some(0));
}

#[test]
fn a_server_hands_over_without_refusing_anybody() {
    let room = Room::new();
    let conf = room.file("conf.yaml");
    let socket = room.file("upgrade.sock");
    std::fs::write(&conf, format!("upgrade_sock: {}\n", socket.display())).unwrap();
    let conf = conf.to_str().unwrap();
    let old = room.command(&["-c", conf]).spawn().unwrap();
    let mut old = Running(old);
    let address = room.address();
    let mut busy = connect(address);
    assert_eq!(ask(&mut busy, b'x'), Some(b'w'), "working");

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let crowd = std::thread::spawn(move || {
        let mut served = 0;
        while !stopped.load(Ordering::Relaxed) {
            // A connection that the old server accepted may be idle when it stops, and is then closed.
            connect(address).write_all(b"a").unwrap();
            served += 1;
        }
        served
    });
    old.signal(Signal::SIGQUIT);
    std::fs::remove_file(room.file("address")).unwrap();
    let new = room.command(&["-c", conf, "-u"]).spawn().unwrap();
    let mut new = Running(new);
    assert_eq!(room.address(), address, "the very same socket");
    let mut answer = [0];
    busy.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"x", "the old one finished its work");
    assert_eq!(old.end().code(), Some(0));
    stop.store(true, Ordering::Relaxed);
    assert!(crowd.join().unwrap() > 0);
    assert_eq!(ask(&mut connect(address), b'b'), Some(b'b'));
    new.signal(Signal::SIGTERM);
    assert_eq!(new.end().code(), Some(0));
}

#[test]
fn a_server_that_nobody_takes_over_from_serves_on() {
    let room = Room::new();
    let conf = room.file("conf.yaml");
    let text = format!(
        "upgrade_sock: {}\nupgrade_sock_connect_accept_max_retries: 1\n",
        room.file("upgrade.sock").display()
    );
    std::fs::write(&conf, text).unwrap();
    let conf = conf.to_str().unwrap();
    let mut old = Running(room.command(&["-c", conf]).spawn().unwrap());
    let address = room.address();
    old.signal(Signal::SIGQUIT);
    let said = BufReader::new(old.0.stderr.take().unwrap()).lines();
    let failure = said.map(Result::unwrap).find(|l| l != "announced");
    assert!(
        failure
            .unwrap()
            .starts_with("error: can't hand over to the next server: ")
    );
    assert_eq!(ask(&mut connect(address), b'a'), Some(b'a'));
    old.signal(Signal::SIGTERM);
    assert_eq!(old.end().code(), Some(0));

    let alone = room.command(&["-c", conf, "-u"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(1));
    let said = String::from_utf8(alone.stderr).unwrap();
    assert!(
        said.starts_with("error: can't take over from the running server"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// The processor time that a process has used, in hundredths of a second.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    let fields: Vec<&str> = after_name.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_server_without_descriptors_turns_new_clients_away_and_keeps_the_others() {
    let room = Room::new();
    let child = room.command(&[]).env("FILES", "40").spawn().unwrap();
    let child = Running(child);
    let address = room.address();
    let mut first = connect(address);
    assert_eq!(ask(&mut first, b'a'), Some(b'a'));

    let mut crowd: Vec<TcpStream> = (0..60).map(|_| connect(address)).collect();
    let served = crowd.iter_mut().filter_map(|c| ask(c, b'b')).count();
    assert!((5..40).contains(&served), "{served} were served");
    assert_eq!(ask(&mut first, b'c'), Some(b'c'), "who is in, stays");

    let mut late = connect(address);
    let before = ticks(child.0.id());
    assert_eq!(
        ask(&mut late, b'd'),
        None,
        "turned away instead of left waiting"
    );
    assert!(
        ticks(child.0.id()) - before < 20,
        "a server out of descriptors must not spin"
    );

    drop(crowd);
    poll("room for new clients", || ask(&mut connect(address), b'e'));
    assert_eq!(ask(&mut first, b'f'), Some(b'f'));
}
