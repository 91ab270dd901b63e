//! Runs the example `reload`.

mod running;

use running::{Running, run_to_end};
use std::fs;

#[test]
fn settings_change_on_sighup_or_stay_as_they_are() {
    let name = format!("pingora-reload-{}.yaml", std::process::id());
    let file = std::env::temp_dir().join(name);
    let conf = file.to_str().unwrap();
    fs::write(&file, "greeting: hello\n").unwrap();
    let proxy = Running::start("reload", &["--conf", conf]);
    assert_eq!(proxy.get("/").field("X-Greeting"), Some("hello"));

    fs::write(&file, "greeting: good day\nblocked_path: /private\n").unwrap();
    proxy.signal("HUP");
    proxy.wait_for_line("in force now");
    assert_eq!(proxy.get("/").field("X-Greeting"), Some("good day"));
    assert_eq!(proxy.get("/private").status(), 403);

    // Neither the program's settings nor the server's may be broken.
    for broken in [
        "greeting: bye\nblocked_path: private\n",
        "greeting: bye\nthreads: x\n",
    ] {
        fs::write(&file, broken).unwrap();
        proxy.signal("HUP");
        // Answered after the reload, which came first.
        proxy.signal("USR1");
        proxy.wait_for_line("requests: ");
        assert_eq!(proxy.get("/").field("X-Greeting"), Some("good day"));
        assert_eq!(proxy.get("/private").status(), 403);
    }

    fs::write(&file, "greeting: bye\n").unwrap();
    proxy.signal("HUP");
    proxy.wait_for_line("in force now");
    assert_eq!(proxy.get("/private").status(), 200);
    fs::remove_file(&file).unwrap();
    assert!(proxy.stop());
}

#[test]
fn settings_are_listed_by_a_test_of_the_configuration() {
    let name = format!("pingora-reload-test-{}.yaml", std::process::id());
    let file = std::env::temp_dir().join(name);
    fs::write(&file, "greeting: hello\n").unwrap();
    let tested = run_to_end("reload", &["-t", "--conf", file.to_str().unwrap()]);
    fs::remove_file(&file).unwrap();
    assert_eq!(tested.status.code(), Some(0));
    let said = String::from_utf8(tested.stderr).unwrap();
    assert!(
        said.contains("`greeting` is no key of the server's"),
        "{said}"
    );
}
