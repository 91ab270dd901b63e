//! Complete logs: from clients' requests to the content of files.

use super::*;
use crate::sink::{Sink, Written, count_lines};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use tokio::io::AsyncWriteExt;

/// A directory for one test, removed with it.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("access-log-{}-{name}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A request that was answered with five bytes, and its client, which must be kept alive.
async fn answered(head: &[u8]) -> (Session, tokio::io::DuplexStream) {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let mut session = Session::new_h1(Box::new(server));
    client.write_all(head).await.unwrap();
    if session.read_request().await.is_ok() {
        let mut response = pingora_http::ResponseHeader::build(203, None).unwrap();
        response.insert_header("X-Served-By", "us").unwrap();
        let response = Box::new(response);
        session
            .write_response(response, "hello".into())
            .await
            .unwrap();
    }
    (session, client)
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Sink for Memory {
    fn write(&mut self, lines: &[u8]) -> Written {
        self.0.lock().unwrap().extend_from_slice(lines);
        Written::default()
    }
}

/// The line of such a request.
async fn line_of(builder: Builder, head: &[u8]) -> String {
    let memory = Memory::default();
    let log = builder.open_on(Box::new(memory.clone()), 2);
    let (session, _client) = answered(head).await;
    log.write_with(&session, None, &[("ja4", "t13 x")]);
    assert!(log.flush(Duration::from_secs(60)));
    let bytes = memory.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    assert!(text.ends_with('\n') && text.len() < 4096);
    text.trim_end().to_owned()
}

fn with(format: Format) -> Builder {
    AccessLog::to_stdout().format(format)
}

const REQUEST: &[u8] =
    b"GET /a?b=c&token=x HTTP/1.1\r\nHost: h\r\nReferer: https://u:p@r/?sig=x\r\n\
    User-Agent: one \"two\" \\ \xff\r\nCookie: secret=1\r\n\r\n";

#[tokio::test]
async fn the_combined_format_can_be_taken_apart_by_quotes() {
    let line = line_of(with(Format::combined()), REQUEST).await;
    let quoted: Vec<&str> = line.split('"').collect();
    assert_eq!(quoted.len(), 7, "{line}");
    assert!(
        quoted[0].starts_with("- - - [") && quoted[0].ends_with(" +0000] "),
        "{line}"
    );
    assert_eq!(quoted[1], "GET /a?b=c&token=*** HTTP/1.1");
    assert_eq!(quoted[2], " 203 5 ");
    assert_eq!(quoted[3], "https://***@r/?sig=***");
    assert_eq!(quoted[5], "one \\x22two\\x22 \\x5c \\xff");
    let common = line_of(with(Format::common()), REQUEST).await;
    assert!(common.ends_with("\"GET /a?b=c&token=*** HTTP/1.1\" 203 5"));
}

#[tokio::test]
async fn a_line_of_json_is_an_object() {
    let line = line_of(with(Format::json()), REQUEST).await;
    let object: serde_yaml::Value = serde_yaml::from_str(&line).unwrap();
    let text = |name: &str| object[name].as_str().unwrap_or("missing").to_owned();
    assert_eq!(text("target"), "/a?b=c&token=***");
    assert_eq!(
        (text("method"), text("version")),
        ("GET".into(), "HTTP/1.1".into())
    );
    assert_eq!(text("user_agent"), "one \"two\" \\ \u{fffd}");
    assert_eq!(object["status"].as_u64(), Some(203));
    assert_eq!(object["bytes"].as_u64(), Some(5));
    for unknown in [
        "client",
        "upstream",
        "duration_seconds",
        "error",
        "tls_version",
    ] {
        assert!(
            object.get(unknown).is_some_and(|value| value.is_null()),
            "{unknown}"
        );
    }
    assert!(!line.contains("secret"), "{line}");
}

#[tokio::test]
async fn a_format_of_ones_own_keeps_its_columns() {
    let format =
        "$method|$path|$query|$field.x-a|$response.x-served-by|${own.ja4}|$host|$field.cookie";
    let head = b"GET /a|b?c|d HTTP/1.1\r\nHost: h\r\nX-A: 1|2 3\tand\r\nCookie: x\r\n\r\n";
    let line = line_of(with(Format::text(format).unwrap()), head).await;
    let columns: Vec<&str> = line.split('|').collect();
    let wanted = [
        "GET",
        "/a\\x7cb",
        "c\\x7cd",
        "1\\x7c2\\x203\\x09and",
        "us",
        "t13\\x20x",
        "h",
        "***",
    ];
    assert_eq!(columns, wanted);
}

#[tokio::test]
async fn a_head_that_is_refused_is_shown_by_its_first_line() {
    let format = Format::text("\"$request\" $status $path").unwrap();
    let line = line_of(with(format), b"GET /x?token=y HTTP/1.1\r\nno field\r\n\r\n").await;
    assert!(
        line.starts_with("\"GET /x?token=***") && line.ends_with("\" - -"),
        "{line}"
    );
}

#[tokio::test]
async fn durations_are_there_if_the_recording_began() {
    let format = Format::text("$duration $upstream $failed_try_count $error").unwrap();
    let memory = Memory::default();
    let log = with(format).open_on(Box::new(memory.clone()), 1);
    let (mut session, _client) = answered(REQUEST).await;
    log.begin(&mut session);
    let error = Error::explain(pingora_error::ErrorType::ReadError, "bad\nluck");
    log.write(&session, Some(&error));
    drop(log);
    let line = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
    let parts: Vec<&str> = line.trim_end().split(' ').collect();
    assert_eq!(parts.len(), 4, "{line}");
    assert!(
        parts[0].parse::<f64>().unwrap() >= 0.0 && parts[3].contains("bad\\x0aluck"),
        "{line}"
    );
}

/// Signals that it writes, and waits until it may continue.
struct Stuck(mpsc::Sender<()>, mpsc::Receiver<()>);

impl Sink for Stuck {
    fn write(&mut self, _lines: &[u8]) -> Written {
        let _ = self.0.send(());
        let _ = self.1.recv();
        Written::default()
    }
}

#[test]
fn a_disk_that_is_stuck_costs_lines_by_count_and_no_time() {
    let (began, begun) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    let builder = AccessLog::to_stdout().queue_bytes(40);
    let log = builder.open_on(Box::new(Stuck(began, gone)), 1);
    log.push(b"taken\n");
    begun.recv_timeout(Duration::from_secs(60)).unwrap();
    for _ in 0..10 {
        log.push(b"12345678\n");
    }
    assert_eq!(log.counts().dropped, 6, "four fit into 40 bytes");
    assert!(!log.flush(Duration::from_millis(1)));
    drop(go);
    assert!(log.flush(Duration::from_secs(60)));
    let counts = log.counts();
    assert_eq!((counts.written, counts.dropped, counts.failed), (5, 6, 0));
}

#[test]
fn a_full_disk_costs_lines_by_count_and_is_survived() {
    let log = AccessLog::to_file("/dev/full").open().unwrap();
    for _ in 0..10 {
        log.push(b"a line\n");
    }
    assert!(log.flush(Duration::from_secs(60)));
    assert_eq!((log.counts().written, log.counts().failed), (0, 10));
}

#[test]
fn a_file_that_cant_be_opened_is_named() {
    let error = AccessLog::to_file("/nowhere/log").open().unwrap_err();
    assert!(error.to_string().contains("/nowhere/log"), "{error}");
}

#[test]
fn rotation_under_load_loses_and_tears_nothing() {
    const THREADS: u64 = 4;
    const LINES: u64 = 5000;
    let directory = Directory::new("load");
    let path = directory.path("log");
    let builder = AccessLog::to_file(&path).queue_bytes(64 << 20);
    let log = builder
        .flush_after(Duration::from_millis(1))
        .open()
        .unwrap();
    let mut moved = 0;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let log = &log;
                scope.spawn(move || {
                    for line in 0..LINES {
                        log.push(format!("{thread} {line} end\n").as_bytes());
                    }
                })
            })
            .collect();
        while moved < 5 || !workers.iter().all(|worker| worker.is_finished()) {
            fs::rename(&path, directory.path(&format!("log.{moved}"))).unwrap();
            moved += 1;
            log.reopen();
            assert!(log.flush(Duration::from_secs(60)));
        }
    });
    assert!(log.flush(Duration::from_secs(60)));
    assert_eq!(log.counts().written, THREADS * LINES);
    let mut seen = vec![vec![false; LINES as usize]; THREADS as usize];
    for entry in fs::read_dir(&directory.0).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert_eq!(count_lines(text.as_bytes()), text.lines().count() as u64);
        for line in text.lines() {
            let parts: Vec<&str> = line.split(' ').collect();
            assert_eq!((parts.len(), parts[2]), (3, "end"), "{line}");
            let (thread, line): (usize, usize) =
                (parts[0].parse().unwrap(), parts[1].parse().unwrap());
            assert!(!std::mem::replace(&mut seen[thread][line], true), "twice");
        }
    }
    assert!(seen.iter().flatten().all(|seen| *seen));
}
