//! Each function, with handshakes in memory.

use super::*;
use crate::protocols::tls::certificate::get_common_name;
use crate::protocols::tls::openssl::test_certificates::{Made, authority};
use crate::protocols::tls::server::handshake_with_callback;
use crate::protocols::tls::{KeyKind, SslDigest, SslStream, TlsAccept, TlsRef};
use async_trait::async_trait;
use openssl::pkey::PKey;
use openssl::ssl::{ErrorCode, NameType, SslAcceptorBuilder, SslConnector, SslMethod, SslVersion};
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::{X509, extension::BasicConstraints};
use tokio::io::{DuplexStream, duplex};

type Session = SslStream<DuplexStream>;

/// An authority in the name of another one.
fn below(root: &Made, name: &str) -> Made {
    root.issue_with(&[name], &[], |builder| {
        let constraints = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(constraints).unwrap();
    })
}

fn acceptor() -> SslAcceptorBuilder {
    SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap()
}

fn acceptor_with(made: &Made, chain: &[&Made]) -> SslAcceptorBuilder {
    let mut builder = acceptor();
    builder.set_certificate(&made.cert).unwrap();
    builder.set_private_key(&made.key).unwrap();
    for made in chain {
        builder.add_extra_chain_cert(made.cert.clone()).unwrap();
    }
    builder
}

fn store(made: &Made) -> X509Store {
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(made.cert.clone()).unwrap();
    store.build()
}

/// A client's session that asks for this name, and trusts only what the system does.
fn client(name: &str) -> Ssl {
    let connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector
        .build()
        .configure()
        .unwrap()
        .into_ssl(name)
        .unwrap()
}

/// One that trusts this authority, too.
fn client_of(root: &Made, name: &str) -> Ssl {
    let mut ssl = client(name);
    ssl_set_verify_cert_store(&mut ssl, &store(root)).unwrap();
    ssl
}

type Ended = Result<Session, ssl::Error>;

/// A handshake of these two.
async fn shake_hands(client: Ssl, server: Ssl) -> (Ended, Ended) {
    let (near, far) = duplex(1 << 16);
    let client = async {
        let mut client = SslStream::new(client, near).unwrap();
        client.connect().await.map(|()| client)
    };
    let server = async {
        let mut server = SslStream::new(server, far).unwrap();
        server.accept().await.map(|()| server)
    };
    tokio::join!(client, server)
}

/// The names of the certificates that the other side showed.
fn shown(session: &Session) -> Vec<String> {
    let chain = session.ssl().peer_cert_chain().unwrap();
    let names = chain.iter().map(|cert| get_common_name(&cert.to_owned()));
    names.map(Option::unwrap).collect()
}

/// The certificate and chain that clients of a name are shown.
struct Choice {
    name: &'static str,
    leaf: Made,
    chain: Vec<X509>,
}

fn show(ssl: &mut SslRef, choice: &Choice) -> Result<(), ErrorStack> {
    ssl_use_certificate(ssl, &choice.leaf.cert)?;
    ssl_use_private_key(ssl, &choice.leaf.key)?;
    let mut chain = choice.chain.iter();
    chain.try_for_each(|cert| ssl_add_chain_cert(ssl, cert))
}

struct ByName(Vec<Choice>);

#[async_trait]
impl TlsAccept for ByName {
    async fn certificate_callback(&self, ssl: &mut TlsRef) {
        tokio::task::yield_now().await;
        let name = ssl.servername(NameType::HOST_NAME).unwrap().to_string();
        if let Some(choice) = self.0.iter().find(|choice| choice.name == name) {
            show(ssl, choice).unwrap();
        }
    }
}

/// The certificates that a client sees of these choices. `None`: it has no session.
async fn seen(choices: &ByName, acceptor: &SslAcceptor, client: Ssl) -> Option<Vec<String>> {
    let (near, far) = duplex(1 << 16);
    let client = async {
        let mut client = SslStream::new(client, near).unwrap();
        client.connect().await.ok().map(|()| shown(&client))
    };
    let server = handshake_with_callback(acceptor, far, choices);
    let (seen, ended) = tokio::join!(client, server);
    assert_eq!(seen.is_some(), ended.is_ok());
    seen
}

