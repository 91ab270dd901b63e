//! The first message of a client (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2), as it came. No I/O.

/// The contents of a client's first message, in the client's order: enough for a fingerprint of its TLS
/// library, such as JA3 or JA4.
///
/// Values that a client strews in for tolerance's sake are included; see [`is_grease`](Self::is_grease).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    legacy_version: u16,
    cipher_suites: Vec<u16>,
    extensions: Vec<u16>,
    supported_versions: Vec<u16>,
    signature_algorithms: Vec<u16>,
    supported_groups: Vec<u16>,
    ec_point_formats: Vec<u8>,
    alpn: Vec<Vec<u8>>,
    server_name: Option<String>,
}

impl ClientHello {
    /// The version that stands at the beginning, `0x0303` since TLS 1.2.
    pub fn legacy_version(&self) -> u16 {
        self.legacy_version
    }

    /// The versions in the extension `supported_versions`; empty if the client did not send it.
    pub fn supported_versions(&self) -> &[u16] {
        &self.supported_versions
    }

    /// The highest version that the client offers, wherever it says so.
    pub fn highest_version(&self) -> u16 {
        let offered = self.supported_versions.iter().copied();
        let highest = offered.filter(|v| !Self::is_grease(*v)).max();
        highest.unwrap_or(self.legacy_version)
    }

    /// The cipher suites.
    pub fn cipher_suites(&self) -> &[u16] {
        &self.cipher_suites
    }

    /// The types of all extensions, unknown ones included.
    pub fn extensions(&self) -> &[u16] {
        &self.extensions
    }

    /// The signature algorithms (extension 13).
    pub fn signature_algorithms(&self) -> &[u16] {
        &self.signature_algorithms
    }

    /// The groups for the key exchange (extension 10).
    pub fn supported_groups(&self) -> &[u16] {
        &self.supported_groups
    }

    /// The formats of points on curves (extension 11).
    pub fn ec_point_formats(&self) -> &[u8] {
        &self.ec_point_formats
    }

    /// The names of the application protocols (extension 16).
    pub fn alpn(&self) -> impl Iterator<Item = &[u8]> {
        self.alpn.iter().map(Vec::as_slice)
    }

    /// The name that the client asks for (extension 0).
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Whether a value means nothing and was only strewn in (RFC 8701).
    pub fn is_grease(value: u16) -> bool {
        let [high, low] = value.to_be_bytes();
        high == low && low & 0x0f == 0x0a
    }

    /// Reads the message in the bytes that a client sends first, as records of TLS; `None` if there is
    /// no such message, or not all of it. For programs that look at a connection before its handshake:
    /// [`PreTlsProcess`](crate::listeners::PreTlsProcess).
    pub fn from_records(bytes: &[u8]) -> Option<Self> {
        let mut finder = ClientHelloFinder::default();
        finder.feed(bytes);
        finder.take().map(|hello| *hello)
    }

    /// Reads the body of a message; `None` if it is malformed.
    fn parse(body: &[u8]) -> Option<Self> {
        let mut rest = Reader(body);
        let mut hello = ClientHello {
            legacy_version: rest.u16()?,
            ..ClientHello::default()
        };
        let _random = rest.take(32)?;
        let _session_id = rest.short_list()?;
        hello.cipher_suites = rest.long_list()?.all_u16()?;
        let _compression = rest.short_list()?;
        // A message without extensions ends here.
        if rest.0.is_empty() {
            return Some(hello);
        }
        let mut extensions = rest.long_list()?;
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let data = extensions.long_list()?;
            hello.extensions.push(kind);
            hello.read_extension(kind, data)?;
        }
        Some(hello)
    }

    fn read_extension(&mut self, kind: u16, mut data: Reader<'_>) -> Option<()> {
        match kind {
            0 => {
                let mut names = data.long_list()?;
                let host_name = names.u8()? == 0;
                let name = names.long_list()?.0;
                let name = str::from_utf8(name).ok().filter(|_| host_name);
                self.server_name = name.map(str::to_string);
            }
            10 => self.supported_groups = data.long_list()?.all_u16()?,
            11 => self.ec_point_formats = data.short_list()?.0.to_vec(),
            13 => self.signature_algorithms = data.long_list()?.all_u16()?,
            16 => {
                let mut names = data.long_list()?;
                while !names.0.is_empty() {
                    self.alpn.push(names.short_list()?.0.to_vec());
                }
            }
            43 => self.supported_versions = data.short_list()?.all_u16()?,
            _ => {}
        }
        Some(())
    }
}

