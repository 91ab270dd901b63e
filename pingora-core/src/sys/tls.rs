//! What the OpenSSL bindings leave out of one connection: pausing a handshake at the certificate, what
//! its client can use, groups and names.

use foreign_types::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::ssl::{self, SslCipher, SslRef, SslSession, SslStream};
use openssl::stack::StackRef;
use openssl::x509::store::X509StoreRef;
use openssl::x509::verify::X509VerifyParamRef;
use openssl_sys::{
    SSL, SSL_CTRL_SET_VERIFY_CERT_STORE, SSL_RECEIVED_SHUTDOWN, SSL_SENT_SHUTDOWN, SSL_ctrl,
    SSL_set_shutdown, SSL_set1_groups_list, TLSEXT_STATUSTYPE_ocsp, X509_VERIFY_PARAM,
    stack_st_SSL_CIPHER,
};
use std::ffi::{CString, c_char, c_int, c_uchar, c_ulong, c_void};
use std::io;
use std::ptr::null_mut;
use tokio::io::ReadBuf;

/// The number of `SSL_get_tlsext_status_type`, which is a macro in C.
const SSL_CTRL_GET_TLSEXT_STATUS_REQ_TYPE: c_int = 127;

type CertificateCallback = Option<extern "C" fn(*mut SSL, *mut c_void) -> c_int>;

unsafe extern "C" {
    fn ERR_peek_error() -> c_ulong;
    fn ERR_clear_error();
    fn SSL_has_pending(ssl: *const SSL) -> c_int;
    fn SSL_certs_clear(ssl: *mut SSL);
    fn SSL_set_cert_cb(ssl: *mut SSL, callback: CertificateCallback, arg: *mut c_void);
    fn SSL_get_sigalgs(
        ssl: *mut SSL,
        index: c_int,
        sign: *mut c_int,
        hash: *mut c_int,
        both: *mut c_int,
        raw_sign: *mut c_uchar,
        raw_hash: *mut c_uchar,
    ) -> c_int;
    fn SSL_get_client_ciphers(ssl: *const SSL) -> *mut stack_st_SSL_CIPHER;
    fn X509_VERIFY_PARAM_add1_host(
        param: *mut X509_VERIFY_PARAM,
        name: *const c_char,
        len: usize,
    ) -> c_int;
}

/// Empties the thread's queue of errors. What is in it would be taken for the reason of whatever ends next,
/// such as a read that only has to wait.
pub(crate) fn forget_errors() {
    // SAFETY: both functions take no argument and touch nothing but the queue of this thread.
    unsafe {
        if ERR_peek_error() != 0 {
            ERR_clear_error();
        }
    }
}

/// Asks OpenSSL to suspend: the handshake call fails with `SSL_ERROR_WANT_X509_LOOKUP`.
extern "C" fn suspend(_ssl: *mut SSL, _arg: *mut c_void) -> c_int {
    -1
}

/// Makes the next server handshake on `ssl` stop with the error code `WANT_X509_LOOKUP` once the
/// ClientHello was read and a certificate is needed. A resumed session does not stop.
pub(crate) fn suspend_at_certificate(ssl: &mut SslRef) {
    // SAFETY: the pointer comes from a live, exclusive reference; the callback is a plain function
    // that touches neither argument, so nothing has to outlive the call.
    unsafe { SSL_set_cert_cb(ssl.as_ptr(), Some(suspend), null_mut()) }
}

/// Undoes [`suspend_at_certificate`]: the next handshake call goes on.
pub(crate) fn resume_at_certificate(ssl: &mut SslRef) {
    // SAFETY: as above; no callback is a value that OpenSSL documents.
    unsafe { SSL_set_cert_cb(ssl.as_ptr(), None, null_mut()) }
}

