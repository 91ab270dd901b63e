//! Runs the example `rustls_server`.
#![allow(clippy::expect_used, reason = "it is a test")]

#[path = "../../examples/tests/running/mod.rs"]
mod running;

use running::{Running, run_to_end};
use std::process::Command;

const EXAMPLE: &str = "rustls_server";

#[test]
fn clients_are_told_what_was_agreed_upon() {
    let directory = tempfile_name();
    let server = Running::start(EXAMPLE, &["--directory", &directory, "--groups", "X25519"]);
    let port = server.address.port();
    for (version, said) in [
        ("--tlsv1.3", "TLSv1.3 with TLS_"),
        ("--tls-max", "TLSv1.2 with ECDHE-"),
    ] {
        let more: &[&str] = if version == "--tls-max" {
            &["--tls-max", "1.2"]
        } else {
            &["--tlsv1.3"]
        };
        let output = Command::new("curl")
            .args(["-q", "-sS", "--max-time", "20"])
            .args(["--cacert", &format!("{directory}/ca.pem")])
            .args(["--resolve", &format!("shop.test:{port}:127.0.0.1")])
            .args(more)
            .arg(format!("https://shop.test:{port}/"))
            .output()
            .expect("curl is installed (Debian: curl)");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(said), "{text} {output:?}");
        assert!(text.contains("key exchange: X25519\n"), "{text}");
    }
    assert!(server.stop());
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_group_that_the_library_does_not_have_stops_the_start() {
    let directory = format!("{}-groups", tempfile_name());
    let ended = run_to_end(EXAMPLE, &["--directory", &directory, "--groups", "P-521"]);
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("X25519MLKEM768"), "{said}");
    std::fs::remove_dir_all(directory).unwrap();
}

fn tempfile_name() -> String {
    let name = format!("pingora-rustls-server-{}", std::process::id());
    std::env::temp_dir().join(name).display().to_string()
}
