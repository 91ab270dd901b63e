//! Application-layer protocol negotiation (RFC 7301).

use std::fmt;

/// The application protocols to offer, or to accept, in order of preference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Hash)]
pub enum ALPN {
    /// HTTP/1.1 only.
    H1,
    /// HTTP/2 only.
    H2,
    /// HTTP/2 if the other side can, else HTTP/1.1.
    H2H1,
    /// A protocol of the user's own.
    Custom(CustomALPN),
}

/// A protocol of the user's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Hash)]
pub struct CustomALPN {
    /// The name with its length in front, as it stands on the wire.
    wire: Vec<u8>,
}

/// Longest name of a protocol, in bytes: its length is one byte on the wire.
const MAX_NAME: usize = 255;

/// The name that clients have for it which speak nothing newer.
const HTTP_1_0: &[u8] = b"http/1.0";

impl CustomALPN {
    /// A protocol named `proto`.
    ///
    /// A name has 1 to 255 bytes. A longer one is cut off, with an error in the log; an empty one
    /// is never offered.
    pub fn new(mut proto: Vec<u8>) -> Self {
        if proto.len() > MAX_NAME {
            log::error!(
                "the ALPN name of {} bytes is cut off at {MAX_NAME} bytes",
                proto.len()
            );
            proto.truncate(MAX_NAME);
        }
        let mut wire = Vec::with_capacity(proto.len() + 1);
        wire.push(u8::try_from(proto.len()).unwrap_or(u8::MAX));
        wire.append(&mut proto);
        CustomALPN { wire }
    }

    /// The name.
    pub fn protocol(&self) -> &[u8] {
        self.wire.get(1..).unwrap_or_default()
    }

    /// The name with its length in front.
    pub fn as_wire(&self) -> &[u8] {
        &self.wire
    }
}

impl ALPN {
    /// The protocols for HTTP versions from `min` to `max`, each 1 or 2.
    pub fn new(max: u8, min: u8) -> Self {
        match (max, min) {
            (..=1, _) => ALPN::H1,
            (_, 2..) => ALPN::H2,
            _ => ALPN::H2H1,
        }
    }

    /// The highest HTTP version: 1 or 2, or 0 if the protocol is not HTTP.
    pub fn get_max_http_version(&self) -> u8 {
        match self {
            ALPN::H1 => 1,
            ALPN::H2 | ALPN::H2H1 => 2,
            ALPN::Custom(_) => 0,
        }
    }

    /// The lowest HTTP version: 1 or 2, or 0 if the protocol is not HTTP.
    pub fn get_min_http_version(&self) -> u8 {
        match self {
            ALPN::H1 | ALPN::H2H1 => 1,
            ALPN::H2 => 2,
            ALPN::Custom(_) => 0,
        }
    }

    /// The list as it stands on the wire, each name with its length in front.
    pub(crate) fn to_wire(&self) -> &[u8] {
        match self {
            ALPN::H1 => b"\x08http/1.1",
            ALPN::H2 => b"\x02h2",
            ALPN::H2H1 => b"\x02h2\x08http/1.1",
            ALPN::Custom(custom) => custom.as_wire(),
        }
    }

    /// Whether this name is one of the list.
    pub(crate) fn offers(&self, name: &[u8]) -> bool {
        names(self.to_wire()).any(|ours| ours == name)
    }

    /// Of the list that a client offers, in the form of the wire, the name that this list likes
    /// best. HTTP/1.1 takes HTTP/1.0 in, as the last choice: who speaks the one speaks the other.
    pub(crate) fn select<'a>(&self, offered: &'a [u8]) -> Option<&'a [u8]> {
        let older = match self {
            ALPN::H1 | ALPN::H2H1 => Some(HTTP_1_0),
            ALPN::H2 | ALPN::Custom(_) => None,
        };
        names(self.to_wire())
            .chain(older)
            .find_map(|ours| names(offered).find(|theirs| *theirs == ours))
    }

    /// Of the names that a client offers, in its order, the one that this list likes best; `None` if there
    /// is none in common, and the client is to be turned away (RFC 7301 section 3.2). HTTP/1.1 takes HTTP/1.0
    /// in, as the last choice. For backends.
    pub fn select_from<'a>(&self, offered: impl IntoIterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
        let offered: Vec<&[u8]> = offered.into_iter().collect();
        let older = match self {
            ALPN::H1 | ALPN::H2H1 => Some(HTTP_1_0),
            ALPN::H2 | ALPN::Custom(_) => None,
        };
        let mut ours = names(self.to_wire()).chain(older);
        ours.find_map(|ours| offered.iter().copied().find(|theirs| *theirs == ours))
    }

    /// The names to offer, the preferred one first. For backends.
    pub fn protocols(&self) -> impl Iterator<Item = &[u8]> {
        names(self.to_wire())
    }

    /// The protocol that was agreed upon, by its name on the wire.
    pub fn from_selected(name: &[u8]) -> ALPN {
        match name {
            b"h2" => ALPN::H2,
            b"http/1.1" | HTTP_1_0 => ALPN::H1,
            other => ALPN::Custom(CustomALPN::new(other.to_vec())),
        }
    }
}