/// Restricts the groups ("curves") that this connection offers, colon separated, best first.
pub(crate) fn set_groups(ssl: &mut SslRef, groups: &str) -> Result<(), ErrorStack> {
    let Ok(groups) = CString::new(groups) else {
        return Err(ErrorStack::get());
    };
    // SAFETY: the pointer comes from a live, exclusive reference; OpenSSL parses the
    // zero-terminated string during the call and keeps no pointer to it.
    match unsafe { SSL_set1_groups_list(ssl.as_ptr(), groups.as_ptr()) } {
        1 => Ok(()),
        _ => Err(ErrorStack::get()),
    }
}

/// Forgets the certificates, with their keys and chains, that a session got from its context.
pub(crate) fn forget_certificates(ssl: &mut SslRef) {
    // SAFETY: the pointer comes from a live, exclusive reference; what is cleared belongs to the session
    // alone, which copied it from the context when it was made.
    unsafe { SSL_certs_clear(ssl.as_ptr()) }
}

/// The signature algorithms that the client of this handshake offers, as they stand on the wire, best
/// first. Empty before its ClientHello was read.
pub(crate) fn offered_signature_algorithms(ssl: &mut SslRef) -> Vec<u16> {
    let none: *mut c_int = null_mut();
    let (mut sign, mut hash): (c_uchar, c_uchar) = (0, 0);
    let mut at = |index| {
        // SAFETY: the pointer comes from a live, exclusive reference; the two bytes outlive the call, which
        // writes them for an index below the count that it returns, and OpenSSL takes null for what is not
        // wanted.
        unsafe { SSL_get_sigalgs(ssl.as_ptr(), index, none, none, none, &mut sign, &mut hash) };
        u16::from_be_bytes([hash, sign])
    };
    // SAFETY: as above; a negative index asks for the count alone.
    let count = unsafe {
        let (sign, hash) = (null_mut(), null_mut());
        SSL_get_sigalgs(ssl.as_ptr(), -1, none, none, none, sign, hash)
    };
    (0..count).map(&mut at).collect()
}

/// Whether the client of this handshake offers a cipher suite of TLS 1.2 for certificates with ECDSA keys.
pub(crate) fn offers_ecdsa_ciphers(ssl: &SslRef) -> bool {
    // SAFETY: the pointer comes from a live reference; what is returned belongs to the session and is not
    // changed while that is borrowed.
    let ciphers = unsafe {
        let ciphers = SSL_get_client_ciphers(ssl.as_ptr());
        if ciphers.is_null() {
            return false;
        }
        StackRef::<SslCipher>::from_ptr(ciphers)
    };
    ciphers.iter().any(|cipher| cipher.name().contains("ECDSA"))
}

/// Whether the client of this handshake asks for an OCSP response.
pub(crate) fn asks_for_ocsp(ssl: &mut SslRef) -> bool {
    // SAFETY: the pointer comes from a live, exclusive reference; this control takes no argument.
    let kind = unsafe {
        SSL_ctrl(
            ssl.as_ptr(),
            SSL_CTRL_GET_TLSEXT_STATUS_REQ_TYPE,
            0,
            null_mut(),
        )
    };
    kind == TLSEXT_STATUSTYPE_ocsp.into()
}

/// Makes a session trust these authorities when its peer shows a certificate.
pub(crate) fn trust(ssl: &mut SslRef, store: &X509StoreRef) -> Result<(), ErrorStack> {
    // SAFETY: both pointers come from live references; with 1 as its argument, this control counts one more
    // reference to the store, which OpenSSL changes under a lock of its own.
    let set = unsafe {
        let store = store.as_ptr().cast();
        SSL_ctrl(ssl.as_ptr(), SSL_CTRL_SET_VERIFY_CERT_STORE, 1, store)
    };
    match set {
        1 => Ok(()),
        _ => Err(ErrorStack::get()),
    }
}

/// The session of a stream, to be changed: the bindings only lend it for reading.
pub(crate) fn session_mut<S>(stream: &mut SslStream<S>) -> &mut SslRef {
    // SAFETY: `stream` owns the session and is borrowed exclusively for the life of the result.
    unsafe { SslRef::from_ptr_mut(stream.ssl().as_ptr()) }
}

