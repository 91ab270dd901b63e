//! Limits the resumption of a client's session to the demands and the name under which it began.

use crate::sys::tls as sys;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::sha::Sha256;
use openssl::ssl::{ClientHelloResponse, Ssl, SslContext, SslContextBuilder, SslRef};
use std::sync::LazyLock;

/// The number of the extension that names a host (RFC 6066 section 3).
const SERVER_NAME: u16 = 0;

/// The scope of a listener's sessions, as a digest. The library writes it into each session and ticket,
/// and resumes none that has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionScope(pub(super) [u8; 32]);

static OF_LISTENER: LazyLock<Result<Index<SslContext, SessionScope>, ErrorStack>> =
    LazyLock::new(SslContext::new_ex_index);
static OF_SESSION: LazyLock<Result<Index<Ssl, SessionScope>, ErrorStack>> =
    LazyLock::new(Ssl::new_ex_index);

impl SessionScope {
    /// The scope of a listener without demands on its clients.
    pub(crate) fn open() -> Self {
        SessionScope(openssl::sha::sha256(b"clients"))
    }

    /// Applies it to all sessions of a listener that get none of their own.
    ///
    /// # Errors
    /// If the library refuses.
    pub(crate) fn install(self, builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        builder.set_ex_data(OF_LISTENER.clone()?, self);
        // Without any, OpenSSL refuses to resume sessions of clients with certificates.
        builder.set_session_id_context(&self.0)
    }

    /// Applies it to one new session.
    ///
    /// # Errors
    /// If the library refuses.
    pub(super) fn apply(self, ssl: &mut SslRef) -> Result<(), ErrorStack> {
        ssl.set_ex_data(OF_SESSION.clone()?, self);
        sys::set_session_scope(ssl, &self.0)
    }

    /// The same for sessions whose client asks for one host alone.
    fn for_name(self, server_name: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(&self.0);
        hash.update(&server_name.to_ascii_lowercase());
        SessionScope(hash.finish())
    }
}

/// Allows sessions to be resumed only by clients that ask for the name with which they began, as RFC 6066
/// section 3 requires, because the demands on a client may depend on the name.
///
/// It replaces the library's callback for the ClientHello.
pub(crate) fn bind_sessions_to_names(builder: &mut SslContextBuilder) {
    builder.set_client_hello_callback(|ssl, _| {
        let own = OF_SESSION.clone().ok().and_then(|at| ssl.ex_data(at));
        let of_all = OF_LISTENER.clone().ok();
        let of_all = of_all.and_then(|at| ssl.ssl_context().ex_data(at));
        if let Some(scope) = own.or(of_all).copied() {
            let name = sys::client_hello_extension(ssl, SERVER_NAME).unwrap_or_default();
            sys::set_session_scope(ssl, &scope.for_name(&name).0)?;
        }
        Ok(ClientHelloResponse::SUCCESS)
    });
}
