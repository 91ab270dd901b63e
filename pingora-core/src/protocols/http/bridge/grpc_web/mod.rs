//! gRPC-Web to gRPC and back: between browsers and services.
//!
//! A browser can neither read trailers nor send a body piece by piece. gRPC-Web is gRPC without both:
//! the response trailers travel as the last frame of the body, and in the *text* form bodies are
//! base64. Messages are framed in the same way, so bodies pass unchanged in the *binary* form.
//!
//! | | from the client | to the upstream |
//! |---|---|---|
//! | request | `application/grpc-web[-text][+proto]` | `application/grpc[+proto]`, `TE: trailers` |
//! | response | the request's kind, or the one that `Accept` names | `application/grpc[+proto]` |
//! | trailers | a frame: `0x80`, four bytes of length, `name:value` lines | trailers |
//!
//! [`GrpcWebCtx`] handles only the binary form and is called by hand. The module
//! [`GrpcWebBridge`](crate::modules::http::grpc_web::GrpcWebBridge) handles both.

pub(crate) mod base64;
pub(crate) mod media_type;
mod trailers;

pub(crate) use trailers::trailer_frame;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TE};
use media_type::Encoding;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

/// The progress of translating one exchange.
///
/// ```text
/// Disabled ◀── not gRPC-Web ── Init ── request's head ──▶ Upgrade ── response's head ──▶ Trailers
///     ▲                         ▲                            │                              │
///     └── the default           └── init()   not gRPC ───────┘         Done ◀── trailers ───┘
/// ```
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum GrpcWebCtx {
    /// Nothing is translated.
    #[default]
    Disabled,
    /// The request will be translated if it is gRPC-Web.
    Init,
    /// The request was translated; the response will be.
    Upgrade,
    /// The head of the response was translated; its trailers will be.
    Trailers,
    /// Everything is translated.
    Done,
}

impl GrpcWebCtx {
    /// Enables the translation. Call it before the request's head is processed: in
    /// `early_request_filter`, if a proxy uses the module.
    pub fn init(&mut self) {
        *self = GrpcWebCtx::Init;
    }

    /// Translates the head of a request, if it is gRPC-Web in the binary form; otherwise nothing will
    /// be translated. A head that has no room for another field is left unchanged.
    pub fn request_header_filter(&mut self, req: &mut RequestHeader) {
        if *self == GrpcWebCtx::Init {
            let translated = requested_encoding(req) == Some(Encoding::Binary)
                && translate_request(req, Encoding::Binary).is_ok();
            self.begin(translated);
        }
    }

    /// Continues from [`GrpcWebCtx::Init`] with a request that was translated or not.
    pub(crate) fn begin(&mut self, translated: bool) {
        *self = if translated {
            GrpcWebCtx::Upgrade
        } else {
            GrpcWebCtx::Disabled
        };
    }

    /// Translates the head of a response if it is gRPC; an error page, for example, is not.
    /// Informational responses pass unchanged.
    ///
    /// A trailers-only response, which has no body, has them in its head already, as gRPC-Web
    /// requires.
    pub fn response_header_filter(&mut self, resp: &mut ResponseHeader) {
        self.translate_response(resp, Encoding::Binary);
    }

    pub(crate) fn translate_response(&mut self, resp: &mut ResponseHeader, encoding: Encoding) {
        if *self != GrpcWebCtx::Upgrade || resp.status.is_informational() {
            return;
        }
        let grpc = resp.headers.get(CONTENT_TYPE);
        let web = grpc.and_then(|grpc| media_type::to_web(grpc.as_bytes(), encoding));
        let Some(web) = web else {
            *self = GrpcWebCtx::Disabled;
            return;
        };
        // It replaces an existing field.
        let _ = resp.insert_header(CONTENT_TYPE, web);
        // The body grows by one frame, or by a third.
        resp.remove_header(&CONTENT_LENGTH);
        *self = GrpcWebCtx::Trailers;
    }

    /// Turns the trailers into the frame that ends the body, and removes them.
    ///
    /// # Errors
    /// [`InternalError`](pingora_error::ErrorType::InternalError) if the trailers exceed the size of a
    /// frame (4 GiB).
    pub fn response_trailer_filter(
        &mut self,
        resp_trailers: &mut HeaderMap,
    ) -> Result<Option<Bytes>> {
        if *self != GrpcWebCtx::Trailers {
            return Ok(None);
        }
        *self = GrpcWebCtx::Done;
        let frame = trailer_frame(resp_trailers)?;
        resp_trailers.clear();
        Ok(Some(frame))
    }
}

/// The form of a request; `None`: it is not gRPC-Web.
pub(crate) fn requested_encoding(req: &RequestHeader) -> Option<Encoding> {
    let (encoding, _) = media_type::to_grpc(req.headers.get(CONTENT_TYPE)?.as_bytes())?;
    Some(encoding)
}

/// The form wanted for the response: the one that `Accept` names, if it names exactly one.
pub(crate) fn accepted_encoding(req: &RequestHeader, requested: Encoding) -> Encoding {
    let accepted = req.headers.get_all(ACCEPT).iter();
    media_type::accepted(accepted.map(HeaderValue::as_bytes), requested)
}

/// Turns the head of a gRPC-Web request into a gRPC head.
pub(crate) fn translate_request(req: &mut RequestHeader, encoding: Encoding) -> Result<()> {
    let web = req.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let Some((_, grpc)) = web.and_then(media_type::to_grpc) else {
        return Ok(());
    };
    req.insert_header(TE, HeaderValue::from_static("trailers"))?;
    req.insert_header(CONTENT_TYPE, grpc)?;
    if encoding == Encoding::Text {
        req.remove_header(&CONTENT_LENGTH);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
