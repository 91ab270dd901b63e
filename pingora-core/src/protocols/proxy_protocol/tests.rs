//! Valid and invalid headers, and that both are recognised from every part of one.

use super::v2::SIGNATURE;
use super::*;

const LONGEST: usize = LONGEST_V2;

fn whole(bytes: &[u8]) -> ProxyHeader {
    match ProxyHeader::parse(bytes, LONGEST) {
        Ok(Some((header, length))) => {
            assert_eq!(length, bytes.len(), "{}", bytes.escape_ascii());
            header
        }
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

fn fault(bytes: &[u8]) -> &'static str {
    match ProxyHeader::parse(bytes, LONGEST) {
        Err(InvalidProxyHeader(fault)) => fault,
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

fn inet(text: &str) -> SocketAddr {
    SocketAddr::Inet(text.parse().unwrap())
}

fn unix(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A header of version 2 with this command, family and content.
fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(content);
    bytes
}

/// IPv4 addresses, then these values.
fn with_values(values: &[u8]) -> Vec<u8> {
    let addresses = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
    v2(0x21, 0x11, &[&addresses, values].concat())
}

/// Headers of every kind.
fn samples() -> Vec<ProxyHeader> {
    let full = |header: ProxyHeader| {
        let ssl = b"\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x01c\x28\0\x02\x30\x80";
        let header = header.with_tlv(kind::ALPN, b"h2").unwrap();
        let header = header.with_tlv(kind::AUTHORITY, b"a.example").unwrap();
        let header = header.with_tlv(kind::UNIQUE_ID, &[0xff; 128]).unwrap();
        let header = header.with_tlv(kind::SSL, ssl).unwrap();
        let header = header.with_tlv(kind::NETNS, b"blue").unwrap();
        let header = header.with_tlv(0xe5, b"").unwrap();
        header.with_tlv(0xe5, b"again").unwrap()
    };
    let v4 = ProxyHeader::new(inet("192.0.2.1:56324"), inet("198.51.100.1:443"));
    let v6 = ProxyHeader::new(inet("[2001:db8::1]:1"), inet("[2001:db8::2]:65535"));
    let local = ProxyHeader::new(unix("/run/a.sock"), unix("/run/b.sock"));
    vec![
        ProxyHeader::local(),
        ProxyHeader::unknown(),
        v4.clone(),
        v6.clone(),
        local.clone(),
        v4.clone().with_checksum(),
        full(v4.clone()),
        full(v6).with_checksum(),
        full(local).with_checksum(),
        ProxyHeader {
            is_datagram: true,
            ..v4
        },
    ]
}

#[test]
fn lines_are_read() {
    let rows = [
        (
            "TCP4 192.0.2.1 198.51.100.1 56324 443",
            Some(("192.0.2.1:56324", "198.51.100.1:443")),
        ),
        (
            "TCP4 0.0.0.0 255.255.255.255 0 65535",
            Some(("0.0.0.0:0", "255.255.255.255:65535")),
        ),
        (
            "TCP6 2001:db8::1 ::1 1 2",
            Some(("[2001:db8::1]:1", "[::1]:2")),
        ),
        (
            "TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
            Some((
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            )),
        ),
        ("UNKNOWN", None),
        ("UNKNOWN ", None),
        ("UNKNOWN 192.0.2.1 anything at all", None),
    ];
    for (line, expected) in rows {
        let bytes = format!("PROXY {line}\r\n");
        let header = whole(bytes.as_bytes());
        assert_eq!(header.source(), expected.map(|e| inet(e.0)).as_ref());
        assert_eq!(header.destination(), expected.map(|e| inet(e.1)).as_ref());
        assert!(!header.is_local() && header.tlvs().next().is_none());
        cut_anywhere(bytes.as_bytes());
    }
}

/// Every proper prefix of a header is incomplete, and the bytes after a header are not part of it.
fn cut_anywhere(bytes: &[u8]) {
    let parsed = ProxyHeader::parse(bytes, LONGEST);
    for end in 0..bytes.len() {
        let part = ProxyHeader::parse(&bytes[..end], LONGEST);
        assert_eq!(part, Ok(None), "{}", bytes[..end].escape_ascii());
    }
    for rest in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01",
        SIGNATURE,
        b"\0",
    ] {
        let followed = [bytes, rest].concat();
        assert_eq!(ProxyHeader::parse(&followed, LONGEST), parsed);
    }
}

#[test]
fn lines_that_are_none_are_refused() {
    let address = "192.0.2.1 198.51.100.1";
    let rows = [
        format!("PROXY tcp4 {address} 1 2\r\n"),
        format!("PROXY TCP4  {address} 1 2\r\n"),
        format!("PROXY TCP4 {address} 1  2\r\n"),
        format!("PROXY TCP4 {address} 1 2 \r\n"),
        format!("PROXY TCP4 {address} 1 2 3\r\n"),
        format!("PROXY TCP4 {address} 1\r\n"),
        format!("PROXY TCP4 {address} 1 2\n"),
        format!("PROXY TCP4 {address} 1 2\r \n"),
        format!("PROXY TCP4 {address} 1\t2\r\n"),
        format!("PROXY TCP4 {address} 1 2\0\r\n"),
        format!("PROXY TCP4 {address} -1 2\r\n"),
        format!("PROXY TCP4 {address} +1 2\r\n"),
        format!("PROXY TCP4 {address} 01 2\r\n"),
        format!("PROXY TCP4 {address} 0x1 2\r\n"),
        format!("PROXY TCP4 {address} 65536 2\r\n"),
        format!("PROXY TCP4 {address} 1e99999999 2\r\n"),
        format!("PROXY TCP6 {address} 1 2\r\n"),
        format!("PROXY UDP4 {address} 1 2\r\n"),
        format!("PROXY {address} 1 2\r\n"),
        "PROXY TCP4 ::1 ::1 1 2\r\n".into(),
        "PROXY TCP4 192.0.2.01 192.0.2.1 1 2\r\n".into(),
        "PROXY TCP4 192.0.2 192.0.2.1 1 2\r\n".into(),
        "PROXY TCP4 192.0.2.256 192.0.2.1 1 2\r\n".into(),
        "PROXY TCP4 example.com 192.0.2.1 1 2\r\n".into(),
        "PROXY TCP6 [::1] ::1 1 2\r\n".into(),
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n".into(),
        "PROXY TCP6 ::1::2 ::1 1 2\r\n".into(),
        "PROXY UNKNOWNS\r\n".into(),
        "PROXY \r\n".into(),
        "PROXY\r\n".into(),
        "PROXYTCP4".into(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
        "POST / HTTP/1.1\r\n".into(),
        format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)),
        format!("PROXY UNKNOWN {}", "x".repeat(93)),
        "PROXY UNKNOWN caf\u{e9}\r\n".into(),
    ];
    for row in &rows {
        fault(row.as_bytes());
    }
    // The longest header allowed.
    whole(format!("PROXY UNKNOWN {}\r\n", "x".repeat(91)).as_bytes());
    for first in [&b"G"[..], b"\x16", b"\0", b"p", b" "] {
        assert_eq!(fault(first), "neither version begins like this");
    }
}

#[test]
fn what_is_written_is_read_again_and_from_every_part() {
    for header in samples() {
        let bytes = header.encode(ProxyVersion::V2);
        let announced = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
        assert_eq!(bytes.len(), 16 + announced, "{header:?}");
        assert_eq!(whole(&bytes), header);
        cut_anywhere(&bytes);

        let line = header.encode(ProxyVersion::V1);
        let read = whole(&line);
        let inet = header.source().is_some_and(|a| a.as_inet().is_some());
        if inet && !header.is_datagram() {
            assert_eq!(read.source(), header.source());
            assert_eq!(read.destination(), header.destination());
        } else {
            assert_eq!(read, ProxyHeader::unknown());
        }
        assert!(line.len() <= LONGEST_V1);
    }
}

#[test]
fn values_are_told_by_their_kind() {
    let header = &samples()[7];
    assert_eq!(header.alpn(), Some(&b"h2"[..]));
    assert_eq!(header.authority(), Some("a.example"));
    assert_eq!(header.unique_id(), Some(&[0xff; 128][..]));
    assert_eq!(header.network_namespace(), Some("blue"));
    assert!(header.is_checksummed());
    let tls = header.tls().unwrap();
    assert!(tls.is_tls() && tls.has_certificate() && tls.is_verified());
    assert_eq!(tls.version(), Some("TLSv1.3"));
    assert_eq!(tls.common_name(), Some("c"));
    assert_eq!(tls.certificate(), Some(&[0x30, 0x80][..]));
    assert_eq!(tls.cipher(), None);
    let own: Vec<_> = header.tlvs().filter(|(kind, _)| *kind == 0xe5).collect();
    assert_eq!(own, [(0xe5, &b""[..]), (0xe5, &b"again"[..])]);

    let unverified = ProxyHeader::new(inet("1.1.1.1:1"), inet("1.1.1.1:2"));
    let unverified = unverified.with_tlv(kind::SSL, b"\x03\0\0\0\x12").unwrap();
    assert!(!unverified.tls().unwrap().is_verified());
    let unshown = unverified.clone();
    assert!(
        unshown.with_tlv(kind::SSL, b"\x01\0\0\0\0").is_err(),
        "twice"
    );
}

#[test]
fn binary_headers_that_are_none_are_refused() {
    let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0, 1, 0, 2];
    let mut nearly = v2(0x21, 0x11, &v4);
    nearly[11] = b'\r';
    let rows = [
        nearly,
        v2(0x11, 0x11, &v4),
        v2(0x31, 0x11, &v4),
        v2(0x22, 0x11, &v4),
        v2(0x21, 0x10, &v4),
        v2(0x21, 0x13, &v4),
        v2(0x21, 0x41, &v4),
        v2(0x21, 0x01, &v4),
        v2(0x21, 0x11, &v4[..11]),
        v2(0x21, 0x11, b""),
        v2(0x21, 0x21, &v4),
        v2(0x21, 0x21, &[0; 35]),
        v2(0x21, 0x31, &[0; 215]),
        v2(0x21, 0x31, &[b'a'; 216]),
    ];
    for row in &rows {
        fault(row);
    }
    // As soon as the command has arrived.
    assert_eq!(
        fault(&[&SIGNATURE[..], &[0x30]].concat()),
        "an unknown version or command"
    );
}

