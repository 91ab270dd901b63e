//! TLS towards clients.

use super::certificate_files::CertificateFiles;
use super::stream::SslStream;
use crate::protocols::tls::{TlsAccept, TlsAcceptCallbacks};
use crate::protocols::{IO, Stream};
use crate::sys::tls as sys;
use async_trait::async_trait;
use openssl::ssl::{self, SslAcceptor};
use openssl_sys::SSL_ERROR_WANT_X509_LOOKUP;
use pingora_error::{ErrorType, OrErr, Result};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// What all TLS connections of one listener share.
pub(crate) struct ServerContext {
    pub(crate) acceptor: SslAcceptor,
    pub(crate) callbacks: Option<TlsAcceptCallbacks>,
    /// Where the certificate came from files.
    pub(crate) files: Option<Arc<CertificateFiles>>,
}

impl ServerContext {
    /// The server's side of the handshake over `stream`. There is no deadline: the caller has one.
    ///
    /// # Errors
    /// `TLSHandshakeFailure`.
    pub(crate) async fn accept<S: IO + 'static>(&self, stream: S) -> Result<Stream> {
        let stream = match &self.callbacks {
            Some(callbacks) => {
                handshake_with_callback(&self.acceptor, stream, callbacks.as_ref()).await?
            }
            None => {
                let mut stream = prepare_tls_stream(&self.acceptor, stream)?;
                if let Some(files) = &self.files {
                    files.show(stream.ssl_mut())?;
                }
                accept_prepared(stream).await?
            }
        };
        Ok(Box::new(stream))
    }

    /// Reads the certificate's files again; what is returned puts it into force. `None` where the
    /// certificate does not come from files. Blocks.
    ///
    /// # Errors
    /// `InvalidCert`, naming the file that can't be used.
    pub(crate) fn renew(&self) -> Result<Option<Box<dyn FnOnce() + Send>>> {
        let Some(files) = &self.files else {
            return Ok(None);
        };
        let (files, renewed) = (files.clone(), files.read()?);
        Ok(Some(Box::new(move || files.put(renewed))))
    }
}

impl fmt::Debug for ServerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerContext")
            .field("has_callbacks", &self.callbacks.is_some())
            .finish_non_exhaustive()
    }
}

/// A session over `io` that is ready for its handshake.
///
/// # Errors
/// `TLSHandshakeFailure` where the library can't make one.
pub fn prepare_tls_stream<S: IO>(ssl_acceptor: &SslAcceptor, io: S) -> Result<SslStream<S>> {
    let ssl = ssl::Ssl::new(ssl_acceptor.context())
        .or_err(ErrorType::TLSHandshakeFailure, "making a TLS session")?;
    SslStream::new(ssl, io)
}

/// The server's side of the handshake.
///
/// # Errors
/// `TLSHandshakeFailure`.
pub async fn handshake<S: IO>(ssl_acceptor: &SslAcceptor, io: S) -> Result<SslStream<S>> {
    accept_prepared(prepare_tls_stream(ssl_acceptor, io)?).await
}

async fn accept_prepared<S: IO>(mut stream: SslStream<S>) -> Result<SslStream<S>> {
    stream
        .accept()
        .await
        .or_err(ErrorType::TLSHandshakeFailure, "TLS handshake")?;
    Ok(stream)
}

/// The server's side of the handshake, with the user's callbacks.
///
/// # Errors
/// `TLSHandshakeFailure`.
pub async fn handshake_with_callback<S: IO>(
    ssl_acceptor: &SslAcceptor,
    io: S,
    callbacks: &(dyn TlsAccept + Send + Sync),
) -> Result<SslStream<S>> {
    let mut stream = prepare_tls_stream(ssl_acceptor, io)?;
    let suspended = Pin::new(&mut stream)
        .start_accept()
        .await
        .or_err(ErrorType::TLSHandshakeFailure, "TLS handshake")?;
    if suspended {
        callbacks.certificate_callback(stream.ssl_mut()).await;
        Pin::new(&mut stream)
            .resume_accept()
            .await
            .or_err(ErrorType::TLSHandshakeFailure, "TLS handshake")?;
    }
    if let Some(value) = callbacks.handshake_complete_callback(stream.ssl()).await {
        stream.set_extension(value);
    }
    Ok(stream)
}

/// A server's handshake in two parts, with a pause where the certificate is chosen.
#[async_trait]
pub trait ResumableAccept {
    /// Begins the handshake. `true`: it waits for a certificate, and for
    /// [`resume_accept`](ResumableAccept::resume_accept). `false`: it is complete already, because
    /// a session was resumed.
    async fn start_accept(self: Pin<&mut Self>) -> Result<bool, ssl::Error>;

    /// Completes a handshake that waited for its certificate.
    async fn resume_accept(self: Pin<&mut Self>) -> Result<(), ssl::Error>;
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Send + Unpin> ResumableAccept for SslStream<S> {
    async fn start_accept(self: Pin<&mut Self>) -> Result<bool, ssl::Error> {
        let this = self.get_mut();
        sys::suspend_at_certificate(this.ssl_mut());
        let result = this.accept().await;
        sys::resume_at_certificate(this.ssl_mut());
        match result {
            Ok(()) => Ok(false),
            Err(e) if e.code().as_raw() == SSL_ERROR_WANT_X509_LOOKUP => Ok(true),
            Err(e) => Err(e),
        }
    }

    async fn resume_accept(self: Pin<&mut Self>) -> Result<(), ssl::Error> {
        self.get_mut().accept().await
    }
}
