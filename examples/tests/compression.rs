//! Runs the example `compression`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

mod running;

use pingora::protocols::http::compression::Algorithm;
use running::Running;
use std::io::Write;
use std::process::{Command, Stdio};

/// The output of curl with this data on its standard input.
fn curl(arguments: &[&str], input: &[u8]) -> String {
    let mut curl = Command::new("curl")
        .args(["-q", "-sS", "--max-time", "20", "--noproxy", "*"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed (Debian: curl)");
    // Dropped at once: curl waits for the end.
    curl.stdin.take().unwrap().write_all(input).unwrap();
    let output = curl.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn filters_see_plain_text_and_clients_get_what_they_accept() {
    let proxy = Running::start("compression", &[]);
    let plain = proxy.get("/");
    assert_eq!(plain.status(), 200);
    assert_eq!(plain.field("Content-Encoding"), None);
    let text = "HELLO FROM THE ORIGIN\n".repeat(50);
    assert!(
        plain.body().contains("HELLO FROM THE ORIGIN\n"),
        "{plain:?}"
    );
    proxy.wait_for_line("de-gzip: ");

    let address = format!("http://{}/", proxy.address);
    for accepted in ["gzip", "deflate"] {
        let field = format!("Accept-Encoding: {accepted}");
        let got = curl(&["--compressed", "-H", &field, &address], b"");
        assert_eq!(got, text, "{accepted}");
        proxy.wait_for_line(&format!("{accepted}: 1100 bytes to "));
    }

    let mut gzip = Algorithm::Gzip.compressor(6).unwrap();
    let upload = gzip.encode(b"an upload\n", true).unwrap();
    let coded = ["-H", "Content-Encoding: gzip", "--data-binary", "@-"];
    let got = curl(&[&coded[..], &[&address]].concat(), &upload);
    assert_eq!(got, text + "AN UPLOAD\n");

    let mut gzip = Algorithm::Gzip.compressor(6).unwrap();
    let bomb = gzip.encode(&vec![0; 2 << 20], true).unwrap();
    let status = ["-o", "/dev/null", "-w", "%{http_code}", &address];
    assert_eq!(curl(&[&coded[..], &status].concat(), &bomb), "413");
    assert!(proxy.stop());
}
