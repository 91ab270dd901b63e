//! Which cipher suite and group a handshake ends with, and how many tickets it brings.

use crate::reporter::Reporter;
use crate::{RUSTLS, ask, settings, want_tickets};
use pingora_tests::Authority;

const AES_128: &str = "TLS_AES_128_GCM_SHA256";
const AES_256: &str = "TLS_AES_256_GCM_SHA384";
const CHACHA: &str = "TLS_CHACHA20_POLY1305_SHA256";

fn is_fast_at_aes() -> bool {
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    flags.contains(" aes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_prefers_what_it_is_fast_at_unless_the_client_prefers_chacha() {
    let authority = Authority::new();
    let server = Reporter::start(settings(&authority)).await;
    let of_12 = |kind: &str| format!("ECDHE-ECDSA-{kind}");
    let rows = [
        ([AES_256, AES_128, CHACHA], AES_128),
        ([AES_256, CHACHA, AES_128], AES_128),
        ([CHACHA, AES_256, AES_128], CHACHA),
    ];
    for (offered, chosen) in rows {
        // On other processors, the client's first choice.
        let chosen = if is_fast_at_aes() { chosen } else { offered[0] };
        let said = ask(
            &server,
            &authority,
            "one.example",
            &["-tls1_3", "-ciphersuites", &offered.join(":")],
        );
        assert!(
            said.contains(&format!("Cipher is {chosen}\n")),
            "{offered:?}: {said:?}"
        );
        let name = |suite: &str| match suite {
            AES_128 => of_12("AES128-GCM-SHA256"),
            AES_256 => of_12("AES256-GCM-SHA384"),
            _ => of_12("CHACHA20-POLY1305"),
        };
        let names = offered.map(name).join(":");
        let said = ask(
            &server,
            &authority,
            "one.example",
            &["-tls1_2", "-cipher", &names],
        );
        let chosen = name(chosen);
        assert!(
            said.contains(&format!("Cipher is {chosen}\n")),
            "{names}: {said:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_cost_much_are_refused_and_the_others_go_by_preference() {
    let authority = Authority::new();
    let server = Reporter::start(settings(&authority)).await;
    // In TLS 1.2, rustls goes by the client's order.
    let first = if RUSTLS {
        "ECDH, secp384r1, 384 bits"
    } else {
        "X25519, 253 bits"
    };
    let rows = [
        ("-tls1_3", "P-384", Some("ECDH, secp384r1, 384 bits")),
        (
            "-tls1_3",
            "P-256:X25519",
            Some("ECDH, prime256v1, 256 bits"),
        ),
        ("-tls1_3", "P-521:X25519", Some("X25519, 253 bits")),
        ("-tls1_3", "P-521:X448", None),
        ("-tls1_2", "P-384:P-256:X25519", Some(first)),
        ("-tls1_2", "P-521:P-256", Some("ECDH, prime256v1, 256 bits")),
        ("-tls1_2", "P-521", None),
    ];
    for (version, offered, agreed) in rows {
        let arguments = [version, "-groups", offered];
        let said = ask(&server, &authority, "one.example", &arguments);
        match agreed {
            Some(agreed) => assert!(
                said.contains(&format!("Server Temp Key: {agreed}\n")),
                "{arguments:?}: {said:?}"
            ),
            None => assert!(!said.contains("Server Temp Key"), "{arguments:?}: {said:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_brings_one_ticket_unless_the_program_wants_more() {
    let authority = Authority::new();
    for (wanted, count) in [(None, 1), (Some(3), 3), (Some(0), 0)] {
        let mut settings = settings(&authority);
        if let Some(wanted) = wanted {
            want_tickets(&mut settings, wanted);
        }
        let server = Reporter::start(settings).await;
        let said = ask(&server, &authority, "one.example", &["-tls1_3"]);
        let tickets = said
            .text
            .matches("Post-Handshake New Session Ticket arrived")
            .count();
        assert_eq!(tickets, count, "{said:?}");
    }
}
