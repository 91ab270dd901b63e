//! The demands of the public test-suite for HTTP caches on a shared one (https://cache-tests.fyi), as rows.
//!
//! A row is a series of requests for one URL of its own. Where the suite waits until a response has become stale, the
//! origin says how old it is (`Age`). `Must` marks demands of RFC 9111, `Should` the purpose of a cache.

mod conditions;
mod directives;
mod freshness;
mod reuse;

use super::ready::Ready;
use super::support::leak;
use pingora::cache::MemCache;
use pingora::proxy::ReadyCache;
use pingora_tests::{Ask, Connection, Message, Origin, Version, h2c_proxy};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Must,
    Should,
}

pub(super) use Level::{Must, Should};

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The origin is not asked.
    Hit,
    /// The origin is asked, and its answer is the client's.
    Fetched,
    /// The origin is asked with this condition, and says 304.
    Confirmed(&'static str),
    /// The client gets an error.
    Failed,
    /// The client gets a response, whoever makes it.
    Served,
}

pub(super) use Then::{Confirmed, Failed, Fetched, Hit, Served};

/// One request, and the origin's answer to it. Fields are lines; `@60` in one is the date in 60 seconds.
#[derive(Clone)]
pub(super) struct Step {
    method: &'static str,
    ask: String,
    status: u16,
    answer: String,
    body: Option<&'static str>,
    /// The origin closes the connection.
    drops: bool,
    then: Then,
    /// The client's answer has to have these: a field with a value, or `!` and the name of one that must be absent.
    wants: Vec<&'static str>,
    wants_status: Option<u16>,
    wants_body: Option<&'static str>,
}

/// A request with this outcome, for which the origin has this answer.
pub(super) fn step(then: Then, answer: &str) -> Step {
    Step {
        method: "GET",
        ask: String::new(),
        status: 200,
        answer: answer.to_owned(),
        body: None,
        drops: false,
        then,
        wants: Vec::new(),
        wants_status: None,
        wants_body: None,
    }
}

