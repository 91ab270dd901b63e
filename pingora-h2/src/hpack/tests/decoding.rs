//! Which blocks the decoder accepts, and which it refuses.

use super::*;
use crate::error::Reason;

/// Blocks that are refused with a connection error.
#[test]
fn what_cannot_be_decompressed_is_an_error_of_the_connection() {
    let rows: &[(&str, &str, &str)] = &[
        ("index 0", "80", "RFC 7541 2.3.3"),
        ("index 62 of an empty table", "be", "RFC 7541 2.3.3"),
        ("a name of index 62", "7e 01 61", "RFC 7541 2.3.3"),
        (
            "a name of index 62, not inserted",
            "0f2f 01 61",
            "RFC 7541 2.3.3",
        ),
        ("a huge index", "ff ffff ffff 0f", "RFC 7541 5.1"),
        ("an index of six bytes", "ff 8080 8080 8000", "RFC 7541 5.1"),
        (
            "a length over 32 bits",
            "40 7f ffff ffff 7f",
            "RFC 7541 5.1",
        ),
        ("padding with a 0", "00 0178 81 1e", "RFC 7541 5.2"),
        ("padding of a byte", "00 0178 82 1fff", "RFC 7541 5.2"),
        ("EOS", "00 0178 84 ffff ffff", "RFC 7541 5.2"),
        ("a name cut off", "40 05 6161", "RFC 7541 3.1"),
        ("a value cut off", "40 01 61 05 6161", "RFC 7541 3.1"),
        ("no value", "40 01 61", "RFC 7541 3.1"),
        ("no name", "40", "RFC 7541 3.1"),
        ("an integer cut off", "ff", "RFC 7541 3.1"),
        ("a size update behind a field", "82 20", "RFC 7541 4.2"),
        ("a size update of 4097", "3f e2 1f", "RFC 7541 6.3"),
    ];
    for (what, wire, section) in rows {
        let wire = hex(wire);
        for split in 0..=wire.len() {
            let mut decoder = Decoder::new(4096);
            let mut sink = Lines::default();
            let (first, second) = wire.split_at(split);
            let result = decoder
                .decode(first, false, &mut sink)
                .and_then(|()| decoder.decode(second, true, &mut sink));
            let error = result.expect_err(what);
            assert!(error.is_connection(), "{what}");
            assert_eq!(error.reason, Reason::COMPRESSION_ERROR, "{what}");
            assert_eq!(error.section, *section, "{what}");
        }
    }
}

#[test]
fn size_updates_come_first_and_within_what_was_announced() {
    let rows: &[(&[u8], usize)] = &[
        (&[0x20], 0),
        (&[0x20, 0x3f, 0xe1, 0x1f], 4096),
        (&[0x3f, 0xe1, 0x1f, 0x20, 0x21], 1),
        (&[0x20, 0x82], 0),
    ];
    for (block, limit) in rows {
        let mut decoder = Decoder::new(4096);
        decode(&mut decoder, &inserted(b"a", b"b")).unwrap();
        decode(&mut decoder, block).unwrap();
        assert_eq!(decoder.table_limit(), *limit, "{block:x?}");
        assert_eq!(decoder.table_size(), 0, "{block:x?}: emptied");
    }
}

#[test]
fn a_reduced_table_has_to_be_confirmed_by_the_next_block() {
    // (announced and acknowledged, block, whether it is accepted)
    type Row<'a> = (&'a [u32], &'a [u8], bool);
    let rows: &[Row<'_>] = &[
        (&[100], &[0x82], false),
        (&[100], &[], false),
        (&[100], &[0x3f, 0x45, 0x82], true),
        (&[100], &[0x20, 0x82], true),
        (&[100], &[0x3f, 0x46, 0x82], false),
        (&[0, 4096], &[0x82], false),
        (&[0, 4096], &[0x3f, 0xe1, 0x1f, 0x82], false),
        (&[0, 4096], &[0x20, 0x3f, 0xe1, 0x1f, 0x82], true),
        (&[0, 4096], &[0x20, 0x82], true),
        (&[4096], &[0x82], true),
        (&[65_536], &[0x82], true),
        (&[65_536], &[0x3f, 0xe1, 0xff, 0x03], true),
    ];
    for (announced, block, accepted) in rows {
        let mut decoder = Decoder::new(4096);
        for size in *announced {
            decoder.set_max_size(*size);
        }
        let result = decode(&mut decoder, block);
        assert_eq!(result.is_ok(), *accepted, "{announced:?} {block:x?}");
        if *accepted {
            decode(&mut decoder, &[0x82]).unwrap();
        }
    }
}

#[test]
fn an_entry_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::new(100);
    decode(&mut decoder, &inserted(b"a", b"b")).unwrap();
    assert_eq!(decoder.table_size(), 34);
    let lines = decode(&mut decoder, &inserted(b"a", &[b'x'; 68])).unwrap();
    assert_eq!(lines[0].len(), 3 + 68);
    assert_eq!(decoder.table_size(), 0);
}

/// RFC 7541 section 4.4: the name may be that of an entry that is evicted to make room.
#[test]
fn a_field_may_be_named_after_the_entry_that_it_evicts() {
    let mut decoder = Decoder::new(40);
    decode(&mut decoder, &inserted(b"x-a", b"1234")).unwrap();
    let lines = decode(&mut decoder, &[0x7e, 2, b'5', b'6']).unwrap();
    assert_eq!(lines, ["x-a: 56"]);
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), ["x-a: 56"]);
}

