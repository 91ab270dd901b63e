//! HTTP/1.1 as its strictest reader sees it, written for this alone: what it takes, every reader takes alike.

/// Who wrote the message.
#[derive(Debug, Clone, Copy)]
pub enum Side<'a> {
    Request,
    /// The method that it answers.
    Response(&'a str),
}

#[derive(Debug, Default)]
pub struct Message<'a> {
    /// The start line's three parts.
    pub start: [String; 3],
    pub fields: Vec<(String, &'a [u8])>,
    pub body: Vec<u8>,
    pub complete: bool,
    /// What follows is another protocol.
    pub tunnel: bool,
    pub rest: &'a [u8],
}

impl Message<'_> {
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.fields.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| *value).collect()
    }

    /// The number in `X-Seq`.
    pub fn number(&self) -> Option<usize> {
        match self.all("x-seq")[..] {
            [] => None,
            [value] => Some(std::str::from_utf8(value).unwrap().parse().unwrap()),
            _ => panic!("two of them: {self:?}"),
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// The next message; `None`: its head is not complete.
pub fn next<'a>(bytes: &'a [u8], side: Side<'_>) -> Option<Message<'a>> {
    let end = find(bytes, b"\r\n\r\n")?;
    let (head, rest) = (&bytes[..end + 2], &bytes[end + 4..]);
    let mut lines = vec![];
    let mut left = head;
    while let Some(end) = find(left, b"\r\n") {
        let line = &left[..end];
        assert!(!line.iter().any(|b| b"\r\n\0".contains(b)), "{head:?}");
        lines.push(line);
        left = &left[end + 2..];
    }
    let mut lines = lines.into_iter();
    let start = String::from_utf8_lossy(lines.next().unwrap());
    let mut parts = start.splitn(3, ' ');
    let start = [(); 3].map(|()| parts.next().expect("three parts").to_owned());
    let mut fields = vec![];
    for line in lines {
        let colon = line.iter().position(|b| *b == b':').expect("a field has a colon");
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        assert!(!name.is_empty() && name.iter().all(is_token), "{line:?}");
        let name = String::from_utf8(name.to_ascii_lowercase()).unwrap();
        fields.push((name, value.trim_ascii()));
    }
    let mut message = Message {
        start,
        fields,
        rest,
        ..Message::default()
    };
    read_body(&mut message, side);
    Some(message)
}

fn read_body(message: &mut Message<'_>, side: Side<'_>) {
    let lengths = message.all("content-length");
    let codings = message.all("transfer-encoding");
    assert!(lengths.len() + codings.len() <= 1, "{message:?}");
    let length: Option<usize> = lengths.first().map(|digits| {
        assert!(!digits.is_empty() && digits.iter().all(u8::is_ascii_digit), "{message:?}");
        std::str::from_utf8(digits).unwrap().parse().unwrap_or(usize::MAX)
    });
    let chunked = codings.first().map(|coding| assert_eq!(*coding, b"chunked"));
    let until_close = match side {
        Side::Request => {
            let [method, target, version] = &message.start;
            assert!(!method.is_empty() && method.bytes().all(|b| is_token(&b)), "{method}");
            assert!(!target.is_empty() && target.bytes().all(|b| b > 0x20 && b != 0x7f), "{target}");
            assert_eq!(version, "HTTP/1.1");
            assert_eq!(message.all("host").len(), 1, "{message:?}");
            let tunnel = method == "CONNECT" || !message.all("upgrade").is_empty();
            message.tunnel = tunnel;
            false
        }
        Side::Response(method) => {
            let [version, status, _] = &message.start;
            assert!(matches!(&**version, "HTTP/1.1" | "HTTP/1.0"), "{message:?}");
            let status: u16 = status.parse().expect("a status is a number");
            assert!((100..1000).contains(&status));
            message.tunnel = status == 101 || method == "CONNECT" && status / 100 == 2;
            if status / 100 == 1 || matches!(status, 204 | 304) || method == "HEAD" || message.tunnel {
                message.complete = true;
                return;
            }
            length.is_none() && chunked.is_none()
        }
    };
    if until_close {
        (message.body, message.rest, message.complete) = (message.rest.to_vec(), b"", false);
    } else if chunked.is_some() {
        read_chunks(message);
    } else {
        let length = length.unwrap_or(0);
        message.complete = message.rest.len() >= length;
        let (body, rest) = message.rest.split_at(length.min(message.rest.len()));
        (message.body, message.rest) = (body.to_vec(), rest);
    }
}

fn read_chunks(message: &mut Message<'_>) {
    loop {
        let Some(end) = find(message.rest, b"\r\n") else {
            message.rest = b"";
            return;
        };
        let digits = std::str::from_utf8(&message.rest[..end]).expect("a size is ASCII");
        assert!(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{digits}");
        let size = usize::from_str_radix(digits, 16).expect("a size is a number");
        let after = &message.rest[end + 2..];
        if size == 0 {
            // Trailers end with an empty line, which may come at once.
            let trailers = &message.rest[end..];
            match find(trailers, b"\r\n\r\n") {
                Some(end) => {
                    message.complete = true;
                    message.rest = &trailers[end + 4..];
                }
                None => message.rest = b"",
            }
            return;
        }
        let available = size.min(after.len());
        message.body.extend_from_slice(&after[..available]);
        match after.get(size..size + 2) {
            Some(end) => {
                assert_eq!(end, b"\r\n");
                message.rest = &after[size + 2..];
            }
            None => {
                message.rest = b"";
                return;
            }
        }
    }
}
