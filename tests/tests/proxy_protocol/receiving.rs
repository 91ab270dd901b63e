//! Proxies in front.

use super::{Tell, endpoint, telling};
use pingora::protocols::proxy_protocol::{ProxyHeader, ProxyVersion, kind};
use pingora_tests::http2::Http2Client;
use pingora_tests::{Ask, Authority, Connection, Haproxy, TestServer, curl_text, eventually};
use std::sync::atomic::Ordering;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const GET: &str = "GET / HTTP/1.1\r\nHost: front.example\r\n\r\n";

/// Runs curl through HAProxy: returns the server's answer, and the client's own address.
fn ask_through(haproxy: &Haproxy, ca: &str, options: &[&str], scheme: &str) -> (String, String) {
    let port = haproxy.address().port();
    let url = format!("{scheme}://front.example:{port}/");
    let resolve = format!("front.example:{port}:127.0.0.1");
    let common = [
        "--cacert",
        ca,
        "--resolve",
        &resolve,
        "-w",
        "\n%{local_ip}:%{local_port}",
    ];
    let said = curl_text(&[&common[..], options, &[&url]].concat());
    let (told, own) = said.split_once('\n').unwrap();
    (told.to_string(), own.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_names_its_clients_in_both_versions_over_plain_and_tls() {
    let authority = Authority::new();
    let server = telling(Tell::default(), &authority).await;
    let ca = authority.file();
    let ca = ca.to_str().unwrap();
    let v2 = "send-proxy-v2 proxy-v2-options crc32c,authority,unique-id,ssl,cert-cn";
    for sends in ["send-proxy", "send-proxy-v2", v2] {
        let plain = Haproxy::in_front_of(server.addresses()[endpoint::PLAIN], sends);
        let tls = Haproxy::in_front_of(server.addresses()[endpoint::TLS], sends);
        let rows = [
            (&plain, "http", &["--http1.1"][..]),
            (&plain, "http", &["--http2-prior-knowledge"]),
            (&tls, "https", &["--http1.1"]),
            (&tls, "https", &["--http2"]),
        ];
        for (haproxy, scheme, options) in rows {
            let (told, own) = ask_through(haproxy, ca, options, scheme);
            let expected = format!("{own} {} ", haproxy.address());
            assert!(
                told.starts_with(&expected),
                "{sends} {scheme} {options:?}: {told}"
            );
            let (_, proxy) = told.rsplit_once(' ').unwrap();
            assert_ne!(proxy, own);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_checks_of_haproxy_are_its_own() {
    let tell = Tell::default();
    let server = telling(tell.clone(), &Authority::new()).await;
    let address = server.addresses()[endpoint::PLAIN];
    let parameters =
        "send-proxy-v2 check inter 50ms\n    option httpchk\n    http-check send hdr Host check";
    let _haproxy = Haproxy::in_front_of(address, parameters);
    eventually("a check comes", || tell.checks.load(Ordering::SeqCst) > 1).await;
}

#[tokio::test]
async fn values_beside_the_addresses_are_told() {
    let server = telling(Tell::default(), &Authority::new()).await;
    let address = |text: &str| text.parse().unwrap();
    let header = ProxyHeader::new(address("[2001:db8::1]:5"), address("[2001:db8::2]:443"));
    let header = header.with_tlv(kind::AUTHORITY, b"a.example").unwrap();
    let header = header.with_tlv(kind::UNIQUE_ID, b"id-7").unwrap();
    let header = header.with_checksum().encode(ProxyVersion::V2);
    let mut connection = Connection::to(server.addresses()[endpoint::PLAIN]).await;
    let own = connection.local_address();
    connection.send_in_pieces(&header, 9).await;
    for _ in 0..2 {
        let answer = connection.ask(GET).await;
        let expected = format!("[2001:db8::1]:5 [2001:db8::2]:443 a.example id-7 {own}");
        assert_eq!(answer.text(), expected, "on each request");
    }
}

#[tokio::test]
async fn http2_in_cleartext_may_begin_in_the_packet_of_the_header() {
    let server = telling(Tell::default(), &Authority::new()).await;
    let address = server.addresses()[endpoint::PLAIN];
    let mut stream = TcpStream::connect(address).await.unwrap();
    let line = b"PROXY TCP4 203.0.113.77 203.0.113.1 1 2\r\n";
    stream.write_all(line).await.unwrap();
    let client = Http2Client::over_stream(stream).await;
    let answer = client.ask(&Ask::get("/")).await;
    assert!(answer.text().starts_with("203.0.113.77:1 203.0.113.1:2 "));
}

/// Sends these bytes to an endpoint: returns everything received until the connection ends.
async fn said(server: &TestServer, endpoint: usize, bytes: &str) -> String {
    let mut connection = Connection::to(server.addresses()[endpoint]).await;
    // The other side may close at once.
    let _ = connection.try_send(bytes).await;
    String::from_utf8(connection.rest().await).unwrap()
}

/// A header is trusted from a trusted network only: from elsewhere it is not read, or it is data.
#[tokio::test]
async fn a_header_of_an_untrusted_client_is_never_believed() {
    let server = telling(Tell::default(), &Authority::new()).await;
    let line = "PROXY TCP4 203.0.113.66 203.0.113.1 1 2\r\n";
    let closing = GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let strict = said(&server, endpoint::STRICT, &format!("{line}{closing}")).await;
    assert_eq!(strict, "");
    assert_eq!(said(&server, endpoint::STRICT, &closing).await, "");

    let open = said(&server, endpoint::OPEN, &format!("{line}{closing}")).await;
    assert!(open.starts_with("HTTP/1.1 400 "), "{open}");
    assert!(!open.contains("203.0.113.66"), "{open}");
    let open = said(&server, endpoint::OPEN, &closing).await;
    assert!(
        open.starts_with("HTTP/1.1 200 ") && open.contains("\r\n127.0.0.1:"),
        "{open}"
    );

    // From a trusted network, a connection without a header is closed silently.
    assert_eq!(said(&server, endpoint::PLAIN, &closing).await, "");
    // A second header is data.
    let twice = said(&server, endpoint::PLAIN, &format!("{line}{line}{closing}")).await;
    assert!(twice.starts_with("HTTP/1.1 400 "), "{twice}");
}

#[tokio::test]
async fn each_client_of_a_proxy_has_as_many_connections_as_any_other() {
    let server = telling(Tell::default(), &Authority::new()).await;
    let address = server.addresses()[endpoint::PLAIN];
    let of = async |client: u8| {
        let mut connection = Connection::to(address).await;
        let line = format!("PROXY TCP4 203.0.113.{client} 203.0.113.1 1 2\r\n");
        connection.send(line + GET).await;
        connection
    };
    let (mut a, mut b, mut c) = (of(1).await, of(1).await, of(2).await);
    for connection in [&mut a, &mut b, &mut c] {
        assert_eq!(connection.response().await.status(), 200);
    }
    of(1).await.closed().await;
    assert_eq!(of(2).await.response().await.status(), 200);
    drop(a);
    // It is no longer counted once the server has seen its end.
    let end = std::time::Instant::now() + pingora_tests::PATIENCE;
    loop {
        let mut again = of(1).await;
        if again.some_bytes().await.is_some() {
            break;
        }
        assert!(
            std::time::Instant::now() < end,
            "the first one stays counted"
        );
    }
}
