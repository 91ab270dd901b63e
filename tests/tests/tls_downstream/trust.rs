//! What a session was begun under has to be what it is resumed under: the authorities of clients, which a
//! reload replaces, and the name that the client asks for.

use crate::reporter::Reporter;
use crate::{Files, Said, ask, s_client, settings};
use async_trait::async_trait;
use openssl::ssl::{NameType, SslVerifyMode};
use pingora::listeners::tls::{
    ClientCertificates, HandshakeFailure, SessionTickets, TlsAccept, TlsSettings,
};
use pingora::tls::ssl::SslRef as TlsRef;
use pingora_tests::Authority;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The ways in which a session is resumed, as arguments of `openssl s_client`.
const WAYS: [&[&str]; 3] = [&["-tls1_3"], &["-tls1_2"], &["-tls1_2", "-no_ticket"]];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn is_served(said: &Said) -> bool {
    said.contains("version=TLSv1.")
}

fn is_resumed(said: &Said) -> bool {
    said.contains("resumed=true\n")
}

/// A listener whose clients' authorities are in a file, and those that may stand there.
struct House {
    dir: TempDir,
    own: Authority,
    old: Authority,
    new: Authority,
}

impl House {
    fn new() -> Self {
        let house = House {
            dir: tempfile::tempdir().unwrap(),
            own: Authority::new(),
            old: Authority::named("Old Authority"),
            new: Authority::named("New Authority"),
        };
        house.trust(&[&house.old]);
        house
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("clients.pem")
    }

    fn trust(&self, authorities: &[&Authority]) {
        let pem = authorities
            .iter()
            .map(|one| std::fs::read(one.file()).unwrap());
        std::fs::write(self.file(), pem.collect::<Vec<_>>().concat()).unwrap();
    }

    async fn serve(&self, wanted: ClientCertificates, tickets: SessionTickets) -> Reporter {
        let mut settings = settings(&self.own);
        settings.set_session_tickets(tickets);
        settings
            .set_client_certificates(wanted.ca_file(self.file()))
            .unwrap();
        Reporter::start(settings).await
    }

