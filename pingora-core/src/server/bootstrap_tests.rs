//! A bootstrap that waits for services.

use super::tests::{Gate, Journal, in_thread, noting, seen, server, told, upgrading};
use super::*;
use crate::apps::ServerApp;
use crate::protocols::Stream;
use crate::services::background::background_service;
use crate::services::listening;
use async_trait::async_trait;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, mpsc::UnboundedSender};

const NO_WORK: Duration = Duration::ZERO;
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Sends its letter to everyone who connects.
pub(super) struct Letter(u8);

#[async_trait]
impl ServerApp for Letter {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        _: &ShutdownWatch,
    ) -> Option<Stream> {
        let _ = stream.write_all(&[self.0]).await;
        let _ = stream.shutdown().await;
        None
    }
}

pub(super) fn letter(name: &'static str, letter: u8, address: &str) -> listening::Service<Letter> {
    let mut service = listening::Service::new(name.into(), Letter(letter));
    service.add_tcp(address);
    service
}

pub(super) fn ask(address: SocketAddr) -> u8 {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0];
    client.read_exact(&mut answer).unwrap();
    answer[0]
}

/// The gate that this server's bootstrap waits for, and the handle that opens it.
fn behind_a_gate(server: &mut Server, journal: &Journal) -> (ServiceHandle, Arc<Notify>) {
    let open = Arc::new(Notify::new());
    let bootstrap = server.bootstrap_as_a_service();
    let gate = Gate {
        journal: journal.clone(),
        open: open.clone(),
    };
    let gate = server.add_service(background_service("gate", gate));
    bootstrap.add_dependencies([&gate]);
    (bootstrap, open)
}

pub(super) fn taker(name: &str, retries: usize) -> Server {
    let opt = Opt {
        upgrade: true,
        ..Opt::default()
    };
    Server::new_with_opt_and_conf(Some(opt), upgrading(name, retries))
}

/// A server that listens on its own port and can be upgraded.
struct Old {
    address: SocketAddr,
    /// In the form used by a configuration.
    bound_to: String,
    tell: UnboundedSender<ShutdownSignal>,
    phases: broadcast::Receiver<ExecutionPhase>,
    running: std::thread::JoinHandle<Result<()>>,
}

fn old(name: &str) -> Old {
    let bound_to = "127.0.0.1:0".to_string();
    let mut server = Server::new_with_opt_and_conf(None, upgrading(name, 20));
    let phases = server.watch_execution_phase();
    let service = letter("old", b'o', &bound_to);
    let addresses = service.bound_addresses();
    server.add_service(service);
    let (known, address) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let addresses = runtime.unwrap().block_on(addresses.wait()).unwrap();
        known.send(addresses[0].to_string()).unwrap();
    });
    let (tell, args) = told();
    let running = in_thread(server, args);
    let address = address.recv_timeout(PATIENCE).unwrap().parse().unwrap();
    Old {
        address,
        bound_to,
        tell,
        phases,
        running,
    }
}

#[test]
fn it_waits_for_those_that_it_depends_on_and_for_nobody_else() {
    let journal = Journal::default();
    let mut server = server();
    let mut phases = server.watch_execution_phase();
    let (bootstrap, open) = behind_a_gate(&mut server, &journal);
    let after = server.add_service(noting("after", &journal, NO_WORK));
    after.add_dependency(&bootstrap);
    server.add_service(noting("beside", &journal, NO_WORK));
    let (tell, args) = told();
    let running = in_thread(server, args);
    let mut first = journal.wait_for(2);
    first.sort();
    assert_eq!(first, ["beside started", "gate started"]);
    assert_eq!(seen(&mut phases), []);
    open.notify_one();
    assert_eq!(journal.wait_for(4)[2..], ["gate ready", "after started"]);
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    running.join().unwrap().unwrap();
    use ExecutionPhase::{Bootstrap, BootstrapComplete, Running};
    assert_eq!(
        seen(&mut phases)[..3],
        [Bootstrap, BootstrapComplete, Running]
    );
}

