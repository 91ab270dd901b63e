//! A head whose fields are where they arrived says the same as one with a map.

use super::spans::LONGEST_NAME;
use super::*;
use crate::{RequestHeader, ResponseHeader};

/// A head of these fields, taken in as the parser does.
fn parsed(fields: &[(String, String)]) -> RequestHeader {
    let lines = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let head = Bytes::from(lines.collect::<String>() + "\r\n");
    let mut request = RequestHeader::empty();
    let mut sink = request.parsed_fields(&head, fields.len());
    let mut at = 0;
    for (name, value) in fields {
        let value_at = at + name.len() + 2;
        let value_end = value_at + value.len();
        let control = ControlField::of(name.as_bytes());
        sink.push(
            &head[at..at + name.len()],
            control,
            &head[value_at..value_end],
        )
        .unwrap();
        at = value_end + 2;
    }
    request.keep_head(head);
    request
}

/// The same fields in a map.
fn mapped(fields: &[(String, String)]) -> RequestHeader {
    let mut request = RequestHeader::empty();
    for (name, value) in fields {
        request.append_header(name.clone(), value.as_str()).unwrap();
    }
    request
}

fn controls(request: &RequestHeader) -> Vec<(ControlField, Vec<u8>)> {
    let mut seen = vec![];
    request.for_each_control_field(|field, value| seen.push((field, value.to_vec())));
    seen
}

fn written(request: &RequestHeader) -> String {
    let mut wire = Vec::new();
    request.header_to_h1_wire(&mut wire);
    String::from_utf8(wire).unwrap()
}

fn fields(count: usize, control_at: &[usize]) -> Vec<(String, String)> {
    let name = |at: usize| match control_at.iter().position(|place| *place == at) {
        Some(0) => "Connection".to_string(),
        Some(1) => "HOST".to_string(),
        Some(_) => "te".to_string(),
        None => format!("X-{at}"),
    };
    (0..count)
        .map(|at| (name(at), format!("value {at}")))
        .collect()
}

/// The first value of a field is the same, whether there is a map or not.
fn assert_values_agree(one: &RequestHeader, other: &RequestHeader, names: &[&str]) {
    for name in names {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        assert_eq!(one.first_value(&name), other.first_value(&name), "{name}");
    }
}

fn assert_same(fields: &[(String, String)]) {
    let (parsed, mapped) = (parsed(fields), mapped(fields));
    assert_eq!(controls(&parsed), controls(&mapped));
    assert_eq!(written(&parsed), written(&mapped));
    assert_values_agree(
        &parsed,
        &mapped,
        &["x-1", "connection", "x-63", "x-64", "absent"],
    );
    assert_eq!(parsed.headers, mapped.headers);
    let mut copy = RequestHeader::empty();
    copy.assign_from(&parsed);
    assert_eq!(controls(&copy), controls(&mapped));
    assert_eq!(written(&copy), written(&mapped));
}

#[test]
fn any_number_of_fields_is_kept() {
    for count in [0, 1, 2, 63, 64, 65, 66, 200] {
        for control_at in [&[0, 1, 2][..], &[62, 63, 64], &[64, 65], &[1, 63], &[]] {
            assert_same(&fields(count, control_at));
        }
    }
}

#[test]
fn long_names_and_empty_values_are_kept() {
    let mut list = fields(5, &[4]);
    list[1].0 = "a".repeat(LONGEST_NAME);
    list[2].1.clear();
    assert_same(&list);
    list[3].0 = "b".repeat(LONGEST_NAME + 1);
    assert_same(&list);
}

#[test]
fn control_fields_are_removed_wherever_they_stand() {
    for count in [3, 63, 64] {
        for control_at in [
            [0, 1, 2],
            [0, 1, count - 1],
            [count - 3, count - 2, count - 1],
        ] {
            let list = fields(count, &control_at);
            let rows: [(&str, &[ControlField]); 4] = [
                ("Connection", &[ControlField::Connection]),
                ("HOST", &[ControlField::Host]),
                ("te", &[ControlField::Te]),
                ("", &[ControlField::Connection, ControlField::Te]),
            ];
            for (name, gone) in rows {
                let mut request = parsed(&list);
                assert!(request.remove_unsettled(|field| gone.contains(&field)));
                let is_gone = |(kept, _): &&(String, String)| match name {
                    "" => kept != "Connection" && kept != "te",
                    name => kept != name,
                };
                let left: Vec<_> = list.iter().filter(is_gone).cloned().collect();
                let expected = mapped(&left);
                assert_eq!(written(&request), written(&expected));
                assert_eq!(controls(&request), controls(&expected));
                assert_eq!(request.headers, expected.headers);
            }
        }
    }
    assert!(!mapped(&fields(3, &[0])).remove_unsettled(|_| true));
}

