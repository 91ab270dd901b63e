//! Calls on a whole context that the OpenSSL bindings lack: keys of session tickets, and judging a
//! certificate chain at once instead of certificate by certificate.

use super::ticket_key::{CipherKey, Found, TicketKey, TicketKeySource};
use foreign_types::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{SslContext, SslContextBuilder, SslRef, SslVersion};
use openssl::x509::{X509StoreContext, X509StoreContextRef};
use openssl_sys::{
    EVP_CIPHER_CTX, EVP_DecryptInit_ex, EVP_EncryptInit_ex, EVP_aes_128_cbc, EVP_aes_256_cbc,
    EVP_sha256, HMAC_CTX, HMAC_Init_ex, RAND_bytes, SSL, SSL_CTX,
    SSL_CTX_callback_ctrl__fixed_rust, X509_STORE_CTX,
};
use std::ffi::{c_int, c_uchar, c_void};
use std::ptr::{copy_nonoverlapping, null_mut};
use std::sync::{Arc, LazyLock};

/// The number of `SSL_CTX_set_tlsext_ticket_key_cb`, which is a macro in C.
const SSL_CTRL_SET_TLSEXT_TICKET_KEY_CB: c_int = 72;
/// Bytes of an AES block, and so of its initialisation vector.
const IV: usize = 16;

type ChainCallback = unsafe extern "C" fn(*mut X509_STORE_CTX, *mut c_void) -> c_int;
type TicketCallback = unsafe extern "C" fn(
    *mut SSL,
    *mut c_uchar,
    *mut c_uchar,
    *mut EVP_CIPHER_CTX,
    *mut HMAC_CTX,
    c_int,
) -> c_int;

unsafe extern "C" {
    fn SSL_CTX_set_cert_verify_callback(
        ctx: *mut SSL_CTX,
        callback: Option<ChainCallback>,
        arg: *mut c_void,
    );
}

/// Judges the chain of certificates that a peer has shown, in the library's stead: returns whether the
/// handshake goes on.
pub(crate) type ChainVerifier = Arc<dyn Fn(&mut X509StoreContextRef) -> bool + Send + Sync>;

type ContextIndex<T> = LazyLock<Result<Index<SslContext, T>, ErrorStack>>;

static TICKET_KEYS: ContextIndex<Arc<dyn TicketKeySource>> =
    LazyLock::new(SslContext::new_ex_index);
static CHAIN_VERIFIER: ContextIndex<ChainVerifier> = LazyLock::new(SslContext::new_ex_index);

/// Takes the keys of session tickets from `keys` instead of the library's own, which never change.
pub(crate) fn set_ticket_keys(
    builder: &mut SslContextBuilder,
    keys: Arc<dyn TicketKeySource>,
) -> Result<(), ErrorStack> {
    builder.set_ex_data(TICKET_KEYS.clone()?, keys);
    let callback: TicketCallback = ticket_key;
    // SAFETY: both types are pointers to functions of the same calling convention. OpenSSL takes the callback
    // under the type of a function without arguments and calls it with those that `TicketCallback` has, as its
    // documentation of `SSL_CTX_set_tlsext_ticket_key_cb` says; nothing else calls it under this type.
    let callback: unsafe extern "C" fn() = unsafe { std::mem::transmute(callback) };
    let control = SSL_CTRL_SET_TLSEXT_TICKET_KEY_CB;
    // SAFETY: the pointer comes from a live, exclusive reference, and the callback is the one that this control
    // command takes.
    let set =
        unsafe { SSL_CTX_callback_ctrl__fixed_rust(builder.as_ptr(), control, Some(callback)) };
    match set {
        1 => Ok(()),
        _ => Err(ErrorStack::get()),
    }
}

/// The return values that OpenSSL expects.
const FAILED: c_int = -1;
const NO_KEY: c_int = 0;
const GOOD: c_int = 1;
const RENEW: c_int = 2;

/// Prepares the two contexts for a ticket that is to be written, or that was read.
unsafe extern "C" fn ticket_key(
    ssl: *mut SSL,
    name: *mut c_uchar,
    iv: *mut c_uchar,
    cipher: *mut EVP_CIPHER_CTX,
    mac: *mut HMAC_CTX,
    writing: c_int,
) -> c_int {
    let Ok(place) = &*TICKET_KEYS else {
        return FAILED;
    };
    // SAFETY: OpenSSL calls this with a session that lives for the length of the call.
    let ssl = unsafe { SslRef::from_ptr(ssl) };
    // A callback of the user's may have given the session another context.
    let Some(keys) = ssl.ssl_context().ex_data(*place) else {
        return NO_KEY;
    };
    if writing == 0 {
        // SAFETY: `name` points to the 16 bytes of the name in the ticket that was read.
        let name = unsafe { &*name.cast::<[u8; 16]>() };
        let Some((key, found)) = keys.find(name) else {
            return NO_KEY;
        };
        // SAFETY: `iv`, `cipher` and `mac` are what this function was called with.
        let ready = unsafe { prepare(&key, iv, cipher, mac, false) };
        return match (ready, found) {
            (false, _) => FAILED,
            (true, Found::Aged) => RENEW,
            // A ticket of TLS 1.3 is used once (RFC 8446 appendix C.4). With keys of its own the library renews it
            // by itself; with ours it does as it is told.
            (true, _) if ssl.version2() == Some(SslVersion::TLS1_3) => RENEW,
            (true, _) => GOOD,
        };
    }
    let Some(key) = keys.current() else {
        return NO_KEY;
    };
    // SAFETY: `name` points to room for the 16 bytes of a name, which is not part of the key's own.
    unsafe { copy_nonoverlapping(key.name.as_ptr(), name, key.name.len()) };
    // SAFETY: `iv` points to room for at least 16 bytes.
    if unsafe { RAND_bytes(iv, IV as c_int) } != 1 {
        return FAILED;
    }
    // SAFETY: `iv` was filled above; `cipher` and `mac` are the contexts that OpenSSL called this function with.
    let ready = unsafe { prepare(&key, iv, cipher, mac, true) };
    if ready { GOOD } else { FAILED }
}

