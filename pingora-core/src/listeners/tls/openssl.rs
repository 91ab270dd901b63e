//! [`TlsSettings`] as programs that set OpenSSL by name use them: through its builder.

pub use super::{TLS_CONF_ERR, TlsSettings};
pub use crate::protocols::tls::ALPN;

use openssl::ssl::SslAcceptorBuilder;
use std::ops::{Deref, DerefMut};

impl From<SslAcceptorBuilder> for TlsSettings {
    /// Takes over settings as they are, without callbacks.
    fn from(builder: SslAcceptorBuilder) -> Self {
        TlsSettings::of(builder.into())
    }
}

impl Deref for TlsSettings {
    type Target = SslAcceptorBuilder;

    fn deref(&self) -> &SslAcceptorBuilder {
        self.built_in.builder()
    }
}

impl DerefMut for TlsSettings {
    fn deref_mut(&mut self) -> &mut SslAcceptorBuilder {
        self.built_in.builder_mut()
    }
}
