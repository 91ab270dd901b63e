//! The messages of a hand-over, as bytes. No I/O.
//!
//! | from | message | bytes |
//! |---|---|---|
//! | giver | greeting | `v`, version, number of sockets that follow (4 bytes) |
//! | giver | entries, as often as needed | `e`, length of what follows (4 bytes), then for each descriptor of the message: `s` or `d`, length of the name (2 bytes), name in UTF-8 |
//! | taker | accepting | `a` |
//! | taker | refused | `r`, the version that it accepts |
//!
//! A version has 2 bytes; numbers are big-endian. `s` is a listening socket, `d` a datagram socket. The
//! descriptors come with the first byte of a message. The first three bytes of the greeting, and the refusal,
//! must never change: servers of different versions must be able to recognise that. Versions 1 and 2 used a
//! socket of another kind (SOCK_SEQPACKET), to which this one can't connect.

use crate::process::SocketKind;
use std::io;

/// The version that this server speaks.
pub(super) const VERSION: u16 = 3;
/// The maximum size of one message in bytes: less than a socket's send buffer holds by default.
const MOST_BYTES: usize = 128 * 1024;
/// The taker's message once it accepts connections.
pub(super) const ACCEPTING: [u8; 1] = [b'a'];

/// The size of a greeting, and of the part of it that is common to all versions.
pub(super) const GREETING_BYTES: usize = 7;
pub(super) const GREETING_START: usize = 3;
/// The size of the start of an entries message, before the first entry.
pub(super) const ENTRIES_START: usize = 5;

const GREETING: u8 = b'v';
const ENTRIES: u8 = b'e';
const REFUSED: u8 = b'r';
const STREAM: u8 = b's';
const DATAGRAM: u8 = b'd';

pub(super) fn greeting(sockets: usize) -> io::Result<Vec<u8>> {
    let sockets = u32::try_from(sockets).map_err(io::Error::other)?;
    let version = VERSION.to_be_bytes();
    Ok([&[GREETING][..], &version, &sockets.to_be_bytes()].concat())
}

/// Whether this is the beginning of a greeting, of any version below 256. Text is never one, whatever it begins
/// with.
pub(super) fn is_greeting(bytes: &[u8]) -> bool {
    matches!(*bytes, [] | [GREETING] | [GREETING, 0, ..])
}

/// # Errors
/// [`io::ErrorKind::Unsupported`] if a greeting has another version, with both versions.
pub(super) fn check_version(greeting: &[u8]) -> io::Result<()> {
    let [GREETING, a, b, ..] = *greeting else {
        return Err(nonsense());
    };
    match u16::from_be_bytes([a, b]) {
        VERSION => Ok(()),
        version => Err(other_version("the running server gives", version, "takes")),
    }
}

/// The number of sockets that follow a greeting.
///
/// # Errors
/// If it is not a greeting, or has another version.
pub(super) fn sockets_announced(greeting: &[u8]) -> io::Result<u32> {
    check_version(greeting)?;
    let count = greeting.get(GREETING_START..).unwrap_or_default();
    let count = count.try_into().map_err(|_| nonsense())?;
    Ok(u32::from_be_bytes(count))
}

/// An entries message that is being built, with the number of its entries.
#[derive(Debug)]
pub(super) struct Entries {
    bytes: Vec<u8>,
    sockets: usize,
}

impl Entries {
    pub(super) fn new() -> Self {
        Entries {
            bytes: vec![ENTRIES, 0, 0, 0, 0],
            sockets: 0,
        }
    }

    /// Adds a socket; `false` if it does not fit into this message, which is left unchanged.
    ///
    /// # Errors
    /// If it does not fit into any message.
    pub(super) fn push(&mut self, kind: SocketKind, name: &str, most: usize) -> io::Result<bool> {
        let too_long = || io::Error::other("a socket's name is too long to be handed over");
        let length = u16::try_from(name.len()).map_err(|_| too_long())?;
        let fits = self.bytes.len() + 3 + name.len() <= MOST_BYTES && self.sockets < most;
        if fits {
            self.bytes.push(match kind {
                SocketKind::Stream => STREAM,
                SocketKind::Datagram => DATAGRAM,
            });
            self.bytes.extend(length.to_be_bytes());
            self.bytes.extend_from_slice(name.as_bytes());
            self.sockets += 1;
        }
        Ok(fits)
    }

    pub(super) fn sockets(&self) -> usize {
        self.sockets
    }

    pub(super) fn into_message(mut self) -> Vec<u8> {
        let length = self.bytes.len() - ENTRIES_START;
        // At most `MOST_BYTES`.
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        for (byte, length) in self.bytes.iter_mut().skip(1).zip(length) {
            *byte = length;
        }
        self.bytes
    }
}

/// The number of bytes that follow the start of an entries message.
///
/// # Errors
/// If it is not an entries message, or exceeds the maximum length.
pub(super) fn length_of_entries(start: &[u8]) -> io::Result<usize> {
    let [ENTRIES, a, b, c, d] = *start else {
        return Err(nonsense());
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| nonsense())?;
    if length > MOST_BYTES - ENTRIES_START {
        return Err(nonsense());
    }
    Ok(length)
}

