//! TLS towards clients.

use super::client_certificates::ClientDemands;
use super::handshake_failure;
use super::stream::SslStream;
use crate::protocols::IO;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::tls::backend::{Accepted, FailedHandshake, PlainClient, TlsAcceptor};
use crate::protocols::tls::certificate::LoadedCertificate;
use crate::protocols::tls::offload::Offload;
use crate::protocols::tls::plain_http::turn_away;
use crate::protocols::tls::store::{CertificateStore, ClientAbilities, Renewal};
use crate::protocols::tls::{
    ChosenCertificate, HandshakeDecisions, HandshakeFailure, SessionTickets, TlsAccept,
    TlsAcceptCallbacks,
};
use crate::sys::tls as sys;
use async_trait::async_trait;
use futures::future::BoxFuture;
use openssl::ssl::{self, NameType, SslAcceptor, SslRef, SslVersion};
use pingora_error::{BError, Error, ErrorType, OrErr, Result};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite};

/// The state that all TLS connections of one listener share.
pub(crate) struct ServerContext {
    pub(crate) acceptor: SslAcceptor,
    pub(crate) callbacks: Option<TlsAcceptCallbacks>,
    pub(crate) decisions: Option<Arc<dyn HandshakeDecisions>>,
    /// Where the certificates come from, if not from the callbacks alone.
    pub(crate) store: Option<CertificateStore>,
    /// The certificate that every session has from its beginning.
    pub(crate) installed: Option<Arc<LoadedCertificate>>,
    pub(crate) tickets: Option<SessionTickets>,
    pub(crate) clients: Option<ClientDemands>,
    pub(crate) keep_client_hello: bool,
    pub(crate) offload: Option<Offload>,
}

/// The client of this failed handshake, if it spoke plain HTTP; `None` otherwise.
fn plain_client(mut stream: SslStream<L4Stream>) -> Option<PlainClient> {
    let request = stream.plain_http()?;
    Some(PlainClient::new(request, move |answer| {
        Box::pin(async move { turn_away(stream.get_mut(), &answer).await })
    }))
}

impl From<ssl::Error> for FailedHandshake {
    fn from(e: ssl::Error) -> Self {
        let failure = handshake_failure::failure(&e);
        let error = Error::because(ErrorType::TLSHandshakeFailure, failure.to_string(), e);
        FailedHandshake::new(failure, error)
    }
}

impl ServerContext {
    async fn shake_hands(&self, stream: L4Stream) -> Result<Accepted, FailedHandshake> {
        let mut stream = prepare_tls_stream(&self.acceptor, stream)?;
        let challenges = self.store.as_ref();
        let challenges = challenges.is_some_and(CertificateStore::has_challenges);
        if self.keep_client_hello || challenges || self.decisions.is_some() {
            stream.keep_client_hello();
        }
        if let Some(clients) = &self.clients {
            clients.prepare(stream.ssl_mut())?;
        }
        if self.must_choose() {
            sys::suspend_at_certificate(stream.ssl_mut());
        }
        let (mut stream, mut outcome) = self.step(stream).await?;
        if is_suspended(&outcome) {
            sys::resume_at_certificate(stream.ssl_mut());
            self.prepare(&mut stream).await;
            self.choose(&mut stream).await?;
            if let Some(callbacks) = &self.callbacks {
                callbacks.certificate_callback(stream.ssl_mut()).await;
            }
            (stream, outcome) = self.step(stream).await?;
        }
        if let Err(e) = outcome {
            return Err(self.failed(stream, e));
        }
        if !self.keep_client_hello {
            stream.forget_client_hello();
        }
        self.complete(&mut stream).await?;
        let resumed = stream.ssl().session_reused();
        Ok(Accepted::new(stream, resumed))
    }

    /// Goes on with the handshake until it is over, fails, or waits for a certificate.
    async fn step(
        &self,
        mut stream: SslStream<L4Stream>,
    ) -> Result<(SslStream<L4Stream>, Result<(), ssl::Error>)> {
        match &self.offload {
            None => {
                let outcome = stream.accept().await;
                Ok((stream, outcome))
            }
            Some(offload) => {
                let (mut stream, outcome, waited) =
                    offload.run(stream, SslStream::poll_accept).await?;
                stream.add_offload_wait(waited);
                Ok((stream, outcome))
            }
        }
    }

