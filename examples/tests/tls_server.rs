//! Runs the example `tls_server`.
#![allow(clippy::expect_used, reason = "it is a test")]

mod running;

use running::{Running, run_to_end, until};
use std::process::{Command, Output};

/// Requests a name from a server, over TLS, trusting the authority that the example has created.
fn curl(server: &Running, directory: &str, name: &str, more: &[&str]) -> Output {
    let port = server.address.port();
    Command::new("curl")
        .args(["-q", "-sS", "--max-time", "20"])
        .args(["--cacert", &format!("{directory}/ca.pem")])
        .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
        .args(more)
        .arg(format!("https://{name}:{port}/"))
        .output()
        .expect("curl is installed (Debian: curl)")
}

fn directory(name: &str) -> String {
    let name = format!("pingora-{name}-{}", std::process::id());
    std::env::temp_dir().join(name).display().to_string()
}

#[test]
fn each_name_has_its_certificate_and_sighup_reads_them_again() {
    let (served, other) = (directory("tls-server"), directory("tls-server-other"));
    let server = Running::start_until(
        "tls_server",
        &["--directory", &served],
        &["certificate for shop.test", "certificate for *.shop.test"],
    );
    for name in ["shop.test", "a.shop.test"] {
        let output = curl(&server, &served, name, &[]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(said.contains("TLSv1.3 with TLS_"), "{said}");
        assert!(said.contains(&format!("name: {name}")), "{said}");
        assert!(said.contains("cipher suites offered: "), "{said}");
    }
    // No certificate has this name; the default certificate is not for it.
    assert!(
        !curl(&server, &served, "a.b.shop.test", &[])
            .status
            .success()
    );

    // Certificates of another authority, in the files of the first one.
    let second = Running::start("tls_server", &["--directory", &other]);
    assert!(second.stop());
    for file in ["one.pem", "one.key", "any.pem", "any.key"] {
        std::fs::copy(format!("{other}/{file}"), format!("{served}/{file}")).unwrap();
    }
    assert!(
        curl(&server, &served, "shop.test", &[]).status.success(),
        "not yet"
    );
    server.signal("HUP");
    let trusted = || curl(&server, &other, "shop.test", &[]).status.success();
    assert!(until(|| trusted().then_some(())).is_some());
    assert!(!curl(&server, &served, "shop.test", &[]).status.success());

    server.signal("USR1");
    let counted = server.wait_for_line("handshakes: ");
    assert!(counted.contains(" full, "), "{counted}");
    assert!(server.stop());
    for directory in [served, other] {
        std::fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn what_cant_be_used_is_told_in_one_line() {
    let nowhere = [
        "--certificate",
        "/nonexistent.pem",
        "--key",
        "/nonexistent.key",
    ];
    let ended = run_to_end("tls_server", &nowhere);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("error: ") && said.contains("/nonexistent.pem"),
        "{said}"
    );
    let ended = run_to_end("tls_server", &["--certificate", "a.pem"]);
    assert_eq!(ended.status.code(), Some(1));
}
