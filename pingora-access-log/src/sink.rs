//! The destinations of lines.

use crate::clock;
use crate::file::LogFile;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

/// The result of writing some lines.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The number of lines that were lost.
    pub(crate) lost: u64,
    /// The reason.
    pub(crate) error: Option<io::Error>,
}

/// Accepts complete lines. May block: only the log's own thread calls it.
pub(crate) trait Sink: Send {
    /// Writes these lines, as many as it can.
    fn write(&mut self, lines: &[u8]) -> Written;

    /// Reopens a file that was moved away.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Writes lines to a byte sink. `torn`: the last line written is incomplete, which is recorded for the next call.
pub(crate) fn write_lines(mut to: impl Write, lines: &[u8], torn: &mut bool) -> Written {
    let mut rest = lines;
    let mut end_line: &[u8] = if *torn { b"\n" } else { b"" };
    loop {
        let now = if end_line.is_empty() { rest } else { end_line };
        if now.is_empty() {
            return Written::default();
        }
        let error = match to.write(now) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(_) if !end_line.is_empty() => {
                end_line = b"";
                *torn = false;
                continue;
            }
            Ok(length) => {
                rest = rest.get(length..).unwrap_or_default();
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        let written = lines.len() - rest.len();
        let last = written.checked_sub(1).and_then(|last| lines.get(last));
        *torn |= last.is_some_and(|byte| *byte != b'\n');
        let lost = count_lines(rest);
        let error = Some(error);
        return Written { lost, error };
    }
}

impl Sink for LogFile {
    fn write(&mut self, lines: &[u8]) -> Written {
        LogFile::write(self, lines)
    }

    fn reopen(&mut self) -> io::Result<()> {
        LogFile::reopen(self)
    }
}

/// The current standard output: a background server replaces it.
#[derive(Debug, Default)]
pub(crate) struct Stdout {
    torn: bool,
}

impl Sink for Stdout {
    fn write(&mut self, lines: &[u8]) -> Written {
        match io::stdout().as_fd().try_clone_to_owned() {
            Ok(now) => write_lines(std::fs::File::from(now), lines, &mut self.torn),
            Err(error) => Written {
                lost: count_lines(lines),
                error: Some(error),
            },
        }
    }
}

/// Lines as messages to a syslog daemon on this machine, over its Unix datagram socket.
///
/// The facility is `local7` and the severity `info`, unless others are set. Lines that the daemon does not
/// accept within a second are counted as lost.
#[derive(Debug, Clone)]
pub struct Syslog {
    path: PathBuf,
    tag: String,
    priority: u8,
    rfc5424: bool,
}

impl Syslog {
    /// Messages with this tag to `/dev/log`, in the form of RFC 3164 that local programs use, without a host. Up to
    /// 32 letters of the tag are used, those that both forms can hold; if none is left, it is `-`.
    pub fn new(tag: &str) -> Self {
        let plain = |c: &char| c.is_ascii_graphic() && !matches!(c, '[' | ']' | ':' | '/');
        let mut tag: String = tag.chars().filter(plain).take(32).collect();
        if tag.is_empty() {
            // The nil value (RFC 5424 section 6): an empty name would shift all fields behind it.
            tag.push('-');
        }
        Syslog {
            path: "/dev/log".into(),
            tag,
            priority: 23 * 8 + 6,
            rfc5424: false,
        }
    }

    /// Uses another socket.
    #[must_use]
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets the facility (0 to 23) and severity (0 to 7), as in RFC 5424 section 6.2.1; larger values are clamped.
    #[must_use]
    pub fn priority(mut self, facility: u8, severity: u8) -> Self {
        self.priority = facility.min(23) * 8 + severity.min(7);
        self
    }

    /// Writes messages in the form of RFC 5424.
    #[must_use]
    pub fn rfc5424(mut self) -> Self {
        self.rfc5424 = true;
        self
    }

    fn message(&self, line: &[u8]) -> Vec<u8> {
        let (priority, tag, process) = (self.priority, &self.tag, std::process::id());
        let mut message = clock::with_now(|second, millis| {
            if self.rfc5424 {
                let time = &second.iso;
                format!("<{priority}>1 {time}.{millis:03}Z - {tag} {process} access - ")
            } else {
                format!("<{priority}>{} {tag}[{process}]: ", second.syslog)
            }
        })
        .into_bytes();
        message.extend_from_slice(line);
        message
    }

    fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&self.path)?;
        socket.set_write_timeout(Some(Duration::from_secs(1)))?;
        Ok(socket)
    }
}

/// Sends to a [`Syslog`].
pub(crate) struct SyslogSink {
    to: Syslog,
    socket: Option<UnixDatagram>,
}