#[test]
fn what_lies_elsewhere_goes_into_the_map() {
    let head = Bytes::from_static(b"A: b\r\n\r\n");
    let mut request = RequestHeader::empty();
    let mut sink = request.parsed_fields(&head, 2);
    sink.push(&head[..1], None, &head[3..4]).unwrap();
    sink.push(b"Host", Some(ControlField::Host), b"c").unwrap();
    sink.push(&head[..1], None, b"").unwrap();
    request.keep_head(head);
    assert_eq!(written(&request), "A: b\r\nA: \r\nHost: c\r\n");
    assert_eq!(controls(&request), [(ControlField::Host, b"c".to_vec())]);
}

/// Applies the same changes to a head that came from the wire and to one with a map.
fn assert_changes_agree(list: &[(String, String)], changes: &[u8]) {
    const NAMES: [&str; 6] = ["X-New", "x-new", "ETag", "X-1", "Connection", "X-Other"];
    let (mut parsed, mut mapped) = (parsed(list), mapped(list));
    for (count, change) in changes.iter().enumerate() {
        let name = NAMES[usize::from(change / 5) % NAMES.len()];
        let value = format!("changed {count}");
        assert_values_agree(&parsed, &mapped, &NAMES);
        match change % 5 {
            0 => {
                parsed.insert_header(name, value.as_str()).unwrap();
                mapped.insert_header(name, value.as_str()).unwrap();
            }
            1 => {
                let known = parsed.append_header(name, value.as_str()).unwrap();
                assert_eq!(known, mapped.append_header(name, value.as_str()).unwrap());
            }
            2 => assert_eq!(parsed.remove_header(name), mapped.remove_header(name)),
            3 => assert_eq!(parsed.headers, mapped.headers),
            _ => {
                let mut copy = RequestHeader::empty();
                copy.assign_from(&parsed);
                parsed = copy.clone();
            }
        }
        assert_eq!(written(&parsed), written(&mapped), "{changes:?}");
        assert_eq!(controls(&parsed), controls(&mapped), "{changes:?}");
    }
    assert_eq!(parsed.headers, mapped.headers, "{changes:?}");
    let parts = (
        http::request::Parts::from(parsed),
        http::request::Parts::from(mapped),
    );
    assert_eq!(parts.0.headers, parts.1.headers);
}

#[test]
fn changes_mean_the_same_with_and_without_a_map() {
    let list = fields(4, &[2]);
    for one in 0..30 {
        for two in 0..30 {
            assert_changes_agree(&list, &[one, two]);
            for three in [0, 1, 2, 10, 11, 16] {
                assert_changes_agree(&list, &[one, two, three, 3]);
            }
        }
    }
}

#[test]
fn any_number_of_fields_can_be_added() {
    let mut request = parsed(&fields(3, &[]));
    for count in 0..100 {
        request
            .insert_header(format!("X-New-{count}"), "a")
            .unwrap();
    }
    assert_eq!(request.headers.len(), 103);
    assert_eq!(written(&request).lines().count(), 103);
}

#[test]
fn adding_fields_makes_no_map() {
    let mut request = parsed(&fields(3, &[]));
    request.insert_header("X-Forwarded-Proto", "http").unwrap();
    assert!(!request.append_header("etag", "a").unwrap());
    assert!(request.insert_header("a b", "c").is_err());
    assert!(request.append_header("d", "e\n").is_err());
    assert!(request.written_len() >= written(&request).len());
    assert!(written(&request).ends_with("\r\nX-Forwarded-Proto: http\r\netag: a\r\n"));
    // Only what is still on the wire can be removed from there.
    assert!(request.remove_unsettled(|_| false));
    assert_eq!(request.headers["x-forwarded-proto"], "http");
    request.reset();
    assert_eq!(written(&request), "");
}

/// Applies the same changes to a copy and to what was lent, which then is what it was.
fn assert_lending_agrees(list: &[(String, String)], added: usize, looked: bool, changes: &[u8]) {
    const NAMES: [&str; 6] = ["X-New", "x-new", "ETag", "X-1", "Connection", "X-0"];
    let mut request = parsed(list);
    for count in 0..added {
        let name = format!("X-Added-{count}");
        request.insert_header(name, "a").unwrap();
    }
    if looked {
        assert_eq!(request.headers.len(), list.len() + added);
    }
    let mut copy = request.clone();
    let before = (written(&request), controls(&request));
    let mut lent = request.lend().unwrap();
    for change in changes {
        let name = NAMES[usize::from(change / 5) % NAMES.len()];
        for request in [&mut copy, &mut *lent] {
            match change % 5 {
                0 => request.insert_header(name, "b").unwrap(),
                1 => drop(request.append_header(name, "c").unwrap()),
                2 => drop(request.remove_header(name)),
                3 => drop(request.remove_unsettled(|field| field == ControlField::Connection)),
                _ => request.set_version(http::Version::HTTP_10),
            }
        }
        // One of them may have made a map: then the other has not taken the field out of its head.
        if change % 5 != 3 {
            assert_eq!(copy.headers.len(), lent.headers.len(), "{changes:?}");
            assert_eq!(written(&copy), written(&lent), "{changes:?}");
        }
    }
    assert_eq!(copy.version, lent.version);
    drop(lent);
    assert_eq!(request.version, http::Version::HTTP_11);
    assert_eq!(
        (written(&request), controls(&request)),
        before,
        "{changes:?}"
    );
    assert_eq!(request.headers.len(), list.len() + added);
    assert_eq!(written(&request), before.0);
    // And again, as after the first try.
    assert!(
        request
            .lend()
            .is_some_and(|lent| written(&lent) == before.0)
    );
    request.remove_header("X-0");
    assert!(request.lend().is_none(), "it has a map now");
}

