//! Field blocks of a connection: the same fields however a block is cut, what is accepted can be
//! written and read again, no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pingora_h2::Error;
use pingora_h2::hpack::{Decoder, Encoder, Field, Sink};

#[derive(Default)]
struct Fields {
    fields: Vec<Field>,
    bytes: usize,
}

impl Sink for Fields {
    fn wants(&mut self, size: usize) -> bool {
        self.bytes += size;
        self.bytes < 1 << 16
    }

    fn field(&mut self, field: Field) {
        self.fields.push(field);
    }
}

fn decode(decoder: &mut Decoder, block: &[u8], size: usize) -> Result<Vec<Field>, Error> {
    let mut sink = Fields::default();
    for piece in block.chunks(size) {
        decoder.decode(piece, false, &mut sink)?;
    }
    decoder.decode(&[], true, &mut sink)?;
    Ok(sink.fields)
}

fn encode(encoder: &mut Encoder, fields: &[Field]) -> Vec<u8> {
    let mut out = vec![];
    encoder.begin(&mut out);
    for field in fields {
        match field {
            Field::Method(method) => encoder.method(&mut out, method),
            Field::Status(status) => encoder.status(&mut out, *status),
            Field::Pseudo(pseudo, value) => encoder.pseudo(&mut out, *pseudo, value),
            Field::Regular(name, value) => encoder.field(&mut out, name, value),
            Field::Malformed(_) => {}
        }
    }
    out
}

fuzz_target!(|input: (u16, u8, Vec<&[u8]>)| {
    let (table, size, blocks) = input;
    let table = u32::from(table);
    let size = usize::from(size).max(1);
    let (mut whole, mut pieces) = (Decoder::new(table), Decoder::new(table));
    let (mut encoder, mut again) = (Encoder::new(), Decoder::new(4096));
    for block in blocks {
        let fields = decode(&mut whole, block, block.len().max(1));
        assert_eq!(fields, decode(&mut pieces, block, size));
        let Ok(mut fields) = fields else {
            return;
        };
        fields.retain(|field| !matches!(field, Field::Malformed(_)));
        let written = encode(&mut encoder, &fields);
        assert_eq!(decode(&mut again, &written, size).as_ref(), Ok(&fields));
    }
});
