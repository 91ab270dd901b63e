//! Which certificate a client gets, and which versions it may speak.

use crate::reporter::Reporter;
use crate::{ask, ec_key, rsa_key, s_client, settings, source};
use async_trait::async_trait;
use pingora::listeners::tls::{
    CertificateStore, ChosenCertificate, HandshakeDecisions, HandshakeFailure, TlsAccept,
    TlsAcceptCallbacks, TlsSettings,
};
use pingora::protocols::tls::{ClientHello, SslDigest, TlsRef};
use pingora::tls::ssl::NameType;
use pingora::tls::x509::X509;
use pingora_tests::Authority;
use std::any::Any;
use std::process::Command;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_are_spoken_and_older_ones_are_not() {
    let authority = Authority::new();
    let server = Reporter::start(settings(&authority)).await;
    for (argument, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = ask(&server, &authority, "one.example", &[argument]);
        assert!(said.good, "{said:?}");
        assert!(said.contains(&format!("version={version}\n")), "{said:?}");
        assert!(said.contains("name=Some(\"one.example\")\n"), "{said:?}");
        assert!(said.contains("resumed=false\n"), "{said:?}");
        assert!(said.contains("chain=[]\nsubject=None\n"), "{said:?}");
    }
    let level = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    let said = ask(&server, &authority, "one.example", &level);
    assert!(!said.good, "{said:?}");
    server.failed(HandshakeFailure::NothingInCommon, 1).await;
    assert_eq!(server.counters().full(), 2);

    let alpn = ask(&server, &authority, "one.example", &["-alpn", "http/1.1"]);
    assert!(alpn.good, "nothing is said about protocols: {alpn:?}");
}

