use pingora::tls::asn1::Asn1Time;
use pingora::tls::bn::{BigNum, MsbOption};
use pingora::tls::error::ErrorStack;
use pingora::tls::hash::MessageDigest;
use pingora::tls::pkey::{PKey, Private};
use pingora::tls::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use pingora::tls::x509::{X509, X509Builder, X509Name};
use pingora::{ErrorType, OrErr, Result};
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Certificates for experiments: the authority is not trusted by default, and is regenerated each time.
pub struct Authority {
    directory: PathBuf,
    certificate: X509,
    key: PKey<Private>,
}

const FAILED: ErrorType = ErrorType::Custom("CertificateError");

impl Authority {
    /// Makes an authority. Its certificate is `ca.pem` in the directory, which is created if it does not
    /// exist.
    pub fn new(directory: &Path) -> Result<Self> {
        let making = || format!("making certificates in {}", directory.display());
        fs::create_dir_all(directory).or_err_with(FAILED, making)?;
        let made = || -> Result<_, ErrorStack> {
            let key = PKey::ec_gen("prime256v1")?;
            let mut builder = unsigned("An authority for examples", &key)?;
            let name = builder_name("An authority for examples")?;
            builder.set_issuer_name(&name)?;
            builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
            builder.append_extension(KeyUsage::new().critical().key_cert_sign().build()?)?;
            builder.sign(&key, MessageDigest::sha256())?;
            Ok((builder.build(), key))
        };
        let (certificate, key) = made().or_err_with(FAILED, making)?;
        let authority = Authority {
            directory: directory.to_path_buf(),
            certificate,
            key,
        };
        let pem = authority
            .certificate
            .to_pem()
            .or_err(FAILED, "writing PEM")?;
        fs::write(authority.file(), pem).or_err_with(FAILED, making)?;
        Ok(authority)
    }

    /// The PEM file with the authority's certificate.
    pub fn file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Issues a certificate for this name, valid for 30 days: the PEM files `STEM.pem` and `STEM.key`.
    pub fn issue(&self, stem: &str, name: &str) -> Result<(PathBuf, PathBuf)> {
        let issued = || -> Result<_, ErrorStack> {
            let key = PKey::ec_gen("prime256v1")?;
            let mut builder = unsigned(name, &key)?;
            builder.set_issuer_name(self.certificate.subject_name())?;
            let context = builder.x509v3_context(Some(&self.certificate), None);
            let names = SubjectAlternativeName::new().dns(name).build(&context)?;
            builder.append_extension(names)?;
            builder.sign(&self.key, MessageDigest::sha256())?;
            Ok((builder.build().to_pem()?, key.private_key_to_pem_pkcs8()?))
        };
        let issuing = || format!("issuing a certificate for {name}");
        let (certificate, key) = issued().or_err_with(FAILED, issuing)?;
        let path = |ending: &str| self.directory.join(format!("{stem}.{ending}"));
        let (certificate_file, key_file) = (path("pem"), path("key"));
        fs::write(&certificate_file, certificate).or_err_with(FAILED, issuing)?;
        write_secret(&key_file, &key).or_err_with(FAILED, issuing)?;
        Ok((certificate_file, key_file))
    }
}

/// Makes a key readable by its owner only.
fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    std::io::Write::write_all(&mut file, bytes)
}

fn builder_name(name: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509Name::builder()?;
    builder.append_entry_by_text("CN", name)?;
    Ok(builder.build())
}

fn unsigned(name: &str, key: &PKey<Private>) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let name = builder_name(name)?;
    builder.set_subject_name(&name)?;
    builder.set_pubkey(key)?;
    let (now, later) = (Asn1Time::days_from_now(0)?, Asn1Time::days_from_now(30)?);
    builder.set_not_before(&now)?;
    builder.set_not_after(&later)?;
    let mut serial = BigNum::new()?;
    serial.rand(63, MsbOption::MAYBE_ZERO, false)?;
    let serial = serial.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    Ok(builder)
}