impl SyslogSink {
    pub(crate) fn open(to: Syslog) -> io::Result<Self> {
        let socket = Some(to.connect()?);
        Ok(SyslogSink { to, socket })
    }

    /// Sends a message, over a new socket if the daemon has reopened its own.
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if let Some(socket) = &self.socket {
            match socket.send(message) {
                Ok(_) => return Ok(()),
                Err(error) if is_gone(&error) => self.socket = None,
                Err(error) => return Err(error),
            }
        }
        let socket = self.socket.insert(self.to.connect()?);
        socket.send(message).map(|_| ())
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionRefused | ConnectionReset | NotConnected
    )
}

impl Sink for SyslogSink {
    fn write(&mut self, lines: &[u8]) -> Written {
        let mut written = Written::default();
        let mut rest = lines;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            let message = self.to.message(line);
            if let Err(error) = self.send(&message) {
                let ends = error.kind() != io::ErrorKind::InvalidInput
                    && error.raw_os_error() != Some(EMSGSIZE);
                written.error = Some(error);
                if ends {
                    // If a daemon accepts nothing, each line would cost a second.
                    written.lost += count_lines(rest);
                    return written;
                }
                written.lost += 1;
            }
            rest = after.get(1..).unwrap_or_default();
        }
        written
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.socket = Some(self.to.connect()?);
        Ok(())
    }
}

/// The line is too long for a message.
const EMSGSIZE: i32 = 90;

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts this many bytes, then nothing until it is emptied.
    struct Small(Vec<u8>, usize);

    impl Write for &mut Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let free = self.1.saturating_sub(self.0.len()).min(bytes.len());
            if free == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.extend_from_slice(&bytes[..free]);
            Ok(free)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_torn_is_ended_before_the_next_one() {
        let mut small = Small(vec![], 7);
        let mut torn = false;
        let written = write_lines(&mut small, b"one\ntwo\nthree\n", &mut torn);
        assert_eq!(
            written.lost, 2,
            "the one that was torn, and the one behind it"
        );
        assert!(torn && written.error.is_some());
        let written = write_lines(&mut small, b"four\n", &mut torn);
        assert_eq!((written.lost, torn), (1, true));
        small.1 = 100;
        assert_eq!(write_lines(&mut small, b"five\n", &mut torn).lost, 0);
        assert_eq!(small.0, b"one\ntwo\nfive\n");
        assert!(!torn);
    }

    #[test]
    fn each_line_is_a_message_of_its_own() {
        let directory = crate::tests::Directory::new("syslog");
        let path = directory.path("socket");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let to = Syslog::new("my [proxy]").socket(&path);
        let received = |daemon: &UnixDatagram| {
            let mut buffer = vec![0; 4096];
            let length = daemon.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        let mut old = SyslogSink::open(to.clone()).unwrap();
        assert_eq!(old.write(b"one\ntwo\n").lost, 0);
        let (one, two) = (received(&daemon), received(&daemon));
        assert!(
            one.starts_with("<190>") && two.ends_with("]: two"),
            "{one} {two}"
        );
        let name = format!(" myproxy[{}]: one", std::process::id());
        assert!(one.ends_with(&name), "{one}");

        let new = to.rfc5424().priority(1, 5);
        let mut new = SyslogSink::open(new).unwrap();
        assert_eq!(new.write(b"x\n").lost, 0);
        let message = received(&daemon);
        let parts: Vec<&str> = message.split(' ').collect();
        assert_eq!(
            (parts[0], parts[2], parts[3], parts[7]),
            ("<13>1", "-", "myproxy", "x")
        );
        assert!(parts[1].ends_with('Z') && parts[1].contains('T'));

        let mut nameless = SyslogSink::open(Syslog::new("[]").socket(&path).rfc5424()).unwrap();
        assert_eq!(nameless.write(b"x\n").lost, 0);
        let message = received(&daemon);
        let name = message.split(' ').nth(3);
        assert_eq!(name, Some("-"), "{message}");

        drop(daemon);
        let written = old.write(b"a\nb\n");
        assert_eq!(written.lost, 2, "{written:?}");
        std::fs::remove_file(&path).unwrap();
        let daemon = UnixDatagram::bind(&path).unwrap();
        assert_eq!(old.write(b"back\n").lost, 0);
        assert!(received(&daemon).ends_with(": back"));
        let long = [&vec![b'a'; 4 << 20][..], b"\nshort\n"].concat();
        assert_eq!(old.write(&long).lost, 1);
        assert!(received(&daemon).ends_with(": short"));
    }
}
