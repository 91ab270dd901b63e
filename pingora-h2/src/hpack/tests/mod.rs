//! Tests of the whole module: the examples of RFC 7541 appendix C, tables of refused blocks, round
//! trips.

mod appendix_c;
mod decoding;
mod encoding;
mod lists;

use super::*;
use crate::error::Error;

/// Keeps all fields as `name: value`, and malformed ones as their reason.
#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    sizes: Vec<usize>,
    refuse: bool,
}

impl Sink for Lines {
    fn wants(&mut self, size: usize) -> bool {
        self.sizes.push(size);
        !self.refuse
    }

    fn field(&mut self, field: Field) {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        self.lines.push(match field {
            Field::Method(method) => format!(":method: {method}"),
            Field::Status(status) => format!(":status: {}", status.as_str()),
            Field::Pseudo(pseudo, value) => format!("{}: {}", pseudo.name(), text(&value)),
            Field::Regular(name, value) => format!("{name}: {}", text(value.as_bytes())),
            Field::Malformed(why) => format!("malformed {why:?}"),
        });
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    let pairs = digits.chunks(2);
    pairs.map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Error> {
    let mut sink = Lines::default();
    decoder.decode(block, true, &mut sink)?;
    assert_eq!(sink.lines.len(), sink.sizes.len());
    Ok(sink.lines)
}

/// A literal with incremental indexing and plain strings.
fn inserted(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = vec![0x40];
    for text in [name, value] {
        integer::encode(&mut block, 0, 7, text.len());
        block.extend_from_slice(text);
    }
    block
}