    /// Whether there is anything to decide about the certificate.
    fn must_choose(&self) -> bool {
        if self.callbacks.is_some() || self.decisions.is_some() {
            return true;
        }
        let Some(store) = &self.store else {
            return false;
        };
        let only = store.only().filter(|only| only.staple().is_none());
        match (only, &self.installed) {
            (Some(only), Some(installed)) => !Arc::ptr_eq(&only, installed),
            _ => true,
        }
    }

    /// Waits for a certificate that is only fetched now. Not an authority: the certificate may be waiting for it.
    async fn prepare(&self, stream: &mut SslStream<L4Stream>) {
        if let Some(store) = &self.store
            && let Some(name) = asked_name(stream.ssl_mut())
            && store.waits_for(&name)
            && self.challenged(stream).is_none()
        {
            store.prepare(&name).await;
        }
    }

    /// Presents the certificate that the store has for the client, or that the program chooses.
    async fn choose(&self, stream: &mut SslStream<L4Stream>) -> Result<()> {
        if self.store.is_none() && self.decisions.is_none() {
            return Ok(());
        }
        let chosen = match (self.challenged(stream), &self.decisions) {
            (Some(answer), _) => answer,
            (None, Some(decisions)) => self.decide(stream, &**decisions).await,
            (None, None) => self.stored(stream.ssl_mut()),
        };
        let ssl = stream.ssl_mut();
        match chosen {
            Some(chosen) => self.show(ssl, &chosen),
            None => {
                sys::forget_certificates(ssl);
                Ok(())
            }
        }
    }

    /// The certificate for an authority that looks for the answer to a challenge: see
    /// [`CertificateStore::challenge`].
    fn challenged(
        &self,
        stream: &mut SslStream<L4Stream>,
    ) -> Option<Option<Arc<LoadedCertificate>>> {
        let store = self.store.as_ref()?;
        let name = asked_name(stream.ssl_mut());
        store.challenge(name.as_deref(), stream.client_hello()?)
    }

    /// The certificate that the program chooses.
    async fn decide(
        &self,
        stream: &mut SslStream<L4Stream>,
        decisions: &dyn HandshakeDecisions,
    ) -> Option<Arc<LoadedCertificate>> {
        let stored = self.stored(stream.ssl_mut()).map(ChosenCertificate);
        let chosen = match stream.client_hello() {
            Some(hello) => decisions.certificate(hello, stored).await,
            None => stored,
        };
        chosen.map(|chosen| chosen.0)
    }

    /// The certificate that the store has for the client.
    fn stored(&self, ssl: &mut SslRef) -> Option<Arc<LoadedCertificate>> {
        let store = self.store.as_ref()?;
        let name = asked_name(ssl);
        store.pick(name.as_deref(), || abilities(ssl))
    }

    fn show(&self, ssl: &mut SslRef, chosen: &Arc<LoadedCertificate>) -> Result<()> {
        let installed = self.installed.as_ref();
        if !installed.is_some_and(|installed| Arc::ptr_eq(installed, chosen)) {
            chosen.show(ssl)?;
        }
        if let Some(staple) = chosen.staple()
            && sys::asks_for_ocsp(ssl)
            && let Some(response) = staple.response(SystemTime::now())
        {
            let stapled = ssl.set_ocsp_status(response);
            stapled.or_err(ErrorType::TLSHandshakeFailure, "stapling an OCSP response")?;
        }
        Ok(())
    }

    #[cold]
    fn failed(&self, stream: SslStream<L4Stream>, e: ssl::Error) -> FailedHandshake {
        let mut failed = FailedHandshake::from(e);
        // Without a certificate, the library finds that nothing fits.
        if failed.failure == HandshakeFailure::NothingInCommon
            && stream.ssl().certificate().is_none()
        {
            failed.failure = HandshakeFailure::NoCertificate;
            let name = stream.ssl().servername_raw(NameType::HOST_NAME);
            let name = name.map(String::from_utf8_lossy);
            let context = format!("{} (name: {name:?})", failed.failure);
            failed.error = failed.error.more_context(context);
        }
        failed.plain_http = plain_client(stream);
        failed
    }

