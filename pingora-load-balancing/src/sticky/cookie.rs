//! The cookie that identifies the backend a client stays with.

use crate::Backend;
use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::COOKIE;
use pingora_core::tls::hash::MessageDigest;
use pingora_core::tls::memcmp;
use pingora_core::tls::pkey::{PKey, Private};
use pingora_core::tls::sign::Signer;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The length of a backend's identifier.
const ID: usize = 12;
/// The length of a time, in seconds since 1970.
const TIME: usize = 8;
/// The length of a signature: the first half of an HMAC-SHA256.
const MAC: usize = 16;
/// A shorter key can be guessed.
const SHORTEST_KEY: usize = 16;
/// The number of cookies with the name that are examined: each costs as many signatures as there
/// are keys.
const MOST: usize = 4;

type Id = [u8; ID];

/// Which requests from other sites carry a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// None.
    Strict,
    /// Only those that follow a link.
    Lax,
    /// All; browsers want `Secure` with it.
    None,
}

/// A cookie that the proxy issues and signs, and that reveals nothing about the backend to anyone
/// else.
///
/// By default it lasts for the browser session, and has the attributes `Path=/`, `HttpOnly`, `Secure` and
/// `SameSite=Lax`. The proxies of a site need the same keys. A cookie identifies the address of its backend,
/// so a new weight does not matter.
///
/// ```
/// use pingora_load_balancing::sticky::{Sticky, StickyCookie};
/// use std::time::Duration;
///
/// # fn main() -> pingora_core::Result<()> {
/// let keys = ["the key that signs, 32 bytes ...", "the one of last month ..........."];
/// let cookie = StickyCookie::new("backend", keys)?.max_age(Duration::from_secs(86_400));
/// let sticky = Sticky::by_cookie(cookie);
/// # Ok(())
/// # }
/// ```
pub struct StickyCookie {
    name: String,
    /// The first one signs.
    keys: Vec<PKey<Private>>,
    path: String,
    domain: Option<String>,
    secure: bool,
    http_only: bool,
    same_site: Option<SameSite>,
    max_age: Option<Duration>,
    known: ArcSwap<BackendsById>,
}

/// The backends of a set by their identifiers, for every key.
#[derive(Default)]
struct BackendsById {
    set: Arc<BTreeSet<Backend>>,
    by_id: HashMap<Id, Backend>,
}

/// A valid cookie.
pub(super) struct Sent {
    pub(super) backend: Backend,
    /// Whether it should be replaced: half of its time is over, or it was signed with a later key.
    pub(super) renew: bool,
}

impl StickyCookie {
    /// A cookie with this name. The first key signs; the others still verify, so a key can be replaced: put
    /// the new one first, and remove the old one when its cookies are old enough.
    ///
    /// # Errors
    /// If the name is not a token (RFC 6265 section 4.1.1), there is no key, or one has less than 16 bytes.
    pub fn new<K: AsRef<[u8]>>(name: &str, keys: impl IntoIterator<Item = K>) -> Result<Self> {
        if name.is_empty() || !name.bytes().all(is_token) {
            return wrong(format!("not the name of a cookie: {name:?}"));
        }
        let mut usable = Vec::new();
        for key in keys {
            let key = key.as_ref();
            if key.len() < SHORTEST_KEY {
                return wrong(format!("a key has less than {SHORTEST_KEY} bytes"));
            }
            usable.push(PKey::hmac(key).or_err(ErrorType::InternalError, "a key")?);
        }
        if usable.is_empty() {
            return wrong("no key".into());
        }
        Ok(StickyCookie {
            name: name.to_string(),
            keys: usable,
            path: "/".into(),
            domain: None,
            secure: true,
            http_only: true,
            same_site: Some(SameSite::Lax),
            max_age: None,
            known: ArcSwap::default(),
        })
    }

    /// Only for requests below this path; `/` by default.
    ///
    /// # Errors
    /// If it does not begin with a slash, or contains a character that is invalid in an attribute.
    pub fn path(mut self, path: &str) -> Result<Self> {
        if !path.starts_with('/') || !path.bytes().all(is_of_an_attribute) {
            return wrong(format!("not the path of a cookie: {path:?}"));
        }
        self.path = path.to_string();
        Ok(self)
    }

