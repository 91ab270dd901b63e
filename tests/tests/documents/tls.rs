//! The code of `docs/tls.md`.
#![allow(
    clippy::print_stderr,
    reason = "the page keeps to what needs no logger"
)]

fn one_certificate() -> pingora::Result<()> {
    use pingora::listeners::tls::TlsSettings;

    let mut tls = TlsSettings::intermediate("/etc/ssl/fullchain.pem", "/etc/ssl/key.pem")?;
    tls.enable_h2();
    // proxy.add_tls_with_settings("0.0.0.0:443", None, tls);
    Ok(())
}

fn by_name() -> pingora::Result<()> {
    use pingora::listeners::tls::{CertificateSource, CertificateStore, TlsSettings};

    let store = CertificateStore::new();
    store.add(CertificateSource::files("shop-ec.pem", "shop-ec.key").ocsp_file("shop-ec.ocsp"))?;
    store.add(CertificateSource::files("shop-rsa.pem", "shop-rsa.key"))?;
    store.add(
        CertificateSource::files("any.pem", "any.key")
            .names(["*.example.com"])
            .as_default(),
    )?;
    let tls = TlsSettings::with_store(store.clone())?;
    drop(tls);
    Ok(())
}

fn keys_of_tickets(tls: &mut pingora::listeners::tls::TlsSettings) -> pingora::Result<()> {
    use pingora::listeners::tls::SessionTickets;

    tls.set_session_tickets(SessionTickets::key_files(["current.key", "previous.key"])?);
    Ok(())
}

mod by_program {
    use async_trait::async_trait;
    use pingora::listeners::{TlsAccept, TlsSettings};
    use pingora::protocols::tls::TlsRef;
    use pingora::tls::{error::ErrorStack, ext, ssl::NameType};
    use pingora::utils::tls::CertKey;
    use std::collections::HashMap;

    struct ByName(HashMap<String, CertKey>);

    fn show(ssl: &mut TlsRef, chosen: &CertKey) -> Result<(), ErrorStack> {
        ext::ssl_use_certificate(ssl, chosen.leaf())?;
        ext::ssl_use_private_key(ssl, chosen.key())?;
        chosen
            .intermediates()
            .iter()
            .try_for_each(|cert| ext::ssl_add_chain_cert(ssl, cert))
    }

    #[async_trait]
    impl TlsAccept for ByName {
        async fn certificate_callback(&self, ssl: &mut TlsRef) {
            let name = ssl.servername(NameType::HOST_NAME).unwrap_or_default();
            if let Some(chosen) = self.0.get(name)
                && let Err(e) = show(ssl, chosen)
            {
                eprintln!("no certificate for this client: {e}");
            }
        }
    }

    fn settings() -> pingora::Result<TlsSettings> {
        let tls = TlsSettings::with_callbacks(Box::new(ByName(HashMap::new())))?;
        Ok(tls)
    }
}
