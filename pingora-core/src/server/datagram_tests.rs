//! Datagram sockets in servers that replace one another.
//!
//! The servers are processes: this test program again, run with [`child`] as the only test.

use super::process_tests::{Room, Running, poll};
use super::*;
use crate::apps::ServerApp;
use crate::protocols::Stream;
use crate::services::background::{BackgroundService, background_service};
use crate::services::datagram::{self, DatagramApp};
use crate::services::listening;
use async_trait::async_trait;
use nix::sys::signal::Signal;
use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The directory that the child works in.
const ROOM: &str = "DATAGRAM_TEST_ROOM";
/// Whether the child takes over.
const UPGRADE: &str = "DATAGRAM_TEST_UPGRADE";
/// The child's UDP address; empty if there is no such service.
const LISTEN: &str = "DATAGRAM_TEST_LISTEN";
/// Set if the child has a service of its own instead of [`datagram::Service`].
const OWN: &str = "DATAGRAM_TEST_OWN";

/// Answers each datagram with its process id and the data it received.
struct Echo;

#[async_trait]
impl DatagramApp for Echo {
    async fn serve(self: &Arc<Self>, socket: Arc<tokio::net::UdpSocket>, shutdown: &ShutdownWatch) {
        let (mut shutdown, mut datagram) = (shutdown.clone(), [0; 512]);
        loop {
            let received = tokio::select! {
                biased;
                _ = shutdown.wait_for(|begun| *begun) => return,
                received = socket.recv_from(&mut datagram) => received,
            };
            let (length, sender) = received.unwrap();
            let said = String::from_utf8_lossy(&datagram[..length]);
            let answer = format!("{} {said}", std::process::id());
            socket.send_to(answer.as_bytes(), sender).await.unwrap();
        }
    }
}

/// A user-defined service that takes its socket when it starts.
struct Own(String);

#[async_trait]
impl crate::services::Service for Own {
    async fn start_service(&mut self, fds: Option<ListenFds>, shutdown: ShutdownWatch, _: usize) {
        let fds = fds.unwrap();
        let passed = fds.lock().await.claim_datagram(&self.0).unwrap();
        let (_, socket) = passed.expect("it was passed");
        let socket = tokio::net::UdpSocket::from_std(UdpSocket::from(socket)).unwrap();
        Arc::new(Echo).serve(Arc::new(socket), &shutdown).await;
    }

    fn name(&self) -> &str {
        "own"
    }
}

struct Silent;

#[async_trait]
impl ServerApp for Silent {
    async fn process_new(self: &Arc<Self>, _: Stream, _: &ShutdownWatch) -> Option<Stream> {
        None
    }
}

/// Writes a file when the server is ready.
struct Announce(PathBuf, String);

#[async_trait]
impl BackgroundService for Announce {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let unfinished = self.0.with_extension("unfinished");
        std::fs::write(&unfinished, &self.1).unwrap();
        std::fs::rename(&unfinished, &self.0).unwrap();
    }
}

#[test]
#[ignore = "the process that the other tests start"]
fn child() {
    let Some(room) = std::env::var_os(ROOM).map(PathBuf::from) else {
        return;
    };
    let opt = Opt {
        conf: Some(room.join("conf.yaml").to_str().unwrap().into()),
        upgrade: std::env::var_os(UPGRADE).is_some(),
        ..Opt::default()
    };
    let mut server = Server::new(opt).unwrap();
    server.bootstrap();
    // The same name in the table, except for the transport.
    let mut tcp = listening::Service::new("tcp".into(), Silent);
    tcp.add_tcp("127.0.0.1:0");
    server.add_service(tcp);
    let mut address = None;
    if let Ok(listen) = std::env::var(LISTEN) {
        if std::env::var_os(OWN).is_some() {
            server.add_service(Own(listen));
        } else {
            let mut udp = datagram::Service::new("udp".into(), Echo);
            udp.add_udp(&listen);
            let mut fds = server.listen_fds.as_ref().unwrap().try_lock().unwrap();
            ServiceWithDependents::prepare(&mut udp, &mut fds).unwrap();
            drop(fds);
            address = udp.bound_addresses().get();
            server.add_service(udp);
        }
    }
    let address = address.map_or_else(String::new, |a| a[0].to_string());
    let announce = Announce(room.join("address"), address);
    server.add_service(background_service("announce", announce));
    server.run_forever();
}

fn room() -> Room {
    let room = Room::new();
    let socket = room.file("upgrade.sock");
    let conf = format!("threads: 2\nupgrade_sock: {}\n", socket.display());
    std::fs::write(room.file("conf.yaml"), conf).unwrap();
    room
}

