//! Keeps the requests of one client at one backend.

#[cfg(feature = "openssl")]
mod cookie;

#[cfg(feature = "openssl")]
pub use cookie::{SameSite, StickyCookie};

use crate::backends::{Member, Members};
use crate::clock::now;
use crate::{Backend, Tries};
use fnv::FnvHasher;
use http::HeaderName;
use pingora_core::upstreams::outcome::BalancedRequest;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

/// Sends the requests of one client to one backend, as long as that is possible; see
/// [`Upstreams::sticky`](crate::Upstreams::sticky).
///
/// | the backend | by cookie | by header or address |
/// |---|---|---|
/// | is full | another one for this request; the client comes back to it | the same |
/// | is unhealthy, ejected or disabled, or a try there has failed | another one, which the client stays with | another one, until it is back |
/// | drains (weight 0), or has left the set | another one, which the client stays with; or, while it drains, [as before](Sticky::while_draining) | another one; the clients of all others stay where they are |
///
/// Don't use it if backends share their sessions: load is less even, and a backend that leaves takes its
/// clients' sessions with it in any case.
#[derive(Debug)]
pub struct Sticky {
    by: By,
    #[cfg_attr(
        not(feature = "openssl"),
        allow(dead_code, reason = "only cookies need it")
    )]
    while_draining: bool,
}

#[derive(Debug)]
enum By {
    Header(HeaderName),
    ClientAddress,
    #[cfg(feature = "openssl")]
    Cookie(Box<StickyCookie>),
}

/// The backend that a request indicates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pin {
    /// Nothing usable: whichever backend it gets is new to it.
    #[default]
    New,
    /// The backend that it got; or that backend is full, and the client will come back to it.
    Kept,
}

impl Sticky {
    /// By the value of this request field. Requests without it are balanced as if this were not set. Each
    /// value has an order of all backends (rendezvous hashing by their weights), and the first ready one gets
    /// the request. Clients that choose their value choose their backend; [`MaxInFlight`](crate::MaxInFlight)
    /// bounds the effect of that.
    pub fn by_header(name: HeaderName) -> Self {
        Sticky::by(By::Header(name))
    }

    /// By the client's address, like [by a header](Self::by_header). IPv6 addresses that share their first 64
    /// bits are one client. Behind another proxy all clients have its address.
    pub fn by_client_address() -> Self {
        Sticky::by(By::ClientAddress)
    }

    /// By a cookie that [`Upstreams::stick`](crate::Upstreams::stick) puts on responses. A client without a
    /// valid one is balanced as if this were not set, and then stays with its backend. Needs the feature
    /// `openssl`.
    #[cfg(feature = "openssl")]
    pub fn by_cookie(cookie: StickyCookie) -> Self {
        Sticky::by(By::Cookie(Box::new(cookie)))
    }

    fn by(by: By) -> Self {
        Sticky {
            by,
            while_draining: false,
        }
    }

    /// Whether clients with a cookie stay at a backend of weight 0, which then only new clients avoid. Off
    /// by default: weight 0 means no more requests.
    pub fn while_draining(mut self, stay: bool) -> Self {
        self.while_draining = stay;
        self
    }

    /// The backend that a request should go to, and what it indicated. `None`: any.
    pub(crate) fn wanted(
        &self,
        request: &impl BalancedRequest,
        members: &Members,
        tries: &Tries,
    ) -> (Option<Backend>, Pin) {
        match &self.by {
            By::Header(name) => {
                let head = request.request_head();
                let value = head.and_then(|head| head.headers.get(name));
                // All clients that send it empty would be one client.
                let value = value.filter(|value| !value.is_empty());
                let best = value.and_then(|value| first(members, value.as_bytes(), tries));
                (best, Pin::Kept)
            }
            By::ClientAddress => {
                let key = request.client_ip().map(client);
                let best = key.and_then(|key| first(members, &key.to_be_bytes(), tries));
                (best, Pin::Kept)
            }
            #[cfg(feature = "openssl")]
            By::Cookie(cookie) => self.wanted_by(cookie, request, members, tries),
        }
    }

    #[cfg(feature = "openssl")]
    fn wanted_by(
        &self,
        cookie: &StickyCookie,
        request: &impl BalancedRequest,
        members: &Members,
        tries: &Tries,
    ) -> (Option<Backend>, Pin) {
        let Some(head) = request
            .request_head()
            .filter(|_| tries.backends().is_empty())
        else {
            return (None, Pin::New);
        };
        let Some(sent) = cookie.read(&head.headers, members.backends()) else {
            return (None, Pin::New);
        };
        let pin = if sent.renew { Pin::New } else { Pin::Kept };
        match members
            .member(&sent.backend)
            .map(|member| self.state(member))
        {
            Some(State::Ready) => (Some(sent.backend), pin),
            Some(State::Full) => (None, Pin::Kept),
            Some(State::Lost) | None => (None, Pin::New),
        }
    }

    #[cfg(feature = "openssl")]
    fn state(&self, member: &Member) -> State {
        let drained = member.backend().weight == 0 && !self.while_draining;
        if !drained && member.is_ready(now) {
            State::Ready
        } else if !drained && member.is_full() {
            State::Full
        } else {
            State::Lost
        }
    }

    /// The field to put on a response so that the client stays at `backend`, if one is needed.
    #[cfg(feature = "openssl")]
    pub(crate) fn cookie_for(&self, tries: &Tries) -> Option<pingora_error::Result<String>> {
        let By::Cookie(cookie) = &self.by else {
            return None;
        };
        let backend = tries.current()?;
        (tries.pin == Pin::New).then(|| cookie.issue(backend))
    }
}

#[cfg(feature = "openssl")]
enum State {
    Ready,
    Full,
    /// Unavailable for now, or permanently.
    Lost,
}

/// The part of an address that identifies a client.
fn client(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits() & !u128::from(u64::MAX),
    }
}

/// The first one that is ready and was not tried, in the order of all backends for `key`.
fn first(members: &Members, key: &[u8], tries: &Tries) -> Option<Backend> {
    let fits = |member: &&Member| {
        let new = !tries.backends().contains(member.backend());
        new && member.backend().weight > 0 && member.is_ready(now)
    };
    let ready = members.all().iter().filter(fits);
    let best = ready.max_by(|a, b| rank(a.backend(), key).total_cmp(&rank(b.backend(), key)));
    best.map(|member| member.backend().clone())
}

/// Its rank for `key`; the probability that it is the highest of all is proportional to its weight.
fn rank(backend: &Backend, key: &[u8]) -> f64 {
    let mut hasher = FnvHasher::default();
    hasher.write(key);
    backend.addr.hash(&mut hasher);
    // FNV mixes its last bytes too little (the MurmurHash3 finalizer mixes them).
    let mut bits = hasher.finish();
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^= bits >> 33;
    let uniform = ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -(backend.weight as f64) / uniform.ln()
}