#[test]
fn the_running_server_is_asked_for_its_sockets_only_then() {
    let journal = Journal::default();
    let mut old = old("late");
    let mut new = taker("late", 20);
    let socket = new.configuration.upgrade_sock.clone();
    let (_, open) = behind_a_gate(&mut new, &journal);
    // Has no dependency, but wants a socket all the same.
    new.add_service(letter("new", b'n', &old.bound_to));
    new.add_service(noting("beside", &journal, NO_WORK));
    let (tell, args) = told();
    let new = in_thread(new, args);
    assert_eq!(journal.wait_for(1), ["gate started"]);
    old.tell.send(ShutdownSignal::GracefulUpgrade).unwrap();
    for _ in 0..10 {
        assert_eq!(ask(old.address), b'o');
    }
    assert!(!std::fs::exists(socket).unwrap());
    assert!(!seen(&mut old.phases).contains(&ExecutionPhase::ShutdownStarted));
    open.notify_one();
    old.running.join().unwrap().unwrap();
    assert_eq!(ask(old.address), b'n');
    assert_eq!(journal.wait_for(3)[1..], ["gate ready", "beside started"]);
    tell.send(ShutdownSignal::GracefulTerminate).unwrap();
    new.join().unwrap().unwrap();
}

#[test]
fn nobody_to_take_over_from_ends_what_ran_already() {
    let journal = Journal::default();
    let mut server = taker("nobody", 1);
    let mut phases = server.watch_execution_phase();
    let (bootstrap, open) = behind_a_gate(&mut server, &journal);
    bootstrap.add_dependency(server.add_service(noting("first", &journal, NO_WORK)));
    server.add_service(noting("never", &journal, NO_WORK));
    open.notify_one();
    let (_tell, args) = told();
    let error = server.try_run(args).unwrap_err().to_string();
    assert!(error.contains("can't take over from the running server"));
    let entries = journal.entries();
    assert!(entries.contains(&"first ended".into()), "{entries:?}");
    assert!(!entries.contains(&"never started".into()), "{entries:?}");
    assert_eq!(seen(&mut phases).pop(), Some(ExecutionPhase::Terminated));
}

#[test]
fn what_can_not_be_bound_leaves_the_running_server_serving() {
    let journal = Journal::default();
    let old = old("unbound");
    let mut new = taker("unbound", 20);
    let (_, open) = behind_a_gate(&mut new, &journal);
    // It has the same address in another form, so it is not found.
    new.add_service(letter("new", b'n', &old.address.to_string()));
    open.notify_one();
    old.tell.send(ShutdownSignal::GracefulUpgrade).unwrap();
    let (_tell, args) = told();
    let error = new.try_run(args).unwrap_err().to_string();
    assert!(error.contains("new: can't listen on"), "{error}");
    assert_eq!(ask(old.address), b'o');
    old.tell.send(ShutdownSignal::FastShutdown).unwrap();
    old.running.join().unwrap().unwrap();
}

#[test]
fn a_signal_to_stop_is_not_kept_waiting_and_an_upgrade_is() {
    let journal = Journal::default();
    let mut server = taker("stopped", 20);
    let (_, _closed) = behind_a_gate(&mut server, &journal);
    server.add_service(letter("never", b'n', "127.0.0.1:0"));
    let (tell, args) = told();
    let running = in_thread(server, args);
    journal.wait_for(1);
    tell.send(ShutdownSignal::GracefulUpgrade).unwrap();
    tell.send(ShutdownSignal::FastShutdown).unwrap();
    running.join().unwrap().unwrap();

    // Before anything runs.
    let mut server = taker("stopped", 20);
    behind_a_gate(&mut server, &journal);
    let (tell, args) = told();
    tell.send(ShutdownSignal::FastShutdown).unwrap();
    server.try_run(args).unwrap();
}
