//! The first message of a TLS client: whatever comes is read or not, and what follows a message that was
//! read makes no difference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pingora_core::protocols::tls::ClientHello;

fuzz_target!(|data: &[u8]| {
    let Some(hello) = ClientHello::from_records(data) else { return };
    let followed = [data, b"\x16\x03\x01\x00\x01\x01"].concat();
    assert_eq!(ClientHello::from_records(&followed).as_ref(), Some(&hello));
    assert!(hello.extensions().len() <= data.len());
    let _ = (hello.highest_version(), hello.server_name(), hello.alpn().count());
});
