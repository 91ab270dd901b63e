//! Sessions are resumed where that is allowed, and only there.

use super::*;
use crate::connectors::tls::wanted_of;
use crate::protocols::tls::TlsHandshakeCounts;
use crate::protocols::tls::openssl::test_certificates::authority;
use crate::protocols::tls::sessions::{MAX_AGE, SessionKey};
use crate::utils::tls::CertKey;
use openssl::asn1::Asn1Time;
use openssl::ssl::{SslOptions, SslSessionCacheMode, SslVerifyMode, SslVersion};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

over_each_library! {
    a_session_is_resumed_by_ticket_and_by_id,
    what_the_upstream_does_not_remember_is_a_full_handshake,
    a_laxly_verified_session_serves_no_stricter_peer,
    a_peer_that_hashes_nothing_gets_no_session_of_a_laxer_one,
    a_session_belongs_to_those_who_trust_the_same_authorities,
    a_session_belongs_to_the_certificate_that_was_shown,
    resumption_can_be_turned_off,
    nothing_is_resumed_once_the_certificate_expired,
    resuming_again_and_again_does_not_put_off_verification,
}

/// Whether a new connection resumes a session. It is dropped without a close-notify.
async fn resumes(connector: &TransportConnector, peer: &HttpPeer) -> bool {
    let stream = connected(connector, peer).await.unwrap();
    stream.get_ssl_digest().unwrap().is_resumed()
}

fn tls12(builder: &mut SslAcceptorBuilder) {
    builder
        .set_max_proto_version(Some(SslVersion::TLS1_2))
        .unwrap();
}

async fn a_session_is_resumed_by_ticket_and_by_id() {
    let ca = authority("ca");
    let made = ca.issue(&["one.example"], &[]);
    type Configure = fn(&mut SslAcceptorBuilder);
    let kinds: &[(&str, Configure)] = &[
        ("TLS 1.3, tickets", |_| {}),
        ("TLS 1.3, tickets that are ids", |builder| {
            builder.set_options(SslOptions::NO_TICKET);
        }),
        ("TLS 1.2, tickets", tls12),
        ("TLS 1.2, ids", |builder| {
            tls12(builder);
            builder.set_options(SslOptions::NO_TICKET);
        }),
    ];
    for (kind, configure) in kinds {
        let addr = origin(&made, configure).await;
        let connector = new_connector();
        let peer = peer(addr, "one.example", &ca);
        assert!(!resumes(&connector, &peer).await, "{kind}");
        for _ in 0..5 {
            assert!(resumes(&connector, &peer).await, "{kind}");
        }
        let TlsHandshakeCounts { full, resumed } = connector.tls_handshake_counts();
        assert_eq!((full, resumed), (1, 5), "{kind}");
        // A resumed session knows the certificate, too.
        let stream = connected(&connector, &peer).await.unwrap();
        let digest = stream.get_ssl_digest().unwrap();
        assert_eq!(digest.serial_number.as_deref(), Some("C0FFEE"), "{kind}");
        assert_eq!(digest.cert_digest.len(), 32, "{kind}");
    }
}

async fn what_the_upstream_does_not_remember_is_a_full_handshake() {
    let ca = authority("ca");
    let made = ca.issue(&["one.example"], &[]);
    let connector = new_connector();
    let forgetful: &[fn(&mut SslAcceptorBuilder)] = &[
        |builder| builder.set_num_tickets(0).unwrap(),
        |builder| {
            tls12(builder);
            builder.set_options(SslOptions::NO_TICKET);
            builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        },
    ];
    for configure in forgetful {
        let peer = peer(origin(&made, configure).await, "one.example", &ca);
        for _ in 0..3 {
            assert!(!resumes(&connector, &peer).await);
        }
    }
    // A server that does not know the ticket, because it was restarted.
    let mut moved = peer(origin(&made, |_| {}).await, "one.example", &ca);
    moved.options.custom_l4 = Some(Arc::new(To(moved.address().as_inet().copied().unwrap())));
    assert!(!resumes(&connector, &moved).await);
    assert!(resumes(&connector, &moved).await);
    moved.options.custom_l4 = Some(Arc::new(To(origin(&made, |_| {}).await)));
    assert!(!resumes(&connector, &moved).await);
    assert!(resumes(&connector, &moved).await);
}

