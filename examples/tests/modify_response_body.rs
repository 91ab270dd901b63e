//! Runs the example `modify_response_body`.
#![allow(clippy::expect_used, reason = "it is a test")]

#[allow(dead_code, reason = "only one of the two is tested by itself")]
#[path = "../modify_response_body/edits.rs"]
mod edits;
mod running;

use edits::Replace;
use running::Running;
use std::process::Command;

/// Head and body of the response that curl receives and decodes.
fn curl(proxy: &Running, path: &str, arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-q", "-sS", "-i", "--max-time", "20", "--noproxy", "*"])
        .args(arguments)
        .arg(format!("http://{}{path}", proxy.address))
        .output()
        .expect("curl is installed (Debian: curl)");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).to_ascii_lowercase()
}

#[test]
fn html_and_json_are_changed_and_compressed_again_for_those_who_accept_it() {
    let proxy = Running::start("modify_response_body", &[]);
    let page = proxy.get("/");
    assert_eq!(page.status(), 200);
    assert_eq!(page.field("Content-Encoding"), None);
    assert!(
        page.body().contains("<a href=\"/page/3\">page 3</a>"),
        "{page:?}"
    );
    assert!(!page.body().contains("internal"), "{page:?}");
    proxy.wait_for_line("/: 222 bytes became 141");

    // A build may support more codings than this one.
    let gzip = ["--compressed", "-H", "Accept-Encoding: gzip"];
    let long = curl(&proxy, "/long", &gzip);
    assert!(long.contains("content-encoding: gzip\r\n"), "{long}");
    assert_eq!(long.matches("<a href=\"/page/").count(), 5000);

    // A part of the page could not be edited, so the whole page is sent.
    let whole = curl(&proxy, "/", &["-H", "Range: bytes=20-60"]);
    assert!(whole.starts_with("http/1.1 200 "), "{whole}");

    let json = proxy.get("/status.json");
    assert!(
        json.body()
            .contains("{\"bytes\":16,\"data\":{\"state\":\"well\"}}"),
        "{json:?}"
    );
    assert_eq!(proxy.get("/large.json").status(), 502);
    proxy.wait_for_line("/large.json: ");
    assert!(proxy.stop());
}

#[test]
fn other_bodies_are_only_decompressed_for_those_who_do_not_accept_gzip() {
    let proxy = Running::start("modify_response_body", &[]);
    let text = "sitemap: http://origin.internal:8080/sitemap.xml\n";
    let coded = curl(&proxy, "/robots.txt", &["--compressed"]);
    assert!(coded.contains("content-encoding: gzip\r\n"), "{coded}");
    assert!(coded.ends_with(text), "{coded}");
    let plain = curl(&proxy, "/robots.txt", &[]);
    assert!(!plain.contains("content-encoding"), "{plain}");
    assert!(plain.ends_with(text), "{plain}");
    assert_eq!(proxy.get("/missing").status(), 404);
    assert!(proxy.stop());
}

#[test]
fn a_text_is_replaced_wherever_the_pieces_are_cut() {
    for text in [
        "aab", "ab", "xaabyaab", "aaaab", "aabaa", "aaaaa", "", "baabaabb",
    ] {
        let expected = text.replace("aab", "-");
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut replace = Replace::new("aab", "-");
                let mut edited = replace.edit(&text.as_bytes()[..first], false);
                edited.extend(replace.edit(&text.as_bytes()[first..second], false));
                edited.extend(replace.edit(&text.as_bytes()[second..], true));
                assert_eq!(
                    String::from_utf8_lossy(&edited),
                    expected,
                    "{text} {first} {second}"
                );
            }
        }
    }
}
