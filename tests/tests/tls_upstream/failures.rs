//! Everything that may be wrong with the certificate of an upstream ends in 502, with the reason in the
//! log; and its twin, where nothing is wrong, in 200.

use super::certificates::{Shape, Signed, write};
use super::routes::{Routes, get, refused, trusting};
use openssl::x509::X509;
use pingora::prelude::*;
use pingora_tests::Nginx;

const NAME: &str = "www.one.example";

/// A chain that an upstream shows, and the authority that is trusted.
struct Shown {
    chain: Vec<Signed>,
    trusted: Signed,
}

/// Root, intermediate and leaf, of these shapes.
fn chain(root: &Shape, intermediate: &Shape, leaf: &Shape) -> Shown {
    let root = root.root();
    let intermediate = intermediate.by(&root);
    Shown {
        chain: vec![leaf.by(&intermediate), intermediate],
        trusted: root,
    }
}

fn root() -> Shape {
    Shape::authority("Test Root")
}

fn intermediate() -> Shape {
    Shape::authority("Test Intermediate")
}

fn leaf() -> Shape {
    Shape {
        names: vec![NAME],
        ..Shape::leaf("Test Leaf")
    }
}

fn good() -> Shown {
    chain(&root(), &intermediate(), &leaf())
}

/// A chain whose leaf differs from the good one by this.
fn with_leaf(change: impl FnOnce(&mut Shape)) -> Shown {
    let mut leaf = leaf();
    change(&mut leaf);
    chain(&root(), &intermediate(), &leaf)
}

/// The same with the intermediate.
fn with_intermediate(change: impl FnOnce(&mut Shape)) -> Shown {
    let mut intermediate = intermediate();
    change(&mut intermediate);
    chain(&root(), &intermediate, &leaf())
}

fn with_root(change: impl FnOnce(&mut Shape)) -> Shown {
    let mut root = root();
    change(&mut root);
    chain(&root, &intermediate(), &leaf())
}

/// A leaf that signs itself.
fn self_signed() -> Signed {
    leaf().root()
}

fn unknown_authority() -> Shown {
    Shown {
        trusted: Shape::authority("Stranger").root(),
        ..good()
    }
}

fn missing_intermediate() -> Shown {
    let mut shown = good();
    shown.chain.truncate(1);
    shown
}

/// The chain names its issuer rightly, but somebody else signed.
fn forged() -> Shown {
    let mut shown = good();
    let impostor = Signed {
        certificate: shown.chain[1].certificate.clone(),
        key: super::certificates::new_key(),
    };
    shown.chain[0] = leaf().by(&impostor);
    shown
}

