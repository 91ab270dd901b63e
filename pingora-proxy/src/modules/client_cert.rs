//! The certificate of the client, for upstreams (RFC 9440).

use super::{alias, order};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module, Surroundings};
use pingora_core::protocols::tls::SslDigest;
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use std::any::Any;

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

/// The longest certificate that is passed on, in bytes of DER; of a chain, all together.
const LONGEST: usize = 12 * 1024;

/// Passes the client's certificate on to the upstream, in the field `Client-Cert` (RFC 9440), if it was verified
/// in the TLS handshake. A field of this name, or `Client-Cert-Chain`, that a client sends never reaches the
/// upstream, even over connections without TLS.
///
/// A certificate of more than 12 KiB is not passed on.
///
/// ```
/// use pingora_core::modules::http::HttpModules;
/// use pingora_proxy::modules::ClientCert;
///
/// # fn init(modules: &mut HttpModules) {
/// modules.add_module(Box::new(ClientCert::new().with_chain()));
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientCert {
    has_chain: bool,
}

impl ClientCert {
    /// Passes the client's own certificate on.
    pub fn new() -> Self {
        ClientCert::default()
    }

    /// Passes on, in `Client-Cert-Chain`, the certificates that the client showed beside its own. A resumed TLS
    /// session has none.
    pub fn with_chain(mut self) -> Self {
        self.has_chain = true;
        self
    }

    /// The values of the two fields.
    fn values(self, tls: &SslDigest) -> (Option<String>, Option<String>) {
        if tls.verified_subject().is_none() {
            return (None, None);
        }
        let Some((own, others)) = tls.peer_chain_der().split_first() else {
            return (None, None);
        };
        let fits = |certificates: &[Box<[u8]>]| {
            let length: usize = certificates.iter().map(|one| one.len()).sum();
            (1..=LONGEST).contains(&length)
        };
        let own = fits(std::slice::from_ref(own)).then(|| as_bytes(own));
        let others = (self.has_chain && own.is_some() && fits(others)).then(|| {
            let others: Vec<_> = others.iter().map(|one| as_bytes(one)).collect();
            others.join(", ")
        });
        (own, others)
    }
}

/// A byte sequence of a structured field (RFC 9651 section 3.3.5).
fn as_bytes(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}

impl HttpModuleBuilder for ClientCert {
    fn order(&self) -> i16 {
        order::CLIENT_CERT
    }

    fn init(&self) -> Module {
        Box::new(Shown {
            rules: *self,
            own: None,
            others: None,
        })
    }
}

/// The module of one request.
struct Shown {
    rules: ClientCert,
    own: Option<String>,
    others: Option<String>,
}

#[async_trait]
impl HttpModule for Shown {
    fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        let tls = around
            .session()
            .digest()
            .and_then(|d| d.ssl_digest.as_ref());
        if let Some(tls) = tls {
            (self.own, self.others) = self.rules.values(tls);
        }
        Ok(())
    }

    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        alias::remove(request, |name| {
            name == CLIENT_CERT.as_str() || name == CLIENT_CERT_CHAIN.as_str()
        });
        let fields = [(CLIENT_CERT, &self.own), (CLIENT_CERT_CHAIN, &self.others)];
        for (name, value) in fields {
            if let Some(value) = value {
                let value = HeaderValue::from_str(value);
                let value =
                    value.or_err(ErrorType::InvalidHTTPHeader, "a certificate as a field")?;
                request.insert_header(name, value)?;
            }
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_core::protocols::tls::TlsFacts;

    fn tls(verified: bool, chain: &[Vec<u8>]) -> SslDigest {
        let mut facts = TlsFacts::default();
        facts.verified_subject = verified.then(|| "CN=a".into());
        facts.set_peer_chain_der(chain.iter().cloned());
        let mut digest = SslDigest::new("AES", "TLSv1.3", None, None, vec![]);
        digest.set_facts(facts);
        digest
    }

    #[test]
    fn only_what_was_verified_and_fits_is_passed_on() {
        let long = vec![0; LONGEST + 1];
        let text = |text: &str| Some(text.to_string());
        let (a, b, c) = (b"a".to_vec(), b"bc".to_vec(), b"def".to_vec());
        let rows = [
            (true, vec![a.clone()], text(":YQ==:"), None),
            (
                true,
                vec![a.clone(), b.clone(), c],
                text(":YQ==:"),
                text(":YmM=:, :ZGVm:"),
            ),
            (true, vec![a.clone(), long.clone()], text(":YQ==:"), None),
            (true, vec![long, b.clone()], None, None),
            (true, vec![], None, None),
            (false, vec![a, b], None, None),
        ];
        for (verified, chain, own, others) in rows {
            let tls = tls(verified, &chain);
            assert_eq!(ClientCert::new().values(&tls), (own.clone(), None));
            assert_eq!(ClientCert::new().with_chain().values(&tls), (own, others));
        }
    }

    #[tokio::test]
    async fn what_a_client_sends_itself_is_dropped() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for name in [
            "Client-Cert",
            "client_cert",
            "Client_Cert-Chain",
            "Client-Certs",
        ] {
            request.append_header(name, ":YQ==:").unwrap();
        }
        let mut module = Shown {
            rules: ClientCert::new(),
            own: None,
            others: None,
        };
        module.request_header_filter(&mut request).await.unwrap();
        assert_eq!(request.headers.len(), 1);
        module.own = Some(":Yg==:".into());
        module.request_header_filter(&mut request).await.unwrap();
        assert_eq!(request.headers["client-cert"], ":Yg==:");
    }
}
