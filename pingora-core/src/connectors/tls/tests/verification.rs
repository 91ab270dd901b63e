//! Every combination of the options that determine which name a certificate must be for.

use super::*;
use crate::protocols::tls::openssl::test_certificates::authority;
use crate::protocols::tls::{ALPN, CertificateStore};
use openssl::x509::{X509Extension, X509Name};
use pingora_error::{Error, ErrorType};

over_each_library! {
    each_combination_checks_what_it_says,
    the_connectors_authorities_take_the_place_of_the_systems,
    curves_are_offered_as_they_are_asked_for,
    of_several_addresses_the_certificate_is_for_the_one_that_answered,
    values_that_mean_something_else_to_the_library_are_refused,
    other_options_that_the_library_would_misread_are_named_too,
    unusable_files_fail_every_connection_and_are_named,
    an_underscore_in_the_first_label_is_covered_by_a_wildcard,
    a_nul_inside_a_certificates_name_ends_no_name,
}

/// The names of which the certificate must have one, according to the options; `None`: nothing is
/// checked.
fn wanted_names(hostname: bool, sni: &str, alternative: Option<&str>) -> Option<Vec<String>> {
    if !hostname {
        return None;
    }
    let is_ip = |name: &str| name.parse::<std::net::IpAddr>().is_ok();
    let names: Vec<&str> = match (sni, alternative) {
        ("", None) => vec!["127.0.0.1"],
        // Either of two names; an address as the alternative replaces everything.
        (sni, Some(other)) if !sni.is_empty() && !is_ip(sni) && !is_ip(other) => vec![sni, other],
        (_, Some(other)) => vec![other],
        (sni, None) => vec![sni],
    };
    Some(names.into_iter().map(str::to_string).collect())
}

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
    // Of 384 in total: half verify nothing.
    assert_eq!(
        (accepted + refused, accepted > 192, refused > 100),
        (384, true, true)
    );
}

/// The error says what is wrong with the certificate.
fn check_reason(e: &Error, known: bool) {
    assert_eq!(*e.root_etype(), ErrorType::InvalidCert);
    let text = e.to_string().to_lowercase();
    let reason = if known {
        text.contains("mismatch")
    } else {
        text.contains("unable to get") || text.contains("unable to verify")
    };
    assert!(reason, "{text}");
}

async fn the_connectors_authorities_take_the_place_of_the_systems() {
    let ca = authority("ca");
    let path = std::env::temp_dir().join(format!(
        "connector-ca-{}-{}.pem",
        std::process::id(),
        is_rustls()
    ));
    std::fs::write(&path, ca.cert.to_pem().unwrap()).unwrap();
    let mut options = crate::connectors::ConnectorOptions::new(1);
    options.ca_file = Some(path.to_str().unwrap().to_string());
    let connector = connector_with(Some(options));
    let context = crate::protocols::tls::client::ClientContext::new(&connector.tls.settings);
    assert_eq!(context.unwrap().trusted(), 1);
    std::fs::remove_file(&path).unwrap();
    let addr = origin(&ca.issue(&["one.example"], &[]), |_| {}).await;
    let peer = HttpPeer::new(addr, true, "one.example".to_string());
    connected(&connector, &peer).await.unwrap();
}

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
    // The library retries with the group that the server wants, whatever key shares it sent.
    for second in [true, false] {
        peer.options.second_keyshare = second;
        peer.options.curves = Some("X25519:P-384".into());
        connected(connector(), &peer).await.unwrap();
    }
}

/// Without a name the certificate must be for the address; if there are several, for the one that
/// answered.
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

/// Sets one option of a peer to a value.
type Set = fn(&mut HttpPeer, &str);

/// The ways in which a name gets into a peer, and the option that the error has to name.
fn places_of_names() -> Vec<(&'static str, Set)> {
    vec![
        ("sni", |p, name| p.sni = name.to_string()),
        ("alternative_cn", |p, name| {
            p.options.alternative_cn = Some(name.to_string())
        }),
        ("alternative_cn", |p, name| {
            p.sni = String::new();
            p.options.alternative_cn = Some(name.to_string());
        }),
        ("alternative_cn", |p, name| {
            p.sni = "127.0.0.1".to_string();
            p.options.alternative_cn = Some(name.to_string());
        }),
    ]
}

