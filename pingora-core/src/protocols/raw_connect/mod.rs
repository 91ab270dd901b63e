//! Asks a proxy on the way to the upstream for a tunnel: CONNECT (RFC 9110 section 9.3.6).
//!
//! The rules of the request and of its answer are in `request` and `answer`, without I/O.

mod answer;
mod request;

pub use super::digest::ProxyDigest;
pub use request::generate_connect_header;

use super::Stream;
use super::l4::stream::Stream as L4Stream;
use ::http::request::Parts;
use answer::AnswerReader;
use bytes::Bytes;
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The time within which a proxy has to answer if the peer sets no limit.
const DEFAULT_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Computes a value from a CONNECT proxy's answer, to be stored with the connection.
pub type ProxyDigestUserDataHook = Arc<
    dyn Fn(&Parts, &ResponseHeader) -> Option<Box<dyn Any + Send + Sync>> + Send + Sync + 'static,
>;

/// How to ask a proxy for a tunnel.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct TunnelOptions<'a> {
    /// The time within which the proxy has to answer. `None` (the default): a minute.
    pub answer_timeout: Option<Duration>,
    /// Receives the proxy's answer; its return value becomes [`ProxyDigest::user_data`]. `None` by
    /// default.
    pub user_data_hook: Option<&'a ProxyDigestUserDataHook>,
}

impl fmt::Debug for TunnelOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelOptions")
            .field("answer_timeout", &self.answer_timeout)
            .finish_non_exhaustive()
    }
}

/// Implemented by destinations that are reached through a tunnel, and know how to ask for it. Every
/// [`Peer`](crate::upstreams::peer::Peer) does.
pub trait HasTunnelOptions {
    /// The options. Queried once for each tunnel.
    fn tunnel_options(&self) -> TunnelOptions<'_>;
}

/// Sends a CONNECT request to the proxy at the other end of `stream`, and waits for its answer within
/// the peer's connection timeout, or a minute. From then on `stream` leads to the requested host;
/// bytes that arrived after the answer are read from it first.
///
/// Dropping the future leaves the exchange half-finished, and the stream unusable.
///
/// # Errors
/// `ConnectProxyFailure` if the proxy refuses, with a [`ConnectProxyError`] as the cause, if it does
/// not speak valid HTTP/1, or goes away; `ConnectTimedout` if it does not answer in time.
pub async fn connect<P>(
    mut stream: Stream,
    request_header: &Parts,
    peer: &P,
) -> Result<(Stream, ProxyDigest)>
where
    P: HasTunnelOptions,
{
    let (digest, rest) = ask(&mut stream, request_header, peer.tunnel_options()).await?;
    if rest.is_empty() {
        return Ok((stream, digest));
    }
    match stream.into_any().downcast::<L4Stream>() {
        Ok(mut stream) => {
            stream.rewind(&rest);
            Ok((stream, digest))
        }
        Err(_) => Error::e_explain(
            ErrorType::ConnectProxyFailure,
            "the proxy sent data ahead of the tunnel, which this transport can't take back",
        ),
    }
}

/// The same for a connection that is known to be a socket.
pub(crate) async fn connect_socket<P: HasTunnelOptions>(
    stream: &mut L4Stream,
    request: &Parts,
    peer: &P,
) -> Result<ProxyDigest> {
    let (digest, rest) = ask(stream, request, peer.tunnel_options()).await?;
    stream.rewind(&rest);
    Ok(digest)
}

/// One exchange with the proxy, within its time limit: returns the answer, and the bytes after it.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &Parts,
    options: TunnelOptions<'_>,
) -> Result<(ProxyDigest, Bytes)> {
    let limit = options.answer_timeout.unwrap_or(DEFAULT_ANSWER_TIMEOUT);
    let Ok(answered) = tokio::time::timeout(limit, exchange(stream, request)).await else {
        return Error::e_explain(
            ErrorType::ConnectTimedout,
            format!("the proxy did not answer CONNECT within {limit:?}"),
        );
    };
    let (response, rest) = answered?;
    let user_data = options
        .user_data_hook
        .and_then(|hook| hook(request, &response));
    Ok((ProxyDigest::new(response, user_data), rest))
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &Parts,
) -> Result<(Box<ResponseHeader>, Bytes)> {
    let failure = ErrorType::ConnectProxyFailure;
    let request = request::encode(request)?;
    let sent = async {
        stream.write_all(&request).await?;
        stream.flush().await
    };
    sent.await
        .or_err(failure.clone(), "sending CONNECT to the proxy")?;
    let mut reader = AnswerReader::default();
    loop {
        let mut chunk = [0; 2048];
        let n = stream
            .read(&mut chunk)
            .await
            .or_err(failure.clone(), "waiting for the proxy's answer to CONNECT")?;
        let Some(arrived) = chunk.get(..n).filter(|arrived| !arrived.is_empty()) else {
            return Error::e_explain(
                failure,
                "the proxy closed the connection instead of answering",
            );
        };
        let (response, rest) = match reader.read(arrived) {
            Ok(None) => continue,
            Ok(Some(answer)) => answer,
            Err(reason) => {
                return Error::e_explain(
                    failure,
                    format!("the proxy's answer to CONNECT: {reason}"),
                );
            }
        };
        if !response.status.is_success() {
            let refused = ConnectProxyError::boxed_new(response);
            return Error::e_because(failure, "CONNECT", refused);
        }
        return Ok((response, rest));
    }
}

/// A proxy refused to connect to the upstream.
pub struct ConnectProxyError {
    /// The proxy's response to CONNECT.
    pub response: Box<ResponseHeader>,
}

impl ConnectProxyError {
    /// An error that contains `response`, boxed because the error type requires that for causes.
    pub fn boxed_new(response: Box<ResponseHeader>) -> Box<Self> {
        Box::new(ConnectProxyError { response })
    }
}

impl fmt::Debug for ConnectProxyError {
    /// Prints nothing but the status: the proxy's fields may be meant for us alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectProxyError")
            .field("status", &self.response.status)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ConnectProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the proxy answered CONNECT with status {}",
            self.response.status.as_u16()
        )
    }
}

impl std::error::Error for ConnectProxyError {}

#[cfg(test)]
mod tests;
