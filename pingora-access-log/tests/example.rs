//! Runs the example `access_log`.

#[path = "../../examples/tests/running/mod.rs"]
mod running;

use running::{Running, run_to_end, until};
use std::fs;
use std::path::PathBuf;

const EXAMPLE: &str = "access_log";

/// A file for one test, and the one that it is renamed to.
fn files(name: &str) -> (PathBuf, PathBuf) {
    let name = format!("pingora-{name}-{}.log", std::process::id());
    let file = std::env::temp_dir().join(name);
    let moved = file.with_extension("moved");
    (file, moved)
}

#[test]
fn a_line_for_each_request_stays_with_its_file_when_that_is_moved() {
    let (file, moved) = files("access-log");
    let format = "$method $target $status $bytes \"$user_agent\" $upstream $upstream_reused $failed_try_count";
    let arguments = ["--file", file.to_str().unwrap(), "--format", format];
    let proxy = Running::start(EXAMPLE, &arguments);
    let fields = "User-Agent: a \"b\"\r\n";
    assert_eq!(proxy.get_with("/x?token=y", fields).status(), 200);
    let line = until(|| {
        fs::read_to_string(&file)
            .ok()
            .filter(|text| text.ends_with('\n'))
    })
    .unwrap();
    let expected = "GET /x?token=*** 200 ";
    assert!(
        line.starts_with(expected) && line.contains(" \"a \\x22b\\x22\" 127.0.0.1"),
        "{line}"
    );
    assert!(line.ends_with(" false 0\n"), "{line}");

    fs::rename(&file, &moved).unwrap();
    proxy.signal("HUP");
    assert!(until(|| file.exists().then_some(())).is_some());
    assert_eq!(proxy.get("/readyz").status(), 200);
    assert_eq!(proxy.get("/second").status(), 200);
    assert!(proxy.stop(), "what is left is written");
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("GET /readyz 200 ") && lines[0].ends_with(" - - 0"));
    assert!(lines[1].starts_with("GET /second 200 "));
    assert_eq!(fs::read_to_string(&moved).unwrap(), line);
    fs::remove_file(&file).unwrap();
    fs::remove_file(&moved).unwrap();
}

#[test]
fn a_variable_that_does_not_exist_stops_the_start() {
    let ended = run_to_end(EXAMPLE, &["--listen", "127.0.0.1:0", "--format", "$stauts"]);
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("stauts"), "{said}");
}
