//! A module on the client side: identifies callers by a key, and refuses others.

use crate::Tenant;
use async_trait::async_trait;
use http::header::VARY;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, Module, Surroundings};
use pingora::prelude::*;
use std::any::Any;

/// The field with the key.
const KEY: &str = "X-Api-Key";

/// State that is kept for the proxy: creates a module for each request.
pub(super) struct AccessBuilder {
    /// Keys, and their owners.
    pub(super) keys: &'static [(&'static str, &'static str)],
}

impl HttpModuleBuilder for AccessBuilder {
    /// Modules with a higher order run first; compression has 0.
    fn order(&self) -> i16 {
        10
    }

    fn init(&self) -> Module {
        Box::new(Access { keys: self.keys })
    }
}

/// State that is kept for one request.
struct Access {
    keys: &'static [(&'static str, &'static str)],
}

#[async_trait]
impl HttpModule for Access {
    /// Leaves the caller's name in the context, where phases and other modules find it.
    fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        let key = around.session().get_header_bytes(KEY);
        let caller = self.keys.iter().find(|(known, _)| known.as_bytes() == key);
        let Some((_, name)) = caller else {
            let mut error = Error::explain(HTTPStatus(403), "the key is not known");
            error.as_down();
            return Err(error);
        };
        if let Some(tenant) = around.context_mut::<Tenant>() {
            *tenant = Tenant(name);
        }
        Ok(())
    }

    /// The key is hidden from everything else, even from the phases.
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        request.remove_header(KEY);
        Ok(())
    }

    /// Sees every response that goes to the client, including error pages and responses written by
    /// phases.
    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Result<()> {
        response.append_header(VARY, KEY)?;
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
