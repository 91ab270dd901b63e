//! Request decompression as a module.

use super::{HttpModule, HttpModuleBuilder, Module, ModuleBuilder};
use crate::protocols::http::compression::{
    CHECKSUMS, Coded, ContentCoding, DecodeError, Decoder, DecompressionLimits, content_coding,
};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use pingora_error::{BError, Error, ErrorSource, ErrorType, Result};
use pingora_http::RequestHeader;
use std::any::Any;
use std::fmt;

/// Decompresses the bodies of requests, so that filters and upstreams receive them plain.
///
/// It reverses one supported coding (see [`compression`](crate::protocols::http::compression)) and removes
/// `Content-Encoding`, `Content-Length` and digests from the request. A request without a coding passes
/// unchanged.
///
/// | the client sent | it gets |
/// |---|---|
/// | a coding that is not supported, or several | 415 |
/// | a body that grows beyond the [limits](DecompressionLimits) | 413 |
/// | a body that breaks its format or is cut short | 400 |
///
/// The latter two may only be detected when an upstream already has the beginning of the body; the
/// exchange with it is then aborted, so that it doesn't mistake the beginning for the whole.
///
/// Memory: the decoder's window (see
/// [`ResponseCompressionCtx`](crate::protocols::http::compression::ResponseCompressionCtx)), and briefly the
/// output of one piece, up to 64 KiB, within the limits. A body that is sent again to another upstream is
/// decompressed again.
pub struct RequestDecompression {
    limits: DecompressionLimits,
    state: State,
}

/// ```text
/// Plain
/// Coded ── a body begins ──► Coded
/// ```
enum State {
    /// Nothing to do, or the head has not passed yet.
    Plain,
    Coded(ContentCoding, Decoder),
}

impl fmt::Debug for RequestDecompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestDecompression")
            .field("limits", &self.limits)
            .field("decompresses", &self.is_decompressing())
            .finish()
    }
}

impl RequestDecompression {
    /// Whether this request has a body that is being decompressed.
    pub fn is_decompressing(&self) -> bool {
        matches!(self.state, State::Coded(..))
    }

    /// Sets other limits for this request. Has no effect once its head has passed.
    pub fn adjust_limits(&mut self, limits: DecompressionLimits) {
        self.limits = limits;
    }
}

#[cold]
fn unsupported() -> BError {
    let context = "the request's body has a coding that is not supported";
    let mut error = Error::explain(ErrorType::HTTPStatus(415), context);
    error.esource = ErrorSource::Downstream;
    error
}

#[cold]
fn refused(fault: DecodeError) -> BError {
    let status = match fault {
        DecodeError::TooLarge => 413,
        DecodeError::Corrupt(_) => 400,
    };
    let context = "the request's body is not decompressed";
    Error::because(ErrorType::HTTPStatus(status), context, fault).into_down()
}

#[async_trait]
impl HttpModule for RequestDecompression {
    async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        let coding = match content_coding(&req.headers) {
            Coded::Plain => return Ok(()),
            Coded::Once(coding) => coding,
            Coded::Unknown => return Err(unsupported()),
        };
        let decoder = coding
            .decoder(self.limits.in_pieces())
            .ok_or_else(unsupported)?;
        self.state = State::Coded(coding, decoder);
        req.remove_header(&CONTENT_ENCODING);
        req.remove_header(&CONTENT_LENGTH);
        for checksum in CHECKSUMS {
            req.remove_header(checksum);
        }
        Ok(())
    }

    fn request_body_begins(&mut self) {
        if let State::Coded(coding, decoder) = &mut self.state {
            // If one can't be created now although it could be before, memory is short.
            if let Some(fresh) = coding.decoder(self.limits.in_pieces()) {
                *decoder = fresh;
            }
        }
    }

    async fn request_body_filter(
        &mut self,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<()> {
        if let State::Coded(_, decoder) = &mut self.state {
            let coded = body.take().unwrap_or_default();
            let plain = decoder.decode(&coded, end_of_stream).map_err(refused)?;
            *body = Some(plain).filter(|plain| !plain.is_empty());
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

/// Makes [`RequestDecompression`] modules.
///
/// ```
/// # use pingora_core::modules::http::HttpModules;
/// # use pingora_core::modules::http::decompression::RequestDecompressionBuilder;
/// # use pingora_core::protocols::http::compression::DecompressionLimits;
/// let mut modules = HttpModules::new();
/// // At most 1 MiB, and fifty times what was sent.
/// let limits = DecompressionLimits::new(1024 * 1024, 50);
/// modules.add_module(RequestDecompressionBuilder::enable(limits));
/// ```
#[derive(Debug)]
pub struct RequestDecompressionBuilder {
    limits: DecompressionLimits,
}

impl RequestDecompressionBuilder {
    /// Decompresses every request, within `limits`.
    pub fn enable(limits: DecompressionLimits) -> ModuleBuilder {
        Box::new(RequestDecompressionBuilder { limits })
    }
}

impl HttpModuleBuilder for RequestDecompressionBuilder {
    fn order(&self) -> i16 {
        // Before nearly everything else: other modules must see a plain body.
        i16::MAX / 2
    }

    fn init(&self) -> Module {
        Box::new(RequestDecompression {
            limits: self.limits,
            state: State::Plain,
        })
    }
}

#[cfg(test)]
mod tests;
