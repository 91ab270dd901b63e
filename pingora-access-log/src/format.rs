//! The format of a line: parsed once, when the program starts.

use crate::clock;
use crate::escape::{Quoting, Special};
use crate::variable::{Facts, Value, Variable, version};
use http::Version;
use pingora_error::{Error, ErrorType, Result};
use std::io::Write;
use std::net::IpAddr;

/// The fields of [`Format::json`], in order: name and variable.
const JSON_FIELDS: [(&str, &str); 22] = [
    ("time", "time_iso"),
    ("client", "client"),
    ("method", "method"),
    ("host", "host"),
    ("target", "target"),
    ("version", "version"),
    ("status", "status"),
    ("bytes", "bytes"),
    ("bytes_received", "bytes_received"),
    ("referer", "referer"),
    ("user_agent", "user_agent"),
    ("request_id", "field.x-request-id"),
    ("duration_seconds", "duration"),
    ("upstream", "upstream"),
    ("upstream_reused", "upstream_reused"),
    ("upstream_connect_seconds", "upstream_connect"),
    ("upstream_first_byte_seconds", "upstream_first_byte"),
    ("failed_tries", "failed_tries"),
    ("tls_version", "tls_version"),
    ("tls_cipher", "tls_cipher"),
    ("tls_server_name", "tls_server_name"),
    ("error", "error"),
];

/// The format of a log line. See `docs/access_log.md` for the variables.
#[derive(Debug, Clone)]
pub struct Format {
    pieces: Vec<Piece>,
    /// The characters that separate values outside of quotes.
    special: Special,
    /// Whether the request's times have to be recorded for it.
    takes_times: bool,
}

#[derive(Debug, Clone)]
enum Piece {
    Literal(Box<[u8]>),
    Text(Variable),
    Quoted(Variable),
    Json(Variable),
}

impl Format {
    /// The common log format: `$client - - [$time] "$request" $status $bytes`.
    pub fn common() -> Self {
        Format::of_known("$client - - [$time] \"$request\" $status $bytes")
    }

    /// The combined log format: the common one, `"$referer" "$user_agent"`.
    pub fn combined() -> Self {
        Format::of_known(
            "$client - - [$time] \"$request\" $status $bytes \"$referer\" \"$user_agent\"",
        )
    }

    /// One object per line, with the most common fields. Unknown values are `null`.
    pub fn json() -> Self {
        Format::json_of(&JSON_FIELDS).unwrap_or_else(|_| Format::empty())
    }

    /// One object per line, with these fields: the name of each, and its variable without a `$`.
    ///
    /// # Errors
    /// Names the unknown variable, or the duplicate name.
    pub fn json_of(fields: &[(&str, &str)]) -> Result<Self> {
        let mut made = Format::empty();
        for (index, (name, variable)) in fields.iter().enumerate() {
            if fields.iter().take(index).any(|(other, _)| other == name) {
                return refuse(format!("the field {name:?} stands twice"));
            }
            let mut before = if index == 0 {
                b"{\"".to_vec()
            } else {
                b",\"".to_vec()
            };
            Quoting::Json.put(name.as_bytes(), &mut before);
            before.extend_from_slice(b"\":");
            made.pieces.push(Piece::Literal(before.into()));
            made.push_variable(Piece::Json, known(variable)?);
        }
        let end: &[u8] = if fields.is_empty() { b"{}" } else { b"}" };
        made.pieces.push(Piece::Literal(end.into()));
        Ok(made)
    }

