//! Runs the example `load_balancer`.

mod running;

use running::{Origin, Running, TlsOrigin, run_to_end, until};
use std::net::TcpListener;

const EXAMPLE: &str = "load_balancer";

#[test]
fn it_balances_evenly_over_its_own_origins_and_leaves_out_the_dead_address() {
    let balancer = Running::start(EXAMPLE, &[]);
    balancer.wait_for_line(&format!("curl http://{}/", balancer.address));
    let mut from_one = 0;
    for request in 0..20 {
        let answer = balancer.get(&format!("/{request}"));
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert!(
            answer.body().contains(&format!("GET /{request}\n")),
            "{answer:?}"
        );
        from_one += u32::from(answer.body().starts_with("Hello from origin one!"));
        let chosen = balancer.wait_for_line("upstream peer is: ");
        assert!(
            chosen.contains("Backend { addr: Inet(127.0.0.1:"),
            "{chosen}"
        );
        assert!(
            chosen.ends_with("), weight: 1 }") && !chosen.contains(":343)"),
            "{chosen}"
        );
    }
    assert_eq!(from_one, 10);
    assert!(balancer.stop());
}

#[test]
fn an_upstream_that_dies_or_comes_back_is_noticed_and_no_request_fails() {
    let (one, two) = (Origin::start("one"), Origin::start("two"));
    let (first, second) = (one.address.to_string(), two.address.to_string());
    let balancer = Running::start(EXAMPLE, &["--upstream", &first, "--upstream", &second]);
    let bodies = |n: usize| -> Vec<String> {
        let ask = |_| {
            let answer = balancer.get("/");
            assert_eq!(answer.status(), 200, "{answer:?}");
            answer.body().to_string()
        };
        (0..n).map(ask).collect()
    };
    let count = |bodies: &[String], name: &str| bodies.iter().filter(|b| *b == name).count();
    assert_eq!(count(&bodies(10), "one"), 5);

    let address = one.address;
    drop(one);
    assert_eq!(
        count(&bodies(10), "two"),
        10,
        "the request goes to the next one"
    );

    balancer.wait_for_line(&format!("{address} is unhealthy"));
    let one = Origin::start_at("one", address);
    balancer.wait_for_line(&format!("{address} is healthy again"));
    assert!(until(|| (count(&bodies(4), "one") == 2).then_some(())).is_some());

    drop((one, two));
    assert!(until(|| (balancer.get("/").status() == 503).then_some(())).is_some());
}

#[test]
fn upstreams_that_speak_tls_are_verified_by_health_check_and_proxy() {
    let origin = TlsOrigin::start("origin.test");
    let conf = origin.file(
        "conf.yaml",
        &format!("ca_file: {}\n", origin.certificate.display()),
    );
    let upstream = origin.address.to_string();
    let with_name = |name| {
        let tls = [
            "--upstream",
            &upstream,
            "--tls",
            "--sni",
            name,
            "--conf",
            &conf,
        ];
        Running::start(EXAMPLE, &tls).get("/").status()
    };
    assert_eq!(with_name("origin.test"), 200);
    assert_eq!(
        with_name("another.test"),
        503,
        "the certificate is for another name"
    );
}

#[test]
fn a_port_that_is_taken_is_one_line_that_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run_to_end(EXAMPLE, &["--listen", &address]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains(&format!("can't listen on {address}")),
        "{text}"
    );
    assert!(text.contains("--listen 127.0.0.1:"), "{text}");
    assert!(output.stdout.is_empty());
}

#[test]
fn what_is_wrong_with_the_command_line_is_said_in_a_line() {
    for (arguments, said) in [
        (["--upstream", "127.0.0.1"], "--upstream 127.0.0.1: "),
        (["--listen", "6188"], "can't listen on 6188: "),
        (
            ["--conf", "/nonexistent.yaml"],
            "/nonexistent.yaml: can't be read",
        ),
    ] {
        let output = run_to_end(EXAMPLE, &arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn it_has_the_options_of_every_server() {
    let help = String::from_utf8(run_to_end(EXAMPLE, &["-h"]).stdout).unwrap();
    for option in [
        "--upstream",
        "--tls",
        "--sni",
        "-c, --conf",
        "-d, --daemon",
        "-u, --upgrade",
    ] {
        assert!(help.contains(option), "{option} is missing in {help}");
    }
    let tested = run_to_end(EXAMPLE, &["-t"]);
    assert_eq!(tested.status.code(), Some(0), "{tested:?}");
}