    /// Also for the hosts below this domain; by default only for the host of the request.
    ///
    /// # Errors
    /// If it is empty, or contains a character that is invalid in an attribute.
    pub fn domain(mut self, domain: &str) -> Result<Self> {
        if domain.is_empty() || !domain.bytes().all(is_of_an_attribute) {
            return wrong(format!("not the domain of a cookie: {domain:?}"));
        }
        self.domain = Some(domain.to_string());
        Ok(self)
    }

    /// Only sent over TLS, on by default. Browsers drop such a cookie if it comes over plain HTTP.
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Hidden from scripts, on by default.
    pub fn http_only(mut self, http_only: bool) -> Self {
        self.http_only = http_only;
        self
    }

    /// Which requests from other sites carry it; [`SameSite::Lax`] by default. `None`: the attribute is left
    /// out.
    pub fn same_site(mut self, same_site: Option<SameSite>) -> Self {
        self.same_site = same_site;
        self
    }

    /// How long it lasts, in whole seconds; the proxy refuses older ones, and renews it when half of the time is
    /// over. By default it lasts for the browser session.
    pub fn max_age(mut self, age: Duration) -> Self {
        // Zero would delete it.
        self.max_age = Some(age.max(Duration::from_secs(1)));
        self
    }

    /// The first valid one of a request's cookies, if its backend is in `set`.
    pub(super) fn read(&self, headers: &HeaderMap, set: &Arc<BTreeSet<Backend>>) -> Option<Sent> {
        let values = headers.get_all(COOKIE).iter();
        values
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
            .filter_map(|pair| {
                let value = pair.trim_ascii().strip_prefix(self.name.as_bytes())?;
                value.strip_prefix(b"=")
            })
            .take(MOST)
            .find_map(|value| self.verified(value, set, seconds()))
    }

    fn verified(&self, value: &[u8], set: &Arc<BTreeSet<Backend>>, now: u64) -> Option<Sent> {
        let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
        let (id, rest) = bytes.split_first_chunk::<ID>()?;
        let (time, mac) = rest.split_first_chunk::<TIME>()?;
        let is_good = |key: &PKey<Private>| {
            let right = self.mac(key, id, time).ok();
            right.is_some_and(|right| mac.len() == MAC && memcmp::eq(&right, mac))
        };
        let key = self.keys.iter().position(is_good)?;
        let age = Duration::from_secs(now.saturating_sub(u64::from_be_bytes(*time)));
        if self.max_age.is_some_and(|most| age > most) {
            return None;
        }
        Some(Sent {
            backend: self.backend(id, set)?,
            renew: key > 0 || self.max_age.is_some_and(|most| age > most / 2),
        })
    }

    /// The value of a `Set-Cookie` field.
    pub(super) fn issue(&self, backend: &Backend) -> Result<String> {
        let Some(key) = self.keys.first() else {
            return wrong("no key".into());
        };
        let (id, time) = (id_of(key, backend)?, seconds().to_be_bytes());
        let mac = self.mac(key, &id, &time)?;
        let value = URL_SAFE_NO_PAD.encode([&id[..], &time, &mac].concat());
        let mut field = format!("{}={value}; Path={}", self.name, self.path);
        self.add_attributes(&mut field)
            .or_err(ErrorType::InternalError, "a cookie")?;
        Ok(field)
    }

    fn add_attributes(&self, field: &mut String) -> fmt::Result {
        if let Some(domain) = &self.domain {
            write!(field, "; Domain={domain}")?;
        }
        if let Some(age) = self.max_age {
            write!(field, "; Max-Age={}", age.as_secs())?;
        }
        if self.http_only {
            field.push_str("; HttpOnly");
        }
        if self.secure {
            field.push_str("; Secure");
        }
        match self.same_site {
            Some(which) => write!(field, "; SameSite={which:?}"),
            None => Ok(()),
        }
    }