async fn a_laxly_verified_session_serves_no_stricter_peer() {
    let (ca, stranger) = (authority("ca"), authority("stranger"));
    let addr = origin(&ca.issue(&["one.example"], &[]), |_| {}).await;
    let right = peer(addr, "one.example", &ca);
    let lax: &[fn(&mut HttpPeer)] = &[
        |p| p.options.verify_cert = false,
        |p| p.options.verify_hostname = false,
        |p| p.options.alternative_cn = Some("one.example".to_string()),
        |p| p.options.set_http_version(2, 1),
        |p| p.group_key = 1,
    ];
    for change in lax {
        let connector = new_connector();
        let mut changed = right.clone();
        change(&mut changed);
        assert!(!resumes(&connector, &changed).await);
        assert!(!resumes(&connector, &right).await);
        assert!(resumes(&connector, &changed).await);
        assert!(resumes(&connector, &right).await);
    }
    // If verification would fail, it fails, however many sessions there are.
    let connector = new_connector();
    for (sni, ca) in [
        ("other.example", &ca),
        ("one.example", &stranger),
        ("", &ca),
    ] {
        let mut peer = peer(addr, sni, ca);
        peer.options.verify_cert = false;
        assert!(!resumes(&connector, &peer).await);
        assert!(resumes(&connector, &peer).await);
        peer.options.verify_cert = true;
        let e = connector.new_stream(&peer).await.unwrap_err();
        assert_eq!(*e.root_etype(), pingora_error::ErrorType::InvalidCert);
    }
}

/// A custom peer type, whose hash tells nothing.
#[derive(Clone)]
struct Sloppy(HttpPeer);

impl std::fmt::Display for Sloppy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Peer for Sloppy {
    fn address(&self) -> &crate::protocols::l4::socket::SocketAddr {
        self.0.address()
    }
    fn tls(&self) -> bool {
        true
    }
    fn sni(&self) -> &str {
        self.0.sni()
    }
    fn reuse_hash(&self) -> u64 {
        0
    }
    fn get_peer_options(&self) -> Option<&crate::upstreams::peer::PeerOptions> {
        self.0.get_peer_options()
    }
}

async fn a_peer_that_hashes_nothing_gets_no_session_of_a_laxer_one() {
    let ca = authority("ca");
    let addr = origin(&ca.issue(&["one.example"], &[]), |_| {}).await;
    let mut sloppy = Sloppy(peer(addr, "other.example", &ca));
    sloppy.0.options.verify_hostname = false;
    let connector = new_connector();
    for _ in 0..2 {
        let mut stream = connector.new_stream(&sloppy).await.unwrap();
        echo(&mut stream).await.unwrap();
    }
    assert_eq!(connector.tls_handshake_counts().resumed, 1);
    sloppy.0.options.verify_hostname = true;
    assert!(connector.new_stream(&sloppy).await.is_err());
}

/// The authorities of a peer that a program makes anew, say after a reload, are other ones.
async fn a_session_belongs_to_those_who_trust_the_same_authorities() {
    let (ca, stranger) = (authority("ca"), authority("stranger"));
    let addr = origin(&ca.issue(&["one.example"], &[]), |_| {}).await;
    let connector = new_connector();
    let old = peer(addr, "one.example", &ca);
    let mut both = old.clone();
    both.options.ca = Some(Arc::new(
        vec![ca.cert.clone(), stranger.cert.clone()].into(),
    ));
    assert!(!resumes(&connector, &old).await);
    assert!(resumes(&connector, &old).await);
    let new = peer(addr, "one.example", &stranger);
    let e = connector.new_stream(&new).await.unwrap_err();
    assert_eq!(*e.root_etype(), pingora_error::ErrorType::InvalidCert);
    // A peer whose hash tells nothing, too.
    let mut sloppy = Sloppy(old.clone());
    for resumed in [0, 1] {
        let before = connector.tls_handshake_counts().resumed;
        let mut stream = connector.new_stream(&sloppy).await.unwrap();
        echo(&mut stream).await.unwrap();
        assert_eq!(connector.tls_handshake_counts().resumed, before + resumed);
    }
    sloppy.0.options.ca = new.options.ca.clone();
    let e = connector.new_stream(&sloppy).await.unwrap_err();
    assert_eq!(*e.root_etype(), pingora_error::ErrorType::InvalidCert);
    assert!(!resumes(&connector, &both).await);
    // Those who trust as before go on.
    assert!(resumes(&connector, &old).await);
}

