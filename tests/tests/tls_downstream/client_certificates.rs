//! Certificates of clients: demanded, optional, judged by the program.

use crate::reporter::Reporter;
use crate::{Files, Said, ask, ec_key, expired, settings};
use openssl::x509::extension::BasicConstraints;
use pingora::listeners::tls::{
    Certificate, ClientCertificates, ClientVerifier, HandshakeFailure, SessionTickets, TlsSettings,
};
use pingora::utils::tls::get_common_name;
use pingora_tests::Authority;
use std::path::Path;
use std::sync::{Arc, Mutex};

async fn demanding(authority: &Authority, wanted: ClientCertificates) -> Reporter {
    let mut settings = settings(authority);
    settings.set_client_certificates(wanted).unwrap();
    Reporter::start(settings).await
}

fn with(server: &Reporter, authority: &Authority, files: &Files, more: &[&str]) -> Said {
    let path = |path: &Path| path.to_str().unwrap().to_string();
    let (certificate, key) = (path(&files.0), path(&files.1));
    let shown = ["-cert", &certificate, "-key", &key];
    ask(
        server,
        authority,
        "one.example",
        &[&shown[..], more].concat(),
    )
}

/// Whether the request was answered: in TLS 1.3, the client's side of a handshake that fails is complete.
fn served(said: &Said) -> bool {
    said.contains("version=TLSv1.")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_has_a_good_certificate_comes_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = demanding(
        &authority,
        ClientCertificates::required().ca_file(authority.file()),
    )
    .await;
    let good = authority.issue(&["client.example"]);
    let late = authority.issue_as("late", &["late.example"], &ec_key(), expired);
    let wrong = stranger.issue(&["client.example"]);
    let mut refused = 0;
    for version in ["-tls1_2", "-tls1_3"] {
        let said = with(&server, &authority, &good, &[version]);
        assert!(served(&said), "{said:?}");
        assert!(
            said.contains("subject=Some(\"CN=client.example\")"),
            "{said:?}"
        );
        assert!(
            said.contains("chain=[Some(\"client.example\"), Some(\"Test Authority\")]"),
            "{said:?}"
        );
        assert!(said.contains("digest=32"), "{said:?}");
        assert!(
            said.contains("CN = Test Authority"),
            "the authority is named: {said:?}"
        );
        for files in [&late, &wrong] {
            let said = with(&server, &authority, files, &[version]);
            assert!(!served(&said), "{said:?}");
            refused += 1;
        }
        let said = ask(&server, &authority, "one.example", &[version]);
        assert!(!served(&said), "{said:?}");
        refused += 1;
    }
    let failure = HandshakeFailure::ClientCertificate;
    server.failed(failure, refused).await;
    assert_eq!(
        server.counters().all_failed(),
        refused,
        "{:?}",
        server.counters()
    );
    assert!(
        served(&with(&server, &authority, &good, &[])),
        "all others are as before"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_need_not_show_one_may_and_then_it_must_be_good() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let pem = std::fs::read(authority.file()).unwrap();
    let server = demanding(&authority, ClientCertificates::optional().ca_pem(pem)).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let said = ask(&server, &authority, "one.example", &[version]);
        assert!(served(&said) && said.contains("subject=None"), "{said:?}");
        let good = authority.issue(&["client.example"]);
        let said = with(&server, &authority, &good, &[version]);
        assert!(
            served(&said) && said.contains("CN=client.example"),
            "{said:?}"
        );
        let wrong = stranger.issue(&["client.example"]);
        assert!(!served(&with(&server, &authority, &wrong, &[version])));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_is_in_the_digest_also_of_a_resumed_session() {
    let authority = Authority::new();
    let key = ec_key();
    let middle = authority.issue_as("middle", &["Middle"], &key, |builder| {
        let constraints = BasicConstraints::new().critical().ca().build();
        builder.append_extension(constraints.unwrap()).unwrap();
    });
    // Signed by the one in the middle.
    let client = ec_key();
    let files = authority.issue_as("client", &["client.example"], &client, |builder| {
        let pem = std::fs::read(&middle.0).unwrap();
        let issuer = openssl::x509::X509::from_pem(&pem).unwrap();
        builder.set_issuer_name(issuer.subject_name()).unwrap();
    });
    resign(&files.0, &key);
    let server = demanding(
        &authority,
        ClientCertificates::required().ca_file(authority.file()),
    )
    .await;
    let chain = ["-cert_chain", middle.0.to_str().unwrap()];
    let dir = tempfile::tempdir().unwrap();
    let session = dir.path().join("session");
    let session = session.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let keep = [version, "-sess_out", session];
        let said = with(&server, &authority, &files, &[&chain[..], &keep].concat());
        let wanted = "chain=[Some(\"client.example\"), Some(\"Middle\")]\n\
                      subject=Some(\"CN=client.example\")";
        assert!(said.contains(wanted), "{said:?}");
        let take = [version, "-sess_in", session];
        let said = with(&server, &authority, &files, &[&chain[..], &take].concat());
        // A session of OpenSSL has the client's own alone.
        let chain = if crate::RUSTLS {
            "Some(\"client.example\"), Some(\"Middle\")"
        } else {
            "Some(\"client.example\")"
        };
        let wanted = format!("resumed=true\nchain=[{chain}]\nsubject=Some(\"CN=client.example\")");
        assert!(said.contains(&wanted), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_reads_certificates_authorities_and_ticket_keys_or_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let put = |from: &Authority| {
        let files = from.issue_as("server", &["one.example"], &ec_key(), |_| {});
        std::fs::copy(files.0, path("chain.pem")).unwrap();
        std::fs::copy(files.1, path("key.pem")).unwrap();
        std::fs::copy(from.file(), path("clients.pem")).unwrap();
    };
    put(&authority);
    std::fs::write(path("ticket.key"), [1; 80]).unwrap();
    let text = |name: &str| path(name).to_str().unwrap().to_string();
    let (chain, key) = (text("chain.pem"), text("key.pem"));
    let mut settings = TlsSettings::intermediate(&chain, &key).unwrap();
    let tickets = SessionTickets::key_files([path("ticket.key")]).unwrap();
    settings.set_session_tickets(tickets);
    let clients = ClientCertificates::required().ca_file(path("clients.pem"));
    settings.set_client_certificates(clients).unwrap();
    let server = Reporter::start(settings).await;
    let known = authority.issue(&["client.example"]);
    let session = text("session");
    let connect = |more: &[&str]| with(&server, &authority, &known, more);
    assert!(served(&connect(&["-sess_out", &session])));
    let resumed = |said: Said| said.contains("resumed=true\n");
    assert!(resumed(connect(&["-sess_in", &session])));

    // One of the files is no good: all stay.
    put(&other);
    std::fs::write(path("ticket.key"), [2; 79]).unwrap();
    assert!(server.reload().await.is_err());
    assert!(served(&connect(&[])));
    assert!(resumed(connect(&["-sess_in", &session])));

    std::fs::write(path("ticket.key"), [2; 80]).unwrap();
    server.reload().await.unwrap();
    let known_now = other.issue(&["client.example"]);
    let said = with(&server, &other, &known_now, &["-sess_out", &session]);
    assert!(served(&said) && !resumed(said));
    assert!(resumed(with(
        &server,
        &other,
        &known_now,
        &["-sess_in", &session]
    )));
    assert!(
        !served(&with(&server, &other, &known, &[])),
        "of the authority before"
    );
}

/// Lets another key sign a certificate, as the certificate says that it did.
fn resign(path: &Path, key: &openssl::pkey::PKey<openssl::pkey::Private>) {
    let certificate = openssl::x509::X509::from_pem(&std::fs::read(path).unwrap()).unwrap();
    let mut builder = openssl::x509::X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder
        .set_subject_name(certificate.subject_name())
        .unwrap();
    builder.set_issuer_name(certificate.issuer_name()).unwrap();
    builder
        .set_pubkey(&certificate.public_key().unwrap())
        .unwrap();
    builder.set_not_before(certificate.not_before()).unwrap();
    builder.set_not_after(certificate.not_after()).unwrap();
    builder
        .set_serial_number(certificate.serial_number())
        .unwrap();
    builder
        .sign(key, openssl::hash::MessageDigest::sha256())
        .unwrap();
    std::fs::write(path, builder.build().to_pem().unwrap()).unwrap();
}

/// Lets in whose name begins with `a`, whatever the library thinks; keeps what it was asked.
#[derive(Clone, Default)]
struct ByName(Arc<Mutex<Vec<Asked>>>);

/// The length of the chain, and what the library thinks.
type Asked = (usize, Result<(), String>);

impl ClientVerifier for ByName {
    fn verify(&self, chain: &[Certificate], verdict: Result<(), String>) -> bool {
        self.0.lock().unwrap().push((chain.len(), verdict));
        let name = chain.first().and_then(get_common_name).unwrap();
        assert!(name != "panic.example", "as asked for");
        name.starts_with('a')
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verifier_of_the_programs_own_has_the_last_word() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let verifier = ByName::default();
    let wanted = ClientCertificates::required()
        .ca_file(authority.file())
        .verifier(verifier.clone());
    let server = demanding(&authority, wanted).await;
    let asked = || std::mem::take(&mut *verifier.0.lock().unwrap());
    for (files, comes_in, chain, known) in [
        (authority.issue(&["a.example"]), true, 2, true),
        (authority.issue(&["b.example"]), false, 2, true),
        (stranger.issue(&["a.example"]), true, 2, false),
        (stranger.issue(&["b.example"]), false, 2, false),
        (authority.issue(&["panic.example"]), false, 2, true),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let said = with(&server, &authority, &files, &[version]);
            assert_eq!(served(&said), comes_in, "{files:?} {said:?}");
            if comes_in {
                assert!(said.contains("subject=Some(\"CN=a.example\")"), "{said:?}");
            }
            let asked = asked();
            assert_eq!(asked.len(), 1, "{asked:?}");
            assert_eq!(
                (asked[0].0, asked[0].1.is_ok()),
                (chain, known),
                "{asked:?}"
            );
        }
    }
    server.failed(HandshakeFailure::ClientCertificate, 6).await;
    // One who shows nothing is nobody for a verifier to decide about.
    assert!(!served(&ask(&server, &authority, "one.example", &[])));
    assert!(asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_without_a_certificate_opens_no_other_listener() {
    let authority = Authority::new();
    let tickets = pingora::listeners::tls::SessionTickets::default();
    let mut open = settings(&authority);
    open.set_session_tickets(tickets.clone());
    let mut closed = settings(&authority);
    closed.set_session_tickets(tickets);
    let wanted = ClientCertificates::required().ca_file(authority.file());
    closed.set_client_certificates(wanted).unwrap();
    let (open, closed) = (Reporter::start(open).await, Reporter::start(closed).await);
    let dir = tempfile::tempdir().unwrap();
    let session = dir.path().join("session");
    let session = session.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(served(&ask(
            &open,
            &authority,
            "one.example",
            &[version, "-sess_out", session]
        )));
        let said = ask(
            &closed,
            &authority,
            "one.example",
            &[version, "-sess_in", session],
        );
        assert!(!served(&said), "{said:?}");
    }
}