fn command(room: &Room, listen: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "server::datagram_tests::child", "--ignored"])
        .args(["--nocapture", "--test-threads=1"])
        .env(ROOM, room.file(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if !listen.is_empty() {
        command.env(LISTEN, listen);
    }
    command
}

/// Starts a server, and waits until it serves.
fn start(room: &Room, command: &mut Command) -> (Running, String) {
    let file = room.file("address");
    let _ = std::fs::remove_file(&file);
    let running = Running(command.spawn().unwrap());
    let address = poll("the address", || std::fs::read_to_string(&file).ok());
    (running, address)
}

/// Replaces a server by the one that this command starts, and waits until the old one has ended.
fn upgrade(room: &Room, mut old: Running, command: &mut Command) -> Running {
    old.signal(Signal::SIGQUIT);
    let (new, _) = start(room, command.env(UPGRADE, "1"));
    assert_eq!(old.end().code(), Some(0));
    new
}

fn client(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket
}

/// The process that answers, and its answer.
fn answer(socket: &UdpSocket) -> (u32, String) {
    let mut datagram = [0; 512];
    let length = socket.recv(&mut datagram).expect("a datagram was lost");
    let said = std::str::from_utf8(&datagram[..length]).unwrap();
    let (process, said) = said.split_once(' ').unwrap();
    (process.parse().unwrap(), said.to_string())
}

#[test]
fn every_datagram_is_answered_while_servers_replace_one_another() {
    let room = room();
    let (mut server, address) = start(&room, &mut command(&room, "127.0.0.1:0"));
    let address: SocketAddr = address.parse().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let crowd = std::thread::spawn(move || {
        let socket = client(address);
        let mut seen = HashSet::new();
        for round in 0.. {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let sent: HashSet<String> = (0..8).map(|n| format!("{round}-{n}")).collect();
            for text in &sent {
                socket.send(text.as_bytes()).unwrap();
            }
            let answers = sent.iter().map(|_| answer(&socket));
            let (processes, said): (Vec<_>, HashSet<_>) = answers.unzip();
            assert_eq!(said, sent, "each once");
            seen.extend(processes);
        }
        seen
    });
    let mut expected = HashSet::from([server.0.id()]);
    for own in [false, true, false] {
        let mut next = command(&room, "127.0.0.1:0");
        if own {
            next.env(OWN, "1");
        }
        server = upgrade(&room, server, &mut next);
        expected.insert(server.0.id());
        // Only it answers now.
        let socket = client(address);
        socket.send(b"who").unwrap();
        assert_eq!(answer(&socket), (server.0.id(), "who".into()));
    }
    stop.store(true, Ordering::Relaxed);
    let seen = crowd.join().unwrap();
    assert!(seen.is_subset(&expected) && seen.len() > 1, "{seen:?}");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn a_socket_of_the_service_manager_is_passed_on_until_a_server_uses_it() {
    let room = room();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let client = client(address);
    client.send(b"early").unwrap();
    let inner = command(&room, "");
    let mut first = Command::new("/bin/sh");
    let script = "export LISTEN_PID=$$; exec \"$@\" 3<&0 4</dev/null </dev/null";
    first
        .args(["-c", script, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", "dns:stored")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)))
        .stdout(Stdio::null());
    for (name, value) in inner.get_envs() {
        first.env(name, value.unwrap());
    }
    let (server, _) = start(&room, &mut first);
    let file = std::fs::read_link(format!("/proc/{}/fd/4", server.0.id())).unwrap();
    assert_eq!(file.to_str(), Some("/dev/null"), "it is not ours to close");

    let server = upgrade(&room, server, &mut command(&room, "systemd:dns"));
    assert_eq!(answer(&client), (server.0.id(), "early".into()));
    let mut server = upgrade(&room, server, &mut command(&room, &address.to_string()));
    client.send(b"late").unwrap();
    assert_eq!(answer(&client), (server.0.id(), "late".into()));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn an_address_that_cannot_be_bound_ends_the_start_in_one_line() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut service = datagram::Service::new("dns".into(), Echo);
    service.add_udp(&address);
    let error = ServiceWithDependents::prepare(&mut service, &mut Fds::new()).unwrap_err();
    let message = error.context.as_ref().unwrap().as_str();
    let begin = format!("dns: can't listen on {address}: ");
    assert!(message.starts_with(&begin), "{message}");
    assert!(ServiceWithDependents::check(&service).is_ok());
    service.add_udp("/run/dns.sock");
    assert!(ServiceWithDependents::check(&service).is_err());
    let bound = service.bound_addresses();
    drop(service);
    assert!(bound.get().is_none());
}