#[test]
fn values_that_are_none_are_refused() {
    let long = [&[kind::UNIQUE_ID, 0, 129][..], &[1; 129]].concat();
    let rows: [&[u8]; 19] = [
        &[1],
        &[1, 0],
        &[1, 0, 1],
        &[1, 0, 2, b'h'],
        &[4, 0, 0, 9],
        &[4, 0xff, 0xff],
        &[kind::ALPN, 0, 0],
        &[kind::ALPN, 0, 1, b'x', kind::ALPN, 0, 1, b'x'],
        &[kind::AUTHORITY, 0, 1, 0xff],
        &[kind::AUTHORITY, 0, 1, b'\n'],
        &[kind::AUTHORITY, 0, 1, b'a', kind::AUTHORITY, 0, 1, b'b'],
        &[kind::NETNS, 0, 1, 0],
        &[kind::CRC32C, 0, 3, 0, 0, 0],
        &[kind::CRC32C, 0, 4, 1, 2, 3, 4],
        &long,
        &[kind::SSL, 0, 4, 0, 0, 0, 0],
        &[kind::SSL, 0, 6, 1, 0, 0, 0, 0, 0x21],
        &[kind::SSL, 0, 9, 1, 0, 0, 0, 0, 0x21, 0, 2, b'x'],
        &[kind::SSL, 0, 9, 1, 0, 0, 0, 0, 0x22, 0, 1, b'\r'],
    ];
    for row in rows {
        fault(&with_values(row));
    }
    whole(&with_values(&[4, 0, 2, 9, 9, 4, 0, 0, 0x99, 0, 1, 7]));
}

