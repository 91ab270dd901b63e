//! Runs the example `embed_in_tokio`.

mod running;

use running::{Running, run_to_end};
use std::net::TcpListener;

const EXAMPLE: &str = "embed_in_tokio";

#[test]
fn the_program_stops_its_servers_and_goes_on() {
    let program = Running::start(EXAMPLE, &[]);
    let answer = program.get("/path");
    assert_eq!(answer.status(), 200);
    assert!(answer.body().contains("GET /path"), "{answer:?}");
    program.terminate();
    program.wait_for_line("both servers have stopped; the program goes on");
    assert!(program.stop());
}

#[test]
fn a_server_that_cannot_start_is_an_error_and_not_the_end() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run_to_end(EXAMPLE, &["--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("the program goes on"), "{said}");
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(why.contains(&format!("can't listen on {address}")), "{why}");
}
