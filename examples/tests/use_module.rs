//! Runs the example `use_module`.
#![allow(clippy::unwrap_used, reason = "it is a test")]

mod running;

use pingora::tls::hash::MessageDigest;
use pingora::tls::pkey::PKey;
use pingora::tls::sign::Signer;
use running::Running;

fn signature(text: &str) -> String {
    let key = PKey::hmac(b"change-me").unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    let signed = signer.sign_oneshot_to_vec(text.as_bytes()).unwrap();
    signed.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn one_module_refuses_and_the_other_one_signs() {
    let proxy = Running::start("use_module", &[]);
    for fields in ["", "X-Api-Key: guess\r\n", "X-Api-Key:\r\n"] {
        let refused = proxy.get_with("/orders", fields);
        assert_eq!(refused.status(), 403, "{fields}");
        // The module sees error pages, too.
        assert_eq!(refused.field("Vary"), Some("X-Api-Key"));
        assert_eq!(refused.body(), "");
    }
    proxy.wait_for_line("403 nobody /orders");

    let fields = "X-Api-Key: key-of-bob\r\nX-Tenant: alice\r\nX-Signature: 0\r\n";
    let answer = proxy.get_with("/orders?open=1", fields);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.field("Vary"), Some("X-Api-Key"));
    assert_eq!(answer.field("X-Signed-For"), Some("bob"));
    let arrived = answer.body();
    assert!(arrived.contains("GET /v1/orders?open=1\n"), "{arrived}");
    assert!(arrived.contains("x-tenant: bob\n"), "{arrived}");
    let expected = signature("GET /v1/orders?open=1 bob");
    assert!(
        arrived.contains(&format!("x-signature: {expected}\n")),
        "{arrived}"
    );
    assert_eq!(arrived.matches("x-signature").count(), 1, "{arrived}");
    assert!(!arrived.contains("key-of-bob"), "{arrived}");
    proxy.wait_for_line("200 bob /orders");
    assert!(proxy.stop());
}
