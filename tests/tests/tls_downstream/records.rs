//! Records of one byte, and ends that repeat: what TLS libraries have stumbled over.

use crate::reporter::Reporter;
use crate::{ask, settings};
use openssl::ssl::{HandshakeError, SslConnector, SslMethod, SslVersion};
use pingora::listeners::tls::HandshakeFailure;
use pingora_tests::Authority;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A transport that cuts what is written into records of one byte, as long as it is in the clear, and sends
/// each byte by itself.
#[derive(Debug)]
struct Crumbs(TcpStream);

impl Read for Crumbs {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Crumbs {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut cut = vec![];
        let mut rest = buf;
        while let [kind, major, minor, high, low, behind @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (payload, next) = behind.split_at(length);
            match kind {
                // A handshake in the clear: the ClientHello.
                22 => payload
                    .iter()
                    .for_each(|byte| cut.extend([22, *major, *minor, 0, 1, *byte])),
                _ => {
                    cut.extend_from_slice(&rest[..5]);
                    cut.extend_from_slice(payload);
                }
            }
            rest = next;
        }
        assert!(rest.is_empty(), "the library writes whole records");
        for byte in cut {
            self.0.write_all(&[byte])?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn connector(authority: &Authority, newest: SslVersion) -> SslConnector {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    let trusted = builder.cert_store_mut().add_cert(authority.certificate());
    trusted.unwrap();
    builder.set_max_proto_version(Some(newest)).unwrap();
    builder.build()
}

fn tcp(server: &Reporter) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// CVE-2024-11738: a ClientHello in fragments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_one_byte_are_a_handshake_and_a_request() {
    let authority = Authority::new();
    for keep in [false, true] {
        let mut settings = settings(&authority);
        settings.keep_client_hello(keep);
        let server = Reporter::start(settings).await;
        // In TLS 1.2 the client's second flight is in the clear, too.
        let connector = connector(&authority, SslVersion::TLS1_3);
        let mut stream = connector
            .connect("one.example", Crumbs(tcp(&server)))
            .expect("the handshake");
        for byte in b"GET / HTTP/1.0\r\nHost: one.example\r\n\r\n" {
            stream.write_all(&[*byte]).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("version=TLSv1.3"), "{answer}");
        assert_eq!(answer.contains("ja4="), keep, "{answer}");
    }
}

/// CVE-2024-32650: an end that is announced, and announced again, or followed by more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_notify_at_any_time_ends_one_connection() {
    let authority = Authority::new();
    let server = Reporter::start(settings(&authority)).await;
    // In the clear, as the first word, many times over: a warning, close_notify.
    let close_notify = [21, 3, 3, 0, 2, 1, 0];
    let mut stream = tcp(&server);
    let _ = stream.write_all(&close_notify.repeat(1000));
    let mut rest = vec![];
    // An end or a reset, but not a wait.
    let ended = stream.read_to_end(&mut rest);
    assert!(!matches!(ended, Err(e) if e.kind() == io::ErrorKind::WouldBlock));
    assert!(rest.len() < 100, "{rest:?}");
    for newest in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        // In the middle of a request, and before any.
        for sent in [&b""[..], b"GET / HTTP/1.1\r\nHost: on"] {
            let connector = connector(&authority, newest);
            let mut stream = connector.connect("one.example", tcp(&server)).unwrap();
            stream.write_all(sent).unwrap();
            stream.shutdown().unwrap();
            // Behind the end stands more.
            let mut tcp = stream.get_ref();
            let _ = tcp.write_all(&[23, 3, 3, 0, 1, 0].repeat(1000));
            let mut rest = vec![];
            let ended = tcp.read_to_end(&mut rest);
            assert!(!matches!(ended, Err(e) if e.kind() == io::ErrorKind::WouldBlock));
        }
    }
    assert!(ask(&server, &authority, "one.example", &[]).good);
    let spent = server.counters().failed(HandshakeFailure::TimedOut);
    assert_eq!(spent, 0, "nobody waited for more");
}

/// What a client of this name says first.
fn client_hello(authority: &Authority, name: &str) -> Vec<u8> {
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
    let connector = connector(authority, SslVersion::TLS1_3);
    match connector.connect(name, Captured::default()) {
        Err(HandshakeError::WouldBlock(begun)) => begun.get_ref().0.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_no_text_is_an_unknown_name() {
    let authority = Authority::new();
    let settings = settings(&authority);
    let store = settings.store().unwrap().clone();
    let server = Reporter::start(settings).await;
    store.refuse_unknown_names(true);
    let hello = client_hello(&authority, "one.example");
    let at = hello.windows(11).position(|w| w == b"one.example").unwrap();
    let mut refused = 0;
    for name in [
        &b"one.exampl\xff"[..],
        b"\xff\xfex.example",
        b"\xc3\xb6ne.examp.",
    ] {
        let mut odd = hello.clone();
        odd[at..at + 11].copy_from_slice(name);
        let mut stream = tcp(&server);
        stream.write_all(&odd).unwrap();
        let _ = stream.read_to_end(&mut vec![]);
        refused += 1;
        // To rustls such a name is an error of its own.
        let failure = if crate::RUSTLS {
            HandshakeFailure::NotTls
        } else {
            HandshakeFailure::NoCertificate
        };
        server.failed(failure, refused).await;
    }
}