/// Class of CVE-2026-47692: whatever its values, a header has the length that it declares.
#[test]
fn values_never_spill_out_of_the_header() {
    let empty = ProxyHeader::new(inet("1.1.1.1:1"), inet("1.1.1.1:2"));
    let mut header = empty.clone().with_checksum();
    while let Ok(longer) = header.clone().with_tlv(0xe0, &[7; 4000]) {
        header = longer;
    }
    let bytes = header.encode(ProxyVersion::V2);
    assert!(bytes.len() > 60_000);
    assert_eq!(whole(&bytes), header);
    assert!(empty.clone().with_tlv(0xe0, &[0; 65_536]).is_err());
    assert!(empty.clone().with_tlv(0xe0, &[0; 65_535]).is_err());
    for kind in [kind::NOOP, kind::CRC32C] {
        assert!(empty.clone().with_tlv(kind, &[0; 4]).is_err());
    }
}

#[test]
fn every_flipped_bit_breaks_the_checksum_or_the_header() {
    let header = samples().remove(8);
    let bytes = header.encode(ProxyVersion::V2);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        match ProxyHeader::parse(&flipped, LONGEST) {
            // A local header has no content that could be wrong, a longer one is incomplete, and one
            // whose checksum has become a value of another kind is not checked.
            Ok(Some((read, _))) => {
                let local = at == 12 && read.is_local();
                assert!(local || !read.is_checksummed(), "byte {at}");
            }
            Ok(None) => assert!((14..16).contains(&at), "byte {at}"),
            Err(_) => {}
        }
    }
}

