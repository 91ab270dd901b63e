//! Runs the example `cdn`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on ends by panicking"
)]

mod running;

use running::{Asked, Origin, Running, until};
use std::path::PathBuf;

const EXAMPLE: &str = "cdn";

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("pingora-cdn-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        Directory(path)
    }

    fn start(&self, more: &[&str]) -> Running {
        let dir = self.0.to_str().unwrap();
        Running::start(EXAMPLE, &[&["--dir", dir], more].concat())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn is_hit(edge: &Running, path: &str) -> bool {
    let answer = edge.get(path);
    assert_eq!(answer.status(), 200);
    answer
        .field("Cache-Status")
        .unwrap()
        .starts_with("cdn; hit")
}

#[test]
fn what_was_stored_outlives_the_process_unless_it_was_purged() {
    let dir = Directory::new("restart");
    let origin = Origin::start("a page");
    let address = origin.address.to_string();
    let edge = dir.start(&["--origin", &address]);
    for path in ["/news/1", "/news/2", "/sport/1"] {
        assert!(!is_hit(&edge, path));
        assert!(is_hit(&edge, path));
    }
    let stored = edge.get("/.stored?tag=news");
    assert_eq!(stored.status(), 200);
    for storage in ["memory", "disk"] {
        let line = format!("/news/1 {storage} fresh bytes=6 ");
        assert!(stored.body().contains(&line), "{}", stored.body());
    }
    assert!(!stored.body().contains("/sport/"));
    assert_eq!(edge.get("/.stored?after=x").status(), 400);
    assert_eq!(edge.post("/.purge?tag=news", "").status(), 204);
    assert!(edge.get("/.stored").body().contains("/news/1 disk purged"));
    assert!(!is_hit(&edge, "/news/1") && is_hit(&edge, "/news/1"));
    assert!(is_hit(&edge, "/sport/1"));
    assert_eq!(edge.get("/.purge?tag=news").status(), 400);
    assert!(edge.stop());

    drop(origin);
    let edge = dir.start(&["--origin", &address]);
    // The index is built meanwhile.
    for path in ["/sport/1", "/news/1"] {
        until(|| (edge.get(path).status() == 200).then_some(())).unwrap();
        assert!(is_hit(&edge, path));
    }
    assert_eq!(edge.get("/news/2").status(), 502);
    assert!(edge.stop());
}

#[test]
fn an_origin_that_is_down_is_stood_in_for() {
    let dir = Directory::new("stale");
    let origin = Origin::start("the first");
    let address = origin.address;
    let edge = dir.start(&["--origin", &address.to_string(), "--fresh", "1"]);
    assert_eq!(edge.get("/a").body(), "the first");
    drop(origin);
    until(|| {
        let answer = Asked::new(edge.address, "/a", "").answer();
        assert_eq!((answer.status(), answer.body()), (200, "the first"));
        answer
            .field("Cache-Status")?
            .contains("ttl=-")
            .then_some(())
    })
    .unwrap();
    assert_eq!(edge.get("/b").status(), 502);
    let _origin = Origin::start_at("the second", address);
    until(|| (edge.get("/a").body() == "the second").then_some(())).unwrap();
    assert!(edge.stop());
}