#[tokio::test]
async fn a_callback_chooses_leaf_key_and_chain_by_name() {
    let root = authority("root");
    let (one, two) = (below(&root, "mid one"), below(&root, "mid two"));
    let choices = ByName(vec![
        Choice {
            name: "a.example",
            leaf: one.issue(&["a.example"], &[]),
            chain: vec![one.cert.clone()],
        },
        Choice {
            name: "b.example",
            leaf: two.issue_kind(KeyKind::Rsa, &["b.example"]),
            chain: vec![two.cert.clone(), root.cert.clone()],
        },
        Choice {
            name: "c.example",
            leaf: one.issue(&["c.example"], &[]),
            chain: vec![],
        },
    ]);
    let acceptor = acceptor().build();
    let ask = |name| seen(&choices, &acceptor, client_of(&root, name));
    assert_eq!(ask("a.example").await.unwrap(), ["a.example", "mid one"]);
    let two = ["b.example", "mid two", "root"];
    assert_eq!(ask("b.example").await.unwrap(), two);
    // Without its chain it can't be verified.
    assert_eq!(ask("c.example").await, None);
    // For this name there is nothing.
    assert_eq!(ask("d.example").await, None);
}

#[tokio::test]
async fn a_certificate_that_takes_the_place_of_another_ends_its_chain() {
    let root = authority("root");
    let (one, two) = (below(&root, "mid one"), below(&root, "mid two"));
    let choice = |name, authority: &Made| Choice {
        name,
        leaf: authority.issue(&[name], &[]),
        chain: vec![authority.cert.clone()],
    };
    let (one, two) = (choice("a.example", &one), choice("b.example", &two));
    let acceptor = acceptor().build();
    // A certificate that is set already is chosen again, and keeps its chain.
    for (second, chain) in [
        (&two, ["b.example", "mid two"]),
        (&one, ["a.example", "mid one"]),
    ] {
        let mut server = ssl_from_acceptor(&acceptor).unwrap();
        show(&mut server, &one).unwrap();
        ssl_use_certificate(&mut server, &second.leaf.cert).unwrap();
        ssl_use_private_key(&mut server, &second.leaf.key).unwrap();
        if second.name != one.name {
            ssl_add_chain_cert(&mut server, &second.chain[0]).unwrap();
        }
        let (client, server) = shake_hands(client_of(&root, second.name), server).await;
        server.unwrap();
        assert_eq!(shown(&client.unwrap()), chain);
    }
}