impl Step {
    pub(super) fn by(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub(super) fn asking(mut self, fields: &str) -> Self {
        self.ask = fields.to_owned();
        self
    }

    pub(super) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(super) fn body(mut self, body: &'static str) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) fn drops(mut self) -> Self {
        self.drops = true;
        self
    }

    pub(super) fn with(mut self, field: &'static str) -> Self {
        self.wants.push(field);
        self
    }

    pub(super) fn gets(mut self, status: u16, body: &'static str) -> Self {
        self.wants_status = Some(status);
        self.wants_body = Some(body);
        self
    }

    /// The origin's answer to a request that it got.
    fn answer(&self, request: &Message) -> Vec<u8> {
        let confirms =
            matches!(self.then, Confirmed(condition) if request.header(condition).is_some());
        let status = if confirms { 304 } else { self.status };
        let is_empty = matches!(status, 204 | 304);
        let body = self.body.unwrap_or("the body");
        let mut answer = format!("HTTP/1.1 {status} Said\r\n");
        for line in dated(&self.answer).lines() {
            answer += &format!("{line}\r\n");
        }
        if !is_empty {
            answer += &format!("Content-Length: {}\r\n", body.len());
        }
        answer += "\r\n";
        if !is_empty && request.method() != "HEAD" {
            answer += body;
        }
        answer.into_bytes()
    }
}

/// Puts dates in: `@-10` is ten seconds ago.
fn dated(fields: &str) -> String {
    let lines = fields.lines().map(|line| {
        let Some((name, seconds)) = line.split_once(": @") else {
            return line.to_owned();
        };
        let seconds: i64 = seconds.parse().unwrap();
        let offset = Duration::from_secs(seconds.unsigned_abs());
        let now = SystemTime::now();
        let then = if seconds < 0 {
            now - offset
        } else {
            now + offset
        };
        format!("{name}: {}", httpdate::fmt_http_date(then))
    });
    lines.collect::<Vec<_>>().join("\n")
}

pub(super) struct Row {
    pub(super) level: Level,
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
}

pub(super) fn row(level: Level, name: impl Into<String>, steps: impl Into<Vec<Step>>) -> Row {
    Row {
        level,
        name: name.into(),
        steps: steps.into(),
    }
}

/// A first response, and the outcome of the same request after it.
pub(super) fn pair(level: Level, answer: &str, then: Then) -> Row {
    row(
        level,
        answer.replace('\n', " | "),
        [step(Fetched, answer), step(then, "")],
    )
}

/// The rows of all tables in one run: each has its own path.
async fn run(rows: Vec<Row>) -> Vec<(Level, String)> {
    let rows = Arc::new(rows);
    let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let (script, counted) = (rows.clone(), counts.clone());
    let origin = Origin::scripted(move |mut connection: Connection, _| {
        let (script, counted) = (script.clone(), counted.clone());
        async move {
            while let Some(request) = connection.request().await {
                let path = request.target().to_owned();
                *counted.lock().unwrap().entry(path).or_default() += 1;
                let at = |name: &str| request.header(name).unwrap().parse::<usize>().unwrap();
                let step = &script[at("x-row")].steps[at("x-step")];
                if step.drops || connection.try_send(step.answer(&request)).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let cache = ReadyCache::new(leak(MemCache::new()));
    let server = h2c_proxy(Ready {
        origin: origin.address(),
        cache: Arc::new(cache),
    })
    .await;
    let mut failed = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        if let Some(why) = fails(number, row, server.address(), &counts).await {
            failed.push((row.level, format!("{}: {why}", row.name)));
        }
    }
    failed
}

/// The first deviation from the row.
async fn fails(
    number: usize,
    row: &Row,
    server: SocketAddr,
    counts: &Mutex<HashMap<String, usize>>,
) -> Option<String> {
    let path = format!("/row/{number}");
    let asked = || counts.lock().unwrap().get(&path).copied().unwrap_or(0);
    for (at, step) in row.steps.iter().enumerate() {
        let mut ask = Ask::by(step.method, &path)
            .with("X-Row", &number.to_string())
            .with("X-Step", &at.to_string());
        for line in dated(&step.ask).lines() {
            let (name, value) = line.split_once(": ").unwrap();
            ask = ask.with(name, value);
        }
        if matches!(step.method, "POST" | "PUT" | "DELETE") {
            ask = ask.body("abc");
        }
        let before = asked();
        let answer = ask.answered_over(Version::H1, server).await;
        if let Some(why) = differs(step, &answer, asked() - before) {
            return Some(format!("step {at}: {why}"));
        }
    }
    None
}

fn differs(step: &Step, answer: &Message, asked: usize) -> Option<String> {
    let expected = match step.then {
        Hit => 0,
        _ => 1,
    };
    let is_failed = answer.status() >= 500 && step.status < 500;
    if is_failed != (step.then == Failed) {
        return Some(format!("the client got {}", answer.status()));
    }
    if !matches!(step.then, Failed | Served) && asked != expected {
        return Some(format!("the origin was asked {asked} times"));
    }
    for want in &step.wants {
        let missing = match want.strip_prefix('!') {
            Some(name) => answer.header(name).is_some(),
            None => {
                let (name, value) = want.split_once(": ").unwrap();
                answer.header(name) != Some(value)
            }
        };
        if missing {
            return Some(format!("not so: {want}"));
        }
    }
    if step
        .wants_status
        .is_some_and(|status| status != answer.status())
    {
        return Some(format!("the client got {}", answer.status()));
    }
    if step.wants_body.is_some_and(|body| body != answer.text()) {
        return Some(format!("the client got {:?}", answer.text()));
    }
    None
}

#[tokio::test]
async fn a_shared_cache_does_what_the_public_suite_asks() {
    let mut rows = freshness::rows();
    rows.extend(directives::rows());
    rows.extend(reuse::rows());
    rows.extend(conditions::rows());
    let count = rows.len();
    let failed = run(rows).await;
    assert!(
        failed.is_empty(),
        "{} of {count}: {failed:#?}",
        failed.len()
    );
}
