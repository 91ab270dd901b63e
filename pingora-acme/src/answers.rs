//! The answers that authorities look for.

use crate::plan::Challenge;
use crate::storage::Storage;
use async_trait::async_trait;
use http::{Method, Response, StatusCode};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::listeners::tls::{CertificateSource, CertificateStore};
use pingora_core::protocols::http::ServerSession;
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Where authorities look (RFC 8555 section 8.3).
const PATH: &str = "/.well-known/acme-challenge/";
/// The longest token, in bytes; those that are known have 43.
const LONGEST_TOKEN: usize = 128;

/// Sets a record in the DNS, for challenges by DNS-01 (RFC 8555 section 8.4).
#[async_trait]
pub trait DnsProvider: Send + Sync + fmt::Debug + 'static {
    /// Adds a TXT record with `value` to `name`, such as `_acme-challenge.one.example`, beside existing ones:
    /// a name and its wildcard need one each. Must return once authorities can see it.
    ///
    /// # Errors
    /// If it fails, the order is given up and tried again later.
    async fn add_txt(&self, name: &str, value: &str) -> Result<()>;

    /// Removes the record again. Called after every order, successful or not, unless the process ends in
    /// between.
    ///
    /// # Errors
    /// Are logged.
    async fn remove_txt(&self, name: &str, value: &str) -> Result<()>;
}

/// Answers HTTP-01 challenges. Cheap to clone.
///
/// In a proxy, [`answer`](Self::answer) in `early_request_filter` or `request_filter`; or as a service of its own on
/// port 80 (`Service::new("acme", acme.http01())`), which redirects everything else to HTTPS.
#[derive(Clone)]
pub struct Http01 {
    tokens: Arc<Mutex<HashMap<String, String>>>,
    storage: Arc<dyn Storage>,
}

impl Http01 {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Http01 {
            tokens: Arc::default(),
            storage,
        }
    }

    /// Answers the request if it asks for a known answer; returns whether it did. Costs nothing for requests with
    /// other paths.
    ///
    /// # Errors
    /// Those of writing the response.
    pub async fn answer(&self, session: &mut ServerSession) -> Result<bool> {
        let Some(answer) = self.find(session).await else {
            return Ok(false);
        };
        let mut head = ResponseHeader::build(StatusCode::OK, Some(3))?;
        head.insert_header(http::header::CONTENT_TYPE, "application/octet-stream")?;
        head.insert_header(http::header::CACHE_CONTROL, "no-store")?;
        head.set_content_length(answer.len())?;
        let is_head = session.req_header().method == Method::HEAD;
        session.write_response_header(Box::new(head)).await?;
        if !is_head {
            session.write_response_body(answer.into(), true).await?;
        }
        Ok(true)
    }

    async fn find(&self, session: &ServerSession) -> Option<String> {
        let request = session.req_header();
        let token = request.uri.path().strip_prefix(PATH)?;
        if !is_token(token) || !matches!(request.method, Method::GET | Method::HEAD) {
            return None;
        }
        let found = self.tokens().get(token).cloned();
        if found.is_some() || !self.storage.is_shared() {
            return found;
        }
        let kept = self.storage.read(&format!("challenges/{token}")).await;
        let kept = kept.inspect_err(|e| log::warn!("looking for the answer to a challenge: {e}"));
        String::from_utf8(kept.ok()??).ok()
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a token has only the letters of base64url (RFC 8555 section 8), which can't lead to another path.
fn is_token(token: &str) -> bool {
    let sound = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=LONGEST_TOKEN).contains(&token.len()) && token.bytes().all(sound)
}

#[async_trait]
impl ServeHttp for Http01 {
    /// The answer to a challenge, or else a redirect to HTTPS.
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut response = Response::new(vec![]);
        if let Some(answer) = self.find(session).await {
            *response.body_mut() = answer.into_bytes();
            return response;
        }
        let request = session.req_header();
        let host = request.headers.get(http::header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        let host = host.or(request.uri.authority().map(|authority| authority.as_str()));
        let host = host.map(without_port);
        let path = request
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let location = host.map(|host| format!("https://{host}{path}"));
        match location.and_then(|location| location.parse().ok()) {
            Some(location) if !request.uri.path().starts_with(PATH) => {
                *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
                response
                    .headers_mut()
                    .insert(http::header::LOCATION, location);
            }
            _ => *response.status_mut() = StatusCode::NOT_FOUND,
        }
        response
    }
}