/// Adds a name to those that a certificate may have: one of them is enough.
pub(crate) fn add_host(param: &mut X509VerifyParamRef, host: &str) -> Result<(), ErrorStack> {
    // SAFETY: the pointer comes from a live, exclusive reference; OpenSSL copies the `len` bytes
    // at `name`, which are those of `host`.
    match unsafe { X509_VERIFY_PARAM_add1_host(param.as_ptr(), host.as_ptr().cast(), host.len()) } {
        1 => Ok(()),
        _ => Err(ErrorStack::get()),
    }
}

/// A session that a client may resume over another connection of the same context.
#[derive(Clone)]
pub(crate) struct Session {
    session: SslSession,
    /// Where the context is; only to be compared.
    context: usize,
}

impl Session {
    /// What was agreed upon over `ssl`, as the library's callback for new sessions gets it.
    pub(crate) fn new(ssl: &SslRef, session: SslSession) -> Self {
        Session {
            session,
            context: ssl.ssl_context().as_ptr().addr(),
        }
    }

    /// Offers the session in the handshake that `ssl` is about to begin. `false` where the library
    /// refuses, or where `ssl` belongs to another context.
    pub(crate) fn offer(&self, ssl: &mut SslRef) -> bool {
        if ssl.ssl_context().as_ptr().addr() != self.context {
            return false;
        }
        // SAFETY: the session was made by a connection of the same context, which is what the binding
        // asks for; OpenSSL counts its own reference to it.
        unsafe { ssl.set_session(&self.session) }.is_ok()
    }
}