/// # Safety
/// `iv` must point to 16 bytes, `cipher` and `mac` to contexts, all for the length of the call.
unsafe fn prepare(
    key: &TicketKey,
    iv: *const c_uchar,
    cipher: *mut EVP_CIPHER_CTX,
    mac: *mut HMAC_CTX,
    writing: bool,
) -> bool {
    let init = if writing {
        EVP_EncryptInit_ex
    } else {
        EVP_DecryptInit_ex
    };
    let (algorithm, cipher_key) = match &key.cipher {
        // SAFETY: it takes no argument and returns a constant of the library.
        CipherKey::Aes128(key) => (unsafe { EVP_aes_128_cbc() }, key.as_ptr()),
        // SAFETY: as above.
        CipherKey::Aes256(key) => (unsafe { EVP_aes_256_cbc() }, key.as_ptr()),
    };
    // SAFETY: the caller vouches for `cipher` and `iv`; the key is as long as the algorithm wants it, and the
    // context copies it.
    if unsafe { init(cipher, algorithm, null_mut(), cipher_key, iv) } != 1 {
        return false;
    }
    // SAFETY: it takes no argument and returns a constant of the library.
    let digest = unsafe { EVP_sha256() };
    let secret = key.mac();
    let length = secret.len() as c_int;
    // SAFETY: the caller vouches for `mac`; `secret` has `length` bytes, which the context copies.
    unsafe { HMAC_Init_ex(mac, secret.as_ptr().cast(), length, digest, null_mut()) == 1 }
}

/// Lets `verifier` judge the chains of certificates that clients show.
pub(crate) fn set_chain_verifier(
    builder: &mut SslContextBuilder,
    verifier: ChainVerifier,
) -> Result<(), ErrorStack> {
    builder.set_ex_data(CHAIN_VERIFIER.clone()?, verifier);
    // SAFETY: the pointer comes from a live, exclusive reference; the callback needs no argument.
    unsafe { SSL_CTX_set_cert_verify_callback(builder.as_ptr(), Some(verify_chain), null_mut()) };
    Ok(())
}

