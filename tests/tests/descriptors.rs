//! What a server holds open is closed in every program that it starts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use pingora_tests::http2::Http2Client;
use pingora_tests::{Authority, Connection, Origin, Program};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// `O_CLOEXEC` of Linux, as in proc_pid_fdinfo(5).
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

/// The descriptors of a process, beyond its standard ones: what each is, and its flags.
fn descriptors(process: &str) -> HashMap<String, u32> {
    let folder = PathBuf::from("/proc").join(process);
    let mut found = HashMap::new();
    for entry in std::fs::read_dir(folder.join("fd")).unwrap() {
        let name = entry.unwrap().file_name();
        let number: u32 = name.to_str().unwrap().parse().unwrap();
        // Some are closed meanwhile.
        let Ok(what) = std::fs::read_link(folder.join("fd").join(&name)) else {
            continue;
        };
        let Ok(info) = std::fs::read_to_string(folder.join("fdinfo").join(&name)) else {
            continue;
        };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        if number > 2 {
            found.insert(what.to_str().unwrap().to_string(), flags);
        }
    }
    found
}

/// A server that listens in every way.
fn start(authority: &Authority, origin: &Origin, socket: &str) -> Program {
    let (certificate, key) = authority.issue(&["one.example"]);
    Program::start(
        Command::new(env!("CARGO_BIN_EXE_fixed_proxy"))
            .args(["--upstream", &origin.address().to_string(), "--h2c"])
            .args(["--listen", "127.0.0.1:0", "--listen", socket])
            .args(["--listen-tls", "127.0.0.1:0", "--certificate"])
            .arg(certificate)
            .arg("--key")
            .arg(key),
    )
}

#[tokio::test]
async fn all_descriptors_close_on_exec() {
    let (authority, origin) = (Authority::new(), Origin::well_behaved().await);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let mut program = start(&authority, &origin, &format!("unix:{}", path.display()));
    let addresses = program.addresses();
    let [plain, secure] = addresses[..] else {
        panic!("{addresses:?}");
    };

    // A connection that waits, and one to the origin; a response that nobody reads; each kind of client.
    let request = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut idle = Connection::to(plain).await;
    assert_eq!(idle.ask(request).await.status(), 200);
    let mut slow = Connection::to(plain).await;
    let much = "GET /length/50000000 HTTP/1.1\r\nHost: a\r\n\r\n";
    slow.send(much).await;
    assert_eq!(slow.head().await.status(), 200);
    let http2 = Http2Client::to(plain).await;
    assert_eq!(http2.get("/x").await.status(), 200);
    let over_tls = Http2Client::over_tls(secure, &authority, "one.example").await;
    assert_eq!(over_tls.get("/x").await.status(), 200);
    let mut unix = UnixStream::connect(&path).await.unwrap();
    unix.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(unix.read_u8().await.unwrap(), b'H');

    // What somebody has left open in this process is not the server's.
    let inherited = descriptors("self");
    let mut held = descriptors(&program.id().to_string());
    held.retain(|what, _| !inherited.contains_key(what));
    let sockets = held.keys().filter(|what| what.starts_with("socket:"));
    assert!(sockets.count() >= 3 + 5 + 2, "{held:?}");
    held.retain(|_, flags| *flags & CLOSE_ON_EXEC == 0);
    assert!(held.is_empty(), "open in the programs it starts: {held:?}");
}
