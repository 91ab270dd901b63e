//! A number of requests per time, for each key.

use super::{Quota, Verdict};
use crate::Session;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use pingora_core::metrics::Process;
use pingora_core::protocols::http::ServerSession;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_http::grammar::structured_string;
use pingora_limits::keyed::Keyed;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The client of a request, as a key: an IPv4 address, or the 64 leading bits of an IPv6 one, because a
/// host that has one such address has the whole block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNetwork(IpAddr);

impl ClientNetwork {
    /// The network that this address belongs to.
    pub fn of(address: IpAddr) -> Self {
        ClientNetwork(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                IpAddr::V6(network.into())
            }
            address => address,
        })
    }

    /// The network of the client that the session's connection comes from; `None` on a Unix socket.
    pub fn of_session(session: &ServerSession) -> Option<Self> {
        let address = session.client_addr()?.as_inet()?;
        Some(Self::of(address.ip()))
    }
}

/// A [`Quota`] for each key, and the answer to those who have used theirs up: see the
/// [module's page](super) for an example. [`pingora_limits::keyed`] says what happens if there are more keys
/// than there is room for.
pub struct RateLimit {
    table: Keyed,
    /// The name in quotation marks.
    name: Box<str>,
    policy: HeaderValue,
    closes: bool,
}

impl RateLimit {
    /// A limit with a name, which clients get to see; what a string of a structured field (RFC 9651) can't hold
    /// is left out of it. Room for so many keys at once, of 16 bytes each; see [`Keyed::new`].
    pub fn new(name: &str, quota: Quota, keys: usize) -> Self {
        let name = structured_string(name);
        let (burst, window) = (quota.burst(), seconds(quota.window()));
        let policy = format!("{name};q={burst};w={window}");
        RateLimit {
            table: Keyed::new(quota, keys),
            name: name.into(),
            policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("")),
            closes: false,
        }
    }

    /// Closes the connection of those who are refused, behind the answer.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// The quotas, for those who count other things than requests.
    pub fn table(&self) -> &Keyed {
        &self.table
    }

    /// Counts the request for its client, and answers it with 429 if that has used its quota up. Returns
    /// whether it was answered, which is what `request_filter` returns. Clients of Unix sockets, who have no
    /// address, are not limited.
    ///
    /// # Errors
    /// When the answer can't be written.
    pub async fn refuse(&self, session: &mut Session) -> Result<bool> {
        match ClientNetwork::of_session(session) {
            Some(client) => self.refuse_by(session, &client).await,
            None => Ok(false),
        }
    }

    /// [`refuse`](Self::refuse) by another key: an account, a path, a tenant, or a tuple of several.
    ///
    /// A key that the client chooses at will, such as an unchecked field, is no limit: a client with many of
    /// them has many quotas.
    ///
    /// # Errors
    /// When the answer can't be written.
    pub async fn refuse_by<K>(&self, session: &mut Session, key: &K) -> Result<bool>
    where
        K: Hash + ?Sized + Sync,
    {
        let verdict = self.take(key);
        if verdict.allowed {
            return Ok(false);
        }
        self.answer(session, verdict).await?;
        Ok(true)
    }

    /// Counts a request for this key, and leaves what follows to the program.
    pub fn take<K: Hash + ?Sized>(&self, key: &K) -> Verdict {
        self.table.take(key)
    }

    /// Answers a request with 429.
    ///
    /// # Errors
    /// When the answer can't be written.
    pub async fn answer(&self, session: &mut Session, verdict: Verdict) -> Result<()> {
        Process::refused_by_rate();
        let mut header = ResponseHeader::build(429, Some(4))?;
        self.announce(verdict, &mut header)?;
        if self.closes {
            session.set_keepalive(None);
        }
        session.write_response(Box::new(header), Bytes::new()).await
    }

    /// Adds `RateLimit-Policy` and `RateLimit` to a response, beside those of other limits, and `Retry-After`
    /// if the request was refused.
    ///
    /// # Errors
    /// When the head is full.
    pub fn announce(&self, verdict: Verdict, response: &mut ResponseHeader) -> Result<()> {
        let (name, left) = (&self.name, verdict.remaining);
        let limit = format!("{name};r={left};t={}", seconds(verdict.reset_after));
        response.append_header(RATE_LIMIT_POLICY, self.policy.clone())?;
        response.append_header(RATE_LIMIT, limit)?;
        match verdict.retry_after {
            Some(time) => response.insert_header(RETRY_AFTER, seconds(time).max(1)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("name", &self.name)
            .field("quota", self.table.quota())
            .field("closes", &self.closes)
            .finish_non_exhaustive()
    }
}

/// Whole seconds, rounded up: who comes back then is not too early.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_its_network() {
        let of = |text: &str| ClientNetwork::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn limits_announce_themselves_as_structured_fields() {
        let quota = Quota::new(100, Duration::from_secs(60)).with_burst(10);
        let limit = RateLimit::new("a \"client\"\r\n\u{e9}", quota, 8);
        let daily = RateLimit::new("daily", Quota::new(1, Duration::from_secs(86_400)), 8);
        let mut response = ResponseHeader::build(200, None).unwrap();
        let verdict = limit.take("key");
        limit.announce(verdict, &mut response).unwrap();
        daily.announce(daily.take("key"), &mut response).unwrap();
        let values = |name: HeaderName| -> Vec<String> {
            let values = response.headers.get_all(name).iter();
            values.map(|v| v.to_str().unwrap().to_string()).collect()
        };
        let policies = ["\"a \\\"client\\\"\";q=10;w=6", "\"daily\";q=1;w=86400"];
        assert_eq!(values(RATE_LIMIT_POLICY), policies);
        let limits = ["\"a \\\"client\\\"\";r=9;t=1", "\"daily\";r=0;t=86400"];
        assert_eq!(values(RATE_LIMIT), limits);
        assert!(values(RETRY_AFTER).is_empty());
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_back() {
        let limit = RateLimit::new("x", Quota::new(10, Duration::from_secs(1)), 8);
        let at = Duration::from_secs(3);
        let refused = (0..11).map(|_| limit.table().take_at("key", at, 1)).last();
        let mut response = ResponseHeader::build(429, None).unwrap();
        limit.announce(refused.unwrap(), &mut response).unwrap();
        assert_eq!(response.headers[RETRY_AFTER], "1");
        assert_eq!(response.headers[RATE_LIMIT], "\"x\";r=0;t=1");
    }
}