async fn a_session_belongs_to_the_certificate_that_was_shown() {
    let ca = authority("ca");
    let made = ca.issue(&["one.example"], &[]);
    let addr = origin(&made, |builder| {
        builder.set_verify(SslVerifyMode::PEER);
        builder.set_session_id_context(b"tests").unwrap();
        builder.cert_store_mut().add_cert(ca.cert.clone()).unwrap();
    })
    .await;
    let client = |name: &str| {
        let made = ca.issue(&[name], &[]);
        Arc::new(CertKey::new(vec![made.cert], made.key))
    };
    let connector = new_connector();
    let mut peer = peer(addr, "one.example", &ca);
    for cert in [None, Some(client("a.example")), Some(client("b.example"))] {
        peer.client_cert_key = cert;
        assert!(!resumes(&connector, &peer).await);
        assert!(resumes(&connector, &peer).await);
    }
}

async fn resumption_can_be_turned_off() {
    let ca = authority("ca");
    let addr = origin(&ca.issue(&["one.example"], &[]), |_| {}).await;
    let connector = new_connector();
    connector.set_tls_session_capacity(0);
    for _ in 0..3 {
        assert!(!resumes(&connector, &peer(addr, "one.example", &ca)).await);
    }
    let TlsHandshakeCounts { full, resumed } = connector.tls_handshake_counts();
    assert_eq!((full, resumed), (3, 0));
}

async fn nothing_is_resumed_once_the_certificate_expired() {
    let ca = authority("ca");
    let made = ca.issue_with(&["one.example"], &[], |builder| {
        let today = Asn1Time::days_from_now(0).unwrap();
        builder.set_not_before(&today).unwrap();
        let minutes = |n: i64| {
            (SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs() as i64)
                + n * 60
        };
        builder
            .set_not_after(&Asn1Time::from_unix(minutes(30)).unwrap())
            .unwrap();
    });
    let peer = peer(origin(&made, |_| {}).await, "one.example", &ca);
    let connector = new_connector();
    let minutes = |n: u64| Instant::now() + Duration::from_secs(n * 60);
    for (age, resumed) in [(minutes(31), false), (minutes(29), true)] {
        connected(&connector, &peer).await.unwrap();
        let key = SessionKey::new(&wanted_of(&peer, None));
        let session = connector.tls.sessions().take(&key, age);
        assert_eq!(session.is_some(), resumed);
    }
}

async fn resuming_again_and_again_does_not_put_off_verification() {
    let ca = authority("ca");
    let addr = origin(&ca.issue(&["one.example"], &[]), |_| {}).await;
    let peer = peer(addr, "one.example", &ca);
    let connector = new_connector();
    let key = SessionKey::new(&wanted_of(&peer, None));
    let before = Instant::now();
    connected(&connector, &peer).await.unwrap();
    let verified = Instant::now();
    for _ in 0..3 {
        connected(&connector, &peer).await.unwrap();
    }
    assert_eq!(connector.tls_handshake_counts().resumed, 3);
    let sessions = connector.tls.sessions();
    let second = Duration::from_secs(1);
    assert!(sessions.take(&key, before + MAX_AGE - second).is_some());
    assert!(sessions.take(&key, verified + MAX_AGE).is_none());
}

#[derive(Debug)]
struct To(SocketAddr);

#[async_trait::async_trait]
impl crate::connectors::L4Connect for To {
    async fn connect(&self, _: &crate::protocols::l4::socket::SocketAddr) -> Result<L4Stream> {
        Ok(tokio::net::TcpStream::connect(self.0).await.unwrap().into())
    }
}