    /// One request with this certificate, and `more` arguments.
    fn ask(&self, server: &Reporter, shown: &Files, more: &[&str]) -> Said {
        let shown = ["-cert", text(&shown.0), "-key", text(&shown.1)];
        ask(
            server,
            &self.own,
            "one.example",
            &[&shown[..], more].concat(),
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_session_ends_with_the_trust_in_its_authority() {
    for wanted in [
        ClientCertificates::required(),
        ClientCertificates::optional(),
    ] {
        for tickets in [SessionTickets::default(), SessionTickets::off()] {
            let house = House::new();
            let server = house.serve(wanted.clone(), tickets).await;
            let (old, new) = (
                house.old.issue(&["old.example"]),
                house.new.issue(&["new.example"]),
            );
            for (n, way) in WAYS.iter().enumerate() {
                house.trust(&[&house.old]);
                server.reload().await.unwrap();
                let session = house.dir.path().join(format!("session-{n}"));
                let keep = [way, &["-sess_out", text(&session)][..]].concat();
                let mut take = [way, &["-sess_in", text(&session)][..]].concat();
                if crate::RUSTLS {
                    // What it remembers is good for once; the client keeps the next one.
                    take.extend(["-sess_out", text(&session)]);
                }
                let said = house.ask(&server, &old, &keep);
                assert!(
                    is_served(&said) && said.contains("CN = Old Authority"),
                    "{said:?}"
                );
                assert!(is_resumed(&house.ask(&server, &old, &take)), "{way:?}");
                // A reload that changes nothing forgets nothing.
                server.reload().await.unwrap();
                assert!(is_resumed(&house.ask(&server, &old, &take)), "{way:?}");

                house.trust(&[&house.new]);
                server.reload().await.unwrap();
                let said = house.ask(&server, &old, &take);
                assert!(!is_served(&said), "{way:?} {said:?}");
                let said = house.ask(&server, &new, &keep);
                assert!(is_served(&said) && !is_resumed(&said), "{way:?} {said:?}");
                assert!(said.contains("CN = New Authority"), "{said:?}");
                assert!(!said.contains("CN = Old Authority"), "{said:?}");
                assert!(is_resumed(&house.ask(&server, &new, &take)), "{way:?}");

                // With both, everybody begins anew.
                house.trust(&[&house.old, &house.new]);
                server.reload().await.unwrap();
                let said = house.ask(&server, &new, &take);
                assert!(is_served(&said) && !is_resumed(&said), "{way:?} {said:?}");
                assert!(said.contains("CN = New Authority"), "{said:?}");
                assert!(said.contains("CN = Old Authority"), "{said:?}");
            }
        }
    }
}

/// CVE-2026-28755, CVE-2026-27586, RUSTSEC-2026-0049: what can't be read, a revocation list too, trusts nobody new and
/// forgets nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authorities_that_cant_be_read_are_refused_and_the_old_ones_stay() {
    let house = House::new();
    let good = std::fs::read(house.file()).unwrap();
    let server = house
        .serve(ClientCertificates::required(), SessionTickets::default())
        .await;
    let (old, new) = (
        house.old.issue(&["old.example"]),
        house.new.issue(&["new.example"]),
    );
    let half = good.len() / 2;
    let list = b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n";
    let bad: [(&str, Vec<u8>); 6] = [
        ("empty", vec![]),
        ("garbage", vec![0xfe; 3000]),
        ("text", b"not a certificate\n".to_vec()),
        ("half", good[..half].to_vec()),
        ("one and a half", [&good[..], &good[..half]].concat()),
        ("a broken revocation list", [&good[..], list].concat()),
    ];
    let refused = async |what: &str| {
        let error = server.reload().await.unwrap_err().to_string();
        assert!(error.contains("clients.pem"), "{what}: {error}");
        let mut settings = settings(&house.own);
        let wanted = ClientCertificates::required().ca_file(house.file());
        let error = settings.set_client_certificates(wanted).unwrap_err();
        assert!(error.to_string().contains("clients.pem"), "{what}: {error}");
        assert!(is_served(&house.ask(&server, &old, &[])), "{what}");
        assert!(!is_served(&house.ask(&server, &new, &[])), "{what}");
        assert!(
            !is_served(&ask(&server, &house.own, "one.example", &[])),
            "{what}"
        );
    };
    for (what, bytes) in bad {
        std::fs::write(house.file(), bytes).unwrap();
        refused(what).await;
    }
    std::fs::remove_file(house.file()).unwrap();
    refused("missing").await;
    // A directory can't be read whoever asks, root included.
    std::fs::create_dir(house.file()).unwrap();
    refused("unreadable").await;
    std::fs::remove_dir(house.file()).unwrap();

    // No file at all, and none in memory, is refused too: it would mean that nobody is asked.
    let mut settings = settings(&house.own);
    for wanted in [
        ClientCertificates::required(),
        ClientCertificates::required().ca_pem(""),
        ClientCertificates::optional().ca_pem("\n"),
        ClientCertificates::required().ca_file(""),
        ClientCertificates::required().ca_file("clients\0.pem"),
    ] {
        assert!(
            settings.set_client_certificates(wanted.clone()).is_err(),
            "{wanted:?}"
        );
    }
    // What is good again is read again.
    house.trust(&[&house.new]);
    server.reload().await.unwrap();
    assert!(is_served(&house.ask(&server, &new, &[])));
    assert!(!is_served(&house.ask(&server, &old, &[])));
}

/// The list of what an authority has revoked, as PEM.
fn revoke(dir: &Path, authority: &Authority, certificate: &Path) -> Vec<u8> {
    let at = |name: &str| text(&dir.join(name)).to_string();
    std::fs::write(dir.join("index"), "").unwrap();
    // With a number, a list is of version 2, as RFC 5280 section 5.1.2.1 asks for.
    std::fs::write(dir.join("number"), "01\n").unwrap();
    let conf = format!(
        "[ca]\ndefault_ca = own\n[own]\ndatabase = {}\ncrlnumber = {}\ndefault_md = sha256\n\
         default_crl_days = 1\n",
        at("index"),
        at("number")
    );
    std::fs::write(dir.join("ca.conf"), conf).unwrap();
    let (cert, key) = (authority.file(), authority.key_file());
    for arguments in [
        ["-revoke", text(certificate), "-batch"],
        ["-gencrl", "-out", &at("crl.pem")],
    ] {
        let output = Command::new("openssl")
            .args(["ca", "-config", &at("ca.conf"), "-cert", text(&cert)])
            .args(["-keyfile", text(&key)])
            .args(arguments)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
    }
    std::fs::read(dir.join("crl.pem")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_revoked_is_turned_away_with_its_session() {
    let house = House::new();
    let server = house
        .serve(ClientCertificates::required(), SessionTickets::default())
        .await;
    let good = house.old.issue(&["good.example"]);
    let lost = house.old.issue(&["lost.example"]);
    for way in WAYS {
        let pem = std::fs::read(house.old.file()).unwrap();
        std::fs::write(house.file(), &pem).unwrap();
        server.reload().await.unwrap();
        let session = house.dir.path().join("session");
        let keep = [way, &["-sess_out", text(&session)]].concat();
        let take = [way, &["-sess_in", text(&session)]].concat();
        assert!(is_served(&house.ask(&server, &lost, &keep)));
        assert!(is_resumed(&house.ask(&server, &lost, &take)));
        let list = revoke(house.dir.path(), &house.old, &lost.0);
        std::fs::write(house.file(), [pem, list].concat()).unwrap();
        server.reload().await.unwrap();
        assert!(!is_served(&house.ask(&server, &lost, &take)), "{way:?}");
        assert!(!is_served(&house.ask(&server, &lost, way)), "{way:?}");
        assert!(is_served(&house.ask(&server, &good, way)), "{way:?}");
    }
}

/// Demands a certificate of clients that ask for one name.
struct ByName;

#[async_trait]
impl TlsAccept for ByName {
    async fn certificate_callback(&self, ssl: &mut TlsRef) {
        if ssl.servername(NameType::HOST_NAME) == Some("closed.example") {
            ssl.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
    }
}

fn by_name(authority: &Authority) -> TlsSettings {
    let names = ["open.example", "closed.example"];
    let (certificate, key) = authority.issue(&names);
    let mut settings = TlsSettings::intermediate(text(&certificate), text(&key)).unwrap();
    settings.set_callbacks(Box::new(ByName));
    settings
}

/// CVE-2025-23419: a session of one virtual host, in another that demands a certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_one_name_is_not_resumed_for_another() {
    if crate::RUSTLS {
        // What is demanded of a client can't depend on its name there.
        return;
    }
    let authority = Authority::new();
    for tickets in [SessionTickets::default(), SessionTickets::off()] {
        let mut settings = by_name(&authority);
        settings.set_session_tickets(tickets);
        let server = Reporter::start(settings).await;
        let dir = tempfile::tempdir().unwrap();
        let session = dir.path().join("session");
        let mut refused = 0;
        for way in WAYS {
            let keep = [way, &["-sess_out", text(&session)]].concat();
            let take = [way, &["-sess_in", text(&session)]].concat();
            assert!(is_served(&ask(&server, &authority, "open.example", &keep)));
            let said = ask(&server, &authority, "OPEN.example", &take);
            assert!(is_resumed(&said), "{way:?} {said:?}");
            let said = ask(&server, &authority, "closed.example", &take);
            assert!(!is_served(&said), "{way:?} {said:?}");
            refused += 1;
            // Without a name it is not resumed either, as that is another one.
            let said = s_client(&server, &[&take[..], &["-noservername"]].concat());
            assert!(is_served(&said) && !is_resumed(&said), "{way:?} {said:?}");
            // The other way round the client is refused.
            let nameless = [&keep[..], &["-noservername"]].concat();
            assert!(is_served(&s_client(&server, &nameless)));
            let said = ask(&server, &authority, "closed.example", &take);
            assert!(!is_served(&said), "{way:?} {said:?}");
            refused += 1;
        }
        server
            .failed(HandshakeFailure::ClientCertificate, refused)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_depth_beyond_all_bounds_is_no_bound() {
    let house = House::new();
    let client = house.old.issue(&["old.example"]);
    for depth in [
        0,
        1,
        i32::MAX.unsigned_abs(),
        1 << 31,
        u32::MAX - 1,
        u32::MAX,
    ] {
        let wanted = ClientCertificates::required().verify_depth(depth);
        let server = house.serve(wanted, SessionTickets::default()).await;
        assert!(is_served(&house.ask(&server, &client, &[])), "{depth}");
    }
}