#[test]
fn what_has_to_be_ignored_is_ignored() {
    for (command, family, content) in [
        (0x20, 0x11, &[9; 3][..]),
        (0x20, 0xff, &[9; 300]),
        (0x20, 0, b""),
    ] {
        let header = whole(&v2(command, family, content));
        assert_eq!(header, ProxyHeader::local());
    }
    assert_eq!(whole(&v2(0x21, 0, &[9; 77])), ProxyHeader::unknown());
}

#[test]
fn a_header_is_refused_as_soon_as_it_is_known_to_be_too_long() {
    let header = ProxyHeader::new(inet("1.1.1.1:1"), inet("1.1.1.1:2"));
    let bytes = header.encode(ProxyVersion::V2);
    assert!(ProxyHeader::parse(&bytes, 28).is_ok_and(|h| h.is_some()));
    assert_eq!(ProxyHeader::parse(&bytes[..15], 27), Ok(None));
    assert!(ProxyHeader::parse(&bytes[..16], 27).is_err());
    let line = header.encode(ProxyVersion::V1);
    assert!(ProxyHeader::parse(&line, line.len()).is_ok_and(|h| h.is_some()));
    assert!(ProxyHeader::parse(&line, line.len() - 1).is_err());
}

#[test]
fn addresses_of_two_families_are_told_in_one() {
    let rows = [
        ("1.2.3.4:5", "[::1]:6", "[::ffff:1.2.3.4]:5", "[::1]:6"),
        ("[::1]:5", "1.2.3.4:6", "[::1]:5", "[::ffff:1.2.3.4]:6"),
        ("[::ffff:1.2.3.4]:5", "5.6.7.8:6", "1.2.3.4:5", "5.6.7.8:6"),
        (
            "[::ffff:1.2.3.4]:5",
            "[::ffff:5.6.7.8]:6",
            "1.2.3.4:5",
            "5.6.7.8:6",
        ),
    ];
    for (source, destination, told_source, told_destination) in rows {
        let header = ProxyHeader::new(inet(source), inet(destination));
        assert_eq!(header.source(), Some(&inet(told_source)));
        assert_eq!(header.destination(), Some(&inet(told_destination)));
    }
    let mixed = ProxyHeader::new(inet("1.2.3.4:5"), unix("/run/a.sock"));
    assert_eq!(mixed, ProxyHeader::unknown());
}

#[test]
fn unix_sockets_have_paths_abstract_names_or_nothing() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr as Unix;
    let abstract_name = Unix::from_abstract_name(b"a\0b").unwrap();
    let longest = format!("/{}", "x".repeat(106));
    for address in [
        SocketAddr::Unix(abstract_name),
        SocketAddr::Unix(Unix::from_pathname("").unwrap()),
        unix(&longest),
    ] {
        let header = ProxyHeader::new(address.clone(), unix("/b"));
        let read = whole(&header.encode(ProxyVersion::V2));
        assert_eq!(read.source(), Some(&address));
        assert_eq!(read.destination(), Some(&unix("/b")));
    }
}
