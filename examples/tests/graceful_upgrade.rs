//! Runs the example `graceful_upgrade`.

mod running;

use running::{Asked, Running};
use std::fs;

const EXAMPLE: &str = "graceful_upgrade";

#[test]
fn the_next_process_takes_over_and_the_old_one_finishes_its_work() {
    let name = |what: &str| {
        let name = format!("pingora-upgrade-{}.{what}", std::process::id());
        std::env::temp_dir().join(name).display().to_string()
    };
    let (conf, socket) = (name("yaml"), name("sock"));
    fs::write(&conf, format!("upgrade_sock: {socket}\n")).unwrap();
    let old = Running::start(EXAMPLE, &["--conf", &conf]);
    let first = old.get("/").body().to_string();
    assert_eq!(first, format!("process {}\n", old.id()));

    let slow = Asked::new(old.address, "/slow", "");
    // Accepted before the upgrade begins: connections are accepted in their order.
    old.get("/");
    old.signal("QUIT");
    let new = Running::start(EXAMPLE, &["--conf", &conf, "--upgrade"]);
    assert_eq!(new.address, old.address);
    assert_eq!(slow.answer().body(), first, "finished by the old one");
    assert!(old.ended());
    assert_eq!(new.get("/").body(), format!("process {}\n", new.id()));
    fs::remove_file(&conf).unwrap();
    assert!(new.stop());
}

#[test]
fn the_printed_command_is_one_that_works() {
    let without = Running::start(EXAMPLE, &[]);
    let line = without.wait_for_line("cargo run");
    assert!(line.ends_with(" -- --upgrade"), "{line}");
    assert!(without.stop());
}
