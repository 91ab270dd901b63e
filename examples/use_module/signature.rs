//! A module on the upstream side: signs each request when nothing changes it any more.

use crate::Tenant;
use async_trait::async_trait;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, Module, Surroundings};
use pingora::prelude::*;
use pingora::tls::error::ErrorStack;
use pingora::tls::hash::MessageDigest;
use pingora::tls::pkey::{PKey, Private};
use pingora::tls::sign::Signer;
use std::any::Any;

/// State that is kept for the proxy.
#[derive(Clone)]
pub(super) struct SignatureBuilder {
    key: PKey<Private>,
}

impl SignatureBuilder {
    /// Signs with this secret, which the upstreams know.
    pub(super) fn new(secret: &str) -> Result<Self> {
        let key = PKey::hmac(secret.as_bytes()).or_err(InternalError, "the secret")?;
        Ok(SignatureBuilder { key })
    }
}

impl HttpModuleBuilder for SignatureBuilder {
    fn init(&self) -> Module {
        Box::new(Signature {
            key: self.key.clone(),
            tenant: "",
        })
    }
}

/// State that is kept for one request, over all of its tries.
struct Signature {
    key: PKey<Private>,
    tenant: &'static str,
}

impl Signature {
    /// HMAC-SHA256 in hexadecimal.
    fn of(&self, text: &str) -> Result<String, ErrorStack> {
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key)?;
        let signed = signer.sign_oneshot_to_vec(text.as_bytes())?;
        Ok(signed.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[async_trait]
impl HttpModule for Signature {
    /// Reads the value that the module on the client side has left.
    fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        if let Some(Tenant(name)) = around.context::<Tenant>() {
            self.tenant = name;
        }
        Ok(())
    }

    /// Sees the request as this try's upstream will receive it. (To protect against replays, one would also sign
    /// a time.)
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        let text = format!("{} {} {}", request.method, request.uri, self.tenant);
        let signature = self.of(&text).or_err(InternalError, "signing")?;
        request.insert_header("X-Tenant", self.tenant)?;
        request.insert_header("X-Signature", signature)
    }

    /// Sees the response before any phase does.
    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Result<()> {
        response.insert_header("X-Signed-For", self.tenant)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
