//! The header of the PROXY protocol: whatever comes is read or not, what follows a header makes no difference,
//! a part of one is never another one, and what was read is written as it is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pingora_core::protocols::proxy_protocol::{LONGEST_V2, ProxyHeader, ProxyVersion};

fuzz_target!(|data: &[u8]| {
    let parsed = ProxyHeader::parse(data, LONGEST_V2);
    if parsed == Ok(None) {
        assert!(data.len() < LONGEST_V2);
        return;
    }
    let Ok(Some((header, length))) = parsed else { return };
    let (taken, rest) = data.split_at(length);
    let alone = ProxyHeader::parse(taken, LONGEST_V2);
    assert_eq!(alone, Ok(Some((header.clone(), length))));
    let parts = (0..length).step_by(length / 64 + 1);
    for end in parts {
        assert_eq!(ProxyHeader::parse(&taken[..end], LONGEST_V2), Ok(None));
    }
    assert!(ProxyHeader::parse(taken, length - 1).is_err());
    let _ = (rest, header.tls(), header.authority(), header.alpn(), header.unique_id());

    let written = header.encode(ProxyVersion::V2);
    let again = ProxyHeader::parse(&written, LONGEST_V2);
    assert_eq!(again, Ok(Some((header.clone(), written.len()))));
    let line = header.encode(ProxyVersion::V1);
    assert!(matches!(ProxyHeader::parse(&line, LONGEST_V2), Ok(Some((_, read))) if read == line.len()));
});
