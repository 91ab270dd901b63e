//! OCSP responses, made by `openssl ocsp` and read by `openssl s_client -status`.

use crate::reporter::Reporter;
use crate::{Files, ask};
use openssl::x509::X509;
use pingora::listeners::tls::{CertificateSource, CertificateStore, TlsSettings};
use pingora_tests::Authority;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A chain that the authority issued with itself at its end, and the response about its leaf.
struct Stapled {
    dir: TempDir,
    chain: PathBuf,
    key: PathBuf,
}

impl Stapled {
    fn new(authority: &Authority, (certificate, key): &Files) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let chain = dir.path().join("chain.pem");
        let pem = |path: &Path| std::fs::read(path).unwrap();
        let both = [pem(certificate), pem(&authority.file())].concat();
        std::fs::write(&chain, both).unwrap();
        Stapled {
            dir,
            chain,
            key: key.clone(),
        }
    }

    fn response(&self) -> PathBuf {
        self.dir.path().join("response.der")
    }

    fn source(&self) -> CertificateSource {
        CertificateSource::files(&self.chain, &self.key)
    }

    /// Lets the authority say this about the leaf: `V` for valid, `R` for revoked.
    fn ask_authority(&self, authority: &Authority, word: &str) {
        let leaf = X509::from_pem(&std::fs::read(&self.chain).unwrap()).unwrap();
        let serial = leaf.serial_number().to_bn().unwrap().to_hex_str().unwrap();
        let revoked = if word == "R" { "250101000000Z" } else { "" };
        let line = format!("{word}\t491231235959Z\t{revoked}\t{serial}\tunknown\t/CN=x\n");
        let index = self.dir.path().join("index.txt");
        std::fs::write(&index, line).unwrap();
        let ca = authority.file();
        let made = Command::new("openssl")
            .args(["ocsp", "-ndays", "1", "-index"])
            .arg(&index)
            .arg("-CA")
            .arg(&ca)
            .arg("-rsigner")
            .arg(&ca)
            .arg("-rkey")
            .arg(authority.key_file())
            .arg("-issuer")
            .arg(&ca)
            .arg("-cert")
            .arg(&self.chain)
            .arg("-respout")
            .arg(self.response())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }
}

const STAPLED: &str = "OCSP Response Status: successful";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_gets_the_response_and_the_new_one_after_a_reload() {
    let authority = Authority::new();
    let files = authority.issue(&["one.example"]);
    let stapled = Stapled::new(&authority, &files);
    stapled.ask_authority(&authority, "V");
    let store = CertificateStore::new();
    let source = stapled.source().ocsp_file(stapled.response());
    store.add(source).unwrap();
    let other = authority.issue(&["two.example"]);
    store
        .add(CertificateSource::files(other.0, other.1))
        .unwrap();
    let settings = TlsSettings::with_store(store.clone()).unwrap();
    let server = Reporter::start(settings).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let asked = ask(&server, &authority, "one.example", &["-status", version]);
        assert!(asked.good && asked.contains(STAPLED), "{asked:?}");
        assert!(asked.contains("Cert Status: good"), "{asked:?}");
        let silent = ask(&server, &authority, "one.example", &[version]);
        assert!(silent.good && !silent.contains("OCSP"), "{silent:?}");
        let without = ask(&server, &authority, "two.example", &["-status", version]);
        assert!(without.good, "{without:?}");
        assert!(without.contains("no response sent"), "{without:?}");
    }
    assert!(store.certificates()[0].has_ocsp_response);

    // A response that is revoked by the next one stays until there is a good one.
    stapled.ask_authority(&authority, "R");
    assert!(store.reload().is_err());
    let asked = ask(&server, &authority, "one.example", &["-status"]);
    assert!(asked.contains("Cert Status: good"), "{asked:?}");
    // Another certificate with a response of its own takes the place of both.
    let files = authority.issue_as("renewed", &["one.example"], &crate::ec_key(), |_| {});
    let renewed = Stapled::new(&authority, &files);
    renewed.ask_authority(&authority, "V");
    std::fs::copy(&renewed.chain, &stapled.chain).unwrap();
    std::fs::copy(&renewed.key, &stapled.key).unwrap();
    assert!(store.reload().is_err(), "the response is about the old one");
    std::fs::copy(renewed.response(), stapled.response()).unwrap();
    store.reload().unwrap();
    let asked = ask(&server, &authority, "one.example", &["-status"]);
    assert!(
        asked.good && asked.contains("Cert Status: good"),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_does_not_fit_is_refused() {
    let authority = Authority::new();
    let one = Stapled::new(&authority, &authority.issue(&["one.example"]));
    let two = Stapled::new(&authority, &authority.issue(&["two.example"]));
    two.ask_authority(&authority, "V");
    let store = CertificateStore::new();
    let error = store
        .add(one.source().ocsp_file(two.response()))
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("response.der") && text.contains("another certificate"),
        "{text}"
    );

    one.ask_authority(&authority, "R");
    let bytes = std::fs::read(one.response()).unwrap();
    let error = store.add(one.source().ocsp_der(bytes)).unwrap_err();
    assert!(error.to_string().contains("revoked"), "{error}");

    one.ask_authority(&authority, "V");
    let bytes = std::fs::read(one.response()).unwrap();
    store.add(one.source().ocsp_der(bytes)).unwrap();
}