    /// A line of text: `$name` and `${name}` stand for variables, `$$` for a dollar sign; everything else is
    /// literal.
    ///
    /// A variable between double quotes can't contain a double quote; any other can't contain a
    /// blank or any punctuation that the format uses outside of quotes: clients can't shift
    /// columns.
    ///
    /// # Errors
    /// Names the unknown variable, or the invalid control character or quote.
    pub fn text(format: &str) -> Result<Self> {
        let mut made = Format::empty();
        made.special[usize::from(b' ')] = true;
        let (mut rest, mut quoted, mut literal) = (format, false, Vec::new());
        while let Some(c) = rest.chars().next() {
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            if c.is_control() && c != '\t' {
                return refuse(format!("the format contains the control character {c:?}"));
            }
            if c == '$' && !rest.starts_with('$') {
                let (name, after) = variable_at(rest)?;
                rest = after;
                made.push_literal(&mut literal);
                let variable = known(name)?;
                let piece = if quoted { Piece::Quoted } else { Piece::Text };
                made.push_variable(piece, variable);
                continue;
            }
            if c == '$' {
                rest = rest.get(1..).unwrap_or_default();
            }
            quoted ^= c == '"';
            if let (false, true, Ok(byte)) = (quoted, c.is_ascii_punctuation(), u8::try_from(c))
                && let Some(special) = made.special.get_mut(usize::from(byte))
            {
                *special = true;
            }
            literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if quoted {
            return refuse("a quote is not closed".to_owned());
        }
        made.push_literal(&mut literal);
        Ok(made)
    }

    fn empty() -> Self {
        Format {
            pieces: Vec::new(),
            special: [false; 128],
            takes_times: false,
        }
    }

    fn push_variable(&mut self, piece: fn(Variable) -> Piece, variable: Variable) {
        self.takes_times |= variable.takes_times();
        self.pieces.push(piece(variable));
    }

    /// Whether a request's times have to be recorded for a line of this format.
    pub(crate) fn takes_times(&self) -> bool {
        self.takes_times
    }

    /// A format of our own; a test proves that it is valid.
    fn of_known(format: &str) -> Self {
        Format::text(format).unwrap_or_else(|_| Format::empty())
    }

    fn push_literal(&mut self, literal: &mut Vec<u8>) {
        if !literal.is_empty() {
            let literal = std::mem::take(literal);
            self.pieces.push(Piece::Literal(literal.into()));
        }
    }

    /// Writes the line and its end.
    pub(crate) fn write(&self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        // Room for most lines: they grow at most once.
        out.reserve(512);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => out.extend_from_slice(literal),
                Piece::Text(variable) => {
                    put_text(facts.value(variable), Quoting::Bare(&self.special), out);
                }
                Piece::Quoted(variable) => put_text(facts.value(variable), Quoting::Quoted, out),
                Piece::Json(variable) => put_json(facts.value(variable), out),
            }
        }
        out.push(b'\n');
    }
}

fn put_text(value: Value<'_>, place: Quoting<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Bytes(bytes) if !bytes.is_empty() => place.put(&bytes, out),
        Value::Missing | Value::Bytes(_) => out.push(b'-'),
        Value::Line(method, target, version) => put_line(place, method, &target, version, out),
        other => put_plain(&other, out),
    }
}

fn put_json(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Missing => out.extend_from_slice(b"null"),
        Value::Number(_) | Value::Seconds(_) | Value::Flag(_) => put_plain(&value, out),
        text => {
            out.push(b'"');
            match text {
                Value::Bytes(bytes) => Quoting::Json.put(&bytes, out),
                Value::Line(method, target, version) => {
                    put_line(Quoting::Json, method, &target, version, out);
                }
                other => put_plain(&other, out),
            }
            out.push(b'"');
        }
    }
}

fn put_line(place: Quoting<'_>, method: &str, target: &[u8], of: Version, out: &mut Vec<u8>) {
    let version = version(of).as_bytes();
    place.put_all(&[method.as_bytes(), b" ", target, b" ", version], out);
}

