//! The variables of formats: their names, and their values for a request.

use crate::clock;
use crate::redaction::{REDACTED, Redaction};
use http::Version;
use http::header::{CONTENT_LOCATION, HOST, HeaderName, LOCATION, REFERER, USER_AGENT};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::tls::SslDigest;
use pingora_error::Error;
use pingora_proxy::{Session, TryTimes};
use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

/// The meaning of a name in a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Variable {
    Client,
    ClientPort,
    Server,
    Request,
    Method,
    Target,
    Path,
    Query,
    Host,
    Version,
    Status,
    Bytes,
    BytesReceived,
    Field(HeaderName),
    ResponseField(HeaderName),
    Time,
    TimeIso,
    TimeUnix,
    Duration,
    Upstream,
    UpstreamReused,
    UpstreamConnect,
    UpstreamFirstByte,
    UpstreamDuration,
    FailedTries,
    FailedTryCount,
    TlsVersion,
    TlsCipher,
    TlsServerName,
    TlsResumed,
    Error,
    Own(Box<str>),
}

/// Variables without a parameter.
const NAMES: [(&str, Variable); 31] = [
    ("client", Variable::Client),
    ("client_port", Variable::ClientPort),
    ("server", Variable::Server),
    ("request", Variable::Request),
    ("method", Variable::Method),
    ("target", Variable::Target),
    ("path", Variable::Path),
    ("query", Variable::Query),
    ("host", Variable::Host),
    ("version", Variable::Version),
    ("status", Variable::Status),
    ("bytes", Variable::Bytes),
    ("bytes_received", Variable::BytesReceived),
    ("referer", Variable::Field(REFERER)),
    ("user_agent", Variable::Field(USER_AGENT)),
    ("time", Variable::Time),
    ("time_iso", Variable::TimeIso),
    ("time_unix", Variable::TimeUnix),
    ("duration", Variable::Duration),
    ("upstream", Variable::Upstream),
    ("upstream_reused", Variable::UpstreamReused),
    ("upstream_connect", Variable::UpstreamConnect),
    ("upstream_first_byte", Variable::UpstreamFirstByte),
    ("upstream_duration", Variable::UpstreamDuration),
    ("failed_tries", Variable::FailedTries),
    ("failed_try_count", Variable::FailedTryCount),
    ("tls_version", Variable::TlsVersion),
    ("tls_cipher", Variable::TlsCipher),
    ("tls_server_name", Variable::TlsServerName),
    ("tls_resumed", Variable::TlsResumed),
    ("error", Variable::Error),
];

impl Variable {
    pub(crate) fn named(name: &str) -> Option<Variable> {
        let field = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
        match name.split_once('.') {
            Some(("field", name)) => field(name).map(Variable::Field),
            Some(("response", name)) => field(name).map(Variable::ResponseField),
            Some(("own", name)) if !name.is_empty() => Some(Variable::Own(name.into())),
            Some(_) => None,
            None => {
                let found = NAMES.iter().find(|(known, _)| *known == name)?;
                Some(found.1.clone())
            }
        }
    }

    /// Whether its value is recorded while the request is under way.
    pub(crate) fn takes_times(&self) -> bool {
        matches!(
            self,
            Variable::Duration
                | Variable::Upstream
                | Variable::UpstreamReused
                | Variable::UpstreamConnect
                | Variable::UpstreamFirstByte
                | Variable::UpstreamDuration
                | Variable::FailedTries
        )
    }
}

/// A value, not yet written.
pub(crate) enum Value<'a> {
    Missing,
    Number(u64),
    Seconds(Duration),
    Flag(bool),
    Ip(IpAddr),
    /// The present time, `10/Oct/2000:13:55:36 +0000`.
    Now,
    /// The present time, `2000-10-10T13:55:36.123Z`.
    NowIso,
    /// Method, target and version.
    Line(&'a str, Cow<'a, [u8]>, Version),
    Bytes(Cow<'a, [u8]>),
}

impl<'a> Value<'a> {
    fn bytes(bytes: &'a [u8]) -> Self {
        Value::Bytes(Cow::Borrowed(bytes))
    }

    fn text(text: String) -> Self {
        Value::Bytes(Cow::Owned(text.into_bytes()))
    }

    fn seconds(duration: Option<Duration>) -> Self {
        duration.map_or(Value::Missing, Value::Seconds)
    }

