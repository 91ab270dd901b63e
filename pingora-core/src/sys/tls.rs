//! Calls on one connection that the OpenSSL bindings lack: pausing a handshake at the certificate, what
//! its client can use, groups and names.

use foreign_types::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::pkey::{HasPrivate, PKeyRef};
use openssl::ssl::{self, SslCipher, SslContext, SslContextBuilder, SslRef, SslSession, SslStream};
use openssl::stack::StackRef;
use openssl::x509::X509CrlRef;
use openssl::x509::store::{X509StoreBuilderRef, X509StoreRef};
use openssl::x509::verify::X509VerifyParamRef;
use openssl_sys::{
    SSL, SSL_CTRL_SET_VERIFY_CERT_STORE, SSL_ERROR_WANT_X509_LOOKUP, SSL_RECEIVED_SHUTDOWN,
    SSL_SENT_SHUTDOWN, SSL_client_hello_get0_ext, SSL_ctrl, SSL_set_shutdown, SSL_set1_groups_list,
    SSL_use_PrivateKey, TLSEXT_STATUSTYPE_ocsp, X509_CRL, X509_STORE, X509_VERIFY_PARAM,
    stack_st_SSL_CIPHER,
};
use std::ffi::{CString, c_char, c_int, c_uchar, c_uint, c_ulong, c_void};
use std::io;
use std::ptr::{null, null_mut};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::ReadBuf;

/// The number of `SSL_get_tlsext_status_type`, which is a macro in C.
const SSL_CTRL_GET_TLSEXT_STATUS_REQ_TYPE: c_int = 127;
/// The number of `SSL_set0_chain`, which is a macro in C.
const SSL_CTRL_CHAIN: c_int = 88;

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
    fn SSL_set_session_id_context(ssl: *mut SSL, context: *const c_uchar, len: c_uint) -> c_int;
    fn X509_STORE_add_crl(store: *mut X509_STORE, crl: *mut X509_CRL) -> c_int;
    fn X509_VERIFY_PARAM_add1_host(
        param: *mut X509_VERIFY_PARAM,
        name: *const c_char,
        len: usize,
    ) -> c_int;
}

/// The number of `SSL_get_negotiated_group`, which is a macro in C, since OpenSSL 3.0.
const SSL_CTRL_GET_NEGOTIATED_GROUP: c_int = 134;
/// The offset that OpenSSL adds to the code point of a group that has no number of its own.
const UNNUMBERED_GROUP: i64 = 0x0100_0000;

/// The group of a key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// By OpenSSL's own number.
    Nid(c_int),
    /// By its code point in TLS.
    Code(u16),
}

/// The group of the session's key exchange; `None` where there was none, or the library (before 3.0) does not
/// tell.
pub(crate) fn negotiated_group(ssl: &SslRef) -> Option<Group> {
    // SAFETY: the pointer comes from a live reference. This control reads a number of the session and
    // ignores both arguments; older libraries answer 0 to a number that they do not know.
    let number = unsafe { SSL_ctrl(ssl.as_ptr(), SSL_CTRL_GET_NEGOTIATED_GROUP, 0, null_mut()) };
    if number >= UNNUMBERED_GROUP {
        let code = u16::try_from(number - UNNUMBERED_GROUP).ok()?;
        return Some(Group::Code(code));
    }
    let nid = c_int::try_from(number).ok()?;
    (nid > 0).then_some(Group::Nid(nid))
}