/// The name in the certificate that a client gets.
fn shown(server: &Reporter, arguments: &[&str]) -> String {
    let said = s_client(server, arguments);
    let line = said.text.lines().find(|line| line.starts_with("subject="));
    let line = line.unwrap_or_else(|| panic!("no certificate: {said:?}"));
    line.trim_start_matches("subject=").replace(' ', "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_chooses_the_certificate() {
    let authority = Authority::new();
    let store = CertificateStore::new();
    let named = [&["one.example"][..], &["*.two.example"], &["three.example"]];
    for (index, names) in named.into_iter().enumerate() {
        let files = authority.issue_as(&index.to_string(), names, &ec_key(), |_| {});
        store.add(source(&files)).unwrap();
    }
    let server = Reporter::start(TlsSettings::with_store(store.clone()).unwrap()).await;
    for (name, subject) in [
        ("one.example", "CN=one.example"),
        ("a.two.example", "CN=*.two.example"),
        ("THREE.example", "CN=three.example"),
        ("a.b.two.example", "CN=one.example"),
    ] {
        assert_eq!(shown(&server, &["-servername", name]), subject, "{name}");
    }
    assert_eq!(shown(&server, &["-noservername"]), "CN=one.example");
    assert!(ask(&server, &authority, "a.two.example", &[]).good);

    store.refuse_unknown_names(true);
    let said = ask(&server, &authority, "four.example", &[]);
    assert!(!said.good, "{said:?}");
    server.failed(HandshakeFailure::NoCertificate, 1).await;

    store.replace_all([]).unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(!ask(&server, &authority, "one.example", &[version]).good);
    }
    server.failed(HandshakeFailure::NoCertificate, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_gets_the_kind_of_key_that_it_can_use() {
    let authority = Authority::new();
    let store = CertificateStore::new();
    for (kind, key) in [("rsa", rsa_key()), ("ec", ec_key())] {
        let name = format!("{kind}.one.example");
        let files = authority.issue_as(kind, &[&name, "one.example"], &key, |_| {});
        store.add(source(&files).names(["one.example"])).unwrap();
    }
    let server = Reporter::start(TlsSettings::with_store(store).unwrap()).await;
    for (arguments, kind) in [
        (&["-tls1_3"][..], "ec"),
        (&["-tls1_2"], "ec"),
        (&["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"], "rsa"),
        (&["-tls1_2", "-sigalgs", "RSA+SHA256"], "rsa"),
        (
            &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
            "rsa",
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            "ec",
        ),
        // The client's own preference does not matter.
        (
            &["-tls1_3", "-sigalgs", "RSA-PSS+SHA256:ECDSA+SHA256"],
            "ec",
        ),
    ] {
        let arguments = [&["-servername", "one.example"], arguments].concat();
        let subject = shown(&server, &arguments);
        assert_eq!(subject, format!("CN={kind}.one.example"), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_is_content() {
    let authority = Authority::new();
    let server = Reporter::start(settings(&authority)).await;
    let port = server.address().port();
    for more in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let output = Command::new("curl")
            .args(["-q", "-sS", "--max-time", "20", "--cacert"])
            .arg(authority.file())
            .args(["--resolve", &format!("one.example:{port}:127.0.0.1")])
            .args(more)
            .arg(format!("https://one.example:{port}/"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("name=Some(\"one.example\")"), "{text}");
    }
}

/// Puts another certificate into the place of the store's, for one name, and keeps the name.
struct OneName {
    certificate: X509,
    key: pingora::tls::pkey::PKey<pingora::tls::pkey::Private>,
}

#[async_trait]
impl TlsAccept for OneName {
    async fn certificate_callback(&self, ssl: &mut TlsRef) {
        tokio::task::yield_now().await;
        if ssl.servername(NameType::HOST_NAME) == Some("special.example") {
            ssl.set_certificate(&self.certificate).unwrap();
            ssl.set_private_key(&self.key).unwrap();
        }
    }

    async fn handshake_complete_callback(
        &self,
        ssl: &TlsRef,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let name = ssl.servername(NameType::HOST_NAME)?;
        Some(Arc::new(name.to_string()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_have_the_last_word() {
    if crate::RUSTLS {
        return;
    }
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&["special.example"]);
    let pem = |path| std::fs::read(path).unwrap();
    let callbacks: TlsAcceptCallbacks = Box::new(OneName {
        certificate: X509::from_pem(&pem(certificate)).unwrap(),
        key: pingora::tls::pkey::PKey::private_key_from_pem(&pem(key)).unwrap(),
    });
    let mut settings = settings(&authority);
    settings.set_callbacks(callbacks);
    let server = Reporter::start(settings).await;
    for name in ["one.example", "special.example"] {
        let said = ask(&server, &authority, name, &[]);
        assert!(said.good, "{name}: {said:?}");
        assert!(said.contains(&format!("kept=Some(\"{name}\")")), "{said:?}");
    }
}

/// Shows a certificate of its own for one name, refuses another, and keeps the name.
struct Deciding(ChosenCertificate);

#[async_trait]
impl HandshakeDecisions for Deciding {
    async fn certificate(
        &self,
        hello: &ClientHello,
        stored: Option<ChosenCertificate>,
    ) -> Option<ChosenCertificate> {
        tokio::task::yield_now().await;
        match hello.server_name()? {
            "special.example" => Some(self.0.clone()),
            "closed.example" => None,
            _ => stored,
        }
    }

    async fn complete(&self, digest: &SslDigest) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(digest.server_name()?.to_string()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_are_made_whichever_library_asks() {
    let authority = Authority::new();
    let chosen = crate::source(&authority.issue(&["special.example"]));
    let mut settings = settings(&authority);
    settings.set_decisions(Arc::new(Deciding(
        ChosenCertificate::load(&chosen).unwrap(),
    )));
    let server = Reporter::start(settings).await;
    for version in ["-tls1_2", "-tls1_3"] {
        for name in ["one.example", "special.example"] {
            let said = ask(&server, &authority, name, &[version]);
            assert!(said.good, "{name}: {said:?}");
            assert!(said.contains(&format!("kept=Some(\"{name}\")")), "{said:?}");
        }
        let said = ask(&server, &authority, "closed.example", &[version]);
        assert!(!said.contains("version="), "{said:?}");
    }
    server.failed(HandshakeFailure::NoCertificate, 2).await;
    // What was looked at for the decision is not kept.
    let said = ask(&server, &authority, "one.example", &[]);
    assert!(said.good && !said.contains("ja4="), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_that_take_a_session_of_openssl_are_refused_by_others() {
    if !crate::RUSTLS {
        return;
    }
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&["special.example"]);
    let pem = |path| std::fs::read(path).unwrap();
    let mut settings = settings(&authority);
    settings.set_callbacks(Box::new(OneName {
        certificate: X509::from_pem(&pem(certificate)).unwrap(),
        key: pingora::tls::pkey::PKey::private_key_from_pem(&pem(key)).unwrap(),
    }));
    let refused = tokio::task::spawn_blocking(move || Reporter::refused(settings));
    let text = refused.await.unwrap();
    assert!(text.contains("set_decisions"), "{text}");
}