    fn address(address: Option<&SocketAddr>) -> Self {
        address.map_or(Value::Missing, |address| Value::text(address.to_string()))
    }
}

/// The data for a line.
pub(crate) struct Facts<'a> {
    pub(crate) session: &'a Session,
    pub(crate) error: Option<&'a Error>,
    pub(crate) own: &'a [(&'a str, &'a str)],
    pub(crate) redaction: &'a Redaction,
    /// The first line of an unusable head.
    refused: Option<String>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(
        session: &'a Session,
        error: Option<&'a Error>,
        own: &'a [(&'a str, &'a str)],
        redaction: &'a Redaction,
    ) -> Self {
        let refused = session.fault().and_then(|_| {
            let summary = session.request_summary();
            let (what, line) = summary.split_once(": ")?;
            what.ends_with(" head")
                .then(|| line.trim_matches('"').to_owned())
        });
        Facts {
            session,
            error,
            own,
            redaction,
            refused,
        }
    }

    pub(crate) fn value(&self, variable: &Variable) -> Value<'_> {
        let session = self.session;
        match variable {
            Variable::Client => match session.client_addr() {
                Some(SocketAddr::Inet(address)) => Value::Ip(address.ip()),
                other => Value::address(other),
            },
            Variable::ClientPort => {
                let inet = session.client_addr().and_then(SocketAddr::as_inet);
                inet.map_or(Value::Missing, |a| Value::Number(a.port().into()))
            }
            Variable::Server => Value::address(session.server_addr()),
            Variable::Status => {
                let head = session.response_written();
                // Not by the fields, which would be made a map for it.
                let status = head.map(|head| head.line().status.as_u16());
                status.map_or(Value::Missing, |status| Value::Number(status.into()))
            }
            Variable::Bytes => Value::Number(session.body_bytes_sent() as u64),
            Variable::BytesReceived => Value::Number(session.body_bytes_read() as u64),
            Variable::ResponseField(name) => {
                let head = session.response_written();
                self.field(name, head.and_then(|head| head.first_value(name)))
            }
            Variable::Time => Value::Now,
            Variable::TimeIso => Value::NowIso,
            Variable::TimeUnix => clock::with_now(|second, millis| {
                Value::Seconds(
                    Duration::from_secs(second.number) + Duration::from_millis(millis.into()),
                )
            }),
            Variable::Duration => {
                Value::seconds(session.times().map(|times| times.begun.elapsed()))
            }
            Variable::FailedTries => self.failed_tries(),
            Variable::FailedTryCount => Value::Number(session.failed_tries().len() as u64),
            Variable::Error => match self.error {
                Some(error) => Value::text(error.to_string()),
                None => Value::Missing,
            },
            Variable::Own(name) => {
                let own = self.own.iter().find(|(known, _)| *known == &**name);
                own.map_or(Value::Missing, |(_, value)| Value::bytes(value.as_bytes()))
            }
            Variable::Request
            | Variable::Method
            | Variable::Target
            | Variable::Path
            | Variable::Query
            | Variable::Host
            | Variable::Version
            | Variable::Field(_) => self.of_request(variable),
            Variable::Upstream
            | Variable::UpstreamReused
            | Variable::UpstreamConnect
            | Variable::UpstreamFirstByte
            | Variable::UpstreamDuration => self.of_upstream(variable),
            Variable::TlsVersion
            | Variable::TlsCipher
            | Variable::TlsServerName
            | Variable::TlsResumed => {
                let tls = session
                    .digest()
                    .and_then(|digest| digest.ssl_digest.as_deref());
                tls.map_or(Value::Missing, |tls| of_tls(variable, tls))
            }
        }
    }

    fn of_request(&self, variable: &Variable) -> Value<'_> {
        if let Some(refused) = &self.refused {
            return match variable {
                Variable::Request => Value::Bytes(self.redaction.url(refused.as_bytes())),
                _ => Value::Missing,
            };
        }
        let request = self.session.req_header();
        let line = request.line();
        match variable {
            Variable::Request => {
                let target = self.redaction.url(request.raw_path());
                Value::Line(line.method.as_str(), target, line.version)
            }
            Variable::Method => Value::bytes(line.method.as_str().as_bytes()),
            Variable::Version => Value::bytes(version(line.version).as_bytes()),
            Variable::Target => Value::Bytes(self.redaction.url(request.raw_path())),
            Variable::Path => self.part_of_target(|target, question| target.get(..question)),
            Variable::Query => self.part_of_target(|target, question| target.get(question + 1..)),
            Variable::Host => self.field(&HOST, request.first_value(&HOST)),
            Variable::Field(name) => self.field(name, request.first_value(name)),
            _ => Value::Missing,
        }
    }

    /// A part of the target without secrets; `part` gets the position of its question mark, or of
    /// its end.
    fn part_of_target(&self, part: impl Fn(&[u8], usize) -> Option<&[u8]>) -> Value<'_> {
        let target = self.redaction.url(self.session.req_header().raw_path());
        let question = target
            .iter()
            .position(|b| *b == b'?')
            .unwrap_or(target.len());
        match part(&target, question) {
            Some(part) => Value::Bytes(Cow::Owned(part.to_vec())),
            None => Value::Missing,
        }
    }

    fn field<'b>(&self, name: &HeaderName, value: Option<&'b [u8]>) -> Value<'b> {
        let Some(value) = value else {
            return Value::Missing;
        };
        if self.redaction.hides(name) {
            return Value::bytes(REDACTED);
        }
        if *name == REFERER || *name == LOCATION || *name == CONTENT_LOCATION {
            Value::Bytes(self.redaction.url(value))
        } else {
            Value::bytes(value)
        }
    }

    /// The value for the last try.
    fn of_upstream(&self, variable: &Variable) -> Value<'_> {
        let times = self.session.times();
        let Some(last) = times.and_then(|times| times.tries.last()) else {
            let failed = self.session.failed_tries().last();
            return match (variable, failed) {
                (Variable::Upstream, Some(failed)) => Value::address(Some(&failed.address)),
                _ => Value::Missing,
            };
        };
        match variable {
            Variable::Upstream => Value::address(Some(&last.address)),
            Variable::UpstreamReused => Value::Flag(last.reused),
            Variable::UpstreamConnect => Value::seconds(last.connected),
            Variable::UpstreamFirstByte => Value::seconds(last.first_byte),
            _ => Value::seconds(last.total),
        }
    }

    /// Address, kind of error, status and seconds of each failed try, separated by commas.
    fn failed_tries(&self) -> Value<'_> {
        let failed = self.session.failed_tries();
        if failed.is_empty() {
            return Value::Missing;
        }
        let times: &[TryTimes] = self.session.times().map_or(&[], |times| &times.tries);
        let mut text = String::new();
        for (index, one) in failed.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(text, "{comma}{}:{}", one.address, one.error.as_str());
            if let Some(status) = one.status {
                let _ = write!(text, ":{}", status.as_u16());
            }
            if let Some(total) = times.get(index).and_then(|time| time.total) {
                let _ = write!(text, ":{:.6}", total.as_secs_f64());
            }
        }
        Value::text(text)
    }
}

