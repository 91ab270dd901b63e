//! If an upstream's handshake fails, the error says what can be done about it.

use super::*;
use crate::protocols::tls::openssl::test_certificates::authority;
use crate::utils::tls::CertKey;
use openssl::ssl::{AlpnError, SniError, SslAlert, SslVerifyMode, SslVersion};

over_each_library! {
    an_upstream_that_speaks_plain_text_is_called_one,
    plain_text_before_the_handshake_of_an_upstream_is_no_answer,
    a_certificate_that_is_refused_says_what_to_change,
    what_an_upstream_dislikes_about_us_is_said,
    a_protocol_that_was_not_offered_is_not_spoken,
}

/// Answers any request with these bytes, and closes.
async fn plain(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer).await;
        }
    });
    addr
}

/// The error of connecting to `peer`, or of reading from it.
async fn error(peer: &HttpPeer) -> String {
    match connector().new_stream(peer).await {
        Err(e) => e.to_string(),
        Ok(mut stream) => echo(&mut stream).await.unwrap_err().to_string(),
    }
}

async fn an_upstream_that_speaks_plain_text_is_called_one() {
    let ca = authority("ca");
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
        b"SSH-2.0-nothing\r\n",
        b"220 mail.example ESMTP\r\n",
        b"-ERR unknown command\r\n",
    ] {
        let text = error(&peer(plain(answer).await, "one.example", &ca)).await;
        assert!(text.contains("speak plain text on this port"), "{text}");
    }
    let text = error(&peer(plain(b"").await, "one.example", &ca)).await;
    assert!(text.contains("does it speak TLS on this port?"), "{text}");
    assert!(!text.contains("sent no name"), "{text}");
    let text = error(&peer(plain(b"").await, "", &ca)).await;
    assert!(text.contains("sent no name"), "{text}");
}

/// A plaintext answer before a handshake (CVE-2026-1642).
async fn plain_text_before_the_handshake_of_an_upstream_is_no_answer() {
    let ca = authority("ca");
    let made = ca.issue(&["one.example"], &[]);
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    builder.set_certificate(&made.cert).unwrap();
    builder.set_private_key(&made.key).unwrap();
    let acceptor = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        stream.write_all(answer).await.unwrap();
        server::handshake(&acceptor, L4Stream::from(stream))
            .await
            .map(drop)
    };
    let peer = peer(addr, "one.example", &ca);
    let connecting = async {
        let made = connector().new_stream(&peer).await;
        made.map(drop).unwrap_err().to_string()
    };
    let (served, text) = tokio::join!(serving, connecting);
    assert!(served.is_err());
    assert!(text.contains("TLSHandshakeFailure"), "{text}");
    assert!(text.contains("speak plain text"), "{text}");
}