async fn values_that_mean_something_else_to_the_library_are_refused() {
    let ca = authority("ca");
    // This certificate would match any interpretation of such a value.
    let names = ["one.example", "*.example.com", "a.example", "example"];
    let addr = origin(&ca.issue(&names, &["127.0.0.1"]), |_| {}).await;
    let odd = [
        "",
        ".",
        ".example",
        ".example.com",
        "*.example.com",
        "*",
        "one.example.",
        "one.example\0",
        "one.example\0.evil",
        "\0",
        "one.example:443",
        "[127.0.0.1]",
        "one.example ",
    ];
    for (option, set) in places_of_names() {
        for name in odd {
            for (verify_cert, verify_hostname) in [(true, true), (true, false), (false, false)] {
                let mut peer = peer(addr, "one.example", &ca);
                peer.options.verify_cert = verify_cert;
                peer.options.verify_hostname = verify_hostname;
                set(&mut peer, name);
                let made = connector().new_stream(&peer).await;
                if option == "sni" && name.is_empty() {
                    // There is no name; the address is right.
                    made.unwrap();
                    continue;
                }
                let text = made.unwrap_err().to_string();
                let named = text.contains(&format!("{option} is "));
                assert!(named && text.contains("InternalError"), "{name:?}: {text}");
            }
        }
    }
}

async fn other_options_that_the_library_would_misread_are_named_too() {
    let ca = authority("ca");
    let addr = origin(&ca.issue(&["one.example"], &[]), |_| {}).await;
    type Change = fn(&mut HttpPeer);
    let rows: [(&str, Change); 5] = [
        ("alpn", |p| {
            p.options.alpn = ALPN::Custom(crate::protocols::tls::CustomALPN::new(vec![]))
        }),
        ("curves", |p| p.options.curves = Some("".into())),
        ("curves", |p| p.options.curves = Some("X25519\0".into())),
        ("curves", |p| p.options.curves = Some("X25519:none".into())),
        ("curves", |p| p.options.curves = Some(":".into())),
    ];
    for (option, set) in rows {
        let mut peer = peer(addr, "one.example", &ca);
        set(&mut peer);
        let e = connector().new_stream(&peer).await.unwrap_err();
        let text = e.to_string();
        assert!(
            text.contains(option) && text.contains("InternalError"),
            "{text}"
        );
    }
}

async fn unusable_files_fail_every_connection_and_are_named() {
    use std::os::unix::ffi::OsStrExt;
    let ca = authority("ca");
    let addr = origin(&ca.issue(&["one.example"], &[]), |_| {}).await;
    let peer = HttpPeer::new(addr, true, "one.example".to_string());
    let name = format!("connector-files-{}-{}", std::process::id(), is_rustls());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_string()
    };
    let pem = ca.cert_pem();
    let good = put("good.pem", &pem);
    let rows = [
        ("ca_file", String::new()),
        ("ca_file", "/nonexistent/ca.pem".to_string()),
        ("ca_file", dir.to_str().unwrap().to_string()),
        ("ca_file", format!("{good}\0")),
        ("ca_file", put("empty.pem", b"")),
        ("ca_file", put("garbage.pem", &[0xff; 500])),
        ("ca_file", put("key.pem", &ca.key_pem())),
        ("ca_file", put("cut.pem", &[&pem[..], &pem[..200]].concat())),
        ("cert_key_file", "/nonexistent/cert.pem".to_string()),
        ("cert_key_file", format!("{good}\0")),
        ("cert_key_file", put("none.pem", b"")),
    ];
    for (option, path) in rows {
        let mut options = crate::connectors::ConnectorOptions::new(1);
        match option {
            "ca_file" => options.ca_file = Some(path.clone()),
            _ => options.cert_key_file = Some((path.clone(), path.clone())),
        }
        let connector = connector_with(Some(options));
        let text = connector.new_stream(&peer).await.unwrap_err().to_string();
        assert!(text.contains(option), "{path:?}: {text}");
    }
    // A path that is not valid text is still a path.
    let odd = dir.join(std::ffi::OsStr::from_bytes(b"odd-\xff.pem"));
    std::fs::write(&odd, &pem).unwrap();
    let settings = crate::protocols::tls::ClientSettings {
        ca_file: Some(odd),
        ..Default::default()
    };
    let context = crate::protocols::tls::client::ClientContext::new(&settings).unwrap();
    assert_eq!(context.trusted(), 1);
    std::fs::remove_dir_all(&dir).unwrap();
}

