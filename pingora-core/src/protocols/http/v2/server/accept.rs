//! From a connection to its streams.

use super::super::faults;
use super::limits::windows;
use super::{H2Limits, H2Options, HttpSession};
use crate::protocols::http::error_resp;
use crate::protocols::http::h1::RequestRules;
use crate::protocols::{Digest, Stream};
use bytes::Bytes;
use pingora_error::{ErrorSource, Result};
use pingora_h2::server::{Connection, Incoming, SendResponse};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The options of a connection for which the program sets none: 100 streams, a header list of 64 KiB,
/// windows of 128 KiB for a stream and 2 MiB for the connection. See the [module](super) for all
/// bounds.
pub fn default_h2_options() -> H2Options {
    H2Limits::default().cap(Some(windows()))
}

/// Begins HTTP/2 on a connection, with [`default_h2_options`] or with the given options; the limits
/// of [`H2Limits`] apply to both. Returns when the client's preface has arrived. Has no time limit.
///
/// # Errors
/// `H2Error` for a client that speaks another protocol, `ConnectionClosed` for one that is gone.
pub async fn handshake(
    io: Stream,
    options: Option<H2Options>,
) -> Result<Connection<Stream, Bytes>> {
    limited_handshake(io, Bytes::new(), options, &H2Limits::default()).await
}

/// [`handshake`] on a connection from which `ahead` was already read.
pub(crate) async fn limited_handshake(
    io: Stream,
    ahead: Bytes,
    options: Option<H2Options>,
    limits: &H2Limits,
) -> Result<Connection<Stream, Bytes>> {
    let options = limits.cap(options);
    let begun = options.handshake_ahead(io, &ahead).await;
    begun.map_err(|error| faults::stream_failed(error, ErrorSource::Downstream))
}

/// A stream that a client opened.
#[derive(Debug)]
pub enum H2Accept {
    /// A request that can be served.
    Session(HttpSession),
    /// A request that broke the rules. It was answered already.
    Rejected,
}

impl HttpSession {
    /// Waits for the next stream of a connection; `None` when no more will come. Call it
    /// continuously, because it also drives the connection. Cancel-safe.
    ///
    /// # Errors
    /// The connection has failed.
    pub async fn from_h2_conn(
        conn: &mut Connection<Stream, Bytes>,
        digest: Arc<Digest>,
    ) -> Result<Option<H2Accept>> {
        let accepted = poll_fn(|cx| accept(conn, cx)).await?;
        let Some((request, respond)) = accepted else {
            return Ok(None);
        };
        let mut session =
            HttpSession::new(request, respond, digest, &RequestRules::default(), None);
        if session.read_request().is_ok() {
            return Ok(Some(H2Accept::Session(session)));
        }
        let status = session.fault().map_or(400, |fault| fault.status());
        log::debug!("a request is refused with {status}");
        // The answer is small and waits for no window; a client that is gone needs none.
        let answer = error_resp::gen_error_response(status);
        let _ = session.write_response_header(Box::new(answer), true);
        Ok(Some(H2Accept::Rejected))
    }
}

/// A request, and the handle for its response.
pub(crate) type Opened = (Incoming, SendResponse<Bytes>);

/// The next stream of a connection; `None` when no more will come. Drives the connection.
pub(crate) fn accept(
    connection: &mut Connection<Stream, Bytes>,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Opened>>> {
    let accepted = ready!(connection.poll_accept(cx)).transpose();
    Poll::Ready(accepted.map_err(|error| faults::stream_failed(error, ErrorSource::Downstream)))
}