/// Lets the session of a connection that is about to be freed be resumed, although no close_notify
/// was exchanged. OpenSSL would spoil it, as versions of TLS before 1.1 asked for.
pub(crate) fn spare_session(ssl: &mut SslRef) {
    // SAFETY: the pointer comes from a live, exclusive reference; the call sets two flags.
    unsafe { SSL_set_shutdown(ssl.as_ptr(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN) }
}

/// Appends what one call into the library gives to `buf`, whose memory need not be initialised.
pub(crate) fn read<S: io::Read + io::Write>(
    stream: &mut SslStream<S>,
    buf: &mut ReadBuf<'_>,
) -> Result<(), ssl::Error> {
    // SAFETY: the binding does not de-initialise what it is lent.
    let n = stream.ssl_read_uninit(unsafe { buf.unfilled_mut() })?;
    // SAFETY: the binding has initialised the first `n` bytes behind the filled ones.
    unsafe { buf.assume_init(n) };
    buf.advance(n);
    Ok(())
}

/// Whether bytes that were read from the transport wait in the library, decrypted or not.
pub(crate) fn has_pending(ssl: &SslRef) -> bool {
    // SAFETY: the pointer comes from a live reference; the call only looks.
    unsafe { SSL_has_pending(ssl.as_ptr()) == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::ssl::{
        ErrorCode, Ssl, SslAcceptor, SslConnector, SslContext, SslMethod, SslVersion,
    };
    use openssl::x509::store::X509StoreBuilder;
    use std::io::{self, Read, Write};
    use std::mem::MaybeUninit;
    use std::os::unix::net::UnixStream;

    fn session() -> Ssl {
        let context = SslConnector::builder(SslMethod::tls())
            .unwrap()
            .build()
            .into_context();
        Ssl::new(&context).unwrap()
    }

    #[test]
    fn before_the_hello_nothing_is_offered() {
        let mut ssl = session();
        assert!(offered_signature_algorithms(&mut ssl).is_empty());
        assert!(!offers_ecdsa_ciphers(&ssl));
    }

    #[test]
    fn errors_are_forgotten() {
        let failed = openssl::x509::X509::from_der(b"none").unwrap_err();
        assert!(!failed.errors().is_empty());
        // Back into the queue, as somebody leaves it who does not look.
        failed.put();
        forget_errors();
        assert!(ErrorStack::get().errors().is_empty());
        forget_errors();
    }

    /// A session without certificates over a socket that blocks.
    fn anonymous(socket: UnixStream) -> SslStream<UnixStream> {
        let mut context = SslContext::builder(SslMethod::tls()).unwrap();
        context.set_cipher_list("aNULL:@SECLEVEL=0").unwrap();
        let newest = Some(SslVersion::TLS1_2);
        context.set_max_proto_version(newest).unwrap();
        SslStream::new(Ssl::new(&context.build()).unwrap(), socket).unwrap()
    }

    #[test]
    fn payload_is_read_behind_what_is_there() {
        let (client, server) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || {
            let mut server = anonymous(server);
            server.accept().unwrap();
            server.write_all(b"cd").unwrap();
        });
        let mut client = anonymous(client);
        client.connect().unwrap();
        let mut storage = [MaybeUninit::uninit(); 16];
        let mut buf = ReadBuf::uninit(&mut storage);
        buf.put_slice(b"ab");
        read(&mut client, &mut buf).unwrap();
        assert_eq!(buf.filled(), b"abcd");
        assert_eq!(buf.initialized().len(), 4);
        server.join().unwrap();
    }

    #[test]
    fn authorities_are_shared() {
        let store = X509StoreBuilder::new().unwrap().build();
        for _ in 0..2 {
            trust(&mut session(), &store).unwrap();
        }
        assert_eq!(store.all_certificates().len(), 0, "it is still there");
    }

    #[test]
    fn groups_are_parsed_by_the_library() {
        let mut ssl = session();
        set_groups(&mut ssl, "X25519:P-256").unwrap();
        assert!(set_groups(&mut ssl, "no-such-group").is_err());
        assert!(set_groups(&mut ssl, "X25519\0P-256").is_err());
    }

    #[test]
    fn names_are_added() {
        let mut ssl = session();
        add_host(ssl.param_mut(), "a.example").unwrap();
        add_host(ssl.param_mut(), "b.example").unwrap();
        assert!(add_host(ssl.param_mut(), "b\0.example").is_err());
    }

    /// One direction of a connection in memory; the other swallows what is written.
    #[derive(Debug)]
    struct Offered(io::Cursor<Vec<u8>>);

    impl Read for Offered {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buf)? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                n => Ok(n),
            }
        }
    }

    impl Write for Offered {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug, Default)]
    struct Captured(Vec<u8>);

    impl Read for Captured {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    impl Write for Captured {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.write(buf)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_handshake_stops_at_the_certificate_and_goes_on() {
        let mut client = SslStream::new(session(), Captured::default()).unwrap();
        assert_eq!(client.connect().unwrap_err().code(), ErrorCode::WANT_READ);
        let hello = std::mem::take(&mut client.get_mut().0);

        let acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())
            .unwrap()
            .build();
        let ssl = Ssl::new(acceptor.context()).unwrap();
        let mut server = SslStream::new(ssl, Offered(io::Cursor::new(hello))).unwrap();
        suspend_at_certificate(session_mut(&mut server));
        let suspended = ErrorCode::from_raw(openssl_sys::SSL_ERROR_WANT_X509_LOOKUP);
        assert_eq!(server.accept().unwrap_err().code(), suspended);
        let session = session_mut(&mut server);
        let algorithms = offered_signature_algorithms(session);
        assert!(algorithms.contains(&0x0403), "{algorithms:x?}");
        assert!(algorithms.contains(&0x0804), "{algorithms:x?}");
        assert!(offers_ecdsa_ciphers(session));
        assert!(!asks_for_ocsp(session));
        resume_at_certificate(session);
        // Goes on, and finds that nobody gave it a certificate.
        assert_eq!(server.accept().unwrap_err().code(), ErrorCode::SSL);
    }
}
