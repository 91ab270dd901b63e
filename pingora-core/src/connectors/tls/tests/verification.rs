//! Every combination of what decides whom a certificate has to be for.

use super::*;
use crate::protocols::tls::openssl::test_certificates::authority;
use pingora_error::{Error, ErrorType};

/// What the certificate has to be for, by the options; `None`: nothing is checked.
fn wanted_names(hostname: bool, sni: &str, alternative: Option<&str>) -> Option<Vec<String>> {
    if !hostname {
        return None;
    }
    let is_ip = |name: &str| name.parse::<std::net::IpAddr>().is_ok();
    let names: Vec<&str> = match (sni, alternative) {
        ("", None) => vec!["127.0.0.1"],
        // Either of two names; an address as the alternative takes the place of everything.
        (sni, Some(other)) if !sni.is_empty() && !is_ip(sni) && !is_ip(other) => vec![sni, other],
        (_, Some(other)) => vec![other],
        (sni, None) => vec![sni],
    };
    Some(names.into_iter().map(str::to_string).collect())
}

#[tokio::test]
async fn each_combination_checks_what_it_says() {
    let (ca, stranger) = (authority("ca"), authority("stranger"));
    let certificates: [(&[&str], &[&str]); 3] = [
        (&["one.example"], &[]),
        (&[], &["127.0.0.1"]),
        (&["two.example"], &["127.0.0.2"]),
    ];
    let (mut accepted, mut refused) = (0, 0);
    for (names, ips) in certificates {
        let addr = origin(&ca.issue(names, ips), |_| {}).await;
        for (chain, hostname) in [(true, true), (true, false), (false, true), (false, false)] {
            for sni in ["", "one.example", "127.0.0.1", "bad.example"] {
                for alternative in [
                    None,
                    Some("one.example"),
                    Some("127.0.0.1"),
                    Some("bad.example"),
                ] {
                    for trusted in [&ca, &stranger] {
                        let mut peer = peer(addr, sni, trusted);
                        peer.options.verify_cert = chain;
                        peer.options.verify_hostname = hostname;
                        peer.options.alternative_cn = alternative.map(str::to_string);
                        let fits = wanted_names(hostname, sni, alternative).is_none_or(|wanted| {
                            let mut has = names.iter().chain(ips);
                            has.any(|name| wanted.iter().any(|wanted| wanted == name))
                        });
                        let known = std::ptr::eq(trusted, &ca);
                        let right = !chain || known && fits;
                        let made = connector().new_stream(&peer).await;
                        let what = format!("{peer}, certificate for {names:?} {ips:?}: {made:?}");
                        assert_eq!(made.is_ok(), right, "{what}");
                        match made {
                            Ok(_) => accepted += 1,
                            Err(e) => {
                                refused += 1;
                                check_reason(&e, known);
                            }
                        }
                    }
                }
            }
        }
    }
    // Of 384 in all: half verify nothing.
    assert_eq!(
        (accepted + refused, accepted > 192, refused > 100),
        (384, true, true)
    );
}

/// The error says what is wrong with the certificate.
fn check_reason(e: &Error, known: bool) {
    assert_eq!(*e.root_etype(), ErrorType::InvalidCert);
    let text = e.to_string().to_lowercase();
    let reason = match known {
        true => text.contains("mismatch"),
        false => text.contains("unable to get") || text.contains("unable to verify"),
    };
    assert!(reason, "{text}");
}

#[tokio::test]
async fn the_connectors_authorities_take_the_place_of_the_systems() {
    let ca = authority("ca");
    let path = std::env::temp_dir().join(format!("connector-ca-{}.pem", std::process::id()));
    std::fs::write(&path, ca.cert.to_pem().unwrap()).unwrap();
    let mut options = crate::connectors::ConnectorOptions::new(1);
    options.ca_file = Some(path.to_str().unwrap().to_string());
    let connector = TransportConnector::new(Some(options));
    std::fs::remove_file(&path).unwrap();
    let addr = origin(&ca.issue(&["one.example"], &[]), |_| {}).await;
    let peer = HttpPeer::new(addr, true, "one.example".to_string());
    connected(&connector, &peer).await.unwrap();
    let context = connector.tls.context().await.unwrap();
    assert_eq!(context.trusted(), 1);
}

#[tokio::test]
async fn curves_are_offered_as_they_are_asked_for() {
    let ca = authority("ca");
    let addr = origin(&ca.issue(&["one.example"], &[]), |builder| {
        builder.set_groups_list("P-384").unwrap();
    })
    .await;
    let mut peer = peer(addr, "one.example", &ca);
    peer.options.curves = Some("P-384".into());
    connected(connector(), &peer).await.unwrap();
    peer.options.curves = Some("X25519:P-256".into());
    let e = connector().new_stream(&peer).await.unwrap_err();
    assert_eq!(*e.root_etype(), ErrorType::TLSHandshakeFailure);
    // The library asks again with the group that the server wants, whatever key shares it sent.
    for second in [true, false] {
        peer.options.second_keyshare = second;
        peer.options.curves = Some("X25519:P-384".into());
        connected(connector(), &peer).await.unwrap();
    }
}

/// Without a name the certificate has to be for the address, of several for the one that answered.
#[tokio::test]
async fn of_several_addresses_the_certificate_is_for_the_one_that_answered() {
    let ca = authority("ca");
    for (ip, right) in [("127.0.0.1", true), ("127.0.0.2", false)] {
        let live = origin(&ca.issue(&[], &[ip]), |_| {}).await;
        let dead = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let several = [dead.local_addr().unwrap(), live];
        drop(dead);
        let mut peer = HttpPeer::new(&several[..], true, String::new());
        peer.options.ca = Some(Arc::new(vec![ca.cert.clone()].into()));
        let made = connector().new_stream(&peer).await;
        assert_eq!(made.is_ok(), right, "{ip}: {made:?}");
    }
}
