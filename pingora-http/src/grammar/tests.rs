//! One row for each element of the grammar, accepted and refused.

use super::*;

/// Every byte alone, in front, in the middle and at the end of something that is sound.
fn with_byte(byte: u8, sound: &[u8]) -> [Vec<u8>; 4] {
    let half = sound.len() / 2;
    [
        vec![byte],
        [&[byte], sound].concat(),
        [&sound[..half], &[byte], &sound[half..]].concat(),
        [sound, &[byte]].concat(),
    ]
}

/// RFC 9110 section 5.6.2.
const TOKEN_BYTES: &[u8] =
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[test]
fn a_token_is_token_bytes_and_not_empty() {
    assert!(!is_token(b"") && !is_lower_case_field_name(b""));
    for byte in 0..=u8::MAX {
        let fits = TOKEN_BYTES.contains(&byte);
        for text in with_byte(byte, b"ab") {
            assert_eq!(is_token(&text), fits, "{text:?}");
            assert_eq!(is_method(&text), fits, "{text:?}");
            assert_eq!(is_field_name(&text), fits, "{text:?}");
            let lower = fits && !byte.is_ascii_uppercase();
            assert_eq!(is_lower_case_field_name(&text), lower, "{text:?}");
        }
    }
}

/// RFC 9110 section 5.5, RFC 9113 section 8.2.1.
#[test]
fn a_value_has_no_control_characters_and_no_whitespace_around_it() {
    assert!(is_field_value(b""));
    for byte in 0..=u8::MAX {
        let allowed = byte == b'\t' || !byte.is_ascii_control();
        let space = matches!(byte, b' ' | b'\t');
        let [alone, front, middle, end] = with_byte(byte, b"ab");
        for text in [alone, front, end] {
            assert_eq!(is_field_value(&text), allowed && !space, "{text:?}");
            assert_eq!(is_reason_phrase(&text), allowed, "{text:?}");
            assert_eq!(has_outer_whitespace(&text), space, "{text:?}");
            assert!(!has_outer_whitespace(trim(&text)), "{text:?}");
        }
        assert_eq!(is_field_value(&middle), allowed, "{middle:?}");
        let long = [&[b'a'; 100], &[byte][..], &[b'a'; 100]].concat();
        assert_eq!(is_field_value(&long), allowed, "{byte}");
    }
}

#[test]
fn a_target_has_nothing_that_breaks_the_line_and_no_fragment() {
    assert!(!is_target(b""));
    for byte in 0..=u8::MAX {
        let fits = !byte.is_ascii_control() && byte != b' ' && byte != b'#';
        for text in with_byte(byte, b"/a") {
            assert_eq!(is_target(&text), fits, "{text:?}");
        }
    }
    assert!(is_target(&[b'/'; LONGEST_TARGET]));
    assert!(!is_target(&[b'/'; LONGEST_TARGET + 1]));
}

#[test]
fn origin_form_begins_with_a_slash() {
    let rows: &[(&[u8], bool, bool)] = &[
        (b"/", true, true),
        (b"/a?q=\"<`{|}\\^>\xe9\xff", true, true),
        (b"//a", true, true),
        (b"*", false, true),
        (b"", false, false),
        (b"**", false, false),
        (b"a", false, false),
        (b"?q", false, false),
        (b"http://a/", false, false),
        (b"/a b", false, false),
        (b"/a#b", false, false),
        (b"/\x7f", false, false),
    ];
    for (target, get, options) in rows {
        let name = String::from_utf8_lossy(target);
        assert_eq!(is_origin_form(target, false), *get, "{name}");
        assert_eq!(is_origin_form(target, true), *options, "{name}");
    }
}

/// RFC 3986 section 3.1.
#[test]
fn a_scheme_begins_with_a_letter() {
    let rows: &[(&[u8], bool, bool)] = &[
        (b"http", true, true),
        (b"HttpS", true, true),
        (b"ftp", true, false),
        (b"a+b-c.9", true, false),
        (b"", false, false),
        (b"9p", false, false),
        (b"ht tp", false, false),
        (b"http:", false, false),
        (b"ht\xe9p", false, false),
    ];
    for (scheme, expected, http) in rows {
        assert_eq!(is_scheme(scheme), *expected, "{scheme:?}");
        assert_eq!(is_http_scheme(scheme), *http, "{scheme:?}");
    }
}

