//! Sessions that are resumed: by tickets, by ids, with keys that come and go.

use crate::reporter::Reporter;
use crate::{Said, ask, settings};
use pingora::listeners::tls::{SessionTickets, TlsSettings};
use pingora_tests::Authority;
use std::path::Path;
use tempfile::TempDir;

/// A client that keeps its session in a file.
struct Client<'a> {
    authority: &'a Authority,
    dir: TempDir,
}

impl<'a> Client<'a> {
    fn new(authority: &'a Authority) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Client { authority, dir }
    }

    /// Connects, and keeps the session that comes of it.
    fn first(&self, server: &Reporter, arguments: &[&str]) -> Said {
        let path = self.dir.path().join("session");
        let keep = ["-sess_out", path.to_str().unwrap()];
        ask(
            server,
            self.authority,
            "one.example",
            &[arguments, &keep].concat(),
        )
    }

    /// Connects with the session that was kept, and keeps the new one.
    fn again(&self, server: &Reporter, arguments: &[&str]) -> Said {
        let path = self.dir.path().join("session");
        let take = ["-sess_in", path.to_str().unwrap()];
        self.first(server, &[arguments, &take].concat())
    }
}

fn assert_resumed(said: &Said, resumed: bool) {
    assert!(said.good, "{said:?}");
    assert!(said.contains(&format!("resumed={resumed}\n")), "{said:?}");
    assert_eq!(said.contains("Reused, TLSv1."), resumed, "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_resumed_by_ticket_and_by_id() {
    let authority = Authority::new();
    let server = Reporter::start(settings(&authority)).await;
    let client = Client::new(&authority);
    // Without tickets, TLS 1.2 has ids. What TLS 1.3 gives out is a ticket in any case.
    for arguments in [&["-tls1_3"][..], &["-tls1_2"], &["-tls1_2", "-no_ticket"]] {
        assert_resumed(&client.first(&server, arguments), false);
        for _ in 0..2 {
            assert_resumed(&client.again(&server, arguments), true);
        }
    }
    assert_eq!(server.counters().resumed(), 6);
    assert_eq!(server.counters().full(), 3);

    // The name that the client asks for is known although nothing was exchanged about it.
    let said = client.again(&server, &["-tls1_2", "-no_ticket"]);
    assert!(said.contains("name=Some(\"one.example\")"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tickets_the_server_remembers() {
    let authority = Authority::new();
    let mut settings = settings(&authority);
    settings.set_session_tickets(SessionTickets::off());
    let server = Reporter::start(settings).await;
    let client = Client::new(&authority);
    for arguments in [&["-tls1_2"][..], &["-tls1_3"]] {
        let first = client.first(&server, arguments);
        assert_resumed(&first, false);
        if arguments == ["-tls1_2"] {
            assert!(!first.contains("TLS session ticket:"), "{first:?}");
        }
        assert_resumed(&client.again(&server, arguments), true);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounded_cache_forgets_the_oldest() {
    let authority = Authority::new();
    let mut settings = settings(&authority);
    settings.set_session_tickets(SessionTickets::off());
    crate::bound_sessions(&mut settings, 2);
    let server = Reporter::start(settings).await;
    let clients: Vec<_> = (0..3).map(|_| Client::new(&authority)).collect();
    for client in &clients {
        assert_resumed(&client.first(&server, &["-tls1_2"]), false);
    }
    assert_resumed(&clients[2].again(&server, &["-tls1_2"]), true);
    assert_resumed(&clients[0].again(&server, &["-tls1_2"]), false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_listener_has_keys_of_its_own() {
    let authority = Authority::new();
    let (a, b) = (settings(&authority), settings(&authority));
    let (a, b) = (Reporter::start(a).await, Reporter::start(b).await);
    let client = Client::new(&authority);
    for version in ["-tls1_2", "-tls1_3"] {
        assert_resumed(&client.first(&a, &[version]), false);
        assert_resumed(&client.again(&b, &[version]), false);
    }
    // Unless they share them.
    let tickets = SessionTickets::default();
    let sharing = || {
        let mut settings = settings(&authority);
        settings.set_session_tickets(tickets.clone());
        settings
    };
    let (a, b) = (
        Reporter::start(sharing()).await,
        Reporter::start(sharing()).await,
    );
    for version in ["-tls1_2", "-tls1_3"] {
        assert_resumed(&client.first(&a, &[version]), false);
        assert_resumed(&client.again(&b, &[version]), true);
    }
}

/// Settings with the keys in these files, and what reads them again.
fn with_keys(authority: &Authority, files: &[&Path]) -> (TlsSettings, SessionTickets) {
    let tickets = SessionTickets::key_files(files).unwrap();
    let mut settings = settings(authority);
    settings.set_session_tickets(tickets.clone());
    (settings, tickets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_share_keys_between_servers_and_rotate_them() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, byte: u8, size: usize| {
        let path = dir.path().join(name);
        std::fs::write(&path, vec![byte; size]).unwrap();
        path
    };
    let (current, previous) = (file("current", 1, 80), file("previous", 2, 48));
    let client = Client::new(&authority);
    let (settings, tickets) = with_keys(&authority, &[&current, &previous]);
    let a = Reporter::start(settings).await;
    let (settings, _) = with_keys(&authority, &[&current]);
    let b = Reporter::start(settings).await;
    for version in ["-tls1_2", "-tls1_3"] {
        file("current", 1, 80);
        file("previous", 2, 48);
        tickets.reload().unwrap();
        assert_resumed(&client.first(&a, &[version]), false);
        assert_resumed(&client.again(&b, &[version]), true);
        // Rotated: the key of before is the previous one now.
        file("current", 3, 48);
        file("previous", 1, 80);
        tickets.reload().unwrap();
        assert_resumed(&client.again(&a, &[version]), true);
        // The client has a ticket with the new key, which the other server does not know. (That of TLS 1.2
        // does not store what it gets when it resumes.)
        if version == "-tls1_3" {
            assert_resumed(&client.again(&b, &[version]), false);
        }
        assert_resumed(&client.first(&a, &[version]), false);
        file("current", 4, 80);
        file("previous", 5, 80);
        tickets.reload().unwrap();
        assert_resumed(&client.again(&a, &[version]), false);
    }
}
