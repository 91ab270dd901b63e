//! Runs the example `discovery_file`.
#![allow(clippy::unwrap_used, reason = "it is part of the tests")]

mod running;

use running::{Origin, Running, run_to_end, until};
use std::fs;
use std::path::{Path, PathBuf};

const EXAMPLE: &str = "discovery_file";

/// A list for one test; its folder is removed with it.
struct List(PathBuf);

impl List {
    fn new(text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("pingora-list-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let list = List(folder.join("upstreams"));
        list.replace(text);
        list
    }

    fn replace(&self, text: &str) {
        let beside = self.0.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, &self.0).unwrap();
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap_or(Path::new("/nothing")));
    }
}

#[test]
fn it_follows_the_file_and_ignores_what_is_half_written() {
    let (one, two) = (Origin::start("one"), Origin::start("two"));
    let (first, second) = (one.address, two.address);
    let list = List::new(&format!(
        "# upstreams\n{first} weight=3\n{second} priority=1\n"
    ));
    let balancer = Running::start(EXAMPLE, &["--file", list.0.to_str().unwrap()]);
    assert_eq!(balancer.get("/").body(), "one");

    fs::write(&list.0, format!("{second}\n{}", &second.to_string()[..5])).unwrap();
    for _ in 0..20 {
        assert_eq!(balancer.get("/").body(), "one");
    }
    list.replace(&format!("{second}\n"));
    let moved = until(|| {
        let answer = balancer.get("/");
        assert_eq!(answer.status(), 200, "{answer:?}");
        (answer.body() == "two").then_some(())
    });
    assert!(moved.is_some());
    assert!(balancer.stop());
}

#[test]
fn it_says_that_it_needs_a_file() {
    let output = run_to_end(EXAMPLE, &[]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--file"));
}
