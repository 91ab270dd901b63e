//! `pingora-runtime`, `pingora-openssl`.

use pingora_openssl::asn1::Asn1Time;
use pingora_openssl::error::ErrorStack;
use pingora_openssl::ssl::{SslRef, SslVersion};
use pingora_openssl::x509::{X509, X509Ref};
use pingora_openssl::{ext, nid::Nid, pkey::PKey, rsa::Rsa, tokio_ssl};
use pingora_runtime::{
    Handle, Runtime, RuntimeMetricsOpts, RuntimeMetricsPollTimeHistogramScale, RuntimeOpts,
    current_handle,
};
use tokio::io::DuplexStream;

#[tokio::test]
async fn the_items_of_runtime() {
    let seven = current_handle().spawn(async { 7 }).await;
    assert_eq!(seven.unwrap(), 7);
    assert!(Handle::current().is_some());
    let _: Option<(Runtime, RuntimeOpts)> = None;
    let _: Option<(RuntimeMetricsOpts, RuntimeMetricsPollTimeHistogramScale)> = None;
}

#[test]
fn the_items_of_openssl() {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    // They are the types of the framework.
    let _: pingora::tls::x509::X509 = builder.build();
    let _: (Nid, SslVersion) = (Nid::COMMONNAME, SslVersion::TLS1_3);
    let _: fn(&mut SslRef, &X509Ref) -> Result<(), ErrorStack> = ext::ssl_use_certificate;
    let _: Option<tokio_ssl::SslStream<DuplexStream>> = None;
}
