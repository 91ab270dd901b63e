//! The messages of a hand-over, as bytes. No I/O.
//!
//! | from | message | bytes |
//! |---|---|---|
//! | giver | greeting | `v`, version, number of sockets that follow (4 bytes) |
//! | giver | entries, as often as needed | `e`, then for each descriptor of the message: `s` or `d`, length of the name (2 bytes), name in UTF-8 |
//! | taker | accepting | `a` |
//! | taker | refused | `r`, version that it takes |
//!
//! A version has 2 bytes; numbers have the most significant byte first. `s` is a socket that listens for
//! connections, `d` one of datagrams. What may never change is the first three bytes of the greeting, and the
//! refusal: versions that differ must be able to say so. Version 1 had no greeting: its first message begins
//! with `p` or `l`.

use crate::process::SocketKind;
use std::io;

/// The version that this server speaks.
pub(super) const VERSION: u16 = 2;
/// The most bytes of one message: less than what a socket's send buffer takes by default.
pub(super) const MOST_BYTES: usize = 128 * 1024;
/// What the taker says when it accepts connections.
pub(super) const ACCEPTING: [u8; 1] = [b'a'];

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

/// How many sockets follow a greeting.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] where it is of another version, with both versions.
pub(super) fn sockets_announced(message: &[u8]) -> io::Result<u32> {
    match *message {
        // Version 1.
        [b'p' | b'l', ..] => Err(other_version("the running server gives", 1, "takes")),
        [GREETING, a, b, ref rest @ ..] => {
            let version = u16::from_be_bytes([a, b]);
            if version != VERSION {
                return Err(other_version("the running server gives", version, "takes"));
            }
            let count = rest.try_into().map_err(|_| nonsense())?;
            Ok(u32::from_be_bytes(count))
        }
        _ => Err(nonsense()),
    }
}

/// Messages of entries, each with how many there are in it.
#[derive(Debug)]
pub(super) struct Entries {
    bytes: Vec<u8>,
    sockets: usize,
}

impl Entries {
    pub(super) fn new() -> Self {
        Entries {
            bytes: vec![ENTRIES],
            sockets: 0,
        }
    }

    /// Adds a socket; `false` where it does not fit into this message, which is left as it was.
    ///
    /// # Errors
    /// When it fits into no message.
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

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The sockets of a message of entries, at least one.
///
/// # Errors
/// When it is none.
pub(super) fn entries(message: &[u8]) -> io::Result<Vec<(SocketKind, String)>> {
    let Some((&ENTRIES, mut rest)) = message.split_first() else {
        return Err(nonsense());
    };
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

/// What the taker's answer means; an empty one is that it has ended.
///
/// # Errors
/// Everything but that it accepts connections.
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
        let read = entries(message.bytes()).unwrap();
        let read: Vec<_> = read.iter().map(|(k, name)| (*k, name.as_str())).collect();
        assert_eq!((read.as_slice(), message.sockets()), (&sockets[..], 4));
        assert!(verdict(&ACCEPTING).is_ok());
    }

    #[test]
    fn messages_are_bounded_in_bytes() {
        let long = "a".repeat(usize::from(u16::MAX));
        let mut message = Entries::new();
        assert!(message.push(SocketKind::Stream, &long, 253).unwrap());
        assert!(!message.push(SocketKind::Stream, &long, 253).unwrap());
        assert!(message.bytes().len() <= MOST_BYTES);
        let longer = format!("{long}a");
        assert!(
            Entries::new()
                .push(SocketKind::Stream, &longer, 253)
                .is_err()
        );
    }

    #[test]
    fn both_versions_are_named_where_they_differ() {
        for (message, version) in [
            (&b"l"[..], 1),
            (b"p127.0.0.1:80\0", 1),
            (&[b'v', 0, 3, 9], 3),
        ] {
            let error = sockets_announced(message).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            let said = error.to_string();
            assert!(
                said.contains(&format!("gives sockets in version {version} ")),
                "{said}"
            );
            assert!(said.contains("takes them in version 2"), "{said}");
        }
        let said = verdict(&[b'r', 0, 3]).unwrap_err().to_string();
        assert!(said.contains("takes sockets in version 3 "), "{said}");
        assert!(said.contains("gives them in version 2"), "{said}");
        assert!(verdict(&refusal()).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for message in [
            &b""[..],
            b"x",
            b"v",
            &[b'v', 0],
            &[b'v', 0, 2],
            &[b'v', 0, 2, 0, 0, 0],
        ] {
            assert!(sockets_announced(message).is_err(), "{message:?}");
        }
        assert!(sockets_announced(&[b'v', 0, 2, 0, 0, 0, 0, 0]).is_err());
        for message in [
            &b""[..],
            b"x",
            b"e",
            b"es",
            &[b'e', b's', 0],
            &[b'e', b's', 0, 1],
            &[b'e', b'x', 0, 1, b'a'],
            &[b'e', b's', 0, 1, 0xff],
            &[b'e', b's', 0, 1, b'a', b'd'],
        ] {
            assert!(entries(message).is_err(), "{message:?}");
        }
        for message in [&b""[..], b"x", b"aa", b"r", &[b'r', 0]] {
            assert!(verdict(message).is_err(), "{message:?}");
        }
    }
}
