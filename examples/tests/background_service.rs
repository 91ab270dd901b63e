//! Runs the example `background_service`.

mod running;

use running::{Running, until};
use std::fs;

#[test]
fn the_proxy_follows_what_the_background_service_reads() {
    let name = format!("pingora-blocked-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    fs::write(&file, "/blocked\n").unwrap();
    let proxy = Running::start("background_service", &["--blocked", file.to_str().unwrap()]);

    // Read before the first request was served.
    assert_eq!(proxy.get("/blocked").status(), 403);
    let answer = proxy.get("/private");
    assert_eq!(answer.status(), 200);
    assert!(answer.body().contains("GET /private"), "{answer:?}");

    fs::write(&file, "/private\n").unwrap();
    assert!(until(|| (proxy.get("/private").status() == 403).then_some(())).is_some());
    assert_eq!(proxy.get("/blocked").status(), 200);

    fs::remove_file(&file).unwrap();
    assert!(until(|| (proxy.get("/private").status() == 200).then_some(())).is_some());
    proxy.wait_for_line("blocked paths: 0");
    assert!(proxy.stop());
}
