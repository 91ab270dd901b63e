//! Clients of the suites, and what they meet.

use crate::reporter::Reporter;
use openssl::asn1::Asn1Time;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::X509Builder;
use pingora::listeners::tls::{CertificateSource, CertificateStore, TlsSettings};
use pingora_tests::Authority;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// A certificate and its key, in files.
pub(crate) type Files = (PathBuf, PathBuf);

/// What a client said.
pub(crate) struct Said {
    pub(crate) good: bool,
    pub(crate) text: String,
}

impl fmt::Debug for Said {
    /// As it came, without the dumps of what nobody can read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dump = |line: &str| line.contains(" - ") || line.len() == 64;
        let lines = self.text.lines().filter(|line| !dump(line));
        let lines: Vec<_> = lines.collect();
        write!(f, "good: {}\n{}", self.good, lines.join("\n"))
    }
}

impl Said {
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.text.contains(text)
    }
}

/// Runs `openssl s_client`, which sends one request and reads until the server closes.
pub(crate) fn s_client(server: &Reporter, arguments: &[&str]) -> Said {
    let address = server.address().to_string();
    // `timeout` is for a server that never ends the connection.
    let mut child = Command::new("timeout")
        .args([
            "20", "openssl", "s_client", "-connect", &address, "-ign_eof",
        ])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let request = b"GET / HTTP/1.0\r\nHost: test\r\n\r\n";
    // A client whose handshake fails does not read it.
    let _ = child.stdin.as_mut().unwrap().write_all(request);
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, b"\n".to_vec(), output.stderr].concat();
    Said {
        good: output.status.success(),
        text: String::from_utf8_lossy(&text).into_owned(),
    }
}

/// [`s_client`] as somebody who trusts this authority and asks for this name.
pub(crate) fn ask(server: &Reporter, authority: &Authority, name: &str, more: &[&str]) -> Said {
    let file = authority.file();
    let trust = ["-CAfile", file.to_str().unwrap(), "-verify_return_error"];
    let name = ["-servername", name, "-verify_hostname", name];
    s_client(server, &[&trust[..], &name, more].concat())
}

pub(crate) fn source(files: &Files) -> CertificateSource {
    CertificateSource::files(&files.0, &files.1)
}

/// Settings with one certificate, for `one.example`.
pub(crate) fn settings(authority: &Authority) -> TlsSettings {
    let store = CertificateStore::new();
    store
        .add(source(&authority.issue(&["one.example"])))
        .unwrap();
    TlsSettings::with_store(store).unwrap()
}

pub(crate) fn rsa_key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

pub(crate) fn ec_key() -> PKey<Private> {
    PKey::ec_gen("prime256v1").unwrap()
}

/// Lets the time of a certificate be over.
pub(crate) fn expired(builder: &mut X509Builder) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_secs()).unwrap();
    let day = |days: i64| Asn1Time::from_unix(now + days * 86_400).unwrap();
    builder.set_not_before(&day(-2)).unwrap();
    builder.set_not_after(&day(-1)).unwrap();
}