async fn an_underscore_in_the_first_label_is_covered_by_a_wildcard() {
    let ca = authority("ca");
    let wildcard = origin(&ca.issue(&["*.example.com"], &[]), |_| {}).await;
    let exact = origin(&ca.issue(&["a_b.example.com", "a-b.one.test"], &[]), |_| {}).await;
    for (addr, name, right) in [
        (wildcard, "a_b.example.com", true),
        (wildcard, "_.example.com", true),
        (wildcard, "A_B.EXAMPLE.com", true),
        (wildcard, "a.b_c.example.com", false),
        (wildcard, "a_b.c.example.com", false),
        (wildcard, "a_b.example.org", false),
        (wildcard, "a_b", false),
        (exact, "a_b.example.com", true),
        (exact, "a_c.example.com", false),
        // An underscore is not a hyphen: that is another host.
        (exact, "a_b.one.test", false),
    ] {
        let made = connector().new_stream(&peer(addr, name, &ca)).await;
        assert_eq!(made.is_ok(), right, "{name}: {made:?}");
        // As one of two names, too.
        let mut either = peer(addr, "bad.example", &ca);
        either.options.alternative_cn = Some(name.to_string());
        let made = connector().new_stream(&either).await;
        assert_eq!(made.is_ok(), right, "{name}: {made:?}");
    }
}

/// A certificate with one alternative name of arbitrary content, and this common name.
fn odd_certificate(ca: &Made, alternative: Option<&[u8]>, common: &str) -> Made {
    ca.issue_with(&[], &[], |builder| {
        let mut subject = X509Name::builder().unwrap();
        subject.append_entry_by_text("CN", common).unwrap();
        builder.set_subject_name(&subject.build()).unwrap();
        let Some(name) = alternative else { return };
        // A sequence of one `dNSName` (RFC 5280 section 4.2.1.6), in DER.
        let length = u8::try_from(name.len()).unwrap();
        let names = [&[0x30, length + 2, 0x82, length][..], name].concat();
        let names: Vec<String> = names.iter().map(|byte| format!("{byte:02x}")).collect();
        let value = format!("DER:{}", names.join(":"));
        #[allow(deprecated, reason = "nothing else writes an extension by hand")]
        let extension = X509Extension::new(None, None, "subjectAltName", &value);
        builder.append_extension(extension.unwrap()).unwrap();
    })
}

/// CVE-2026-47778: a name with a NUL inside is not the name before it.
async fn a_nul_inside_a_certificates_name_ends_no_name() {
    let ca = authority("ca");
    for (alternative, common) in [
        (Some(&b"one.example\0.evil.example"[..]), "evil.example"),
        (Some(b"one.example\0"), "evil.example"),
        (Some(b"\0one.example"), "one.example"),
        (None, "one.example\0.evil.example"),
        (None, "one.example\0"),
        // Other parsers have failed on these as well.
        (Some(b".example"), "evil.example"),
        (Some(b"*"), "evil.example"),
        (Some(b"*.example"), "evil.example"),
        (Some(b""), "evil.example"),
        (Some(b"one.example."), "evil.example"),
        (Some(b"one.example\xff"), "evil.example"),
    ] {
        let made = odd_certificate(&ca, alternative, common);
        let addr = origin(&made, |_| {}).await;
        for alternative_cn in [None, Some("two.example".to_string())] {
            let mut peer = peer(addr, "one.example", &ca);
            peer.options.alternative_cn = alternative_cn;
            let e = connector().new_stream(&peer).await.unwrap_err();
            assert_eq!(*e.root_etype(), ErrorType::InvalidCert);
            let text = e.to_string();
            assert!(text.contains("mismatch") && !text.contains('\0'), "{text}");
        }
        // A listener presents it for no such name either.
        let store = CertificateStore::new();
        store.add(made.source()).unwrap();
        let names = store.certificates().remove(0).names;
        let is_clean = |name: &String| name == "evil.example" || name.starts_with("*.");
        let ends_with_dot = alternative == Some(b"one.example.");
        assert!(ends_with_dot || names.iter().all(is_clean), "{names:?}");
    }
}