/// Bytes that are taken from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*first))
    }

    /// A list with its length in one byte in front.
    fn short_list(&mut self) -> Option<Reader<'a>> {
        let length = self.u8()?.into();
        self.take(length).map(Reader)
    }

    /// A list with its length in two bytes in front.
    fn long_list(&mut self) -> Option<Reader<'a>> {
        let length = self.u16()?.into();
        self.take(length).map(Reader)
    }

    fn all_u16(mut self) -> Option<Vec<u16>> {
        if self.0.len() % 2 == 1 {
            return None;
        }
        let mut all = Vec::with_capacity(self.0.len() / 2);
        while let Some(value) = self.u16() {
            all.push(value);
        }
        Some(all)
    }
}

/// More than any client's first message has; a longer one is not kept.
const MOST: usize = 32 * 1024;
/// Most bytes in a record in the clear (RFC 8446 section 5.1).
const MOST_IN_RECORD: usize = 16 * 1024;
const RECORD_HEADER: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Finds a client's first message in the bytes that come from it.
#[derive(Debug, Default)]
pub(crate) struct ClientHelloFinder {
    /// The records until now.
    raw: Vec<u8>,
    /// How many bytes there have to be before it is worth another look.
    look_at: usize,
    outcome: Search,
}

#[derive(Debug, Default)]
enum Search {
    #[default]
    Pending,
    Found(Box<ClientHello>),
    None,
}

impl ClientHelloFinder {
    /// Takes the next bytes; nothing is kept any more once the message is complete, or was none.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if !matches!(self.outcome, Search::Pending) {
            return;
        }
        self.raw.extend_from_slice(bytes);
        if self.raw.len() < self.look_at {
            return;
        }
        match self.message() {
            Found::Message(body) => {
                let parsed = ClientHello::parse(&body);
                self.end(parsed.map_or(Search::None, |hello| Search::Found(hello.into())));
            }
            Found::Nothing => self.end(Search::None),
            Found::Incomplete(_) if self.raw.len() > MOST => self.end(Search::None),
            Found::Incomplete(wanted) => self.look_at = wanted,
        }
    }

    /// Whether more bytes could still change anything.
    #[cfg(feature = "rustls")]
    pub(crate) fn is_over(&self) -> bool {
        !matches!(self.outcome, Search::Pending)
    }

    /// The message, if it has come.
    pub(crate) fn found(&self) -> Option<&ClientHello> {
        match &self.outcome {
            Search::Found(hello) => Some(hello),
            Search::Pending | Search::None => None,
        }
    }

    /// The message, if there was one.
    pub(crate) fn take(self) -> Option<Box<ClientHello>> {
        match self.outcome {
            Search::Found(hello) => Some(hello),
            Search::Pending | Search::None => None,
        }
    }

    fn end(&mut self, outcome: Search) {
        self.outcome = outcome;
        self.raw = Vec::new();
    }

    /// Puts the message together; it may be spread over several records.
    fn message(&self) -> Found {
        let mut rest = Reader(&self.raw);
        let mut message = Vec::new();
        loop {
            let begin = self.raw.len() - rest.0.len();
            let Some([kind, _, _, high, low]) = rest.take(RECORD_HEADER) else {
                return Found::Incomplete(begin + RECORD_HEADER);
            };
            if *kind != HANDSHAKE {
                return Found::Nothing;
            }
            let length = u16::from_be_bytes([*high, *low]).into();
            if length > MOST_IN_RECORD {
                return Found::Nothing;
            }
            let Some(fragment) = rest.take(length) else {
                return Found::Incomplete(begin + RECORD_HEADER + length);
            };
            message.extend_from_slice(fragment);
            let Some(([kind, a, b, c], body)) = message.split_first_chunk() else {
                continue;
            };
            if *kind != CLIENT_HELLO {
                return Found::Nothing;
            }
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if let Some(body) = body.get(..length) {
                return Found::Message(body.to_vec());
            }
        }
    }
}

enum Found {
    Message(Vec<u8>),
    /// So many bytes there have to be before more can be said.
    Incomplete(usize),
    Nothing,
}

#[cfg(test)]
mod tests;
