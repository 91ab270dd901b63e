//! The debug output of settings and sessions contains no secret.

use super::*;
use crate::protocols::l4::listener::Listener;
use crate::protocols::tls::SslStream;
use crate::protocols::tls::openssl::test_certificates::authority;
use crate::upstreams::peer::HttpPeer;
use crate::utils::tls::CertKey;
use tokio::net::TcpListener;

/// The ways in which bytes could be shown.
fn forms(secret: &[u8]) -> [String; 3] {
    let hex = |upper: bool| -> String {
        let each = secret.iter().map(|byte| {
            if upper {
                format!("{byte:02X}")
            } else {
                format!("{byte:02x}")
            }
        });
        each.collect()
    };
    let list = format!("{secret:?}").replace(['[', ']'], "");
    [list, hex(false), hex(true)]
}

fn assert_secret(text: &str, secret: &[u8]) {
    for form in forms(secret) {
        assert!(!text.contains(&form), "{text}");
    }
    let flat = text.replace(char::is_whitespace, "");
    assert!(!flat.contains(&forms(secret)[0].replace(' ', "")), "{text}");
    assert!(!text.contains("PRIVATE KEY"), "{text}");
}

#[tokio::test]
async fn no_key_is_shown_by_whatever_holds_one() {
    let ca = authority("ca");
    let made = ca.issue(&["one.example"], &[]);
    let secret = made.key.ec_key().unwrap().private_key().to_vec();
    let ticket_key = [0xa7; 80];
    let file = std::env::temp_dir().join(format!("secrets-{}.key", std::process::id()));
    std::fs::write(&file, ticket_key).unwrap();

    let store = CertificateStore::new();
    store.add(made.source()).unwrap();
    let tickets = SessionTickets::key_files([&file]).unwrap();
    std::fs::remove_file(&file).unwrap();
    let mut settings = TlsSettings::with_store(store.clone()).unwrap();
    settings.set_session_tickets(tickets.clone());
    let clients = ClientCertificates::optional().ca_pem(ca.cert_pem());
    settings.set_client_certificates(clients.clone()).unwrap();
    let mut text = format!("{settings:#?}{settings:?}{tickets:?}{store:#?}{clients:?}");
    let acceptor = settings.build().unwrap();
    text += &format!("{acceptor:#?}{acceptor:?}");

    // A session, on both sides.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = Listener::from(listener);
    let mut peer = HttpPeer::new(address, true, "one.example".to_string());
    peer.options.ca = Some(Arc::new(vec![ca.cert.clone()].into()));
    let client_key = CertKey::new(vec![made.cert.clone()], made.key.clone());
    peer.client_cert_key = Some(Arc::new(client_key));
    let connector = crate::connectors::TransportConnector::new(None);
    let serving = async {
        let stream = listener.accept().await.unwrap();
        acceptor.handshake(stream).await.unwrap()
    };
    let (served, connected) = tokio::join!(serving, connector.new_stream(&peer));
    let connected = connected.unwrap();
    text += &format!("{served:?}{connected:?}{peer:?}{}{connector:?}", peer);
    text += &format!("{:#?}", served.get_ssl_digest().unwrap());

    let tls = served.into_any().downcast::<SslStream<L4Stream>>().unwrap();
    let mut master = [0; 64];
    let length = tls.ssl().session().unwrap().master_key(&mut master);
    assert_secret(&text, &secret);
    assert_secret(&text, &master[..length]);
    assert_secret(&text, &ticket_key[..16]);
    assert!(text.contains("one.example"), "{text}");
}