#[tokio::test]
async fn certificates_of_two_kinds_stand_beside_each_other() {
    let root = authority("root");
    let acceptor = acceptor().build();
    for (algorithms, kind) in [("ECDSA", KeyKind::EcdsaP256), ("RSA", KeyKind::Rsa)] {
        let mut server = ssl_from_acceptor(&acceptor).unwrap();
        for kind in [KeyKind::EcdsaP256, KeyKind::Rsa] {
            let made = root.issue_kind(kind, &["a.example"]);
            ssl_use_certificate(&mut server, &made.cert).unwrap();
            ssl_use_private_key(&mut server, &made.key).unwrap();
        }
        let mut client = client_of(&root, "a.example");
        client
            .set_max_proto_version(Some(SslVersion::TLS1_2))
            .unwrap();
        let suite = format!("ECDHE-{algorithms}-AES128-GCM-SHA256");
        client.set_cipher_list(&suite).unwrap();
        let (client, server) = shake_hands(client, server).await;
        server.unwrap();
        let shown = client.unwrap().ssl().peer_certificate().unwrap();
        let wanted = root.issue_kind(kind, &[]).key.id();
        assert_eq!(shown.public_key().unwrap().id(), wanted);
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let root = authority("root");
    let (one, two) = (root.issue(&["a"], &[]), root.issue(&["b"], &[]));
    let mut ssl = ssl_from_acceptor(&acceptor().build()).unwrap();
    ssl_use_certificate(&mut ssl, &one.cert).unwrap();
    let refused = ssl_use_private_key(&mut ssl, &two.key).unwrap_err();
    assert!(!refused.errors().is_empty());
    ssl_use_private_key(&mut ssl, &one.key).unwrap();
}

#[tokio::test]
async fn a_handshake_pauses_at_its_certificate_and_goes_on() {
    let root = authority("root");
    let made = root.issue(&["a.example"], &[]);
    let (near, far) = duplex(1 << 16);
    let mut server = ssl_from_acceptor(&acceptor().build()).unwrap();
    suspend_when_need_ssl_cert(&mut server);
    let mut server = SslStream::new(server, far).unwrap();
    let mut client = SslStream::new(client_of(&root, "a.example"), near).unwrap();
    let client = tokio::spawn(async move { client.connect().await });
    let paused = server.accept().await.unwrap_err();
    assert!(is_suspended_for_cert(&paused), "{paused}");
    // As long as it is not unblocked, it stays where it is.
    let paused = server.accept().await.unwrap_err();
    assert!(is_suspended_for_cert(&paused), "{paused}");
    let name = server.ssl().servername(NameType::HOST_NAME);
    assert_eq!(name, Some("a.example"));
    unblock_ssl_cert(&mut server);
    ssl_use_certificate(&mut server, &made.cert).unwrap();
    ssl_use_private_key(&mut server, &made.key).unwrap();
    server.accept().await.unwrap();
    client.await.unwrap().unwrap();
}

#[tokio::test]
async fn other_errors_are_no_pause() {
    // It is given no certificate, and does not wait for one.
    let server = ssl_from_acceptor(&acceptor().build()).unwrap();
    let (_, server) = shake_hands(client("a.example"), server).await;
    let e = server.unwrap_err();
    assert_eq!(e.code(), ErrorCode::SSL);
    assert!(!is_suspended_for_cert(&e));
}

#[tokio::test]
async fn a_session_trusts_the_store_that_it_is_given() {
    let (root, stranger) = (authority("root"), authority("stranger"));
    let acceptor = acceptor_with(&root.issue(&["a.example"], &[]), &[]).build();
    let server = || ssl_from_acceptor(&acceptor).unwrap();
    let (trusting, _) = shake_hands(client_of(&root, "a.example"), server()).await;
    trusting.unwrap();
    for other in [client("a.example"), client_of(&stranger, "a.example")] {
        assert!(shake_hands(other, server()).await.0.is_err());
    }
}

#[tokio::test]
async fn one_of_the_added_hosts_is_enough() {
    let root = authority("root");
    let acceptor = acceptor_with(&root.issue(&["b.example"], &[]), &[]).build();
    for (hosts, good) in [
        (&["a.example"][..], false),
        (&["a.example", "b.example"], true),
    ] {
        let connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        let mut client = connector.build().configure().unwrap();
        client.set_verify_hostname(false);
        let mut client = client.into_ssl("other.example").unwrap();
        ssl_set_verify_cert_store(&mut client, &store(&root)).unwrap();
        for host in hosts {
            add_host(client.param_mut(), host).unwrap();
        }
        let server = ssl_from_acceptor(&acceptor).unwrap();
        let (client, _) = shake_hands(client, server).await;
        assert_eq!(client.is_ok(), good, "{hosts:?}");
    }
}

#[test]
fn what_is_no_host_is_refused() {
    // An error that an earlier call left behind is not taken for the reason.
    openssl::x509::X509::from_der(b"none").unwrap_err().put();
    let mut ssl = client("a.example");
    for other in ["", ".example", "a\0.example"] {
        let refused = add_host(ssl.param_mut(), other).unwrap_err();
        assert!(refused.errors().is_empty(), "{other:?}: {refused}");
    }
}

#[tokio::test]
async fn groups_are_agreed_upon() {
    let root = authority("root");
    let acceptor = acceptor_with(&root.issue(&["a.example"], &[]), &[]).build();
    for (groups, agreed) in [("P-384:P-256", "384"), ("P-256", "256")] {
        let mut client = client_of(&root, "a.example");
        ssl_set_groups_list(&mut client, groups).unwrap();
        ssl_use_second_key_share(&mut client, true);
        ssl_set_renegotiate_mode_freely(&mut client);
        let server = ssl_from_acceptor(&acceptor).unwrap();
        let (client, server) = shake_hands(client, server).await;
        server.unwrap();
        let digest = SslDigest::from_ssl(client.unwrap().ssl());
        if let Some(group) = digest.group() {
            assert!(group.contains(agreed), "{group}");
        }
    }
    let mut ssl = client("a.example");
    for unknown in ["", "no-such-group", "P-256\0"] {
        assert!(ssl_set_groups_list(&mut ssl, unknown).is_err());
    }
}

#[tokio::test]
async fn both_sides_derive_the_same_bytes() {
    let root = authority("root");
    let acceptor = acceptor_with(&root.issue(&["a.example"], &[]), &[]).build();
    let server = ssl_from_acceptor(&acceptor).unwrap();
    let mut early = [0; 16];
    assert!(ssl_export_keying_material(&server, &mut early, "label", None).is_err());
    let client = client_of(&root, "a.example");
    let (client, server) = shake_hands(client, server).await;
    let (client, server) = (client.unwrap(), server.unwrap());
    let derive = |session: &Session, label, context| {
        let mut out = [0; 16];
        ssl_export_keying_material(session, &mut out, label, context).unwrap();
        out
    };
    let context = Some(&b"context"[..]);
    for (label, context) in [
        ("EXPORTER-a", None),
        ("EXPORTER-a", context),
        ("EXPORTER-b", None),
    ] {
        assert_eq!(
            derive(&client, label, context),
            derive(&server, label, context)
        );
    }
    assert_ne!(
        derive(&client, "EXPORTER-a", None),
        derive(&client, "EXPORTER-b", None)
    );
    assert_ne!(
        derive(&client, "EXPORTER-a", None),
        derive(&client, "EXPORTER-a", context)
    );
}

#[test]
fn errors_that_were_left_behind_are_cleared() {
    PKey::private_key_from_pem(b"none").unwrap_err().put();
    clear_error_stack();
    assert!(ErrorStack::get().errors().is_empty());
}
