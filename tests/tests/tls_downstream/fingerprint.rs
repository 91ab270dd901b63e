//! A client's first message, as it is kept, is enough to compute a JA4.

use crate::reporter::Reporter;
use crate::{ask, settings};
use openssl::sha::sha256;
use pingora::protocols::tls::ClientHello;
use pingora_tests::Authority;

/// The fingerprint that is known as JA4.
pub(crate) fn ja4(hello: &ClientHello) -> String {
    let meaning = |values: &[u16]| -> Vec<u16> {
        let values = values.iter().copied();
        values
            .filter(|value| !ClientHello::is_grease(*value))
            .collect()
    };
    fingerprint(
        hello.highest_version(),
        &meaning(hello.cipher_suites()),
        &meaning(hello.extensions()),
        &meaning(hello.signature_algorithms()),
        hello.alpn().next(),
    )
}

fn fingerprint(
    version: u16,
    ciphers: &[u16],
    extensions: &[u16],
    signature_algorithms: &[u16],
    alpn: Option<&[u8]>,
) -> String {
    let version = match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        _ => "00",
    };
    let name = if extensions.contains(&0) { 'd' } else { 'i' };
    let protocol = match alpn {
        Some([first, .., last]) => format!("{}{}", char::from(*first), char::from(*last)),
        Some([only]) => format!("{0}{0}", char::from(*only)),
        _ => "00".to_string(),
    };
    let hex = |values: &[u16]| {
        let values = values.iter().map(|value| format!("{value:04x}"));
        values.collect::<Vec<_>>().join(",")
    };
    let sorted = |values: &[u16]| {
        let mut values = values.to_vec();
        values.sort_unstable();
        values
    };
    let others = extensions
        .iter()
        .copied()
        .filter(|kind| ![0, 16].contains(kind));
    let others = hex(&sorted(&others.collect::<Vec<_>>()));
    let algorithms = hex(signature_algorithms);
    format!(
        "t{version}{name}{:02}{:02}{protocol}_{}_{}",
        ciphers.len().min(99),
        extensions.len().min(99),
        short_digest(&hex(&sorted(ciphers))),
        short_digest(&[others, algorithms].join("_")),
    )
}

fn short_digest(text: &str) -> String {
    let digest = sha256(text.as_bytes());
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn the_fingerprint_is_the_one_that_others_compute() {
    // The example of the format's own description.
    let ciphers = [
        0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
        0x009c, 0x009d, 0x002f, 0x0035,
    ];
    let extensions = [
        0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012,
        0x002b, 0xff01, 0x000b, 0x000a, 0x0015,
    ];
    let algorithms = [
        0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
    ];
    let text = fingerprint(0x0304, &ciphers, &extensions, &algorithms, Some(b"h2"));
    assert_eq!(text, "t13d1516h2_8daaf6152771_e5627efa2ab1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fingerprint_can_be_computed_of_every_client() {
    let authority = Authority::new();
    let mut settings = settings(&authority);
    settings.keep_client_hello(true);
    let server = Reporter::start(settings).await;
    let ciphers = [
        "-ciphersuites",
        "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
    ];
    let only_13 = [&["-tls1_3", "-alpn", "http/1.1"][..], &ciphers].concat();
    let said = ask(&server, &authority, "one.example", &only_13);
    // Two cipher suites and the one that stands for renegotiation.
    let digest = short_digest("00ff,1301,1302");
    assert!(
        said.contains("ja4=t13d03") && said.contains(&format!("h1_{digest}_")),
        "{said:?}"
    );
    // The same client is the same one again, also where it resumes, another one is not.
    let said = |more: &[&str]| {
        let said = ask(&server, &authority, "one.example", more);
        let line = said.text.lines().find(|line| line.starts_with("ja4="));
        line.unwrap_or_else(|| panic!("{said:?}")).to_string()
    };
    assert_eq!(said(&["-tls1_2"]), said(&["-tls1_2"]));
    assert_ne!(said(&["-tls1_2"]), said(&["-tls1_3"]));
    assert_ne!(
        said(&["-tls1_2"]),
        said(&["-tls1_2", "-sigalgs", "ECDSA+SHA256"])
    );
    let unnamed = crate::s_client(&server, &["-noservername"]);
    assert!(unnamed.contains("ja4=t13i"), "{unnamed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_being_asked_for_nothing_is_kept() {
    let authority = Authority::new();
    let server = Reporter::start(settings(&authority)).await;
    let said = ask(&server, &authority, "one.example", &[]);
    assert!(said.good && !said.contains("ja4="), "{said:?}");
}
