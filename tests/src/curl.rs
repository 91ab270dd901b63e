//! The real curl.

use std::process::{Command, Output};

/// Runs curl, which has to succeed, and returns what it writes.
///
/// # Panics
/// When it fails, or isn't installed.
pub fn curl(arguments: &[&str]) -> Vec<u8> {
    let output = try_curl(arguments);
    assert!(
        output.status.success(),
        "curl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Runs curl, which may fail.
///
/// # Panics
/// When it isn't installed.
pub fn try_curl(arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["-q", "-sS", "--max-time", "20"])
        .args(arguments)
        .env_remove("http_proxy")
        .env_remove("https_proxy")
        .env_remove("ALL_PROXY")
        .output()
        .expect("curl is installed (Debian: curl)")
}

/// Runs curl and returns what it writes as text.
///
/// # Panics
/// As [`curl`].
pub fn curl_text(arguments: &[&str]) -> String {
    String::from_utf8(curl(arguments)).expect("it is text")
}
