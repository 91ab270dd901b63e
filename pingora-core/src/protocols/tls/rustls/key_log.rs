//! The secrets of sessions for a debugger, in the format of NSS.

use crate::protocols::tls::KeyLog;
use std::fmt::Write;

/// Writes a line for each secret to a file.
#[derive(Debug)]
pub(super) struct Lines(pub(super) KeyLog);

impl rustls::KeyLog for Lines {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = format!("{label} ");
        for (index, part) in [client_random, secret].into_iter().enumerate() {
            if index > 0 {
                line.push(' ');
            }
            for byte in part {
                // A text takes what is written to it.
                let _ = write!(line, "{byte:02x}");
            }
        }
        self.0.write(&line);
    }
}
