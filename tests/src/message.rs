//! Messages as they came over the wire.

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Where its framing said, or without a body.
    Complete,
    /// By the end of the connection, which is how a close-delimited body ends.
    Closed,
    /// The connection ended before the body did.
    CutShort,
    /// The connection was reset before the body ended.
    Reset,
    /// The stream was reset with this code (RFC 9113 section 7) before the body ended.
    StreamReset(u32),
}

/// A request or response as it came over the wire: names in their case, fields in their order. Over
/// HTTP/2, the order is kept among the fields of one name, and chunks are the DATA frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The first line, without its line end.
    pub start_line: String,
    /// The header fields.
    pub fields: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The sizes of the chunks, the last one of 0 left out; empty where the body isn't chunked.
    pub chunks: Vec<usize>,
    /// The trailer fields.
    pub trailers: Vec<(String, String)>,
    /// How it ended.
    pub ending: Ending,
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Message {
    /// One that has nothing but its first line. Over HTTP/2 that is made up, with `HTTP/2.0` for a
    /// version.
    pub(crate) fn empty(start_line: &str) -> Self {
        Self {
            start_line: start_line.to_string(),
            fields: Vec::new(),
            body: Vec::new(),
            chunks: Vec::new(),
            trailers: Vec::new(),
            ending: Ending::Complete,
        }
    }

    /// Parses a head with its blank line.
    ///
    /// # Panics
    /// When it is no head.
    pub(crate) fn from_head(head: &[u8]) -> Self {
        let text = std::str::from_utf8(head).expect("the head is UTF-8");
        let text = text
            .strip_suffix("\r\n\r\n")
            .expect("the head ends with a blank line");
        let mut lines = text.split("\r\n");
        let start_line = lines.next().unwrap_or_default().to_string();
        let mut message = Self::empty(&start_line);
        message.fields = lines.map(field).collect();
        message
    }

    /// The status code of a response.
    ///
    /// # Panics
    /// When it is a request.
    pub fn status(&self) -> u16 {
        let code = self
            .start_line
            .strip_prefix("HTTP/")
            .and_then(|rest| rest.get(4..7));
        let code = code.and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("not a status line: {}", self.start_line))
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start_line.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.start_line.split(' ').nth(1).unwrap_or_default()
    }

    /// The first value of a header field; the name's case doesn't matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).into_iter().next()
    }

    /// All values of a header field.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let same = self
            .fields
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it isn't UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// Whether the whole message arrived.
    pub fn is_complete(&self) -> bool {
        matches!(self.ending, Ending::Complete | Ending::Closed)
    }

    /// How the body of a request is delimited (RFC 9112 section 6.3).
    pub(crate) fn request_framing(&self) -> Framing {
        self.declared_framing().unwrap_or(Framing::Length(0))
    }

    /// How the body of the response to a request with `method` is delimited.
    pub(crate) fn response_framing(&self, method: &str) -> Framing {
        match self.status() {
            _ if method == "HEAD" => Framing::Length(0),
            100..=199 | 204 | 304 => Framing::Length(0),
            200..=299 if method == "CONNECT" => Framing::Length(0),
            _ => self.declared_framing().unwrap_or(Framing::UntilClose),
        }
    }

    fn declared_framing(&self) -> Option<Framing> {
        if let Some(coding) = self.header("Transfer-Encoding") {
            assert_eq!(coding, "chunked", "no other coding is used in these tests");
            return Some(Framing::Chunked);
        }
        let length = self.header("Content-Length")?;
        Some(Framing::Length(
            length.parse().expect("Content-Length is a number"),
        ))
    }
}

/// Splits a field line.
///
/// # Panics
/// When it has no colon.
pub(crate) fn field(line: &str) -> (String, String) {
    let (name, value) = line
        .split_once(':')
        .unwrap_or_else(|| panic!("no field: {line:?}"));
    (
        name.to_string(),
        value.trim_matches([' ', '\t']).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_to_head_has_no_body() {
        let message = Message::from_head(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
        assert_eq!(message.status(), 200);
        assert_eq!(message.response_framing("HEAD"), Framing::Length(0));
        assert_eq!(message.response_framing("GET"), Framing::Length(5));
    }

    #[test]
    fn names_keep_their_case_and_are_found_without_it() {
        let message = Message::from_head(b"GET /a HTTP/1.1\r\nhOsT: x\r\nA: 1\r\na:2 \r\n\r\n");
        assert_eq!((message.method(), message.target()), ("GET", "/a"));
        assert_eq!(
            message.fields.first(),
            Some(&("hOsT".to_string(), "x".to_string()))
        );
        assert_eq!(message.headers("A"), ["1", "2"]);
        assert_eq!(message.request_framing(), Framing::Length(0));
    }
}
