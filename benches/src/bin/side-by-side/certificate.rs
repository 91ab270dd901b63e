//! One key and one certificate for all contenders, made for the run.

use crate::Failure;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509Name};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// The cipher of TLS 1.3 that browsers ask for first, in the rows where all contenders use the same one.
pub(crate) const CIPHER: &str = "TLS_AES_128_GCM_SHA256";

/// PEM files.
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    /// Both in one, as HAProxy wants them.
    pub(crate) chain_and_key: PathBuf,
}

impl Certificate {
    /// A key on P-256 and a certificate that signs itself.
    pub(crate) fn make(dir: &Path) -> Result<Self, Failure> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let chain = self_signed(&key)?.to_pem()?;
        let key = key.private_key_to_pem_pkcs8()?;
        let made = Self {
            chain: dir.join("chain.pem"),
            key: dir.join("key.pem"),
            chain_and_key: dir.join("chain-and-key.pem"),
        };
        std::fs::write(&made.chain, &chain)?;
        std::fs::write(&made.key, &key)?;
        std::fs::write(&made.chain_and_key, [chain, key].concat())?;
        Ok(made)
    }
}

fn self_signed(key: &PKey<Private>) -> Result<X509, Failure> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_text("CN", "bench.test")?;
    let name = name.build();
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*BigNum::from_u32(1)?.to_asn1_integer()?)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(2)?)?;
    builder.set_pubkey(key)?;
    let names = SubjectAlternativeName::new()
        .dns("bench.test")
        .build(&builder.x509v3_context(None, None))?;
    builder.append_extension(names)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// A TLS connection to a contender.
///
/// # Errors
/// If all contenders are to be `alike`: where it is not what they are to be measured with.
pub(crate) fn client(stream: TcpStream, alike: bool) -> Result<SslStream<TcpStream>, Failure> {
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    connector.set_verify(SslVerifyMode::NONE);
    let stream = connector.build().connect("bench.test", stream)?;
    if !alike {
        return Ok(stream);
    }
    let cipher = stream.ssl().current_cipher().map(|cipher| cipher.name());
    match (stream.ssl().version_str(), cipher) {
        ("TLSv1.3", Some(CIPHER)) => Ok(stream),
        (version, cipher) => Err(format!("speaks {version} with {cipher:?}").into()),
    }
}
