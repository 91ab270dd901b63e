//! Which cipher suite a handshake ends with, and how many tickets it brings.

use crate::reporter::Reporter;
use crate::{ask, settings, want_tickets};
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