/// An IPv6 address has colons of its own, and a bracket behind them.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => host,
    }
}

impl fmt::Debug for Http01 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http01")
            .field("answers", &self.tokens().len())
            .finish_non_exhaustive()
    }
}

/// All means of answering.
pub(crate) struct Answers {
    pub(crate) http01: Http01,
    pub(crate) store: CertificateStore,
    pub(crate) dns: Option<Arc<dyn DnsProvider>>,
}

/// The parts of a challenge from which an answer is made.
pub(crate) struct Question<'a> {
    pub(crate) challenge: Challenge,
    pub(crate) name: &'a str,
    pub(crate) token: &'a str,
    pub(crate) key_authorization: &'a instant_acme::KeyAuthorization,
}

/// A published answer, until it is removed. Dropping it removes it at least from this host.
pub(crate) struct Shown {
    place: Publication,
}

enum Publication {
    Http {
        http01: Http01,
        token: String,
    },
    Tls {
        store: CertificateStore,
        name: String,
    },
    Dns {
        dns: Arc<dyn DnsProvider>,
        name: String,
        value: String,
    },
}

impl Answers {
    /// # Errors
    /// If the answer can't be given.
    pub(crate) async fn show(&self, question: &Question<'_>) -> Result<Shown> {
        let name = question.name.to_string();
        let place = match question.challenge {
            Challenge::Http01 => {
                let http01 = self.http01.clone();
                let (token, answer) = (
                    question.token.to_string(),
                    question.key_authorization.as_str(),
                );
                http01.tokens().insert(token.clone(), answer.to_string());
                let shown = Shown {
                    place: Publication::Http { http01, token },
                };
                if self.http01.storage.is_shared() && is_token(question.token) {
                    let key = format!("challenges/{}", question.token);
                    self.http01.storage.write(&key, answer.as_bytes()).await?;
                }
                return Ok(shown);
            }
            Challenge::TlsAlpn01 => {
                let proof = proof(&name, question.key_authorization.digest().as_ref());
                let (chain, key) =
                    proof.or_err(ErrorType::InternalError, "the answer to tls-alpn-01")?;
                self.store
                    .set_challenge(&name, CertificateSource::pem(chain, key))?;
                Publication::Tls {
                    store: self.store.clone(),
                    name,
                }
            }
            Challenge::Dns01 => {
                let Some(dns) = self.dns.clone() else {
                    let reason = "there is no provider that sets records in the DNS";
                    return Error::e_explain(ErrorType::InternalError, reason);
                };
                let name = format!("_acme-challenge.{name}");
                let value = question.key_authorization.dns_value();
                dns.add_txt(&name, &value).await?;
                Publication::Dns { dns, name, value }
            }
        };
        Ok(Shown { place })
    }
}

impl Shown {
    /// Removes the answer everywhere.
    pub(crate) async fn withdraw(self) {
        let done = match &self.place {
            Publication::Http { http01, token } if http01.storage.is_shared() => {
                http01.storage.remove(&format!("challenges/{token}")).await
            }
            Publication::Dns { dns, name, value } => dns.remove_txt(name, value).await,
            Publication::Http { .. } | Publication::Tls { .. } => Ok(()),
        };
        if let Err(e) = done {
            log::warn!("taking the answer to a challenge away: {e}");
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        match &self.place {
            Publication::Http { http01, token } => drop(http01.tokens().remove(token)),
            Publication::Tls { store, name } => drop(store.remove_challenge(name)),
            Publication::Dns { .. } => {}
        }
    }
}

/// The certificate that proves TLS-ALPN-01 (RFC 8737 section 3), and its key.
fn proof(name: &str, digest: &[u8]) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![name.to_string()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_ports() {
        for (host, bare) in [
            ("one.example", "one.example"),
            ("one.example:80", "one.example"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(without_port(host), bare);
        }
    }

    #[test]
    fn tokens_lead_nowhere_else() {
        for (token, is) in [
            ("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA", true),
            ("a_b", true),
            ("", false),
            ("..", false),
            ("a/b", false),
            ("a%2fb", false),
            ("a.b", false),
        ] {
            assert_eq!(is_token(token), is, "{token}");
        }
        assert!(!is_token(&"a".repeat(LONGEST_TOKEN + 1)));
    }
}
