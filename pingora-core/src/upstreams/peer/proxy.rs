//! A CONNECT proxy on the way to a peer.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;

/// A CONNECT proxy on the way to a peer (RFC 9110 section 9.3.6).
#[derive(Clone)]
pub struct Proxy {
    /// The address that the proxy listens on: the path of a Unix socket, or `HOST:PORT`. A host
    /// that is a name is resolved for each connection, without blocking. Text with a slash is
    /// always a path.
    pub next_hop: Box<Path>,
    /// The host that the proxy connects to.
    pub host: String,
    /// The port that the proxy connects to.
    pub port: u16,
    /// Header fields of the CONNECT request.
    pub headers: BTreeMap<String, Vec<u8>>,
}

/// The address that a proxy listens on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NextHop<'a> {
    /// The path of a Unix socket.
    Unix(&'a Path),
    /// Host and port. An IPv6 address has brackets.
    Inet(&'a str),
}

impl Proxy {
    /// The address that the proxy listens on.
    pub(crate) fn listens_on(&self) -> NextHop<'_> {
        let Some(text) = self.next_hop.to_str() else {
            return NextHop::Unix(&self.next_hop);
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return NextHop::Unix(Path::new(path));
        }
        match text.rsplit_once(':') {
            Some((host, port))
                if !host.is_empty() && !text.contains('/') && port.parse::<u16>().is_ok() =>
            {
                NextHop::Inet(text)
            }
            _ => NextHop::Unix(&self.next_hop),
        }
    }
}

impl fmt::Debug for Proxy {
    /// The names of the header fields only: one of the values may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("next_hop", &self.next_hop)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("headers", &self.headers.keys())
            .finish()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "next_hop: {}, host: {}, port: {}",
            self.next_hop.display(),
            self.host,
            self.port
        )
    }
}

impl Hash for Proxy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.next_hop.hash(state);
        self.host.hash(state);
        self.port.hash(state);
        self.headers.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(next_hop: &str) -> Proxy {
        Proxy {
            next_hop: Path::new(next_hop).into(),
            host: "10.0.0.1".to_string(),
            port: 443,
            headers: BTreeMap::from([(
                "Proxy-Authorization".to_string(),
                b"Basic c2VjcmV0".to_vec(),
            )]),
        }
    }

    #[test]
    fn a_proxy_listens_on_a_path_or_a_port() {
        for (next_hop, listens_on) in [
            (
                "/run/proxy.sock",
                NextHop::Unix(Path::new("/run/proxy.sock")),
            ),
            ("/run/proxy:80", NextHop::Unix(Path::new("/run/proxy:80"))),
            ("unix:/run/proxy", NextHop::Unix(Path::new("/run/proxy"))),
            ("./proxy:80", NextHop::Unix(Path::new("./proxy:80"))),
            ("proxy.sock", NextHop::Unix(Path::new("proxy.sock"))),
            ("proxy:", NextHop::Unix(Path::new("proxy:"))),
            ("proxy:http", NextHop::Unix(Path::new("proxy:http"))),
            ("proxy:65536", NextHop::Unix(Path::new("proxy:65536"))),
            (":80", NextHop::Unix(Path::new(":80"))),
            ("proxy.example:3128", NextHop::Inet("proxy.example:3128")),
            ("127.0.0.1:3128", NextHop::Inet("127.0.0.1:3128")),
            ("[::1]:3128", NextHop::Inet("[::1]:3128")),
        ] {
            assert_eq!(proxy(next_hop).listens_on(), listens_on, "{next_hop}");
        }
    }

    #[test]
    fn the_values_of_header_fields_are_not_shown() {
        let proxy = proxy("/run/proxy.sock");
        let shown = format!("{proxy:?} {proxy}");
        assert!(shown.contains("Proxy-Authorization"), "{shown}");
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
        let bytes = format!("{:?}", b"Basic c2VjcmV0");
        assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
    }
}