/// Empties the thread's queue of errors. Errors in it would be taken for the reason of the next call,
/// such as a read that only has to wait.
pub(crate) fn forget_errors() {
    // SAFETY: it takes no argument and only reads the queue of this thread.
    let newest = unsafe { ERR_peek_error() };
    if newest != 0 {
        // SAFETY: it takes no argument and touches nothing but the queue of this thread.
        unsafe { ERR_clear_error() };
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

/// Whether a handshake waits at its certificate: see [`suspend_at_certificate`].
pub(crate) fn is_suspended(e: &ssl::Error) -> bool {
    e.code().as_raw() == SSL_ERROR_WANT_X509_LOOKUP
}

/// Restricts the groups ("curves") that this connection offers, colon separated, best first.
pub(crate) fn set_groups(ssl: &mut SslRef, groups: &str) -> io::Result<()> {
    if groups.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let groups = CString::new(groups)?;
    // SAFETY: the pointer comes from a live, exclusive reference; OpenSSL parses the
    // zero-terminated string during the call and keeps no pointer to it.
    match unsafe { SSL_set1_groups_list(ssl.as_ptr(), groups.as_ptr()) } {
        1 => Ok(()),
        _ => Err(ErrorStack::get().into()),
    }
}

/// Makes a session sign with this key, which the binding takes only as one of the type `Private`.
pub(crate) fn use_private_key<T: HasPrivate>(
    ssl: &mut SslRef,
    key: &PKeyRef<T>,
) -> Result<(), ErrorStack> {
    // SAFETY: both pointers come from live references, the session's from an exclusive one; OpenSSL counts one
    // more reference to the key.
    match unsafe { SSL_use_PrivateKey(ssl.as_ptr(), key.as_ptr()) } {
        1 => Ok(()),
        _ => Err(ErrorStack::get()),
    }
}

/// Forgets what is shown behind the certificate that was set last.
pub(crate) fn forget_chain(ssl: &mut SslRef) -> Result<(), ErrorStack> {
    // SAFETY: the pointer comes from a live, exclusive reference; with null, this control frees the chain, which
    // belongs to the session alone.
    match unsafe { SSL_ctrl(ssl.as_ptr(), SSL_CTRL_CHAIN, 0, null_mut()) } {
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
    // SAFETY: the pointer comes from a live reference.
    let ciphers = unsafe { SSL_get_client_ciphers(ssl.as_ptr()) };
    if ciphers.is_null() {
        return false;
    }
    // SAFETY: the list is not null; it belongs to the session and does not change while that is borrowed.
    let ciphers = unsafe { StackRef::<SslCipher>::from_ptr(ciphers) };
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

/// Makes a store heed a revocation list; whether it does is said by its flags.
pub(crate) fn add_revocation_list(
    store: &mut X509StoreBuilderRef,
    list: &X509CrlRef,
) -> Result<(), ErrorStack> {
    // SAFETY: both pointers come from live references, the store's from an exclusive one; OpenSSL counts one
    // more reference to the list, and changes nothing of it.
    match unsafe { X509_STORE_add_crl(store.as_ptr(), list.as_ptr()) } {
        1 => Ok(()),
        _ => Err(ErrorStack::get()),
    }
}

/// Sets what a session has to have been begun under for this handshake to resume it, and what the one that
/// it begins is kept under. To be called before the library looks for a session, which is right after its
/// callback for the ClientHello.
pub(crate) fn set_session_scope(ssl: &mut SslRef, scope: &[u8; 32]) -> Result<(), ErrorStack> {
    // SAFETY: the pointer comes from a live, exclusive reference; OpenSSL copies the 32 bytes, which is as
    // many as it has room for.
    match unsafe { SSL_set_session_id_context(ssl.as_ptr(), scope.as_ptr(), 32) } {
        1 => Ok(()),
        _ => Err(ErrorStack::get()),
    }
}

/// An extension of the ClientHello as it stands on the wire, without its type and length. `None` where the
/// client did not send it, and outside of the library's callback for the ClientHello.
pub(crate) fn client_hello_extension(ssl: &SslRef, kind: u16) -> Option<Vec<u8>> {
    let (mut bytes, mut len) = (null(), 0);
    // SAFETY: the pointer comes from a live reference; the library has no ClientHello to look at outside of
    // its callback, and says so. The two places outlive the call.
    let found =
        unsafe { SSL_client_hello_get0_ext(ssl.as_ptr(), kind.into(), &mut bytes, &mut len) == 1 };
    if !found || bytes.is_null() || len == 0 {
        return found.then(Vec::new);
    }
    // SAFETY: the library says that `len` bytes of the message that it holds are there; they are copied before
    // anything else is called.
    Some(unsafe { std::slice::from_raw_parts(bytes, len) }.to_vec())
}

/// The session of a stream, to be changed: the bindings only lend it for reading.
pub(crate) fn session_mut<S>(stream: &mut SslStream<S>) -> &mut SslRef {
    // SAFETY: `stream` owns the session and is borrowed exclusively for the life of the result.
    unsafe { SslRef::from_ptr_mut(stream.ssl().as_ptr()) }
}

/// Adds a name to those that a certificate may have: one of them is enough.
///
/// Texts that the library would not take for a name are refused, whatever the caller has checked: an empty one,
/// for which it reads memory up to the next NUL; one with a NUL at its end, which it drops; one with a dot in
/// front, which stands for every host below.
pub(crate) fn add_host(param: &mut X509VerifyParamRef, host: &str) -> io::Result<()> {
    if host.is_empty() || host.starts_with('.') || host.contains('\0') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "this is not the name of one host",
        ));
    }
    // SAFETY: the pointer comes from a live, exclusive reference; OpenSSL copies the `len` bytes at `name`,
    // which are those of `host`. There is at least one: for a length of 0 it would measure by itself.
    match unsafe { X509_VERIFY_PARAM_add1_host(param.as_ptr(), host.as_ptr().cast(), host.len()) } {
        1 => Ok(()),
        _ => Err(ErrorStack::get().into()),
    }
}

/// A session that a client may resume over another connection of the same context.
#[derive(Clone)]
pub(crate) struct Session {
    session: SslSession,
    /// The number of the context.
    context: u64,
}

/// Where a context keeps its number.
static NUMBER: LazyLock<Result<Index<SslContext, u64>, ErrorStack>> =
    LazyLock::new(SslContext::new_ex_index);

fn number_of(ssl: &SslRef) -> Option<u64> {
    let place = NUMBER.as_ref().ok()?;
    ssl.ssl_context().ex_data(*place).copied()
}

impl Session {
    /// Gives a context a number that no other one has, had or will have in this process. Without one, its
    /// sessions are not kept: an address can't tell contexts apart, because it is used again.
    ///
    /// # Errors
    /// Where the library has no place for it.
    pub(crate) fn keep_of(builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        builder.set_ex_data(NUMBER.clone()?, number);
        Ok(())
    }

    /// The session that is agreed upon over `ssl` at this time. In the library's callback for new sessions that is the
    /// new one. `None` where there is nothing yet, or its context has no number.
    pub(crate) fn of(ssl: &SslRef) -> Option<Self> {
        Some(Session {
            session: ssl.session()?.to_owned(),
            context: number_of(ssl)?,
        })
    }

    /// Offers the session in the handshake that `ssl` is about to begin. `false` where the library
    /// refuses, or where `ssl` belongs to another context.
    pub(crate) fn offer(&self, ssl: &mut SslRef) -> bool {
        if number_of(ssl) != Some(self.context) {
            return false;
        }
        // SAFETY: the session was taken from a connection of the same context, which is what the binding asks
        // for: both have its number, which is given out once. OpenSSL counts its own reference to the session.
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
    use openssl::ssl::{ErrorCode, Ssl, SslAcceptor, SslConnector, SslMethod, SslVersion};
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
        // Back into the queue, as after a call whose errors are not read.
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
    fn a_session_is_offered_by_connections_of_its_own_context_alone() {
        let (near, far) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || anonymous(far).accept());
        let context = |number: bool| {
            let mut context = SslContext::builder(SslMethod::tls()).unwrap();
            context.set_cipher_list("aNULL:@SECLEVEL=0").unwrap();
            if number {
                Session::keep_of(&mut context).unwrap();
            }
            context.build()
        };
        let own = context(true);
        let ssl = Ssl::new(&own).unwrap();
        assert!(Session::of(&ssl).is_none(), "nothing is agreed upon");
        let mut client = SslStream::new(ssl, near).unwrap();
        client.connect().unwrap();
        server.join().unwrap().unwrap();
        let session = Session::of(client.ssl()).unwrap();
        assert!(session.offer(&mut Ssl::new(&own).unwrap()));
        for other in [context(true), context(false)] {
            assert!(!session.offer(&mut Ssl::new(&other).unwrap()));
        }
        // Also by one that lies where the first one was.
        drop((client, own));
        for _ in 0..100 {
            assert!(!session.offer(&mut Ssl::new(&context(true)).unwrap()));
        }
    }

    #[test]
    fn groups_are_parsed_by_the_library() {
        let mut ssl = session();
        set_groups(&mut ssl, "X25519:P-256").unwrap();
        assert!(set_groups(&mut ssl, "no-such-group").is_err());
        assert!(set_groups(&mut ssl, "X25519\0P-256").is_err());
        assert!(set_groups(&mut ssl, "").is_err());
    }

    #[test]
    fn revocation_lists_are_added() {
        // Of an authority that was made for this, without entries, and out of date.
        const LIST: &str = "-----BEGIN X509 CRL-----\n\
            MIGRMDgwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBdBcNMjYxMTMwMDIyMDQ4WhcN\n\
            MjYxMjAxMDIyMDQ4WjAKBggqhkjOPQQDAgNJADBGAiEA+lkd49GZ76ewEgJrnitG\n\
            5QWBzD1uxlPMqvtypxfce3oCIQC62Vaj9Y7nSIHImnePBrbIz1Z3yfkysjAGALua\n\
            I7nq6Q==\n\
            -----END X509 CRL-----\n";
        let list = openssl::x509::X509Crl::from_pem(LIST.as_bytes()).unwrap();
        let mut store = X509StoreBuilder::new().unwrap();
        add_revocation_list(&mut store, &list).unwrap();
        drop(list);
        // The store has a reference of its own.
        assert_eq!(store.build().all_certificates().len(), 0);
    }

    #[test]
    fn what_a_client_asks_for_is_seen_while_its_hello_is_read() {
        let mut ssl = session();
        set_session_scope(&mut ssl, &[1; 32]).unwrap();
        assert_eq!(client_hello_extension(&ssl, 0), None, "there is no hello");

        let mut client = session();
        client.set_hostname("one.example").unwrap();
        let mut client = SslStream::new(client, Captured::default()).unwrap();
        assert_eq!(client.connect().unwrap_err().code(), ErrorCode::WANT_READ);
        let hello = std::mem::take(&mut client.get_mut().0);
        let seen = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
        let seen_too = seen.clone();
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        builder.set_client_hello_callback(move |ssl, _| {
            let kinds = [0, 0xfafa];
            let extensions = kinds.map(|kind| client_hello_extension(ssl, kind));
            seen_too.lock().unwrap().extend(extensions);
            set_session_scope(ssl, &[2; 32])?;
            Ok(openssl::ssl::ClientHelloResponse::SUCCESS)
        });
        let ssl = Ssl::new(builder.build().context()).unwrap();
        let mut server = SslStream::new(ssl, Offered(io::Cursor::new(hello))).unwrap();
        assert_eq!(server.accept().unwrap_err().code(), ErrorCode::SSL);
        let name = b"\0\x0e\0\0\x0bone.example".to_vec();
        assert_eq!(*seen.lock().unwrap(), [Some(name), None]);
        assert_eq!(client_hello_extension(server.ssl(), 0), None, "it is over");
    }

    #[test]
    fn names_are_added() {
        let mut ssl = session();
        add_host(ssl.param_mut(), "a.example").unwrap();
        add_host(ssl.param_mut(), "b.example").unwrap();
        for other in ["", ".", ".example", "\0", "b.example\0", "b\0.example"] {
            assert!(add_host(ssl.param_mut(), other).is_err(), "{other:?}");
        }
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
        assert!(is_suspended(&server.accept().unwrap_err()));
        let session = session_mut(&mut server);
        let algorithms = offered_signature_algorithms(session);
        assert!(algorithms.contains(&0x0403), "{algorithms:x?}");
        assert!(algorithms.contains(&0x0804), "{algorithms:x?}");
        assert!(offers_ecdsa_ciphers(session));
        assert!(!asks_for_ocsp(session));
        resume_at_certificate(session);
        // Goes on, and finds that it was given no certificate.
        assert_eq!(server.accept().unwrap_err().code(), ErrorCode::SSL);
    }
}
