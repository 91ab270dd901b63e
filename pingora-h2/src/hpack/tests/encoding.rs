//! How the encoder writes fields, and that the decoder can read them.

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::*;

#[test]
fn a_value_that_no_hop_may_index_stays_so() {
    let mut decoder = Decoder::new(4096);
    let mut list = FieldList::new(Section::Trailers, ListLimits::default());
    let block = hex("1001 7801 31 0001 7901 31");
    decoder.decode(&block, true, &mut list).unwrap();
    assert!(list.fields["x"].is_sensitive());
    assert!(!list.fields["y"].is_sensitive());
    let mut encoder = Encoder::new();
    for _ in 0..3 {
        for (name, value) in &list.fields {
            let mut out = vec![];
            encoder.field(&mut out, name, value);
            let first = if name == "x" { 0x10 } else { 0x00 };
            assert_eq!(out[0], first);
        }
        for name in [header::AUTHORIZATION, header::COOKIE, header::SET_COOKIE] {
            let mut out = vec![];
            encoder.field(&mut out, &name, &HeaderValue::from_static("secret"));
            assert_eq!(out[0] & 0xf0, 0x10, "{name}");
        }
    }
}

#[test]
fn what_repeats_becomes_an_index() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4096);
    let value = HeaderValue::from_static("Mon, 21 Oct 2013 20:13:21 GMT");
    let mut lengths = vec![];
    for _ in 0..4 {
        let mut out = vec![];
        encoder.begin(&mut out);
        encoder.status(&mut out, StatusCode::OK);
        encoder.field(&mut out, &header::DATE, &value);
        let lines = decode(&mut decoder, &out).unwrap();
        assert_eq!(lines[1], "date: Mon, 21 Oct 2013 20:13:21 GMT");
        lengths.push(out.len());
    }
    assert_eq!(lengths[2..], [2, 2]);
    assert!(lengths[0] > 20 && lengths[1] > 20);
}

#[test]
fn a_smaller_table_of_the_peer_is_confirmed_in_the_next_block() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4096);
    let value = HeaderValue::from_static("nginx");
    let block = |encoder: &mut Encoder, decoder: &mut Decoder| {
        let mut out = vec![];
        encoder.begin(&mut out);
        encoder.field(&mut out, &header::SERVER, &value);
        assert_eq!(decode(decoder, &out).unwrap(), ["server: nginx"]);
        out
    };
    for _ in 0..3 {
        block(&mut encoder, &mut decoder);
    }
    for size in [40, 0, 4096] {
        encoder.set_max_size(size);
        decoder.set_max_size(size);
    }
    let out = block(&mut encoder, &mut decoder);
    assert_eq!(out[0], 0x20);
    assert_eq!(decoder.table_limit(), 0);
    for _ in 0..3 {
        let out = block(&mut encoder, &mut decoder);
        assert_eq!(out[0], 0x0f, "nothing is inserted into no table");
    }
}

fn random_value(random: &mut fastrand::Rng) -> HeaderValue {
    const SOME: [&str; 6] = ["", "1", "gzip, deflate", "text/html", "/", "\u{e9}\u{e8}"];
    if random.bool() {
        return HeaderValue::from_bytes(random.choice(SOME).unwrap().as_bytes()).unwrap();
    }
    let most = if random.u8(..8) == 0 { 400 } else { 30 };
    let length = random.usize(..most);
    let text: String = (0..length).map(|_| random.char('!'..='~')).collect();
    HeaderValue::from_str(&text).unwrap()
}

/// The blocks of a connection survive the round trip, with arbitrary table sizes announced in
/// between and however a block is split.
#[test]
fn random_lists_survive() {
    let names: Vec<HeaderName> = [
        "date",
        "server",
        "content-type",
        "x-custom",
        "cookie",
        "te-not",
        "accept-encoding",
        "x-another-longer-name-of-no-use",
        "grpc-status",
        "content-length",
    ]
    .map(HeaderName::from_static)
    .into();
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..300 {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
        for _ in 0..30 {
            if random.u8(..8) == 0 {
                let size = random.u32(..5000);
                encoder.set_max_size(size);
                decoder.set_max_size(size);
            }
            let mut out = vec![];
            let mut expected = vec![];
            encoder.begin(&mut out);
            let method = random
                .choice([Method::GET, Method::POST, Method::PUT])
                .unwrap();
            encoder.method(&mut out, &method);
            expected.push(format!(":method: {method}"));
            let status = StatusCode::from_u16(random.u16(100..600)).unwrap();
            encoder.status(&mut out, status);
            expected.push(format!(":status: {}", status.as_str()));
            for pseudo in [
                Pseudo::Authority,
                Pseudo::Path,
                Pseudo::Protocol,
                Pseudo::Scheme,
            ] {
                let value = random
                    .choice(["/", "http", "https", "a.test", "b"])
                    .unwrap();
                encoder.pseudo(&mut out, pseudo, value.as_bytes());
                expected.push(format!("{}: {value}", pseudo.name()));
            }
            for _ in 0..random.usize(..12) {
                let name = random.choice(&names).unwrap();
                let value = random_value(&mut random);
                encoder.field(&mut out, name, &value);
                let text = String::from_utf8_lossy(value.as_bytes());
                expected.push(format!("{name}: {text}"));
            }
            let mut sink = Lines::default();
            let mut rest = &out[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(random.usize(1..=rest.len()));
                decoder.decode(piece, false, &mut sink).unwrap();
                rest = behind;
            }
            decoder.decode(&[], true, &mut sink).unwrap();
            assert_eq!(sink.lines, expected);
            assert!(decoder.table_size() <= decoder.table_limit());
        }
    }
}