/// RFC 9110 section 7.2.
#[test]
fn an_authority_is_a_host_and_maybe_a_port() {
    let rows: &[(&[u8], bool, bool)] = &[
        (b"a.test", true, false),
        (b"a.test:", true, false),
        (b"a.test:443", true, true),
        (b"a_b.test:65535", true, true),
        (b"%61.test", true, false),
        (b"[::1]", true, false),
        (b"[::1]:443", true, true),
        (b"", false, false),
        (b":443", false, false),
        (b"a.test:65536", false, false),
        (b"a.test:4 43", false, false),
        (b"a.test:443:443", false, false),
        (b"u@a.test:443", false, false),
        (b"a.test,b.test", false, false),
        (b"a/b", false, false),
        (b"a?b", false, false),
        (b"a#b", false, false),
        (b"a b", false, false),
        (b"a\"b", false, false),
        (b"a%6", false, false),
        (b"[::1", false, false),
        (b"[::1%25eth0]", false, false),
        (b"[v1.a]", false, false),
        (b"\xe9.test", false, false),
        (b"a\0", false, false),
    ];
    for (authority, expected, connect) in rows {
        let name = String::from_utf8_lossy(authority);
        assert_eq!(is_authority(authority), *expected, "{name}");
        assert_eq!(is_connect_target(authority), *connect, "{name}");
    }
}

/// RFC 9110 section 15.
#[test]
fn a_status_is_three_digits() {
    let rows: &[(&[u8], Option<u16>)] = &[
        (b"100", Some(100)),
        (b"200", Some(200)),
        (b"999", Some(999)),
        (b"099", None),
        (b"000", None),
        (b"20", None),
        (b"2000", None),
        (b"", None),
        (b"+20", None),
        (b"2 0", None),
        (b"20x", None),
    ];
    for (code, expected) in rows {
        assert_eq!(status_code(code), *expected, "{code:?}");
    }
}

/// RFC 9110 section 8.6: the combined value of several fields, and the form that is sent on.
#[test]
fn a_length_is_plain_digits_and_one_number() {
    use LengthRefused::{Different, NotPlain, TooLarge};
    type Row<'a> = (&'a [&'a str], Result<(u64, &'a str), LengthRefused>);
    const MOST: u64 = i64::MAX as u64;
    let rows: &[Row<'_>] = &[
        (&["0"], Ok((0, "0"))),
        (&["17"], Ok((17, "17"))),
        (&["17", "17"], Ok((17, "17"))),
        (&["17, 17"], Ok((17, "17"))),
        (&["17,17", "17"], Ok((17, "17"))),
        (&["010"], Ok((10, "10"))),
        (&["000"], Ok((0, "0"))),
        (&["010", "010"], Ok((10, "10"))),
        (&["9223372036854775807"], Ok((MOST, "9223372036854775807"))),
        (
            &["009223372036854775807"],
            Ok((MOST, "9223372036854775807")),
        ),
        (&["9223372036854775808"], Err(TooLarge)),
        (&["99999999999999999999999"], Err(TooLarge)),
        (&["17", "18"], Err(Different)),
        (&["17, 18"], Err(Different)),
        (&["10", "010"], Err(Different)),
        (&["17", ""], Err(Different)),
        (&["17,"], Err(Different)),
        (&["17", "x"], Err(Different)),
        (&[",17"], Err(NotPlain)),
        (&[""], Err(NotPlain)),
        (&["+1"], Err(NotPlain)),
        (&["-1"], Err(NotPlain)),
        (&["0x1"], Err(NotPlain)),
        (&["1 7"], Err(NotPlain)),
        (&["1_7"], Err(NotPlain)),
        (&["1.0"], Err(NotPlain)),
    ];
    for (values, expected) in rows {
        let mut known = None;
        let read = values.iter().try_for_each(|value| {
            known = Some(ContentLength::read(known, value.as_bytes())?);
            Ok(())
        });
        let found = read.and_then(|()| {
            let known = known.ok_or(NotPlain)?;
            Ok((known.bytes(), std::str::from_utf8(known.digits()).unwrap()))
        });
        assert_eq!(found, *expected, "{values:?}");
    }
}
