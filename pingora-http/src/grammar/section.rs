//! Field sections of HTTP/2 and HTTP/3: pseudo-header fields, and the fields behind them (RFC 9113
//! section 8.3, RFC 9114 section 4.3).

use super::{
    is_authority, is_connect_target, is_field_value, is_http_scheme, is_lower_case_field_name,
    is_method, is_origin_form, is_token, status_code,
};
use crate::control_field::ControlField;

/// The kind of a field section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The head of a request.
    Request,
    /// The head of a response, a final or an informational one.
    Response,
    /// The trailer fields of either.
    Trailers,
}

/// The kind of one line in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:protocol` (RFC 8441 section 4)
    Protocol,
    /// `:status`
    Status,
    /// A field; for one that affects the framing, which one.
    Field(Option<ControlField>),
}

/// The reason why a section is malformed. That is an error of its stream, not of the connection (RFC 9113
/// section 8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A name is not a token, or has upper-case letters.
    Name,
    /// A value contains a control character, or begins or ends with whitespace.
    Value,
    /// A connection-specific field (RFC 9113 section 8.2.2).
    ConnectionField,
    /// `TE` with a value other than `trailers`.
    Te,
    /// An unknown pseudo-header field.
    UnknownPseudo,
    /// A pseudo-header field after a regular field.
    LatePseudo,
    /// A repeated pseudo-header field.
    RepeatedPseudo,
    /// A pseudo-header field that is not allowed in this section.
    MisplacedPseudo,
    /// A pseudo-header field is missing.
    MissingPseudo,
    /// `:method` is not a token.
    Method,
    /// `:scheme` is not http or https.
    Scheme,
    /// `:authority` is not a host with an optional port; for CONNECT, with a port.
    Authority,
    /// `:path` does not begin with a slash, or contains bytes that a target must not contain.
    Path,
    /// `:protocol` is not a token.
    Protocol,
    /// `:status` is not three digits, or is 101, which these versions don't have (RFC 9113 section 8.6).
    Status,
}

impl Malformed {
    /// The reason, for a log line.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Name => "a field name is not a token in lower case",
            Self::Value => "a field value holds a control character or has whitespace around it",
            Self::ConnectionField => "a field that speaks of the connection",
            Self::Te => "TE says more than trailers",
            Self::UnknownPseudo => "a pseudo-header field is not known",
            Self::LatePseudo => "a pseudo-header field behind a field",
            Self::RepeatedPseudo => "a pseudo-header field is there twice",
            Self::MisplacedPseudo => "a pseudo-header field has no place here",
            Self::MissingPseudo => "a pseudo-header field is missing",
            Self::Method => "the method is not a token",
            Self::Scheme => "the scheme is not http or https",
            Self::Authority => ":authority is malformed",
            Self::Path => "the request target is malformed",
            Self::Protocol => ":protocol is not a token",
            Self::Status => "the status is not one of this version",
        }
    }
}

/// The requirements of `:method` for the other pseudo-header fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Connect,
    Options,
    Other,
}

/// Validates a section, line by line: call [`line`](Self::line) for each in the order of arrival, then
/// [`end`](Self::end). Stores no field.
///
/// `Host`, lengths and the number of fields are not checked here, because their rules are the same in all
/// versions.
///
/// ```
/// use pingora_http::grammar::{Malformed, Section, SectionCheck};
///
/// let mut check = SectionCheck::new(Section::Response);
/// check.line(b":status", b"200").unwrap();
/// check.line(b"content-type", b"text/html").unwrap();
/// assert_eq!(check.line(b"x\"y", b"1"), Err(Malformed::Name));
/// assert_eq!(check.line(b":path", b"/"), Err(Malformed::MisplacedPseudo));
/// ```
#[derive(Debug, Clone)]
pub struct SectionCheck {
    section: Section,
    /// One bit for each pseudo-header field seen.
    seen: u8,
    in_fields: bool,
    method: Method,
    /// The path is an asterisk.
    asterisk: bool,
    /// The authority has a port.
    port: bool,
}

const METHOD: u8 = 1;
const SCHEME: u8 = 1 << 1;
const AUTHORITY: u8 = 1 << 2;
const PATH: u8 = 1 << 3;
const PROTOCOL: u8 = 1 << 4;
const STATUS: u8 = 1 << 5;

impl SectionCheck {
    /// Before the first line.
    pub fn new(section: Section) -> Self {
        Self {
            section,
            seen: 0,
            in_fields: false,
            method: Method::Other,
            asterisk: false,
            port: false,
        }
    }

