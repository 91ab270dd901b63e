//! The real Chromium, without a window.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A browser that shows one page; it ends when it is dropped. What the page does is seen by its requests.
#[derive(Debug)]
pub struct Browser {
    process: Child,
    /// What it keeps about pages; removed with it.
    _profile: TempDir,
}

impl Browser {
    /// Shows this path of the server. The server's address is one whose pages browsers trust as they trust HTTPS.
    ///
    /// # Panics
    /// When it isn't installed.
    pub fn open(server: SocketAddr, path: &str) -> Self {
        let profile = tempfile::tempdir().expect("there is room for a directory");
        let process = Command::new("chromium")
            .args(["--headless=new", "--disable-gpu", "--disable-dev-shm-usage"])
            // As root there is no sandbox; nothing foreign is shown.
            .args(["--no-sandbox", "--no-first-run", "--disable-extensions"])
            .args(["--no-proxy-server", "--disable-background-networking"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://{server}{path}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium is installed (Debian: chromium)");
        Browser {
            process,
            _profile: profile,
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself; its own children end with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