#[test]
fn what_was_lent_comes_back_as_it_was() {
    let list = fields(4, &[2]);
    for one in 0..30 {
        for two in 0..30 {
            for (added, looked) in [(0, false), (0, true), (2, false), (2, true)] {
                assert_lending_agrees(&list, added, looked, &[]);
                assert_lending_agrees(&list, added, looked, &[one, two]);
                assert_lending_agrees(&list, added, looked, &[one, two, 2, 5]);
            }
        }
    }
}

/// All fields by name, found without the map and in it.
fn assert_found(request: &RequestHeader, names: &[&str]) {
    let names = names.iter().map(|name| name.parse().unwrap());
    let names: Vec<HeaderName> = names.collect();
    let values = |name| request.values_of(name).map(<[u8]>::to_vec).collect();
    let before: Vec<Vec<Vec<u8>>> = names.iter().map(values).collect();
    for (name, found) in names.iter().zip(&before) {
        let all = request.headers.get_all(name).iter();
        let all: Vec<_> = all.map(HeaderValue::as_bytes).collect();
        assert_eq!(all, *found, "{name}");
        assert_eq!(request.has_field(name), !all.is_empty(), "{name}");
        let again: Vec<_> = request.values_of(name).collect();
        assert_eq!(again, *found, "{name}");
    }
}

#[test]
fn fields_are_found_by_name_without_a_map() {
    let list = [
        ("Accept", "a"),
        ("X-Own", "one"),
        ("x-own", ""),
        ("X-OWN", "three"),
        ("Host", "h"),
    ];
    let list = list.map(|(name, value)| (name.to_string(), value.to_string()));
    let names = ["accept", "x-own", "host", "x-ow", "x-added", "x-absent"];
    let mut request = parsed(&list);
    request.insert_header("X-Added", "later").unwrap();
    assert_found(&request, &names);
    assert_found(&mapped(&list), &names);
    assert_found(&RequestHeader::empty(), &names);
}

fn response(fields: &[(String, String)]) -> ResponseHeader {
    let mut response = ResponseHeader::build(200, None).unwrap();
    for (name, value) in fields {
        response
            .append_header(name.clone(), value.as_str())
            .unwrap();
    }
    response
}

fn lines(response: &ResponseHeader) -> String {
    let mut wire = Vec::new();
    response.header_to_h1_wire(&mut wire);
    String::from_utf8(wire).unwrap()
}

#[test]
fn a_compact_head_says_the_same() {
    for count in [0, 1, 2, 63, 64, 65, 200] {
        let mut list = fields(count, &[0, 1, 2]);
        list.extend(list.clone());
        list.push(("Empty".to_string(), String::new()));
        let whole = response(&list);
        let mut compact = whole.clone();
        compact.compact();
        compact.compact();
        assert_eq!(lines(&compact), lines(&whole), "{count}");
        let controls = |response: &ResponseHeader| {
            let mut seen = vec![];
            response.for_each_control_field(|field, value| seen.push((field, value.to_vec())));
            seen
        };
        assert_eq!(controls(&compact), controls(&whole), "{count}");
        let mut copy = compact.clone();
        copy.insert_header("Age", 7).unwrap();
        assert_eq!(lines(&copy), lines(&whole) + "Age: 7\r\n", "{count}");
        assert_eq!(compact.headers, whole.headers, "{count}");
        compact.remove_header("empty").unwrap();
        let shorter = lines(&whole).replace("Empty: \r\n", "");
        assert_eq!(lines(&compact), shorter, "{count}");
    }
}

#[test]
fn what_can_not_be_compact_stays_as_it_is() {
    let mut titled = ResponseHeader::build_no_case(200, None).unwrap();
    titled.append_header("x-b", "1").unwrap();
    titled.compact();
    assert_eq!(lines(&titled), "X-B: 1\r\n");
    let long = "x".repeat(LONGEST_NAME + 1);
    let mut long = response(&[(long, "1".to_string())]);
    let before = lines(&long);
    long.compact();
    assert_eq!(lines(&long), before);
}