/// Malformed fields affect only their own stream: the table stays correct.
#[test]
fn a_malformed_field_is_reported_and_stays_in_the_table() {
    use Malformed::*;
    let rows: &[(&[u8], &[u8], Malformed)] = &[
        (b"", b"1", Name),
        (b"X-A", b"1", Name),
        (b"x a", b"1", Name),
        (b"x:", b"1", Name),
        (b"x\"", b"1", Name),
        (b"x\0", b"1", Name),
        (b"\xe9", b"1", Name),
        (b":foo", b"1", UnknownPseudo),
        (b":", b"1", UnknownPseudo),
        (b":Path", b"/", UnknownPseudo),
        (b"x", b" 1", Value),
        (b"x", b"1\t", Value),
        (b"x", b"a\nb", Value),
        (b"x", b"a\rb", Value),
        (b"x", b"a\0b", Value),
        (b"x", b"\x7f", Value),
        (b"connection", b"close", ConnectionField),
        (b"transfer-encoding", b"chunked", ConnectionField),
        (b"te", b"gzip", Te),
        (b":method", b"G T", Method),
        (b":method", b"", Method),
        (b":status", b"20", Status),
        (b":status", b"0200", Status),
    ];
    for (name, value, why) in rows {
        let mut decoder = Decoder::new(4096);
        let expected = [format!("malformed {why:?}")];
        let what = format!("{} {}", name.escape_ascii(), value.escape_ascii());
        let lines = decode(&mut decoder, &inserted(name, value)).unwrap();
        assert_eq!(lines, expected, "{what}");
        assert_eq!(
            decoder.table_size(),
            name.len() + value.len() + 32,
            "{what}"
        );
        assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), expected, "{what}");
        // The name of that entry with another, valid value.
        let lines = decode(&mut decoder, &[0x0f, 47, 3, b'2', b'0', b'0']).unwrap();
        match why {
            Name | UnknownPseudo | ConnectionField | Te => assert_eq!(lines, expected, "{what}"),
            _ => assert_eq!(lines, [format!("{}: 200", String::from_utf8_lossy(name))]),
        }
        // The same in Huffman code and without the table.
        let mut block = vec![0];
        for text in [name, value] {
            integer::encode(&mut block, 0x80, 7, huffman::encoded_length(text));
            huffman::encode(text, &mut block);
        }
        assert_eq!(decode(&mut decoder, &block).unwrap(), expected, "{what}");
    }
    let mut decoder = Decoder::new(4096);
    let lines = decode(&mut decoder, &[0x80 | 57]).unwrap();
    assert_eq!(lines, ["malformed ConnectionField"]);
}

#[test]
fn the_static_table_is_the_one_of_the_rfc() {
    let mut decoder = Decoder::new(4096);
    let mut lines = vec![];
    for index in 1..=61 {
        let mut sink = Lines::default();
        decoder.decode(&[0x80 | index], true, &mut sink).unwrap();
        if index != 57 {
            assert_eq!(sink.sizes[0], sink.lines[0].len() - 2 + 32, "{index}");
        } else {
            assert_eq!(sink.sizes[0], "transfer-encoding".len() + 32);
        }
        lines.append(&mut sink.lines);
    }
    // Appendix A, in its order; `transfer-encoding` may not come.
    let expected = [
        ":authority: ",
        ":method: GET",
        ":method: POST",
        ":path: /",
        ":path: /index.html",
        ":scheme: http",
        ":scheme: https",
        ":status: 200",
        ":status: 204",
        ":status: 206",
        ":status: 304",
        ":status: 400",
        ":status: 404",
        ":status: 500",
        "accept-charset: ",
        "accept-encoding: gzip, deflate",
        "accept-language: ",
        "accept-ranges: ",
        "accept: ",
        "access-control-allow-origin: ",
        "age: ",
        "allow: ",
        "authorization: ",
        "cache-control: ",
        "content-disposition: ",
        "content-encoding: ",
        "content-language: ",
        "content-length: ",
        "content-location: ",
        "content-range: ",
        "content-type: ",
        "cookie: ",
        "date: ",
        "etag: ",
        "expect: ",
        "expires: ",
        "from: ",
        "host: ",
        "if-match: ",
        "if-modified-since: ",
        "if-none-match: ",
        "if-range: ",
        "if-unmodified-since: ",
        "last-modified: ",
        "link: ",
        "location: ",
        "max-forwards: ",
        "proxy-authenticate: ",
        "proxy-authorization: ",
        "range: ",
        "referer: ",
        "refresh: ",
        "retry-after: ",
        "server: ",
        "set-cookie: ",
        "strict-transport-security: ",
        "malformed ConnectionField",
        "user-agent: ",
        "vary: ",
        "via: ",
        "www-authenticate: ",
    ];
    assert_eq!(lines, expected);
}

/// Arbitrary input causes no panic, and the table stays within its limit.
#[test]
fn random_blocks_are_survived() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..100_000 {
        let mut decoder = Decoder::new(128);
        let block: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
        let (first, second) = block.split_at(random.usize(..=block.len()));
        let mut whole = Lines::default();
        let mut split = Lines::default();
        let at_once = Decoder::new(128).decode(&block, true, &mut whole);
        let in_two = decoder
            .decode(first, false, &mut split)
            .and_then(|()| decoder.decode(second, true, &mut split));
        assert_eq!(at_once, in_two);
        assert_eq!(whole.lines, split.lines);
        assert!(decoder.table_size() <= decoder.table_limit());
    }
}