    /// Processes a line, and returns its kind.
    ///
    /// # Errors
    /// Why the line makes the section malformed. Later lines can still be processed, for a log.
    #[inline]
    pub fn line(&mut self, name: &[u8], value: &[u8]) -> Result<Line, Malformed> {
        if name.first() == Some(&b':') {
            return self.pseudo(name, value);
        }
        self.in_fields = true;
        if !is_lower_case_field_name(name) {
            return Err(Malformed::Name);
        }
        if !is_field_value(value) {
            return Err(Malformed::Value);
        }
        let control = ControlField::of(name);
        match control {
            Some(field) if field.is_of_http1_only() => Err(Malformed::ConnectionField),
            Some(ControlField::Te) if !value.eq_ignore_ascii_case(b"trailers") => {
                Err(Malformed::Te)
            }
            _ => Ok(Line::Field(control)),
        }
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<Line, Malformed> {
        let (line, bit, section) = match name {
            b":method" => (Line::Method, METHOD, Section::Request),
            b":scheme" => (Line::Scheme, SCHEME, Section::Request),
            b":authority" => (Line::Authority, AUTHORITY, Section::Request),
            b":path" => (Line::Path, PATH, Section::Request),
            b":protocol" => (Line::Protocol, PROTOCOL, Section::Request),
            b":status" => (Line::Status, STATUS, Section::Response),
            _ => return Err(Malformed::UnknownPseudo),
        };
        if section != self.section {
            return Err(Malformed::MisplacedPseudo);
        }
        if self.in_fields {
            return Err(Malformed::LatePseudo);
        }
        if self.seen & bit != 0 {
            return Err(Malformed::RepeatedPseudo);
        }
        self.seen |= bit;
        let (sound, malformed) = match line {
            Line::Method => {
                self.method = match value {
                    b"CONNECT" => Method::Connect,
                    b"OPTIONS" => Method::Options,
                    _ => Method::Other,
                };
                (is_method(value), Malformed::Method)
            }
            Line::Scheme => (is_http_scheme(value), Malformed::Scheme),
            Line::Authority => {
                self.port = is_connect_target(value);
                (is_authority(value), Malformed::Authority)
            }
            Line::Path => {
                self.asterisk = value == b"*";
                (is_origin_form(value, true), Malformed::Path)
            }
            Line::Protocol => (is_token(value), Malformed::Protocol),
            Line::Status | Line::Field(_) => (
                status_code(value).is_some_and(|status| status != 101),
                Malformed::Status,
            ),
        };
        if sound { Ok(line) } else { Err(malformed) }
    }

    /// Ends the section.
    ///
    /// # Errors
    /// Why the section as a whole is malformed: a pseudo-header field is missing, or is not allowed with
    /// the method (RFC 9113 sections 8.3.1, 8.3.2 and 8.5, RFC 8441 section 4).
    pub fn end(&self) -> Result<(), Malformed> {
        match self.section {
            Section::Trailers => Ok(()),
            Section::Response => self.has(STATUS),
            Section::Request if self.method == Method::Connect && self.seen & PROTOCOL == 0 => {
                if self.seen & (SCHEME | PATH) != 0 {
                    return Err(Malformed::MisplacedPseudo);
                }
                self.has(AUTHORITY)?;
                if self.port {
                    Ok(())
                } else {
                    Err(Malformed::Authority)
                }
            }
            Section::Request => {
                self.has(METHOD | SCHEME | PATH)?;
                if self.seen & PROTOCOL != 0 && self.method != Method::Connect {
                    return Err(Malformed::MisplacedPseudo);
                }
                if self.asterisk && self.method != Method::Options {
                    return Err(Malformed::Path);
                }
                Ok(())
            }
        }
    }

    fn has(&self, wanted: u8) -> Result<(), Malformed> {
        if self.seen & wanted == wanted {
            Ok(())
        } else {
            Err(Malformed::MissingPseudo)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Malformed::*;

    /// The verdict on the lines `name=value` of a section.
    fn judge(section: Section, lines: &[(&str, &[u8])]) -> Result<(), Malformed> {
        let mut check = SectionCheck::new(section);
        for (name, value) in lines {
            check.line(name.as_bytes(), value)?;
        }
        check.end()
    }

    /// A request for `path`, followed by more lines.
    fn get(path: &[u8], more: &[(&str, &[u8])]) -> Result<(), Malformed> {
        let head: [(&str, &[u8]); 4] = [
            (":method", b"GET"),
            (":scheme", b"https"),
            (":authority", b"a.test"),
            (":path", path),
        ];
        judge(Section::Request, &[&head, more].concat())
    }

    /// RFC 9113 section 8.3.1, and section 8.5 for CONNECT.
    #[test]
    fn a_request_has_the_pseudo_fields_of_its_method() {
        type Row<'a> = (&'a str, Result<(), Malformed>);
        let rows: &[Row<'_>] = &[
            (":method=GET :scheme=http :path=/", Ok(())),
            (":path=/ :scheme=HTTP :method=GET", Ok(())),
            (":method=GET :scheme=http :path=/ :authority=a", Ok(())),
            (":method=OPTIONS :scheme=http :path=*", Ok(())),
            (":path=* :scheme=http :method=OPTIONS", Ok(())),
            (":method=CONNECT :authority=a:443", Ok(())),
            (
                ":method=CONNECT :protocol=websocket :scheme=https :path=/c :authority=a",
                Ok(()),
            ),
            ("", Err(MissingPseudo)),
            (":method=GET :scheme=http", Err(MissingPseudo)),
            (":method=GET :path=/", Err(MissingPseudo)),
            (":scheme=http :path=/", Err(MissingPseudo)),
            (":method=GET :scheme= :path=/", Err(Scheme)),
            (":method=GET :scheme=ftp :path=/", Err(Scheme)),
            (":method=GET :scheme=http:// :path=/", Err(Scheme)),
            (":method= :scheme=http :path=/", Err(Method)),
            (":method=GE(T :scheme=http :path=/", Err(Method)),
            (":method=GET :scheme=http :path=", Err(Path)),
            (":method=GET :scheme=http :path=a", Err(Path)),
            (":method=GET :scheme=http :path=?q", Err(Path)),
            (":method=GET :scheme=http :path=*", Err(Path)),
            (":method=GET :scheme=http :path=http://a/", Err(Path)),
            (
                ":method=GET :scheme=http :path=/ :authority=",
                Err(Authority),
            ),
            (
                ":method=GET :scheme=http :path=/ :authority=u@a",
                Err(Authority),
            ),
            (
                ":method=GET :method=GET :scheme=http :path=/",
                Err(RepeatedPseudo),
            ),
            (
                ":method=GET :scheme=http :path=/ :path=/",
                Err(RepeatedPseudo),
            ),
            (
                ":method=GET :scheme=http :path=/ :status=200",
                Err(MisplacedPseudo),
            ),
            (
                ":method=GET :scheme=http :path=/ :foo=1",
                Err(UnknownPseudo),
            ),
            (":method=GET :scheme=http :path=/ :=1", Err(UnknownPseudo)),
            (
                ":method=GET :scheme=http :path=/ :PATH=/",
                Err(UnknownPseudo),
            ),
            (":method=GET :scheme=http x=1 :path=/", Err(LatePseudo)),
            (
                ":method=GET :protocol=websocket :scheme=https :path=/",
                Err(MisplacedPseudo),
            ),
            (":method=CONNECT :authority=a", Err(Authority)),
            (":method=CONNECT", Err(MissingPseudo)),
            (
                ":method=CONNECT :authority=a:1 :path=/",
                Err(MisplacedPseudo),
            ),
            (
                ":method=CONNECT :authority=a:1 :scheme=http",
                Err(MisplacedPseudo),
            ),
            (
                ":method=CONNECT :protocol=web(socket :scheme=https :path=/c",
                Err(Protocol),
            ),
            (
                ":method=CONNECT :protocol=websocket :scheme=https :path=*",
                Err(Path),
            ),
            (
                ":method=CONNECT :protocol=websocket :authority=a:1",
                Err(MissingPseudo),
            ),
        ];
        for (lines, expected) in rows {
            let pairs: Vec<_> = lines
                .split_whitespace()
                .map(|line| {
                    let at = line[1..].find('=').unwrap() + 1;
                    (&line[..at], &line.as_bytes()[at + 1..])
                })
                .collect();
            assert_eq!(judge(Section::Request, &pairs), *expected, "{lines}");
        }
    }

    #[test]
    fn a_path_holds_what_a_target_of_http1_may_hold() {
        for byte in 0..=u8::MAX {
            for path in [vec![b'/', byte], vec![b'/', b'?', byte, b'a']] {
                let fits = crate::grammar::is_target(&path);
                let expected = if fits { Ok(()) } else { Err(Path) };
                assert_eq!(get(&path, &[]), expected, "{path:?}");
            }
        }
    }

    /// RFC 9113 section 8.3.2.
    #[test]
    fn a_response_has_a_status_and_nothing_else() {
        type Row<'a> = (&'a [(&'a str, &'a [u8])], Result<(), Malformed>);
        let rows: &[Row<'_>] = &[
            (&[(":status", b"200")], Ok(())),
            (&[(":status", b"103"), ("link", b"</a>")], Ok(())),
            (&[], Err(MissingPseudo)),
            (&[("x", b"1")], Err(MissingPseudo)),
            (&[(":status", b"101")], Err(Status)),
            (&[(":status", b"20")], Err(Status)),
            (&[(":status", b"2000")], Err(Status)),
            (&[(":status", b"")], Err(Status)),
            (&[(":status", b"abc")], Err(Status)),
            (
                &[(":status", b"200"), (":status", b"200")],
                Err(RepeatedPseudo),
            ),
            (
                &[(":status", b"200"), (":path", b"/")],
                Err(MisplacedPseudo),
            ),
            (
                &[(":status", b"200"), (":method", b"GET")],
                Err(MisplacedPseudo),
            ),
            (&[("x", b"1"), (":status", b"200")], Err(LatePseudo)),
        ];
        for (lines, expected) in rows {
            assert_eq!(judge(Section::Response, lines), *expected, "{lines:?}");
        }
    }

    /// RFC 9113 section 8.1.
    #[test]
    fn trailers_have_no_pseudo_fields() {
        let pseudo: [(&str, &[u8]); 6] = [
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", b"a"),
            (":path", b"/"),
            (":protocol", b"websocket"),
            (":status", b"200"),
        ];
        assert_eq!(judge(Section::Trailers, &[]), Ok(()));
        assert_eq!(judge(Section::Trailers, &[("x-sum", b"1")]), Ok(()));
        for line in pseudo {
            let found = judge(Section::Trailers, &[line]);
            assert_eq!(found, Err(MisplacedPseudo), "{line:?}");
            let found = judge(Section::Trailers, &[("x-sum", b"1"), line]);
            assert_eq!(found, Err(MisplacedPseudo), "{line:?}");
        }
        let found = judge(Section::Trailers, &[(":foo", b"1")]);
        assert_eq!(found, Err(UnknownPseudo));
    }

    /// RFC 9113 sections 8.2.1 and 8.2.2: the same in all sections.
    #[test]
    fn fields_follow_the_rules_of_names_and_values_everywhere() {
        type Row<'a> = (&'a str, &'a [u8], Result<(), Malformed>);
        let rows: &[Row<'_>] = &[
            ("x", b"1", Ok(())),
            ("x", b"", Ok(())),
            ("x", b"a \t\xe9\xff\"b", Ok(())),
            ("te", b"trailers", Ok(())),
            ("te", b"gzip", Err(Te)),
            ("te", b"trailers, gzip", Err(Te)),
            ("", b"1", Err(Name)),
            ("X-A", b"1", Err(Name)),
            ("x\"y", b"1", Err(Name)),
            ("x(y", b"1", Err(Name)),
            ("x y", b"1", Err(Name)),
            ("x:y", b"1", Err(Name)),
            ("\u{e9}", b"1", Err(Name)),
            ("x", b" 1", Err(Value)),
            ("x", b"1\t", Err(Value)),
            ("x", b" ", Err(Value)),
            ("x", b"a\0b", Err(Value)),
            ("x", b"a\nb", Err(Value)),
            ("x", b"a\rb", Err(Value)),
            ("x", b"\x7f", Err(Value)),
            ("connection", b"close", Err(ConnectionField)),
            ("keep-alive", b"5", Err(ConnectionField)),
            ("proxy-connection", b"close", Err(ConnectionField)),
            ("transfer-encoding", b"chunked", Err(ConnectionField)),
            ("upgrade", b"h2c", Err(ConnectionField)),
            ("http2-settings", b"AAA", Err(ConnectionField)),
        ];
        for (name, value, expected) in rows {
            let line: (&str, &[u8]) = (name, value);
            assert_eq!(get(b"/", &[line]), *expected, "{name} {value:?}");
            let response = judge(Section::Response, &[(":status", b"200"), line]);
            assert_eq!(response, *expected, "{name} {value:?}");
            let trailers = judge(Section::Trailers, &[line]);
            assert_eq!(trailers, *expected, "{name} {value:?}");
        }
    }
}