async fn a_certificate_that_is_refused_says_what_to_change() {
    let (ca, stranger) = (authority("ca"), authority("stranger"));
    let names = ["one.example", "*.two.example"];
    let addr = origin(&ca.issue(&names, &["127.0.0.9"]), |_| {}).await;
    let odd = ca.issue(&["a\nb.example"], &[]);
    let odd = origin(&odd, |_| {}).await;
    let many: Vec<String> = (0..20).map(|n| format!("{n}.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let many = origin(&ca.issue(&many, &[]), |_| {}).await;
    let none = origin(&ca.issue(&[], &[]), |_| {}).await;
    let alone = authority("alone");
    let alone_at = origin(&alone, |_| {}).await;
    let expired = origin(&ca.issue_expired(&["one.example"]), |_| {}).await;
    let rows: Vec<(HttpPeer, &[&str])> = vec![
        (
            peer(addr, "bad.example", &ca),
            &[
                "\"one.example\", \"*.two.example\", 127.0.0.9",
                "\"bad.example\" (sni)",
            ],
        ),
        (
            {
                let mut peer = peer(addr, "bad.example", &ca);
                peer.options.alternative_cn = Some("worse.example".to_string());
                peer
            },
            &["\"bad.example\" (sni) or \"worse.example\" (alternative_cn)"],
        ),
        (
            peer(addr, "", &ca),
            &["127.0.0.1 (the peer's address)", "shows its default"],
        ),
        (peer(odd, "one.example", &ca), &["\"a\\nb.example\""]),
        (
            peer(many, "one.example", &ca),
            &["\"4.example\", ..., and not"],
        ),
        (peer(none, "one.example", &ca), &["\"unnamed\""]),
        (
            peer(addr, "one.example", &stranger),
            &["trust its authority", "ca_file"],
        ),
        (
            {
                let mut peer = peer(addr, "one.example", &ca);
                peer.options.ca = Some(Arc::new(vec![].into()));
                peer
            },
            &["empty list"],
        ),
        (peer(alone_at, "alone", &ca), &["signed by itself"]),
        (
            peer(expired, "one.example", &ca),
            &["clock of this machine"],
        ),
    ];
    for (peer, wanted) in rows {
        let text = error(&peer).await;
        assert!(
            text.contains("InvalidCert") && !text.contains('\n'),
            "{text}"
        );
        for wanted in wanted {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }
}

async fn what_an_upstream_dislikes_about_us_is_said() {
    let ca = authority("ca");
    let made = ca.issue(&["one.example"], &[]);
    let demanding = |builder: &mut SslAcceptorBuilder| {
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        builder.set_session_id_context(b"tests").unwrap();
    };
    let newest = origin(&made, demanding).await;
    let older = origin(&made, |builder| {
        demanding(builder);
        let newest = Some(SslVersion::TLS1_2);
        builder.set_max_proto_version(newest).unwrap();
    })
    .await;
    let http2 = origin(&made, |builder| {
        builder.set_alpn_select_callback(|_, _| Err(AlpnError::ALERT_FATAL));
    })
    .await;
    let picky = origin(&made, |builder| {
        builder.set_servername_callback(|_, alert| {
            *alert = SslAlert::UNRECOGNIZED_NAME;
            Err(SniError::ALERT_FATAL)
        });
    })
    .await;
    let shown = |addr| {
        let stranger = authority("stranger").issue(&["client.example"], &[]);
        let mut peer = peer(addr, "one.example", &ca);
        let cert_key = CertKey::new(vec![stranger.cert], stranger.key);
        peer.client_cert_key = Some(Arc::new(cert_key));
        peer
    };
    for (peer, wanted) in [
        (peer(newest, "one.example", &ca), "client_cert_key"),
        (peer(older, "one.example", &ca), "client_cert_key"),
        (shown(newest), "does not like the certificate"),
        (shown(older), "does not like the certificate"),
        (
            peer(http2, "one.example", &ca),
            "no protocol that was offered (H1)",
        ),
        (
            peer(picky, "one.example", &ca),
            "does not know the name \"one.example\"",
        ),
    ] {
        let text = error(&peer).await;
        assert!(
            text.contains("hint: ") && text.contains(wanted),
            "{wanted}: {text}"
        );
    }
}

/// Some versions of the library accept an upstream's choice even if it was not offered.
async fn a_protocol_that_was_not_offered_is_not_spoken() {
    let ca = authority("ca");
    let made = ca.issue(&["one.example"], &[]);
    let addr = origin(&made, |builder| {
        builder.set_alpn_select_callback(|_, _| Ok(b"h2"));
    })
    .await;
    let mut peer = peer(addr, "one.example", &ca);
    peer.options.set_http_version(1, 1);
    let e = connector().new_stream(&peer).await.unwrap_err();
    assert_eq!(
        *e.root_etype(),
        pingora_error::ErrorType::TLSHandshakeFailure
    );
    peer.options.set_http_version(2, 1);
    connected(connector(), &peer).await.unwrap();
}