/// The sockets in an entries message, at least one; `rest` is the part after its start.
///
/// # Errors
/// If it is malformed.
pub(super) fn entries(mut rest: &[u8]) -> io::Result<Vec<(SocketKind, String)>> {
    let mut entries = vec![];
    while let Some((kind, after)) = rest.split_first() {
        let kind = match *kind {
            STREAM => SocketKind::Stream,
            DATAGRAM => SocketKind::Datagram,
            _ => return Err(nonsense()),
        };
        let (length, after) = after.split_first_chunk().ok_or_else(nonsense)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (name, after) = after.split_at_checked(length).ok_or_else(nonsense)?;
        let name = std::str::from_utf8(name).map_err(|_| nonsense())?;
        entries.push((kind, name.to_string()));
        rest = after;
    }
    if entries.is_empty() {
        return Err(nonsense());
    }
    Ok(entries)
}

pub(super) fn refusal() -> Vec<u8> {
    [&[REFUSED][..], &VERSION.to_be_bytes()].concat()
}

/// Whether more of the taker's answer is to come.
pub(super) fn is_unfinished(answer: &[u8]) -> bool {
    matches!(answer, [] | [REFUSED] | [REFUSED, _])
}

/// Interprets the taker's answer; an empty one means that it has ended.
///
/// # Errors
/// Any answer except that it accepts connections.
pub(super) fn verdict(message: &[u8]) -> io::Result<()> {
    match *message {
        [a] if [a] == ACCEPTING => Ok(()),
        [REFUSED, a, b, ..] => {
            let version = u16::from_be_bytes([a, b]);
            Err(other_version("the next server takes", version, "gives"))
        }
        [] => Err(io::Error::other(
            "the other server ended before it accepted connections",
        )),
        _ => Err(nonsense()),
    }
}

/// That version can't even be notified.
pub(super) fn taken_by_an_earlier_version() -> io::Error {
    other_version("the next server takes", 2, "gives")
}

fn other_version(theirs: &str, version: u16, ours: &str) -> io::Error {
    let message = format!(
        "{theirs} sockets in version {version} of the hand-over, this one {ours} them in version {VERSION}"
    );
    io::Error::new(io::ErrorKind::Unsupported, message)
}

pub(super) fn nonsense() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other server sent nonsense")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(sockets_announced(&greeting(7).unwrap()).unwrap(), 7);
        let mut message = Entries::new();
        let sockets = [
            (SocketKind::Stream, "127.0.0.1:53"),
            (SocketKind::Datagram, "127.0.0.1:53"),
            (SocketKind::Stream, "\0abstract"),
            (SocketKind::Stream, ""),
        ];
        for (kind, name) in sockets {
            assert!(message.push(kind, name, 4).unwrap());
        }
        assert!(!message.push(SocketKind::Stream, "more", 4).unwrap());
        assert_eq!(message.sockets(), 4);
        let message = message.into_message();
        let (start, rest) = message.split_at(ENTRIES_START);
        assert_eq!(length_of_entries(start).unwrap(), rest.len());
        let read = entries(rest).unwrap();
        let read: Vec<_> = read.iter().map(|(k, name)| (*k, name.as_str())).collect();
        assert_eq!(read.as_slice(), sockets);
        assert!(verdict(&ACCEPTING).is_ok());
    }

    #[test]
    fn messages_are_bounded_in_bytes() {
        let long = "a".repeat(usize::from(u16::MAX));
        let mut message = Entries::new();
        assert!(message.push(SocketKind::Stream, &long, 253).unwrap());
        assert!(!message.push(SocketKind::Stream, &long, 253).unwrap());
        assert!(message.into_message().len() <= MOST_BYTES);
        let longer = format!("{long}a");
        assert!(
            Entries::new()
                .push(SocketKind::Stream, &longer, 253)
                .is_err()
        );
    }

    #[test]
    fn both_versions_are_named_where_they_differ() {
        for (message, version) in [(&[b'v', 0, 2][..], 2), (&[b'v', 0, 4, 9], 4)] {
            let error = check_version(message).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            let said = error.to_string();
            assert!(
                said.contains(&format!("gives sockets in version {version} ")),
                "{said}"
            );
            assert!(said.contains("takes them in version 3"), "{said}");
        }
        let said = verdict(&[b'r', 0, 4]).unwrap_err().to_string();
        assert!(said.contains("takes sockets in version 4 "), "{said}");
        assert!(said.contains("gives them in version 3"), "{said}");
        assert!(verdict(&refusal()).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for message in [
            &b""[..],
            b"x",
            b"v",
            &[b'v', 0],
            &[b'v', 0, 3],
            &[b'v', 0, 3, 0, 0, 0],
        ] {
            assert!(sockets_announced(message).is_err(), "{message:?}");
        }
        assert!(sockets_announced(&[b'v', 0, 3, 0, 0, 0, 0, 0]).is_err());
        for message in [
            &b""[..],
            b"s",
            &[b's', 0],
            &[b's', 0, 1],
            &[b'x', 0, 1, b'a'],
            &[b's', 0, 1, 0xff],
            &[b's', 0, 1, b'a', b'd'],
        ] {
            assert!(entries(message).is_err(), "{message:?}");
        }
        for start in [&b""[..], b"e", b"e\0\0\0", b"x\0\0\0\x01", b"e\0\x02\0\0"] {
            assert!(length_of_entries(start).is_err(), "{start:?}");
        }
        for text in [&b"127.0.0.1:80"[..], b"/run/a.sock", b"vv", b"x"] {
            assert!(!is_greeting(text), "{text:?}");
        }
        for message in [&b""[..], b"x", b"aa", b"r", &[b'r', 0]] {
            assert!(verdict(message).is_err(), "{message:?}");
        }
    }
}