    fn mac(&self, key: &PKey<Private>, id: &Id, time: &[u8; TIME]) -> Result<[u8; MAC]> {
        hmac(key, &[b"cookie\0", self.name.as_bytes(), b"\0", id, time])
    }

    /// The backend of `set` with this identifier. The answers for the last set are cached.
    fn backend(&self, id: &Id, set: &Arc<BTreeSet<Backend>>) -> Option<Backend> {
        let known = self.known.load();
        if Arc::ptr_eq(&known.set, set) {
            return known.by_id.get(id).cloned();
        }
        let mut by_id = HashMap::new();
        for key in &self.keys {
            // Of two with the same address, the one with the greater weight.
            let ids = set.iter().map(|b| Some((id_of(key, b).ok()?, b.clone())));
            by_id.extend(ids.flatten());
        }
        let found = by_id.get(id).cloned();
        let set = set.clone();
        self.known.store(Arc::new(BackendsById { set, by_id }));
        found
    }
}

fn id_of(key: &PKey<Private>, backend: &Backend) -> Result<Id> {
    hmac(key, &[b"backend\0", backend.addr.to_string().as_bytes()])
}

/// The first bytes of the HMAC-SHA256 of these pieces.
fn hmac<const N: usize>(key: &PKey<Private>, pieces: &[&[u8]]) -> Result<[u8; N]> {
    let signed = || {
        let mut signer = Signer::new(MessageDigest::sha256(), key)?;
        pieces.iter().try_for_each(|piece| signer.update(piece))?;
        signer.sign_to_vec()
    };
    let signed = signed().or_err(ErrorType::InternalError, "the signature of a cookie")?;
    let first = signed.first_chunk().copied();
    first.ok_or_else(|| Error::explain(ErrorType::InternalError, "a signature is too short"))
}

fn seconds() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| since.as_secs())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_of_an_attribute(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte) && byte != b';'
}

fn wrong<T>(what: String) -> Result<T> {
    Error::e_explain(ErrorType::InternalError, what)
}

impl fmt::Debug for StickyCookie {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StickyCookie")
            .field("name", &self.name)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an old key of 16 bytes or more";
    const NEW: &str = "a new key of 16 bytes or more";

    fn cookie(keys: &[&str]) -> StickyCookie {
        StickyCookie::new("b", keys).unwrap()
    }

    fn set(addresses: &[&str]) -> Arc<BTreeSet<Backend>> {
        let backends = addresses.iter().map(|address| Backend::new(address));
        Arc::new(backends.map(|backend| backend.unwrap()).collect())
    }

    fn value(field: &str) -> &str {
        let value = field.strip_prefix("b=").unwrap();
        value.split(';').next().unwrap()
    }

    fn fields(all: &[&str]) -> HeaderMap {
        let field = |value: &&str| (COOKIE, value.parse().unwrap());
        all.iter().map(field).collect()
    }

    #[test]
    fn it_has_the_attributes_that_were_asked_for() {
        let backend = Backend::new("10.0.0.1:80").unwrap();
        let issued = cookie(&[NEW]).issue(&backend).unwrap();
        let (pair, attributes) = issued.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; Secure; SameSite=Lax");
        assert_eq!(pair.len(), 2 + 48);
        let all = cookie(&[NEW])
            .path("/a")
            .and_then(|cookie| cookie.domain("example.com"))
            .unwrap()
            .max_age(Duration::from_secs(60))
            .http_only(false)
            .same_site(Some(SameSite::None));
        let issued = all.issue(&backend).unwrap();
        assert!(
            issued.ends_with("; Path=/a; Domain=example.com; Max-Age=60; Secure; SameSite=None")
        );
        let few = cookie(&[NEW])
            .secure(false)
            .http_only(false)
            .same_site(None);
        assert!(few.issue(&backend).unwrap().ends_with("; Path=/"));
    }

