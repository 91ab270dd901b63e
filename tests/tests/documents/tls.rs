//! The code of `docs/tls.md`.

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
