//! Fields that must not come back as trailers (RFC 9110 section 6.5.1).

use super::{PAIRS, behind_a_proxy};
use pingora_tests::{Ask, Version};

/// The fields that a proxy removes from heads, sets in them or relies on.
const NAMES: [&str; 22] = [
    "authorization",
    "cf-connecting-ip",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Other spellings that a server may accept for a name: CGI and its successors don't distinguish
/// `_` from `-`.
fn aliases(name: &str) -> Vec<String> {
    let mut aliases = vec![name.to_string()];
    if name.contains('-') {
        aliases.push(name.replace('-', "_"));
        aliases.push(name.replacen('-', "_", 1));
    }
    aliases
}

/// CVE-2026-88004: a request's and a response's trailers, by each version on either side. The origin
/// returns the trailers that it receives, which shows the first direction; a second set of names in
/// its own answer shows the other.
#[tokio::test]
async fn stripped_names_do_not_come_back_as_trailers() {
    // RFC 9113 section 8.2.2: over HTTP/2 these make the whole message malformed.
    const OF_A_CONNECTION: [&str; 7] = [
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    // No more at once than a message may have.
    for ((down, up), names) in PAIRS
        .iter()
        .flat_map(|pair| NAMES.chunks(10).map(move |names| (*pair, names)))
    {
        let (origin, proxy) = behind_a_proxy(up).await;
        let mut ask = Ask::by("POST", "/echo-trailers").pieces("body", 4);
        for name in names {
            for alias in aliases(name) {
                if down == Version::H1 || !OF_A_CONNECTION.contains(&alias.as_str()) {
                    ask = ask.trailer(&alias, "evil");
                }
            }
        }
        ask = ask.trailer("x-checksum", "42");
        let answer = ask.answered_over(down, proxy.address()).await;
        assert_eq!(
            (answer.status(), answer.text()),
            (200, "body"),
            "{down:?} to {up:?}"
        );
        let seen = origin.last_request();
        let good = [("x-checksum".to_string(), "42".to_string())];
        assert_eq!(lower(&seen.trailers), good, "{down:?} to {up:?}");
        assert_eq!(lower(&answer.trailers), good, "{down:?} to {up:?}");
    }
}

fn lower(fields: &[(String, String)]) -> Vec<(String, String)> {
    let lower = |(name, value): &(String, String)| (name.to_lowercase(), value.clone());
    fields.iter().map(lower).collect()
}

/// The same for trailers that an origin sends on its own.
#[tokio::test]
async fn an_origins_trailers_are_judged_as_well() {
    let mut section = String::new();
    for name in NAMES {
        for alias in aliases(name) {
            section += &format!("{alias}: evil\r\n");
        }
    }
    let answer = format!(
        "HTTP/1.1 200 OK\r\nConnection: close, X-Inner\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nok\r\n0\r\n{section}X-Inner: evil\r\nx_inner: evil\r\nX-Checksum: 42\r\n\r\n"
    );
    let origin = pingora_tests::Origin::answering(answer).await;
    let upstream = pingora_tests::VersionedUpstream {
        address: origin.address(),
        version: Version::H1,
    };
    let proxy = pingora_tests::h2c_proxy(upstream).await;
    for down in super::VERSIONS {
        let answer = Ask::get("/").answered_over(down, proxy.address()).await;
        assert_eq!(answer.text(), "ok");
        let good = [("x-checksum".to_string(), "42".to_string())];
        assert_eq!(lower(&answer.trailers), good, "{down:?}");
    }
}

/// RFC 9110 section 7.6.1: the fields that the client's `Connection` names are for one hop.
#[tokio::test]
async fn nominated_trailers_are_for_one_hop() {
    for up in super::VERSIONS {
        let (origin, proxy) = behind_a_proxy(up).await;
        let ask = Ask::by("POST", "/echo")
            .with("Connection", "X-Secret")
            .with("X-Secret", "1")
            .pieces("body", 4)
            .trailer("X-Secret", "2")
            .trailer("X_Secret", "3")
            .trailer("X-Checksum", "42");
        let answer = ask.answered_over(Version::H1, proxy.address()).await;
        assert_eq!(answer.text(), "body");
        let seen = origin.last_request();
        assert_eq!(seen.header("x-secret"), None);
        let good = [("x-checksum".to_string(), "42".to_string())];
        assert_eq!(lower(&seen.trailers), good, "{up:?}");
    }
}
