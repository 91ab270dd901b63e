//! The table of phases: the existing phases, how often each runs, what it changes, the consequence of
//! an error.

use super::*;
use page::Row;
use pingora_tests::{Connection, Running};
use recorder::name_of;

#[test]
fn the_page_names_every_method_of_the_trait() {
    let source = include_str!("../../../pingora-proxy/src/proxy_trait.rs");
    let after = source.split("pub trait ProxyHttp {").nth(1).unwrap();
    let lines = after.lines().filter(|line| !line.trim().starts_with("//"));
    let names = lines.filter_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("async ").unwrap_or(line);
        let name = line.strip_prefix("fn ")?;
        name.split(['(', '[', '<']).next()
    });
    let in_table = page::all_rows().into_iter().map(|row| row.phase);
    let mut on_page: Vec<_> = in_table.filter(|name| !name.contains(' ')).collect();
    on_page.extend(page::of_cache());
    on_page.extend(["init_downstream_modules", "init_upstream_modules"].map(str::to_string));
    on_page.sort();
    let mut in_trait: Vec<_> = names.map(str::to_string).collect();
    in_trait.sort();
    assert_eq!(on_page, in_trait);
}

/// The meaning of the second column for four requests: one with five tries, two of which fail to connect
/// and two after that; one whose response comes after an informational one; one that fails; and the second
/// of two on a connection, with trailers.
fn counts(how_often: &str) -> [usize; 4] {
    match how_often {
        "once" => [1, 1, 1, 1],
        "once, if the last request left a value" => [0, 0, 0, 1],
        "once, if there are trailers" => [0, 0, 0, 1],
        "once, if the request fails" => [0, 0, 1, 0],
        "once, if the connection is kept" => [1, 1, 1, 1],
        "each try" => [5, 1, 1, 1],
        "each connection" => [3, 1, 1, 1],
        "each connection, and each final head" => [4, 2, 1, 2],
        "each failed connection" => [2, 0, 0, 0],
        "each failed exchange" => [2, 0, 1, 0],
        "each failure" => [4, 0, 1, 0],
        "each failure that is tried again" | "each failure that would be tried again" => {
            [4, 0, 0, 0]
        }
        "each head" => [1, 2, 0, 1],
        other => panic!("not known how often this is: {other}"),
    }
}

#[tokio::test]
async fn each_phase_runs_as_often_as_the_page_says() {
    for to in [Version::H1, Version::H2] {
        let tries = Tries {
            unreachable: 2,
            reset: 2,
            again: true,
        };
        let tried = Behind::with(to, None, tries).await;
        assert_eq!(
            tried
                .ask(Version::H1, &Ask::get("/length/1"))
                .await
                .status(),
            200
        );
        let hinted = Behind::new(to).await;
        hinted.ask(Version::H1, &Ask::get("/hints")).await;
        let failed = Behind::new(to).await;
        failed.ask(Version::H1, &Ask::get("/reset-head")).await;
        let second = Behind::new(to).await;
        let mut connection = Connection::to(second.proxy.address()).await;
        connection.exchange(&full()).await;
        let kept = |behind: &Behind| behind.journal.count("persist_connection_context") == 1;
        eventually("the connection is kept", || kept(&second)).await;
        second.journal.clear();
        connection.exchange(&full()).await;
        for behind in [&tried, &hinted, &failed, &second] {
            behind.logged(1).await;
            eventually("the connection is kept", || kept(behind)).await;
        }
        for row in page::rows()
            .iter()
            .filter(|row| row.how_often != "each piece")
        {
            let phase = row.phase.as_str();
            let recorded = [&tried, &hinted, &failed, &second].map(|b| b.journal.count(phase));
            let mut expected = counts(&row.how_often);
            if phase == "downstream modules: response head" {
                // The error page is a response, too.
                expected[2] += 1;
            }
            assert_eq!(recorded, expected, "{phase}, which runs {}", row.how_often);
        }
    }
}

#[tokio::test]
async fn each_piece_passes_its_phases() {
    for (from, to) in PAIRS {
        let behind = Behind::new(to).await;
        let ask = Ask::by("POST", "/echo-trailers").pieces("", 0);
        let mut running = Running::begin(from, behind.proxy.address(), &ask).await;
        for count in 1..=3 {
            running.send(b"piece").await;
            let phase = "upstream modules: request body";
            eventually("the piece has passed", || {
                behind.journal.count(phase) == count
            })
            .await;
        }
        running.finish().await;
        assert_eq!(running.answer().await.text(), "piece".repeat(3));
        // Twenty pieces that are sent separately: at least two arrive separately.
        behind.ask(from, &Ask::get("/slow/20")).await;
        behind.logged(2).await;
        for row in page::rows()
            .iter()
            .filter(|row| row.how_often == "each piece")
        {
            let count = behind.journal.count(&row.phase);
            assert!(count > 3, "{} ran {count} times", row.phase);
        }
    }
}

/// The messages that the marks of a phase have reached.
fn reached(row: &Row, request: &Message, answer: &Message) -> Vec<&'static str> {
    let (phase, field) = (row.phase.as_str(), name_of(&row.phase));
    let mark = format!("<{phase}>");
    let of_upstream = phase == "upstream_request_filter" || phase.starts_with("upstream modules");
    let mut reached = Vec::new();
    if request.header(&field).is_some() {
        reached.push(if of_upstream {
            "the upstream's request"
        } else {
            "the client's request"
        });
    }
    if request.text().contains(&mark) {
        reached.push("the request's body");
    } else if answer.text().contains(&mark) {
        reached.push("the response's body");
    }
    if answer.header(&field).is_some() {
        reached.push("the response's head");
    }
    if answer.trailers.iter().any(|(name, _)| *name == field) {
        reached.push("the response's trailers");
    }
    reached
}

#[tokio::test]
async fn a_change_reaches_what_the_page_says() {
    for to in [Version::H1, Version::H2] {
        let tries = Tries {
            unreachable: 1,
            reset: 1,
            again: true,
        };
        let behind = Behind::with(to, Some(("", Act::Mark)), tries).await;
        let mut connection = Connection::to(behind.proxy.address()).await;
        connection.exchange(&full()).await;
        let answer = connection.exchange(&full()).await.pop().unwrap();
        let request = behind.origin.last_request();
        assert_eq!(
            request.header("x-client-late"),
            Some("1"),
            "from the try before"
        );
        for row in page::rows() {
            let reached = reached(&row, &request, &answer);
            let expected = match row.changes.as_str() {
                "-" => Vec::new(),
                changes => vec![changes],
            };
            assert_eq!(reached, expected, "{}: {request:?} {answer:?}", row.phase);
        }
    }
}

#[tokio::test]
async fn an_error_is_followed_by_what_the_page_says() {
    for (from, to) in PAIRS {
        for row in page::rows() {
            let can_fail = row.after_an_error != "-";
            let phase: &'static str = row.phase.clone().leak();
            let behind = Behind::acting(to, phase, Act::Fail).await;
            behind.ask(from, &full()).await;
            let case = format!("{from:?} to {to:?}, an error in {phase}");
            let calls = behind.journal.calls();
            assert_eq!(behind.journal.count("logging"), 1, "{case}: {calls:?}");
            let failed = behind.journal.count("fail_to_proxy") == 1;
            assert_eq!(failed, can_fail, "{case}: {calls:?}");
            if can_fail {
                let at = calls.iter().position(|call| call == phase).unwrap();
                assert_eq!(
                    calls.get(at + 1),
                    Some(&row.after_an_error),
                    "{case}: {calls:?}"
                );
            }
        }
    }
}
