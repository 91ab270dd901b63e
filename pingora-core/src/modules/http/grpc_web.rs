//! gRPC-Web for services that speak gRPC, as a module.

use super::{HttpModule, HttpModuleBuilder, Module};
use crate::protocols::http::bridge::grpc_web::base64::{self, Decoder, NotBase64};
use crate::protocols::http::bridge::grpc_web::media_type::Encoding;
use crate::protocols::http::bridge::grpc_web::{
    self, GrpcWebCtx, accepted_encoding, requested_encoding,
};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_error::{BError, Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::any::Any;
use std::ops::{Deref, DerefMut};

/// Lets browsers call gRPC services: translates gRPC-Web, binary and text, to gRPC and back; see
/// [the rules](crate::protocols::http::bridge::grpc_web).
///
/// Off until [`init`](GrpcWebCtx::init) is called for the request, before its head is processed.
/// Other requests pass unchanged. Allowing calls from pages of other origins (CORS) is left to the
/// proxy.
///
/// The upstream has to speak HTTP/2, as gRPC does.
#[derive(Debug, Default)]
pub struct GrpcWebBridge {
    ctx: GrpcWebCtx,
    /// The request's body is in the text form.
    request: Option<Decoder>,
    /// The form of the response's body.
    response: Option<Encoding>,
}

impl Deref for GrpcWebBridge {
    type Target = GrpcWebCtx;

    fn deref(&self) -> &Self::Target {
        &self.ctx
    }
}

impl DerefMut for GrpcWebBridge {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.ctx
    }
}

impl GrpcWebBridge {
    fn answers_in_text(&self) -> bool {
        self.response == Some(Encoding::Text)
    }
}

#[async_trait]
impl HttpModule for GrpcWebBridge {
    async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        // On the upstream side, each try has a head of its own.
        if self.ctx != GrpcWebCtx::Init && self.response.is_none() {
            return Ok(());
        }
        let requested = requested_encoding(req);
        if let Some(encoding) = requested {
            self.request = (encoding == Encoding::Text).then(Decoder::default);
            self.response = Some(accepted_encoding(req, encoding));
            grpc_web::translate_request(req, encoding)?;
        }
        self.ctx.begin(requested.is_some());
        Ok(())
    }

    fn request_body_begins(&mut self) {
        if let Some(decoder) = &mut self.request {
            *decoder = Decoder::default();
        }
    }

    async fn request_body_filter(
        &mut self,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<()> {
        let Some(decoder) = &mut self.request else {
            return Ok(());
        };
        if let Some(text) = body.take() {
            let mut data = Vec::new();
            decoder.decode(&text, &mut data).map_err(bad_text)?;
            *body = Some(Bytes::from(data)).filter(|data| !data.is_empty());
        }
        if end_of_stream {
            decoder.finish().map_err(bad_text)
        } else {
            Ok(())
        }
    }

    fn response_discarded(&mut self) {
        if self.response.is_some() {
            self.ctx.begin(true);
        }
    }

    async fn response_header_filter(
        &mut self,
        resp: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Result<()> {
        let encoding = self.response.unwrap_or(Encoding::Binary);
        self.ctx.translate_response(resp, encoding);
        Ok(())
    }

    fn response_body_filter(
        &mut self,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
    ) -> Result<()> {
        if self.ctx == GrpcWebCtx::Trailers && self.answers_in_text() {
            // Each piece is padded, because the next one may take a long time to come.
            *body = body.take().map(|data| base64::encode(&data).into());
        }
        Ok(())
    }

    fn response_trailer_filter(
        &mut self,
        trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        let Some(fields) = trailers else {
            return Ok(None);
        };
        let Some(frame) = self.ctx.response_trailer_filter(fields)? else {
            return Ok(None);
        };
        *trailers = None;
        Ok(Some(if self.answers_in_text() {
            base64::encode(&frame).into()
        } else {
            frame
        }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cold]
fn bad_text(fault: NotBase64) -> BError {
    Error::create(
        ErrorType::HTTPStatus(400),
        ErrorSource::Downstream,
        Some("the body is no base64, as gRPC-Web in text has to be".into()),
        Some(Box::new(fault)),
    )
}

/// Makes [`GrpcWebBridge`] modules.
///
/// ```
/// # use pingora_core::modules::http::HttpModules;
/// # use pingora_core::modules::http::grpc_web::{GrpcWeb, GrpcWebBridge};
/// let mut modules = HttpModules::new();
/// modules.add_module(Box::new(GrpcWeb));
///
/// // In `early_request_filter`, for the requests that it is for:
/// let mut request = modules.build_ctx();
/// if let Some(bridge) = request.get_mut::<GrpcWebBridge>() {
///     bridge.init();
/// }
/// ```
#[derive(Debug, Default, Clone, Copy)]
pub struct GrpcWeb;

impl HttpModuleBuilder for GrpcWeb {
    fn init(&self) -> Module {
        Box::new(GrpcWebBridge::default())
    }
}

#[cfg(test)]
mod tests;
