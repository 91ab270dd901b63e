//! Runs the example `admin`: what its page lets in, what it does, and how it looks in a real browser (Debian: chromium).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

#[path = "../../examples/tests/running/mod.rs"]
mod running;

use running::{Origin, Running, until};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const TOKEN: &str = "correct horse battery staple";

/// The example, and where its page is.
fn start(arguments: &[&str]) -> (Running, SocketAddr) {
    let mut all = vec!["--admin", "127.0.0.1:0"];
    all.extend(arguments);
    let mut proxy = Running::start_with_environment("admin", &all, &[("ADMIN_TOKEN", TOKEN)]);
    let line = proxy.wait_for_line("admin page on http://");
    let (address, _) = line["admin page on http://".len()..]
        .split_once('/')
        .unwrap();
    let page = address.parse().unwrap();
    let line = proxy.wait_for_line("listening on ");
    proxy.address = line["listening on ".len()..].parse().unwrap();
    (proxy, page)
}

/// Status and body of the answer to a request with these fields.
fn ask(page: SocketAddr, line: &str, fields: &[&str], body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(page).unwrap();
    let mut request = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
    if !fields.iter().any(|field| field.starts_with("Host:")) {
        request.push_str(&format!("Host: {page}\r\n"));
    }
    for field in fields {
        request.push_str(&format!("{field}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, body.to_owned())
}

fn state(page: SocketAddr) -> Value {
    let authorization = format!("Authorization: Bearer {TOKEN}");
    let (status, body) = ask(page, "GET /api/state", &[&authorization], "");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn backend<'a>(state: &'a Value, address: &str) -> Option<&'a Value> {
    let backends = state["upstreams"][0]["backends"].as_array()?;
    backends
        .iter()
        .find(|backend| backend["address"] == address)
}

/// The backend that does not exist.
fn missing(state: &Value) -> Option<&Value> {
    backend(state, "127.0.0.1:1")
}

#[test]
fn who_may_not_look_sees_nothing_and_who_looks_can_not_act() {
    let (proxy, page) = start(&[]);
    let authorization = format!("Authorization: Bearer {TOKEN}");
    let good = authorization.as_str();
    let origin = format!("Origin: http://{page}");
    let json = "Content-Type: application/json";
    let drain = r#"{"action":"drain","drain":true,"confirm":true}"#;
    let rows: [(&str, &[&str], &str, u16); 17] = [
        ("GET /", &[], "", 200),
        ("POST /", &[], "", 405),
        ("GET /", &["Host: rebound.example"], "", 421),
        ("GET /api/state", &[], "", 401),
        ("GET /api/state", &["Authorization: Bearer wrong"], "", 401),
        (
            "GET /api/state",
            &["Cookie: token=correct horse battery staple"],
            "",
            401,
        ),
        ("GET /api/state", &[good], "", 200),
        (
            "GET /api/state",
            &[good, &origin, "Sec-Fetch-Site: same-origin"],
            "",
            200,
        ),
        (
            "GET /api/state",
            &[good, "Origin: http://evil.example"],
            "",
            403,
        ),
        ("GET /api/state", &[good, "Host: rebound.example"], "", 421),
        (
            "GET /api/state",
            &[good, "Sec-Fetch-Site: cross-site"],
            "",
            403,
        ),
        ("POST /api/actions", &[json], drain, 401),
        ("POST /api/actions", &[good, json], drain, 403),
        ("GET /api/cache/shop", &[], "", 401),
        ("GET /api/cache/shop", &[good], "", 404),
        ("POST /api/cache/shop", &[good], "", 404),
        ("GET /api/other", &[good], "", 404),
    ];
    for (line, fields, body, status) in rows {
        let (found, said) = ask(page, line, fields, body);
        assert_eq!(found, status, "{line} {fields:?}: {said}");
        assert!(status == 200 || !said.contains("upstreams"), "{said}");
    }
    assert_eq!(state(page)["actions_allowed"], false);
    assert_eq!(state(page)["draining"], false);
    assert!(proxy.stop());
}

/// CVE-2026-48042: JSON that is nested 100,000 times ends the process. What is longer than an action is not even read.
#[test]
fn deep_json_is_refused() {
    let (proxy, page) = start(&["--allow-actions"]);
    let authorization = format!("Authorization: Bearer {TOKEN}");
    let fields = [authorization.as_str(), "Content-Type: application/json"];
    for open in ["[", "{\"action\":", "[{\"a\":"] {
        for (times, status) in [(100, 400), (4096 / open.len(), 400), (100_000, 413)] {
            let deep = open.repeat(times);
            let (found, said) = ask(page, "POST /api/actions", &fields, &deep);
            assert_eq!(found, status, "{open} {times} times: {said}");
        }
    }
    assert_eq!(state(page)["draining"], false);
    assert!(proxy.stop());
}

#[test]
fn actions_are_done_once_they_are_allowed_and_confirmed() {
    let (proxy, page) = start(&["--allow-actions"]);
    let authorization = format!("Authorization: Bearer {TOKEN}");
    let (good, json) = (authorization.as_str(), "Content-Type: application/json");
    let act = |fields: &[&str], body: &str| ask(page, "POST /api/actions", fields, body).0;
    let drain = r#"{"action":"drain","drain":true,"confirm":true}"#;
    assert_eq!(act(&[good], drain), 415);
    assert_eq!(act(&[good, "Content-Type: text/plain"], drain), 415);
    assert_eq!(
        act(&[good, json], r#"{"action":"drain","drain":true}"#),
        400
    );
    assert_eq!(
        act(&[good, json], &format!("{drain}{}", " ".repeat(5000))),
        413
    );
    assert_eq!(state(page)["draining"], false);
    assert_eq!(act(&[good, json], drain), 200);
    assert_eq!(state(page)["draining"], true);
    let level = r#"{"action":"log_level","level":"trace","confirm":true}"#;
    assert_eq!(act(&[good, json], level), 200);
    assert_eq!(state(page)["log_level"], "trace");
    let set = |backend: &str, enabled: bool| {
        format!(
            r#"{{"action":"set_enabled","group":"shop","backend":"{backend}","enabled":{enabled},"confirm":true}}"#
        )
    };
    assert_eq!(act(&[good, json], &set("192.0.2.1:1", false)), 404);
    assert_eq!(act(&[good, json], &set("127.0.0.1:1", false)), 200);
    assert_eq!(missing(&state(page)).unwrap()["enabled"], false);
    assert_eq!(act(&[good, json], &set("127.0.0.1:1", true)), 200);
    assert_eq!(missing(&state(page)).unwrap()["enabled"], true);
    assert_eq!(state(page)["can_purge"], true);
    let purge = |what: &str, value: &str| {
        format!(r#"{{"action":"purge","what":"{what}","value":"{value}","confirm":true}}"#)
    };
    assert_eq!(act(&[good, json], &purge("host", "shop.example")), 400);
    assert_eq!(act(&[good, json], &purge("all", "news")), 400);
    assert_eq!(act(&[json], &purge("tag", "news")), 401);
    let foreign = "Origin: http://evil.example";
    assert_eq!(act(&[good, json, foreign], &purge("tag", "news")), 403);
    assert_eq!(act(&[good, json], &purge("tag", "news")), 200);
    let said = proxy.wait_for_line("purged: ");
    assert_eq!(said, "purged: the tag news", "and nothing before it");
    assert!(proxy.stop());
}

/// The page as a browser shows it: the document after some seconds.
fn browse(page: SocketAddr, arguments: &[&str]) -> String {
    browse_with(page, "", arguments)
}

/// The same with more behind the token.
fn browse_with(page: SocketAddr, more: &str, arguments: &[&str]) -> String {
    browse_for(page, more, 4000, arguments)
}

/// The same after this many milliseconds of the page's own time, which goes on at once where nothing but a timer is waited for.
fn browse_for(page: SocketAddr, more: &str, millis: u32, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let token = TOKEN.replace(' ', "%20");
    let address = format!("http://{page}/#token={token}{more}");
    let browser = Command::new("chromium")
        .args([
            "--headless=new",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ])
        // As root there is no sandbox; nothing foreign is shown.
        .args(["--no-sandbox", "--no-first-run", "--disable-extensions"])
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .arg(format!("--virtual-time-budget={millis}"))
        .args(["--timeout=20000", "--dump-dom"])
        .args(arguments)
        .arg(address)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .expect("chromium is installed (Debian: chromium)");
    String::from_utf8_lossy(&browser.stdout).into_owned()
}

/// Stands between a browser and the page. Passes on this many answers of `/api/state`, then none; `answered` is told the
/// number of each.
struct Between {
    address: SocketAddr,
    answered: Arc<AtomicUsize>,
}

impl Between {
    fn start(page: SocketAddr, most: usize, answered: impl FnMut(usize) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let told = Arc::new(Mutex::new((count.clone(), answered)));
        // Ends with the process of the test. A browser opens connections ahead, so each has a thread.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let told = told.clone();
                std::thread::spawn(move || {
                    let _ = pass_on(client, page, |pass| {
                        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                        let so_far = told.0.load(Ordering::SeqCst);
                        if so_far == most {
                            return Ok(());
                        }
                        pass()?;
                        told.0.store(so_far + 1, Ordering::SeqCst);
                        (told.1)(so_far + 1);
                        Ok(())
                    });
                });
            }
        });
        Between {
            address,
            answered: count,
        }
    }
}

/// Passes one request on, and its answer. A request for the state is passed on by `state`.
fn pass_on(
    mut client: TcpStream,
    page: SocketAddr,
    state: impl FnOnce(&mut dyn FnMut() -> std::io::Result<()>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    client.set_read_timeout(Some(running::PATIENCE))?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).replace("keep-alive", "close");
    let mut pass = || {
        let mut server = TcpStream::connect(page)?;
        server.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        client.write_all(&answer)
    };
    if head.starts_with("GET /api/state ") {
        state(&mut pass)
    } else {
        pass()
    }
}

#[test]
fn the_second_answer_after_an_upstream_begins_to_fail_shows_it() {
    const BEFORE: usize = 2;
    let origin = Origin::start("another origin");
    let address = origin.address.to_string();
    let (proxy, page) = start(&["--backend", &address]);
    let is_ready = |state: &Value| {
        let backend = backend(state, &address)?;
        (backend["healthy"] == true && backend["ready"] == true).then_some(())
    };
    assert!(until(|| is_ready(&state(page))).is_some());
    for _ in 0..4 {
        assert_eq!(proxy.get("/").status(), 200);
    }
    assert!(is_ready(&state(page)).is_some(), "it works");
    let requests = proxy.address;
    let mut origin = Some(origin);
    let between = Between::start(page, BEFORE + 2, move |answered| {
        if answered == BEFORE {
            drop(origin.take());
            // In turn to both backends, and to the other one if this one fails.
            for _ in 0..2 {
                let answer = running::Asked::new(requests, "/", "").answer();
                assert_eq!(answer.body(), "the origin");
            }
        }
    });
    let shown = browse_for(between.address, "", 8000, &[]);
    assert_eq!(between.answered.load(Ordering::SeqCst), BEFORE + 2);
    let (_, row) = shown.split_once(&format!(">{address}<")).expect(&shown);
    let (row, _) = row.split_once("</tr>").expect(row);
    assert!(
        row.contains("● failing") || row.contains("● unhealthy"),
        "{row}"
    );
    // What it showed last stays, and it says that this is no longer the present.
    assert!(shown.contains("these figures are old"), "{shown}");
    assert!(proxy.stop());
}

#[test]
fn the_page_asks_each_second() {
    let (proxy, page) = start(&[]);
    let (status, text) = ask(page, "GET /", &[], "");
    assert_eq!(status, 200);
    let periods: Vec<u32> = text
        .split("setTimeout(look, ")
        .skip(1)
        .map(|rest| rest.split_once(')').unwrap().0.parse().unwrap())
        .collect();
    assert_eq!(periods.len(), 1, "{periods:?}");
    assert!(periods[0] <= 1000, "two answers come within two seconds");
    assert!(proxy.stop());
}

#[test]
fn a_browser_shows_what_the_cache_holds() {
    let (proxy, page) = start(&[]);
    for _ in 0..3 {
        assert_eq!(proxy.get("/pictures/%3Cb%3E1").status(), 200);
    }
    let stored = until(|| {
        let state = state(page);
        let cache = &state["caches"][0];
        (cache["entries"] == 1 && cache["bytes"].as_u64()? > 0).then(|| cache.clone())
    });
    assert_eq!(stored.unwrap()["name"], "pages");
    let shown = browse(page, &[]);
    for text in ["pages: 1 stored", "Served from it", ">Look up<", "67 %"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let look_up = |path: &str| {
        let uri = format!("http://test{path}").replace('%', "%25");
        browse_with(page, &format!("&uri={uri}"), &[])
    };
    let shown = look_up("/pictures/%3Cb%3E1");
    for text in [
        "http://test/pictures/%3Cb%3E1",
        "9 min",
        ">memory<",
        ">pictures<",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(!shown.contains(">Next page<"));
    assert!(look_up("/pictures/2").contains("Nothing is stored for it."));
    assert!(proxy.stop());
}

#[test]
fn a_browser_shows_what_happens_and_nothing_that_can_be_pressed() {
    let (proxy, page) = start(&[]);
    let failing = until(|| {
        let state = state(page);
        (missing(&state)?["healthy"] == false).then_some(())
    });
    assert!(failing.is_some(), "the missing backend is noticed");
    for _ in 0..5 {
        assert_eq!(proxy.get("/").status(), 200);
    }
    let shown = browse(page, &["--window-size=1280,900"]);
    for text in [
        "127.0.0.1:1",
        "● unhealthy",
        "● ready",
        "● serving",
        "the origin",
        "max_retries: 16",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(
        !shown.contains(">Disable<") && !shown.contains(">Purge<"),
        "there is nothing to be pressed"
    );
    assert!(
        !shown.contains(TOKEN),
        "the token stays in the memory of the page"
    );
    // A picture for whoever changes the page: PINGORA_PICTURES=/tmp cargo test.
    if let Some(folder) = std::env::var_os("PINGORA_PICTURES") {
        for path in ["/", "/pictures/1", "/pictures/1", "/pictures/2"] {
            assert_eq!(proxy.get(path).status(), 200);
        }
        let uri = "&uri=http://test/pictures/1";
        for (size, width) in [("wide", "1280,1080"), ("narrow", "480,1000")] {
            for (scheme, number) in [("dark", 0), ("light", 1)] {
                let file = std::path::Path::new(&folder).join(format!("admin-{size}-{scheme}.png"));
                let picture = format!("--screenshot={}", file.display());
                let scheme = format!("--blink-settings=preferredColorScheme={number}");
                let size = format!("--window-size={width}");
                browse_with(page, uri, &[&size, &picture, &scheme]);
                assert!(file.exists(), "{}", file.display());
            }
        }
    }
    assert!(proxy.stop());
}
