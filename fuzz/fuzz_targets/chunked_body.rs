//! Bodies: decoded the same however they are cut, and what is framed is read back.
#![no_main]

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use pingora_core::protocols::http::h1::{
    BodyDecoder, BodyEncoder, BodyLength, Step, may_be_trailer,
};

/// Payload, what was left behind the end, trailers, and whether the end was reached; payload alone
/// if the framing is broken.
type Decoded = (Vec<u8>, Option<(Vec<u8>, Option<HeaderMap>, bool)>);

fn decode<'a>(length: BodyLength, pieces: impl Iterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = BodyDecoder::new(length);
    let (mut payload, mut rest) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut input = piece;
        loop {
            match decoder.step(input) {
                Err(fault) => {
                    assert_eq!(decoder.step(b"more"), Err(fault));
                    assert!(!decoder.is_done());
                    return (payload, None);
                }
                Ok(Step::More { consumed }) => {
                    assert_eq!(consumed, input.len());
                    break;
                }
                Ok(Step::Data { skip, len }) => {
                    assert!(len > 0);
                    payload.extend_from_slice(&input[skip..skip + len]);
                    input = &input[skip + len..];
                }
                Ok(Step::End { consumed }) => {
                    assert!(decoder.is_done());
                    rest.extend_from_slice(&input[consumed..]);
                    break;
                }
            }
        }
    }
    let trailers = decoder.take_trailers().map(|trailers| *trailers);
    let names = trailers.iter().flat_map(HeaderMap::keys);
    assert!(names.into_iter().all(may_be_trailer));
    (payload, Some((rest, trailers, decoder.is_done())))
}

fuzz_target!(|data: &[u8]| {
    let Some((&flags, data)) = data.split_first() else { return };
    let length = match flags & 7 {
        0 => BodyLength::Exact(u64::from(flags >> 3)),
        1 => BodyLength::UntilClose,
        2 => BodyLength::Empty,
        _ => BodyLength::Chunked,
    };
    let whole = decode(length, std::iter::once(data));
    assert_eq!(whole, decode(length, data.chunks(1)));
    assert_eq!(whole, decode(length, data.chunks(usize::from(flags >> 3) + 2)));

    let (payload, end) = whole;
    let trailers = end.and_then(|(_, trailers, _)| trailers);
    let mut encoder = BodyEncoder::new(BodyLength::Chunked);
    let mut wire = Vec::new();
    for piece in payload.chunks(usize::from(flags) + 1) {
        assert_eq!(encoder.before(piece.len(), &mut wire), Ok(true));
        wire.extend_from_slice(piece);
        encoder.after(&mut wire);
    }
    encoder.finish(trailers.as_ref(), &mut wire).expect("a chunked body ends anywhere");
    let read_back = decode(BodyLength::Chunked, std::iter::once(&wire[..]));
    assert_eq!(read_back, (payload, Some((Vec::new(), trailers, true))));
});