    #[test]
    fn it_is_found_among_others_and_in_several_fields() {
        let set = set(&["10.0.0.1:80", "10.0.0.2:80"]);
        let cookie = cookie(&[NEW]);
        let issued = cookie.issue(set.last().unwrap()).unwrap();
        let pair = issued.split(';').next().unwrap();
        for all in [
            vec![pair.to_string()],
            vec!["a=1;bb=2".into(), format!("c=3 ;  {pair};d=4")],
            vec![format!("b=; b=AAAA; {pair}")],
        ] {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let sent = cookie.read(&fields(&all), &set).unwrap();
            assert_eq!((&sent.backend, sent.renew), (set.last().unwrap(), false));
        }
        let many = "b=x; ".repeat(MOST) + pair;
        assert!(cookie.read(&fields(&[&many]), &set).is_none());
        assert!(cookie.read(&fields(&[]), &set).is_none());
    }

    #[test]
    fn a_changed_or_foreign_one_is_as_good_as_none() {
        let set = set(&["10.0.0.1:80"]);
        let issued = cookie(&[NEW]).issue(set.first().unwrap()).unwrap();
        let good = value(&issued);
        let reads = |cookie: &StickyCookie, value: &str| {
            cookie.verified(value.as_bytes(), &set, seconds()).is_some()
        };
        assert!(reads(&cookie(&[NEW]), good));
        assert!(!reads(&cookie(&[OLD]), good));
        assert!(!reads(&StickyCookie::new("other", [NEW]).unwrap(), good));
        for at in 0..good.len() {
            let mut bad = good.to_string();
            let other = if bad.as_bytes()[at] == b'A' { "B" } else { "A" };
            bad.replace_range(at..=at, other);
            assert!(!reads(&cookie(&[NEW]), &bad), "{at}");
            assert!(!reads(&cookie(&[NEW]), &good[..at]), "{at}");
        }
        assert!(!reads(&cookie(&[NEW]), &format!("{good}AAAA")));
    }

    #[test]
    fn keys_rotate_and_cookies_age() {
        let set = set(&["10.0.0.1:80"]);
        let old = cookie(&[OLD]).issue(set.first().unwrap()).unwrap();
        let both = cookie(&[NEW, OLD]).max_age(Duration::from_secs(100));
        let at = |seconds_later| {
            let sent = both.verified(value(&old).as_bytes(), &set, seconds() + seconds_later);
            sent.map(|sent| sent.renew)
        };
        assert_eq!(at(0), Some(true));
        assert_eq!(at(110), None);
        let new = both.issue(set.first().unwrap()).unwrap();
        let at = |seconds_later| {
            let sent = both.verified(value(&new).as_bytes(), &set, seconds() + seconds_later);
            sent.map(|sent| sent.renew)
        };
        assert_eq!(at(40), Some(false));
        assert_eq!(at(60), Some(true));
        assert_eq!(at(110), None);
    }

    #[test]
    fn it_names_the_address_in_whatever_set() {
        let before = set(&["10.0.0.1:80", "10.0.0.2:80"]);
        let cookie = cookie(&[NEW]);
        let issued = cookie.issue(before.first().unwrap()).unwrap();
        let heavier = Backend::new_with_weight("10.0.0.1:80", 7).unwrap();
        let after = Arc::new(BTreeSet::from([heavier.clone()]));
        let read = |set| cookie.verified(value(&issued).as_bytes(), set, seconds());
        assert_eq!(read(&before).unwrap().backend.weight, 1);
        assert_eq!(read(&after).unwrap().backend, heavier);
        for others in [set(&["10.0.0.2:80"]), set(&[])] {
            let read = cookie.verified(value(&issued).as_bytes(), &others, seconds());
            assert!(read.is_none());
        }
    }

    #[test]
    fn what_can_be_no_cookie_is_an_error() {
        for name in ["", "a b", "a=b", "a;", "ä"] {
            assert!(StickyCookie::new(name, [NEW]).is_err(), "{name:?}");
        }
        assert!(StickyCookie::new("b", ["short"]).is_err());
        assert!(StickyCookie::new("b", [] as [&str; 0]).is_err());
        assert!(cookie(&[NEW]).path("a").is_err());
        assert!(cookie(&[NEW]).path("/a;b").is_err());
        assert!(cookie(&[NEW]).domain("a\r\nb").is_err());
        assert!(!format!("{:?}", cookie(&[NEW])).contains(NEW));
    }
}
