//! Spelling of header names: whatever is done to a head, each field keeps the spelling it came
//! with. Compared with a model that does it the slow way.
#![no_main]

use bytes::Bytes;
use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use pingora_http::{HeaderNameVariant, RequestHeader};

/// Names in lower case, each with its fields in order.
type Model = Vec<(String, Vec<(String, Vec<u8>)>)>;

fn entry<'a>(model: &'a mut Model, name: &str) -> &'a mut Vec<(String, Vec<u8>)> {
    let lower = name.to_ascii_lowercase();
    let place = model.iter().position(|(known, _)| *known == lower).unwrap_or_else(|| {
        model.push((lower, Vec::new()));
        model.len() - 1
    });
    &mut model[place].1
}

/// One command per line: what to do, `name:value`.
fn run(line: &[u8], head: &mut RequestHeader, model: &mut Model) {
    let Some((&command, rest)) = line.split_first() else { return };
    let colon = rest.iter().position(|&b| b == b':').unwrap_or(rest.len());
    let (name, value) = rest.split_at(colon);
    let Ok(name) = std::str::from_utf8(name) else { return };
    let value = Bytes::copy_from_slice(value.get(1..).unwrap_or_default());
    let field = (name.to_string(), value.to_vec());
    match command % 4 {
        0 => {
            if head.append_header(name.to_string(), &value[..]).is_ok() {
                entry(model, name).push(field);
            }
        }
        1 => {
            if head.insert_header(name.to_string(), &value[..]).is_ok() {
                *entry(model, name) = vec![field];
            }
        }
        2 => {
            if head.append_parsed(name.as_bytes(), value).is_ok() {
                entry(model, name).push(field);
            }
        }
        _ => {
            let removed = head.remove_header(name).map(|value| value.as_bytes().to_vec());
            let lower = name.to_ascii_lowercase();
            let known = model.iter().position(|(known, _)| *known == lower);
            let expected = known.map(|place| model.swap_remove(place).1.swap_remove(0).1);
            assert_eq!(removed, expected);
        }
    }
}

/// All fields, sorted by name; those of one name stay in order.
fn sorted(mut fields: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    fields
}

fuzz_target!(|data: &[u8]| {
    let mut head = RequestHeader::default();
    let mut model = Model::new();
    for line in data.split(|&b| b == b'\n').take(100) {
        run(line, &mut head, &mut model);
        if line.len() % 7 == 0 {
            // A view that was made for asking must not go stale.
            assert_eq!(head.case_header_iter().count(), head.headers.len());
        }
    }
    let fields = model.into_iter().flat_map(|(_, fields)| fields);
    let expected = sorted(fields.map(|(name, value)| (name.into_bytes(), value)).collect());

    let bytes = |value: &HeaderValue| value.as_bytes().to_vec();
    let spelt = head.case_header_iter().map(|(name, value)| (name.as_slice().to_vec(), bytes(value)));
    assert_eq!(sorted(spelt.collect()), expected);

    let mut mapped = Vec::new();
    let result = head.map(|name, value| {
        let name = match name {
            HeaderNameVariant::Case(case) => case.as_slice().to_vec(),
            HeaderNameVariant::Titled(titled) => titled.as_bytes().to_vec(),
        };
        mapped.push((name, bytes(value)));
        Ok(())
    });
    assert!(result.is_ok());
    assert_eq!(sorted(mapped), expected);

    let mut wire = Vec::new();
    head.header_to_h1_wire(&mut wire);
    let lines = wire.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    let read = lines.map(|line| {
        let line = line.strip_suffix(b"\r").expect("lines end with CRLF");
        let colon = line.iter().position(|&b| b == b':').expect("a field has a colon");
        (line[..colon].to_vec(), line[colon + 2..].to_vec())
    });
    assert_eq!(sorted(read.collect()), expected);

    let mut copy = RequestHeader::default();
    copy.assign_from(&head);
    let mut copied = Vec::new();
    copy.header_to_h1_wire(&mut copied);
    assert_eq!(copied, wire);
});