unsafe extern "C" fn verify_chain(context: *mut X509_STORE_CTX, _: *mut c_void) -> c_int {
    // SAFETY: OpenSSL calls this with a context that lives for the length of the call, and that no other
    // code uses meanwhile.
    let context = unsafe { X509StoreContextRef::from_ptr_mut(context) };
    let verifier = || {
        let ssl = context.ex_data(X509StoreContext::ssl_idx().ok()?)?;
        let place = CHAIN_VERIFIER.as_ref().ok()?;
        ssl.ssl_context().ex_data(*place).cloned()
    };
    // Without a verifier every chain is refused.
    verifier().is_some_and(|verify| verify(context)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::asn1::Asn1Time;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::pkey::PKey;
    use openssl::ssl::{Ssl, SslMethod, SslSession, SslVerifyMode};
    use openssl::x509::{X509, X509VerifyResult};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Two keys, and what was asked.
    struct Keys {
        keys: [Arc<TicketKey>; 2],
        asked: Mutex<Vec<(bool, Option<Found>)>>,
        current: AtomicUsize,
    }

    fn key(byte: u8, cipher: CipherKey) -> Arc<TicketKey> {
        Arc::new(TicketKey {
            name: [byte; 16],
            cipher,
            mac: [byte; 32],
        })
    }

    impl TicketKeySource for Keys {
        fn current(&self) -> Option<Arc<TicketKey>> {
            self.asked.lock().unwrap().push((true, None));
            let index = self.current.load(Ordering::Relaxed);
            self.keys.get(index).cloned()
        }

        fn find(&self, name: &[u8; 16]) -> Option<(Arc<TicketKey>, Found)> {
            let index = self.keys.iter().position(|key| key.name == *name);
            let current = self.current.load(Ordering::Relaxed);
            let found = index.map(|index| {
                if index == current {
                    Found::Current
                } else {
                    Found::Aged
                }
            });
            self.asked.lock().unwrap().push((false, found));
            Some((self.keys.get(index?)?.clone(), found?))
        }
    }

    /// Settings with an untrusted certificate.
    fn server() -> SslContextBuilder {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut certificate = X509::builder().unwrap();
        certificate.set_version(2).unwrap();
        certificate.set_pubkey(&key).unwrap();
        let (today, later) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(1));
        certificate.set_not_before(&today.unwrap()).unwrap();
        certificate.set_not_after(&later.unwrap()).unwrap();
        certificate.sign(&key, MessageDigest::sha256()).unwrap();
        let mut builder = SslContext::builder(SslMethod::tls()).unwrap();
        builder.set_certificate(&certificate.build()).unwrap();
        builder.set_private_key(&key).unwrap();
        builder.set_session_id_context(b"test").unwrap();
        builder
    }

    /// One connection; whether it resumed `session`, and the session that it leaves. Fails as the client
    /// sees it.
    fn connect(
        server: &SslContext,
        client: &SslContext,
        session: Option<&SslSession>,
    ) -> Option<(bool, SslSession)> {
        let (near, far) = UnixStream::pair().unwrap();
        let accepted = Ssl::new(server).unwrap();
        let serving = std::thread::spawn(move || {
            let mut stream = accepted.accept(far).ok()?;
            stream.write_all(b"x").ok()?;
            stream.read(&mut [0]).ok()
        });
        let mut ssl = Ssl::new(client).unwrap();
        if let Some(session) = session {
            // SAFETY: the session comes from this very context.
            unsafe { ssl.set_session(session).unwrap() };
        }
        let mut stream = ssl.connect(near).ok()?;
        // The tickets of TLS 1.3 come with the first bytes.
        stream.read_exact(&mut [0]).ok()?;
        let left = (
            stream.ssl().session_reused(),
            stream.ssl().session().unwrap().to_owned(),
        );
        stream.shutdown().unwrap();
        drop(stream);
        serving.join().unwrap();
        Some(left)
    }

    fn client() -> SslContextBuilder {
        SslContext::builder(SslMethod::tls()).unwrap()
    }

    #[test]
    fn tickets_are_written_and_read_with_the_keys_that_are_given() {
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let keys = Arc::new(Keys {
                keys: [
                    key(1, CipherKey::Aes256([7; 32])),
                    key(2, CipherKey::Aes128([8; 16])),
                ],
                asked: Mutex::default(),
                current: AtomicUsize::new(0),
            });
            let mut builder = server();
            set_ticket_keys(&mut builder, keys.clone()).unwrap();
            builder.set_max_proto_version(Some(version)).unwrap();
            let (server, client) = (builder.build(), client().build());
            let asked = || std::mem::take(&mut *keys.asked.lock().unwrap());
            let (resumed, session) = connect(&server, &client, None).unwrap();
            assert!(!resumed && asked().contains(&(true, None)));

            // The other key is the current one now: the ticket is accepted, and renewed.
            keys.current.store(1, Ordering::Relaxed);
            let (resumed, renewed) = connect(&server, &client, Some(&session)).unwrap();
            assert!(resumed);
            let seen = asked();
            assert!(seen.contains(&(false, Some(Found::Aged))), "{seen:?}");
            assert!(seen.contains(&(true, None)), "{seen:?}");
            let (resumed, _) = connect(&server, &client, Some(&renewed)).unwrap();
            assert!(resumed);
            let seen = asked();
            assert!(seen.contains(&(false, Some(Found::Current))), "{seen:?}");
            // A ticket for a single use is renewed each time; otherwise, every other connection would be a full handshake.
            let tls_1_3 = version == SslVersion::TLS1_3;
            assert_eq!(seen.contains(&(true, None)), tls_1_3, "{seen:?}");

            // Without a key for new tickets there are none, and the handshake is as good.
            keys.current.store(2, Ordering::Relaxed);
            assert!(connect(&server, &client, None).is_some());
        }
    }

    #[test]
    fn the_verifier_has_the_last_word_about_a_chain() {
        for (answer, connects) in [(true, true), (false, false)] {
            let verdicts = Arc::new(Mutex::new(vec![]));
            let seen = verdicts.clone();
            let mut client = client();
            client.set_verify(SslVerifyMode::PEER);
            let judge: ChainVerifier = Arc::new(move |context| {
                let good = context.verify_cert().unwrap();
                let length = context.chain().map_or(0, |chain| chain.len());
                seen.lock().unwrap().push((good, length));
                context.set_error(if answer {
                    X509VerifyResult::OK
                } else {
                    X509VerifyResult::APPLICATION_VERIFICATION
                });
                answer
            });
            set_chain_verifier(&mut client, judge).unwrap();
            let outcome = connect(&server().build(), &client.build(), None);
            assert_eq!(outcome.is_some(), connects);
            assert_eq!(*verdicts.lock().unwrap(), [(false, 1)]);
        }
    }
}