/// The names in a list in the form of the wire; it ends if the form is broken, also by an empty name.
fn names(mut wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length @ 1.., rest) = wire.split_first()? else {
            return None;
        };
        let (name, rest) = rest.split_at_checked((*length).into())?;
        wire = rest;
        Some(name)
    })
}

impl fmt::Display for ALPN {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ALPN::H1 => f.write_str("H1"),
            ALPN::H2 => f.write_str("H2"),
            ALPN::H2H1 => f.write_str("H2H1"),
            ALPN::Custom(custom) => write!(f, "{}", custom.protocol().escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_choose_the_protocols() {
        for (max, min, alpn) in [
            (1, 1, ALPN::H1),
            (2, 2, ALPN::H2),
            (2, 1, ALPN::H2H1),
            (0, 0, ALPN::H1),
        ] {
            assert_eq!(ALPN::new(max, min), alpn);
        }
        assert_eq!(ALPN::H2H1.get_max_http_version(), 2);
        assert_eq!(ALPN::H2H1.get_min_http_version(), 1);
    }

    #[test]
    fn a_custom_name_fits_the_wire() {
        let custom = CustomALPN::new(b"doom".to_vec());
        assert_eq!(custom.as_wire(), b"\x04doom");
        assert_eq!(ALPN::from_selected(b"doom"), ALPN::Custom(custom));
        let long = CustomALPN::new(vec![b'x'; 300]);
        assert_eq!((long.as_wire()[0], long.protocol().len()), (255, 255));
        assert_eq!(CustomALPN::new(vec![]).protocol(), b"");
    }

    #[test]
    fn the_servers_preference_decides() {
        let offered = b"\x08http/1.1\x02h2\x03foo";
        for (alpn, selected) in [
            (ALPN::H2H1, Some(&b"h2"[..])),
            (ALPN::H1, Some(b"http/1.1")),
            (ALPN::Custom(CustomALPN::new(b"foo".to_vec())), Some(b"foo")),
            (ALPN::Custom(CustomALPN::new(b"bar".to_vec())), None),
        ] {
            assert_eq!(alpn.select(offered), selected, "{alpn}");
        }
        let oldest = b"\x08http/1.0";
        let older = b"\x08http/0.9\x08http/1.0\x08http/1.1";
        for (alpn, offered, selected) in [
            (ALPN::H1, &oldest[..], Some(&b"http/1.0"[..])),
            (ALPN::H2H1, oldest, Some(b"http/1.0")),
            (ALPN::H2H1, older, Some(b"http/1.1")),
            (ALPN::H2, oldest, None),
            (ALPN::H2H1, b"\x08http/0.9", None),
            (ALPN::H2H1, b"\x03h2c\x08HTTP/1.1", None),
            (ALPN::H2H1, b"\x02\x0a\x0a\x02h2\x02h2", Some(b"h2")),
            (ALPN::Custom(CustomALPN::new(vec![])), b"\0\x02h2", None),
        ] {
            assert_eq!(
                alpn.select(offered),
                selected,
                "{alpn} {}",
                offered.escape_ascii()
            );
        }
        assert_eq!(ALPN::from_selected(b"http/1.0"), ALPN::H1);
        for broken in [&b""[..], b"\x02h", b"\xffh2", b"\0"] {
            assert_eq!(ALPN::H2H1.select(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn what_is_selected_is_what_was_offered() {
        assert_eq!(ALPN::from_selected(&ALPN::H2.to_wire()[1..]), ALPN::H2);
        assert_eq!(ALPN::from_selected(&ALPN::H1.to_wire()[1..]), ALPN::H1);
    }
}
