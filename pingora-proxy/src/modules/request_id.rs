//! A name for each request.

use super::{alias, order};
use async_trait::async_trait;
use http::{HeaderName, HeaderValue};
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module, Surroundings};
use pingora_core::protocols::l4::Networks;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

/// The longest name that is taken from a trusted peer, in bytes.
const LONGEST: usize = 128;

/// Gives each request an identifier of 32 random hexadecimal digits, in a field of the request to the upstream
/// and of the response. An identifier that comes with a request is ignored unless a trusted proxy sends it and
/// it consists of at most 128 letters, digits and `-._~+/=:`.
///
/// The identifiers are not secret, and may be guessed. The builder of the module [`NamedRequest`].
#[derive(Clone, Debug)]
pub struct RequestId {
    field: HeaderName,
    trusted: Arc<Networks>,
    in_response: bool,
}

impl Default for RequestId {
    /// As [`RequestId::new`].
    fn default() -> Self {
        RequestId::new()
    }
}

impl RequestId {
    /// In the field `X-Request-Id`; identifiers that come with a request are ignored.
    pub fn new() -> Self {
        RequestId {
            field: HeaderName::from_static("x-request-id"),
            trusted: Arc::new(Networks::none()),
            in_response: true,
        }
    }

    /// In this field instead.
    pub fn in_field(mut self, field: HeaderName) -> Self {
        self.field = field;
        self
    }

    /// Keeps the names that peers in these networks give.
    pub fn trusting(mut self, proxies: Networks) -> Self {
        self.trusted = Arc::new(proxies);
        self
    }

    /// Whether the client is told the name. It is by default; a field of this name that comes from the upstream
    /// is replaced.
    pub fn write_to_response(mut self, write: bool) -> Self {
        self.in_response = write;
        self
    }
}

fn is_name(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:".contains(byte);
    (1..=LONGEST).contains(&bytes.len()) && bytes.iter().all(sound)
}

fn fresh() -> HeaderValue {
    let name = format!("{:032x}", fastrand::u128(..));
    // Hexadecimal digits are always a value.
    HeaderValue::from_str(&name).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

impl HttpModuleBuilder for RequestId {
    fn order(&self) -> i16 {
        order::REQUEST_ID
    }

    fn init(&self) -> Module {
        Box::new(NamedRequest {
            rules: self.clone(),
            name: fresh(),
        })
    }
}

/// The name of one request.
#[derive(Debug)]
pub struct NamedRequest {
    rules: RequestId,
    name: HeaderValue,
}

impl NamedRequest {
    /// The name: for logs, and for requests of one's own. A trusted proxy's is known once the request's head
    /// has passed the modules.
    pub fn id(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }
}

#[async_trait]
impl HttpModule for NamedRequest {
    fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        let session = around.session();
        let peer = session.client_addr().and_then(|peer| peer.as_inet());
        let is_trusted = peer.is_some_and(|peer| self.rules.trusted.contains(SocketAddr::ip(peer)));
        if is_trusted {
            let mut given = session
                .req_header()
                .headers
                .get_all(&self.rules.field)
                .iter();
            if let (Some(name), None) = (given.next(), given.next())
                && is_name(name)
            {
                self.name = name.clone();
            }
        }
        Ok(())
    }

    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        alias::remove_aliases(request, &self.rules.field);
        request.insert_header(self.rules.field.clone(), self.name.clone())
    }

    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Result<()> {
        if self.rules.in_response && !response.status.is_informational() {
            response.insert_header(self.rules.field.clone(), self.name.clone())?;
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

    #[test]
    fn names_are_short_and_plain() {
        let long = "a".repeat(129);
        for (text, sound) in [
            ("a", true),
            ("3f2504e0-4f89-11d3-9a0c-0305e82c3301", true),
            ("Root=1-67891233-abcdef", true),
            (&long[1..], true),
            (&long, false),
            ("", false),
            ("a b", false),
            ("a;b", false),
            ("a\"", false),
        ] {
            assert_eq!(
                is_name(&HeaderValue::from_str(text).unwrap()),
                sound,
                "{text}"
            );
        }
        assert!(!is_name(&HeaderValue::from_bytes(b"caf\xe9").unwrap()));
        let (one, other) = (fresh(), fresh());
        assert!(is_name(&one) && one.len() == 32 && one != other);
    }

    #[tokio::test]
    async fn what_others_sent_is_replaced_in_both_directions() {
        let mut module = NamedRequest {
            rules: RequestId::new(),
            name: fresh(),
        };
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for name in ["X-Request-Id", "x_request_id", "X-Request_ID"] {
            request.append_header(name, "forged").unwrap();
        }
        module.request_header_filter(&mut request).await.unwrap();
        assert_eq!(request.headers.len(), 1);
        assert_eq!(request.headers["x-request-id"], module.id());
        let mut response = ResponseHeader::build(200, None).unwrap();
        response.insert_header("X-Request-Id", "other").unwrap();
        module
            .response_header_filter(&mut response, true)
            .await
            .unwrap();
        assert_eq!(response.headers["x-request-id"], module.id());
    }
}