/// As it stands in the first line of a request.
pub(crate) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/3.0",
    }
}

fn of_tls<'a>(variable: &Variable, tls: &'a SslDigest) -> Value<'a> {
    match variable {
        Variable::TlsVersion => Value::bytes(tls.version.as_bytes()),
        Variable::TlsCipher => Value::bytes(tls.cipher.as_bytes()),
        Variable::TlsResumed => Value::Flag(tls.is_resumed()),
        _ => tls
            .server_name()
            .map_or(Value::Missing, |name| Value::bytes(name.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_or_not() {
        for (name, variable) in &NAMES {
            assert_eq!(Variable::named(name).as_ref(), Some(variable));
        }
        let parameter = HeaderName::from_static("x-request-id");
        assert_eq!(
            Variable::named("field.X-Request-Id"),
            Some(Variable::Field(parameter.clone()))
        );
        assert_eq!(
            Variable::named("response.x-request-id"),
            Some(Variable::ResponseField(parameter))
        );
        assert_eq!(
            Variable::named("own.ja4"),
            Some(Variable::Own("ja4".into()))
        );
        for unknown in [
            "",
            "Status",
            "field",
            "field.",
            "field.a b",
            "own.",
            "other.x",
            ".",
        ] {
            assert_eq!(Variable::named(unknown), None, "{unknown}");
        }
    }
}
