//! Upgrades from a foreign server: it passes its listening socket over a stream socket, in its own message
//! format, waits for nothing, and stops accepting after a while.

use super::bootstrap_tests::{PATIENCE, ask, letter, taker};
use super::tests::{in_thread, told};
use super::*;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::io::{IoSlice, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long it continues to accept after the hand-over.
const WHILE: Duration = Duration::from_millis(500);

/// Sends `o` to everyone who connects, until it is told to stop.
fn serve(listener: &TcpListener, stop: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((mut client, _)) => client.write_all(b"o").unwrap(),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Passes the listener to the process that listens at the path, as soon as there is one.
fn hand_over(listener: &TcpListener, path: &str) {
    let deadline = Instant::now() + PATIENCE;
    let connection = loop {
        match UnixStream::connect(path) {
            Ok(connection) => break connection,
            Err(e) => assert!(Instant::now() < deadline, "{e}"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    let fds = [listener.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let said = [IoSlice::new(b"what it calls its listener")];
    let flags = MsgFlags::empty();
    sendmsg::<()>(connection.as_raw_fd(), &said, &rights, flags, None).unwrap();
}

#[test]
fn nobody_is_refused_while_the_server_is_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = taker("foreign", 20);
    let path = server.configuration.upgrade_sock.clone();
    // The same address, written differently.
    server.add_service(letter("new", b'n', &format!("127.1:{}", address.port())));
    let stop = AtomicBool::new(false);
    let (tell, args) = told();
    let mut answers = vec![];
    thread::scope(|scope| {
        let serving = listener.try_clone().unwrap();
        let stop = &stop;
        scope.spawn(move || serve(&serving, stop));
        let new = in_thread(server, args);
        answers.push(ask(address));
        scope.spawn(move || {
            hand_over(&listener, &path);
            thread::sleep(WHILE);
            stop.store(true, Ordering::Relaxed);
        });
        let deadline = Instant::now() + PATIENCE;
        // Both accept for a while; then only the new one does.
        while !answers.ends_with(&[b'n'; 50]) {
            assert!(Instant::now() < deadline, "{answers:?}");
            answers.push(ask(address));
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(ask(address), b'n');
        tell.send(ShutdownSignal::GracefulTerminate).unwrap();
        new.join().unwrap().unwrap();
    });
    assert_eq!(answers[0], b'o');
}