/// A value that no client controls: digits and punctuation. Writing to memory does not fail.
fn put_plain(value: &Value<'_>, out: &mut Vec<u8>) {
    let _ = match value {
        Value::Number(number) => {
            put_number(*number, out);
            Ok(())
        }
        Value::Seconds(time) => write!(out, "{}.{:06}", time.as_secs(), time.subsec_micros()),
        Value::Flag(flag) => write!(out, "{flag}"),
        Value::Ip(IpAddr::V4(ip)) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                put_number(octet.into(), out);
            }
            Ok(())
        }
        Value::Ip(ip) => write!(out, "{ip}"),
        Value::Now => {
            clock::with_now(|second, _| out.extend_from_slice(second.common.as_bytes()));
            Ok(())
        }
        Value::NowIso => {
            clock::with_now(|second, millis| write!(out, "{}.{millis:03}Z", second.iso))
        }
        Value::Missing | Value::Bytes(_) | Value::Line(..) => Ok(()),
    };
}

/// The same as `write!`, without what makes that one flexible.
fn put_number(number: u64, out: &mut Vec<u8>) {
    let digit = |n: u64| b'0' + (n % 10) as u8;
    if number < 1000 {
        // A status, a part of an address.
        if number >= 100 {
            out.push(digit(number / 100));
        }
        if number >= 10 {
            out.push(digit(number / 10));
        }
        out.push(digit(number));
        return;
    }
    let begin = out.len();
    let mut rest = number;
    while rest > 0 {
        out.push(digit(rest));
        rest /= 10;
    }
    out.get_mut(begin..).unwrap_or_default().reverse();
}

/// The name after a dollar sign, and the rest.
fn variable_at(rest: &str) -> Result<(&str, &str)> {
    if let Some(braced) = rest.strip_prefix('{') {
        let parts = braced.split_once('}');
        return parts.map_or_else(|| refuse("a brace is not closed".to_owned()), Ok);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut end = rest.find(|c| !plain(c)).unwrap_or(rest.len());
    // Names of fields, after a dot, have hyphens.
    if let Some(parameter) = rest.get(end..).and_then(|rest| rest.strip_prefix('.'))
        && parameter.starts_with(plain)
    {
        let inner = parameter.find(|c| !plain(c) && c != '-');
        end += 1 + inner.unwrap_or(parameter.len());
    }
    Ok(rest.split_at(end))
}

fn known(name: &str) -> Result<Variable> {
    match Variable::named(name) {
        Some(variable) => Ok(variable),
        None => refuse(format!("there is no variable {name:?}")),
    }
}

fn refuse<T>(what: String) -> Result<T> {
    Error::e_explain(ErrorType::InternalError, format!("access log: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_format_is_named() {
        let rows = [
            ("$client $nope", "no variable \"nope\""),
            ("$client $", "no variable \"\""),
            ("${client", "brace"),
            ("\"$client", "quote"),
            ("$client\n", "control character"),
            ("$field.", "no variable \"field\""),
        ];
        for (format, wanted) in rows {
            let error = Format::text(format).unwrap_err().to_string();
            assert!(error.contains(wanted), "{format}: {error}");
        }
        for good in ["", "$$", "$client.", "${field.x-a}b", "$field.x-a $own.b_c"] {
            assert!(Format::text(good).is_ok(), "{good}");
        }
        let wrong = Format::json_of(&[("a", "status"), ("b", "state")]).unwrap_err();
        assert!(wrong.to_string().contains("no variable \"state\""));
        assert!(Format::json_of(&[("a", "status"), ("a", "bytes")]).is_err());
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [
            0,
            7,
            10,
            99,
            100,
            200,
            999,
            1000,
            65_535,
            u64::MAX - 1,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            put_number(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }

    #[test]
    fn times_are_recorded_for_formats_with_times() {
        assert!(Format::json().takes_times());
        assert!(Format::text("$upstream").unwrap().takes_times());
        assert!(!Format::combined().takes_times() && !Format::common().takes_times());
        assert!(
            !Format::text("$time $failed_try_count")
                .unwrap()
                .takes_times()
        );
    }

    #[test]
    fn the_known_formats_are_right() {
        assert_eq!(Format::json().pieces.len(), 2 * JSON_FIELDS.len() + 1);
        assert!(Format::common().pieces.len() > 8);
        assert!(Format::combined().pieces.len() > 12);
    }
}