    /// The rest of the work after the handshake.
    async fn complete(&self, stream: &mut SslStream<L4Stream>) -> Result<(), FailedHandshake> {
        if let Some(clients) = &self.clients
            && stream.ssl().session_reused()
        {
            let checked = clients.check_resumed(stream.ssl());
            let failure = HandshakeFailure::ClientCertificate;
            checked.map_err(|error| FailedHandshake::new(failure, error))?;
        }
        if let Some(callbacks) = &self.callbacks
            && let Some(value) = callbacks.handshake_complete_callback(stream.ssl()).await
        {
            stream.set_extension(value);
        }
        if let (Some(decisions), Some(digest)) = (&self.decisions, stream.ssl_digest())
            && let Some(value) = decisions.complete(&digest).await
        {
            stream.set_extension(value);
        }
        Ok(())
    }
}

impl TlsAcceptor for ServerContext {
    fn accept(&self, stream: L4Stream) -> BoxFuture<'_, Result<Accepted, FailedHandshake>> {
        Box::pin(self.shake_hands(stream))
    }

    /// Certificates, keys of tickets, authorities.
    fn renew(&self) -> Result<Option<Renewal>> {
        let store = self.store.as_ref().map(CertificateStore::prepare_reload);
        let tickets = self.tickets.as_ref().map(SessionTickets::prepare_reload);
        let clients = self.clients.as_ref().map(ClientDemands::prepare_reload);
        let renewals = [
            store.transpose()?,
            tickets.transpose()?.flatten(),
            clients.transpose()?.flatten(),
        ];
        let renewals: Vec<_> = renewals.into_iter().flatten().collect();
        if renewals.is_empty() {
            return Ok(None);
        }
        Ok(Some(Box::new(move || {
            renewals.into_iter().for_each(|renewal| renewal())
        })))
    }
}

impl fmt::Debug for ServerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerContext")
            .field("has_callbacks", &self.callbacks.is_some())
            .field("store", &self.store)
            .field("tickets", &self.tickets)
            .finish_non_exhaustive()
    }
}

/// The name that the client asks for. One that is not text is still a name, but no certificate has it.
fn asked_name(ssl: &SslRef) -> Option<String> {
    let name = ssl.servername_raw(NameType::HOST_NAME);
    name.map(|name| String::from_utf8_lossy(name).into_owned())
}

fn is_suspended(outcome: &Result<(), ssl::Error>) -> bool {
    outcome.as_ref().err().is_some_and(sys::is_suspended)
}

/// The client's statements about the certificates that it can use.
fn abilities(ssl: &mut SslRef) -> ClientAbilities {
    ClientAbilities {
        signature_algorithms: sys::offered_signature_algorithms(ssl),
        tls13: ssl.version2() == Some(SslVersion::TLS1_3),
        ecdsa_ciphers: sys::offers_ecdsa_ciphers(ssl),
    }
}

/// A session over `io` that is ready for its handshake.
///
/// # Errors
/// `TLSHandshakeFailure` if the library can't make one.
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
    let mut stream = prepare_tls_stream(ssl_acceptor, io)?;
    stream.accept().await.map_err(into_error)?;
    Ok(stream)
}

fn into_error(e: ssl::Error) -> BError {
    FailedHandshake::from(e).error
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
    let suspended = Pin::new(&mut stream).start_accept().await;
    if suspended.map_err(into_error)? {
        callbacks.certificate_callback(stream.ssl_mut()).await;
        let resumed = Pin::new(&mut stream).resume_accept().await;
        resumed.map_err(into_error)?;
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
            suspended if is_suspended(&suspended) => Ok(true),
            Err(e) => Err(e),
        }
    }

    async fn resume_accept(self: Pin<&mut Self>) -> Result<(), ssl::Error> {
        self.get_mut().accept().await
    }
}
