//! Response compression as a module.

use super::{HttpModule, HttpModuleBuilder, Module, ModuleBuilder};
use crate::protocols::http::compression::{CompressionSettings, ResponseCompressionCtx};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use std::any::Any;
use std::ops::{Deref, DerefMut};

/// Compresses the response if the client accepts that; see [`ResponseCompressionCtx`], which it
/// dereferences to.
///
/// It runs after all filters and nearly all modules, so it compresses their output. To give filters a
/// plain body, decompress before them, in `Session::upstream_compression`.
#[derive(Debug)]
pub struct ResponseCompression(ResponseCompressionCtx);

/// Stands in for a module that is not created yet, and does nothing.
pub(super) static IDLE: ResponseCompression = ResponseCompression(ResponseCompressionCtx::idle());

/// A module that a phase may turn on.
pub(super) fn module() -> Module {
    Box::new(ResponseCompression(ResponseCompressionCtx::attentive(0)))
}

impl Deref for ResponseCompression {
    type Target = ResponseCompressionCtx;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for ResponseCompression {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

#[async_trait]
impl HttpModule for ResponseCompression {
    async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        self.0.request_filter(req);
        Ok(())
    }

    fn response_discarded(&mut self) {
        self.0.response_discarded();
    }

    async fn response_header_filter(
        &mut self,
        resp: &mut ResponseHeader,
        end_of_stream: bool,
    ) -> Result<()> {
        self.0.response_header_filter(resp, end_of_stream);
        Ok(())
    }

    fn response_body_filter(
        &mut self,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<()> {
        let changed = self
            .0
            .try_response_body_filter(body.as_ref(), end_of_stream)?;
        if let Some(changed) = changed {
            // The compressor may keep its input for later.
            *body = Some(changed).filter(|b| !b.is_empty());
        }
        Ok(())
    }

    fn response_trailer_filter(
        &mut self,
        _trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        self.response_done_filter()
    }

    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        // Ends the compressed body if no part of the body was marked as the last.
        let rest = self.0.try_response_body_filter(None, true)?;
        Ok(rest.filter(|b| !b.is_empty()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Makes [`ResponseCompression`] modules.
#[derive(Debug)]
pub struct ResponseCompressionBuilder {
    settings: CompressionSettings,
}

impl ResponseCompressionBuilder {
    /// Compresses at `level`, from 1 (fast) to 9 (small; Brotli has levels up to 11, Zstandard up to 19); 0 leaves it
    /// to the request, which may enable compression with
    /// [`adjust_level`](crate::protocols::http::compression::ResponseCompressionCtx::adjust_level) until the response's
    /// head passes.
    pub fn enable(level: u32) -> ModuleBuilder {
        Self::with(CompressionSettings::new(level))
    }

    /// Compresses according to these settings.
    pub fn with(settings: CompressionSettings) -> ModuleBuilder {
        Box::new(ResponseCompressionBuilder { settings })
    }
}

impl HttpModuleBuilder for ResponseCompressionBuilder {
    fn order(&self) -> i16 {
        // After nearly everything else: additions of other modules to a body must be compressed,
        // too.
        i16::MIN / 2
    }

    fn init(&self) -> Module {
        let settings = ResponseCompressionCtx::with_settings(&self.settings);
        Box::new(ResponseCompression(settings))
    }
}
