//! A ClientHello that arrives in pieces, or is none.

use super::*;

fn u16_list(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_be_bytes()).collect()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [
        &u16::try_from(bytes.len()).unwrap().to_be_bytes()[..],
        bytes,
    ]
    .concat()
}

fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &long(data)].concat()
}

/// The body of a message with these extensions.
fn body(extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(short(&[9; 32]));
    body.extend(long(&u16_list(&[0x1a1a, 0x1301, 0xc02b])));
    body.extend(short(&[0]));
    body.extend(long(&extensions.concat()));
    body
}

fn complete() -> Vec<u8> {
    let name = [&[0][..], &long(b"one.example")].concat();
    body(&[
        extension(0x0a0a, &[]),
        extension(0, &long(&name)),
        extension(10, &long(&u16_list(&[0x2a2a, 29, 23]))),
        extension(11, &short(&[0])),
        extension(13, &long(&u16_list(&[0x0403, 0x0804]))),
        extension(16, &long(&[short(b"h2"), short(b"http/1.1")].concat())),
        extension(43, &short(&u16_list(&[0x3a3a, 0x0304, 0x0303]))),
        extension(17513, b"whatever"),
    ])
}

/// The message in records of at most this many bytes.
fn records(body: &[u8], size: usize) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[CLIENT_HELLO][..], &length[1..], body].concat();
    let record = |fragment: &[u8]| [&[HANDSHAKE, 3, 1][..], &long(fragment)].concat();
    message.chunks(size).flat_map(record).collect()
}

fn find(bytes: &[u8], piece: usize) -> Option<Box<ClientHello>> {
    let mut finder = ClientHelloFinder::default();
    bytes.chunks(piece).for_each(|piece| finder.feed(piece));
    finder.take()
}

#[test]
fn all_that_a_fingerprint_needs_is_there_in_the_clients_order() {
    let hello = find(&records(&complete(), 16_384), 16_384).unwrap();
    assert_eq!(hello.legacy_version(), 0x0303);
    assert_eq!(hello.supported_versions(), [0x3a3a, 0x0304, 0x0303]);
    assert_eq!(hello.highest_version(), 0x0304);
    assert_eq!(hello.cipher_suites(), [0x1a1a, 0x1301, 0xc02b]);
    assert_eq!(hello.extensions(), [0x0a0a, 0, 10, 11, 13, 16, 43, 17513]);
    assert_eq!(hello.supported_groups(), [0x2a2a, 29, 23]);
    assert_eq!(hello.ec_point_formats(), [0]);
    assert_eq!(hello.signature_algorithms(), [0x0403, 0x0804]);
    assert_eq!(hello.alpn().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
    assert_eq!(hello.server_name(), Some("one.example"));
}

#[test]
fn how_the_bytes_are_cut_makes_no_difference() {
    let whole = find(&records(&complete(), 16_384), 16_384);
    assert!(whole.is_some());
    for (record, piece) in [(16_384, 1), (1, 16_384), (1, 1), (3, 2), (50, 7)] {
        let mut bytes = records(&complete(), record);
        // Bytes behind the message are not looked at.
        bytes.extend(b"and more");
        assert_eq!(find(&bytes, piece), whole, "{record}, {piece}");
    }
}

#[test]
fn a_program_can_look_ahead_of_the_handshake() {
    let bytes = records(&complete(), 16_384);
    let hello = ClientHello::from_records(&bytes).unwrap();
    assert_eq!(hello.server_name(), Some("one.example"));
    assert_eq!(ClientHello::from_records(&bytes[..bytes.len() - 1]), None);
}

#[test]
fn an_old_client_has_no_extensions() {
    let mut old = body(&[]);
    old.truncate(old.len() - 2);
    let hello = find(&records(&old, 16_384), 16_384).unwrap();
    assert!(hello.extensions().is_empty() && hello.server_name().is_none());
    assert_eq!(hello.highest_version(), 0x0303);
}

#[test]
fn what_is_malformed_is_nothing() {
    let good = complete();
    for end in 0..good.len() {
        let cut = records(&good[..end], 16_384);
        // A message that ends before its extensions is an old client's.
        let old = body(&[]).len() - 2;
        assert_eq!(find(&cut, 16_384).is_some(), end == old, "{end} bytes");
    }
    for bad in [
        body(&[extension(0, &[0, 5, 0])]),
        body(&[extension(10, &long(&[1, 2, 3]))]),
        body(&[extension(16, &long(&[5, b'a']))]),
        body(&[extension(43, &[3, 3])]),
    ] {
        assert_eq!(find(&records(&bad, 16_384), 16_384), None);
    }
    assert_eq!(find(b"GET / HTTP/1.1\r\n\r\n", 3), None);
    assert_eq!(find(&[HANDSHAKE, 3, 1, 0, 4, 2, 0, 0, 0], 16), None);
    assert_eq!(find(&[], 1), None);
}

#[test]
fn a_message_without_end_is_not_kept() {
    let mut finder = ClientHelloFinder::default();
    let mut message = vec![HANDSHAKE, 3, 1, 0xff, 0xff, CLIENT_HELLO, 0xff, 0xff, 0xff];
    message.extend([0; 1024]);
    finder.feed(&message);
    for _ in 0..200 {
        finder.feed(&[0; 1024]);
    }
    assert!(finder.raw.len() <= 2 * MOST + 1024);
    assert!(finder.take().is_none());
}

#[test]
fn values_without_meaning_are_known() {
    assert!(ClientHello::is_grease(0x0a0a) && ClientHello::is_grease(0xfafa));
    assert!(!ClientHello::is_grease(0x0a1a) && !ClientHello::is_grease(0x1301));
}