/// What is wrong, the chain, one of the words of the reason, and the twin.
type Case = (&'static str, Shown, &'static [&'static str], Shown);

fn cases() -> Vec<Case> {
    vec![
        (
            "expired",
            with_leaf(|l| l.days = (-3, -1)),
            &["expired"],
            good(),
        ),
        (
            "not-yet-valid",
            with_leaf(|l| l.days = (1, 3)),
            &["not yet valid"],
            good(),
        ),
        (
            "intermediate-expired",
            with_intermediate(|i| i.days = (-3, -1)),
            &["expired"],
            good(),
        ),
        (
            "root-expired",
            with_root(|r| r.days = (-3, -1)),
            &["expired"],
            good(),
        ),
        (
            "wrong-name",
            with_leaf(|l| {
                l.names = vec!["other.example", "*.www.one.example", "www.one.example.evil"]
            }),
            &["mismatch"],
            with_leaf(|l| l.names = vec!["other.example", "*.one.example"]),
        ),
        (
            "address-only",
            with_leaf(|l| l.names = vec!["127.0.0.1"]),
            &["mismatch"],
            with_leaf(|l| l.names = vec!["127.0.0.1", NAME]),
        ),
        (
            "common-name-beside-others",
            with_leaf(|l| {
                l.name = NAME;
                l.names = vec!["other.example"];
            }),
            &["mismatch"],
            with_leaf(|l| {
                l.name = NAME;
                // RFC 9525 section 6.3: the common name is no name of a host. OpenSSL takes it for one where there
                // is no other.
                l.names = if crate::RUSTLS { vec![NAME] } else { vec![] };
            }),
        ),
        (
            "partial-wildcard",
            with_leaf(|l| l.names = vec!["ww*.one.example"]),
            &["mismatch"],
            with_leaf(|l| l.names = vec!["*.one.example"]),
        ),
        (
            "self-signed",
            Shown {
                chain: vec![self_signed()],
                trusted: root().root(),
            },
            &["self-signed", "self signed"],
            {
                let leaf = self_signed();
                Shown {
                    chain: vec![leaf.clone()],
                    trusted: leaf,
                }
            },
        ),
        (
            "unknown-authority",
            unknown_authority(),
            &["unable to get"],
            good(),
        ),
        (
            "intermediate-missing",
            missing_intermediate(),
            &["unable to get", "unable to verify"],
            {
                // Who trusts the intermediate needs no more.
                let mut shown = missing_intermediate();
                let root = root().root();
                let intermediate = intermediate().by(&root);
                shown.chain = vec![leaf().by(&intermediate)];
                shown.trusted = intermediate;
                shown
            },
        ),
        (
            "leaf-as-authority",
            with_intermediate(|i| {
                i.authority = None;
                i.names = vec![NAME];
            }),
            &["invalid ca"],
            good(),
        ),
        (
            "path-too-long",
            with_root(|r| r.authority = Some(Some(0))),
            &["path length"],
            with_root(|r| r.authority = Some(Some(1))),
        ),
        (
            "for-clients-only",
            with_leaf(|l| {
                l.usage = |usage| {
                    usage.client_auth();
                }
            }),
            &["purpose"],
            with_leaf(|l| {
                l.usage = |usage| {
                    usage.client_auth().server_auth();
                }
            }),
        ),
        (
            "authority-may-not-sign",
            with_intermediate(|i| i.signs = false),
            &[
                "invalid ca",
                "does not include certificate signing",
                "keyusage",
            ],
            good(),
        ),
        (
            "forged",
            forged(),
            &["signature failure", "unable to get", "unable to verify"],
            good(),
        ),
    ]
}

/// One nginx for each chain.
fn serve(dir: &std::path::Path, name: &str, shown: &Shown) -> (Nginx, HttpPeer) {
    let chain: Vec<&Signed> = shown.chain.iter().collect();
    let files = write(dir, name, &chain);
    let nginx = Nginx::with_tls(&files, "location / { return 200 \"reached\"; }");
    let peer = HttpPeer::new(nginx.address(), true, NAME.to_string());
    (nginx, trusting(peer, &shown.trusted))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_with_a_certificate_is_a_502_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (mut routes, mut running) = (Routes::default(), Vec::new());
    let cases = cases();
    for (name, bad, _, twin) in &cases {
        let (nginx, peer) = serve(dir.path(), name, bad);
        // What is wrong is all that is wrong.
        let mut unverified = peer.clone();
        unverified.options.verify_cert = false;
        routes.add(&format!("unverified-{name}"), unverified);
        routes.add(name, peer);
        running.push(nginx);
        let twin_name = format!("twin-of-{name}");
        let (nginx, peer) = serve(dir.path(), &twin_name, twin);
        routes.add(&twin_name, peer);
        running.push(nginx);
    }
    let server = routes.start().await;
    for (name, _, reasons, _) in &cases {
        // A second time, too: nothing of the first attempt is kept.
        for attempt in ["first", "second"] {
            let line = refused(&server, &format!("/{name}/{attempt}")).await;
            let text = line.to_lowercase();
            assert!(
                reasons.iter().any(|reason| text.contains(reason)),
                "{name}: {line}"
            );
            assert!(line.contains("InvalidCert"), "{name}: {line}");
            assert!(line.contains(NAME), "{name}: {line}");
        }
        for good in [format!("/twin-of-{name}/"), format!("/unverified-{name}/")] {
            let answer = get(&server, &good).await;
            assert_eq!(
                (answer.status(), &answer.body[..]),
                (200, &b"reached"[..]),
                "{good}"
            );
        }
        // An unverified session does not count either.
        refused(&server, &format!("/{name}/third")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_a_name_has_to_be_at_the_certificates_address() {
    let dir = tempfile::tempdir().unwrap();
    let (mut routes, mut running) = (Routes::default(), Vec::new());
    for (route, names) in [
        ("right", &["127.0.0.1"]),
        ("other", &["127.0.0.2"]),
        ("name", &[NAME]),
    ] {
        let shown = with_leaf(|l| l.names = names.to_vec());
        let (nginx, mut peer) = serve(dir.path(), route, &shown);
        peer.sni = String::new();
        routes.add(route, peer);
        running.push(nginx);
    }
    let server = routes.start().await;
    assert_eq!(get(&server, "/right/unnamed").await.status(), 200);
    for path in ["/other/unnamed", "/name/unnamed"] {
        let line = refused(&server, path).await.to_lowercase();
        assert!(line.contains("ip address mismatch"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unusable_authority_trusts_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (nginx, mut peer) = serve(dir.path(), "nobody", &good());
    let nobody: Vec<X509> = vec![];
    peer.options.ca = Some(std::sync::Arc::new(nobody.into_boxed_slice()));
    let mut routes = Routes::default();
    routes.add("nobody", peer);
    let mut system = HttpPeer::new(nginx.address(), true, NAME.to_string());
    system.group_key = 1;
    routes.add("system", system);
    let server = routes.start().await;
    for path in ["/nobody/trusted", "/system/trusted"] {
        assert!(refused(&server, path).await.contains("InvalidCert"));
    }
}
