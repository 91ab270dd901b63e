//! Runs the example `mtls`.

mod running;

use running::Running;
use std::process::{Command, Output};

#[test]
fn who_comes_in_is_told_to_the_origin_and_only_one_may_change_something() {
    let name = format!("pingora-mtls-{}", std::process::id());
    let directory = std::env::temp_dir().join(name).display().to_string();
    let proxy = Running::start("mtls", &["--directory", &directory]);
    let port = proxy.address.port();
    let curl = |who: Option<&str>, more: &[&str]| -> Output {
        let mut curl = Command::new("curl");
        curl.args(["-q", "-sS", "--max-time", "20", "-w", " %{http_code}"])
            .args(["--cacert", &format!("{directory}/ca.pem")])
            .args(["--resolve", &format!("localhost:{port}:127.0.0.1")]);
        if let Some(who) = who {
            let file = |ending: &str| format!("{directory}/{who}.{ending}");
            curl.args(["--cert", &file("pem"), "--key", &file("key")]);
        }
        curl.args(more).arg(format!("https://localhost:{port}/"));
        curl.output().expect("curl is installed (Debian: curl)")
    };
    let said = |output: Output| String::from_utf8(output.stdout).unwrap();

    let nobody = curl(None, &[]);
    assert!(!nobody.status.success(), "{}", said(nobody));
    let bob = said(curl(
        Some("bob"),
        &["-H", "X-Client: CN=alice.clients.test"],
    ));
    assert!(
        bob.contains("x-client: CN=bob.clients.test\n") && bob.ends_with(" 200"),
        "{bob}"
    );
    let bob = said(curl(Some("bob"), &["-X", "DELETE"]));
    assert!(bob.ends_with(" 403"), "{bob}");
    let alice = said(curl(Some("alice"), &["-X", "DELETE"]));
    assert!(
        alice.contains("DELETE /") && alice.ends_with(" 200"),
        "{alice}"
    );
    assert!(proxy.stop());
    std::fs::remove_dir_all(directory).unwrap();
}
