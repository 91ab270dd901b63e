//! The codings that the client accepts: `Accept-Encoding` (RFC 9110 section 12.5.3). Pure.

use super::coding::ContentCoding;
use super::dictionary;
use super::transform::lists;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL};

/// A weight in thousandths: 0 is "not acceptable", 1000 the most wanted.
type Weight = u16;

/// The client's statements about codings. Copied into each request's state: small and flat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct AcceptEncoding {
    weights: [Option<Weight>; ContentCoding::COUNT],
    any: Option<Weight>,
    identity: Option<Weight>,
    /// The hash of the dictionary that it has.
    dictionary: Option<[u8; 32]>,
    /// It asks for the body as it is (RFC 9111 section 5.2.1.6).
    no_transform: bool,
}

impl AcceptEncoding {
    /// Reads all `Accept-Encoding` fields. Members that break the grammar are passed over.
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let mut accepted = AcceptEncoding {
            dictionary: dictionary::available(headers),
            no_transform: lists(headers, CACHE_CONTROL, "no-transform"),
            ..AcceptEncoding::default()
        };
        for field in headers.get_all(ACCEPT_ENCODING) {
            for member in field.as_bytes().split(|b| *b == b',') {
                if let Some((name, weight)) = parse_member(member) {
                    accepted.note(name, weight);
                }
            }
        }
        accepted
    }

    fn note(&mut self, name: &str, weight: Weight) {
        let slot = if name.eq_ignore_ascii_case("identity") {
            &mut self.identity
        } else if name == "*" {
            &mut self.any
        } else {
            let coding = ContentCoding::named(name);
            match coding.and_then(|coding| self.weights.get_mut(coding.index())) {
                Some(slot) => slot,
                None => return,
            }
        };
        // Named twice (also as gzip and x-gzip): the higher weight counts.
        *slot = (*slot).max(Some(weight));
    }

    /// How much the client wants this coding. Zero where it does not accept it; the wildcard
    /// stands for those that it does not name, save those with a dictionary.
    pub(super) fn weight(&self, coding: ContentCoding) -> Weight {
        let named = self.weights.get(coding.index()).copied().flatten();
        let any = self.any.filter(|_| !coding.needs_dictionary());
        named.or(any).unwrap_or(0)
    }

    /// Whether it takes a body without any coding: unless it says the contrary, by name or by the
    /// wildcard.
    pub(super) fn takes_identity(&self) -> bool {
        self.identity.or(self.any).is_none_or(|weight| weight > 0)
    }

    /// Whether it has this dictionary.
    pub(super) fn has_dictionary(&self, hash: &[u8; 32]) -> bool {
        self.dictionary.as_ref() == Some(hash)
    }

    pub(super) fn no_transform(&self) -> bool {
        self.no_transform
    }

    /// The coding among `candidates` that the client wants most; the first of equals. `None` where
    /// it accepts none of them, or wants the response as it is even more.
    pub(super) fn prefer(
        &self,
        candidates: impl Iterator<Item = ContentCoding>,
    ) -> Option<ContentCoding> {
        let floor = self.identity.unwrap_or(0);
        let mut best: Option<(ContentCoding, Weight)> = None;
        for coding in candidates {
            let weight = self.weight(coding);
            let beaten = best.is_some_and(|(_, other)| other >= weight);
            if weight > 0 && weight >= floor && !beaten {
                best = Some((coding, weight));
            }
        }
        best.map(|(coding, _)| coding)
    }
}

/// `codings [ OWS ";" OWS "q=" qvalue ]`
fn parse_member(member: &[u8]) -> Option<(&str, Weight)> {
    let text = std::str::from_utf8(member).ok()?;
    let ows = [' ', '\t'];
    let Some((name, parameter)) = text.split_once(';') else {
        let name = text.trim_matches(ows);
        return (!name.is_empty()).then_some((name, 1000));
    };
    let (key, value) = parameter.trim_matches(ows).split_once('=')?;
    if !key.eq_ignore_ascii_case("q") {
        return None;
    }
    Some((name.trim_matches(ows), parse_weight(value)?))
}

/// `qvalue`: `0` or `1`, and at most three decimals, which are zero after a 1 (RFC 9110 section
/// 12.4.2).
fn parse_weight(text: &str) -> Option<Weight> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut fraction = 0;
    for place in 0..3 {
        let digit = decimals.as_bytes().get(place).map_or(0, |b| b - b'0');
        fraction = fraction * 10 + Weight::from(digit);
    }
    match (whole, fraction) {
        ("0", fraction) => Some(fraction),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(fields: &[&str]) -> AcceptEncoding {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(ACCEPT_ENCODING, field.parse().unwrap());
        }
        AcceptEncoding::from_headers(&headers)
    }

    #[test]
    fn weights() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("0.", Some(0)),
            ("1.", Some(1000)),
            ("0.5", Some(500)),
            ("0.05", Some(50)),
            ("0.005", Some(5)),
            ("1.000", Some(1000)),
            ("1.001", None),
            ("0.0005", None),
            ("2", None),
            ("", None),
            (".5", None),
            ("0.5x", None),
            ("-0.5", None),
            ("00.5", None),
        ] {
            assert_eq!(parse_weight(text), expected, "{text}");
        }
    }

    #[test]
    fn negotiation() {
        use ContentCoding::{Brotli, Dcb, Dcz, Deflate, Gzip, Zstd};
        let both = [Brotli, Gzip];
        let gzip = [Gzip];
        let all = ContentCoding::CANDIDATES;
        let table: &[(&[&str], &[ContentCoding], Option<ContentCoding>)] = &[
            (&[], &gzip, None),
            (&[""], &gzip, None),
            (&["gzip"], &gzip, Some(Gzip)),
            (&["GZIP"], &gzip, Some(Gzip)),
            (&["x-gzip"], &gzip, Some(Gzip)),
            (&["gzip;q=0"], &gzip, None),
            (&["gzip;q=0.0"], &gzip, None),
            (&["gzip ; q=0.1"], &gzip, Some(Gzip)),
            (&["gzip;Q=1"], &gzip, Some(Gzip)),
            (&["gzip;level=9"], &gzip, None),
            (&["gzip;q=nonsense"], &gzip, None),
            (&["br"], &gzip, None),
            (&["deflate, br"], &gzip, None),
            (&["*"], &gzip, Some(Gzip)),
            (&["*;q=0"], &gzip, None),
            (&["*;q=0, gzip"], &gzip, Some(Gzip)),
            (&["gzip;q=0, *"], &gzip, None),
            (&["identity"], &gzip, None),
            (&["identity, gzip"], &gzip, Some(Gzip)),
            (&["identity, gzip;q=0.5"], &gzip, None),
            (&["identity;q=0.5, gzip"], &gzip, Some(Gzip)),
            (&["identity;q=0"], &gzip, None),
            (&["br, gzip"], &both, Some(Brotli)),
            (&["gzip, br"], &both, Some(Brotli)),
            (&["gzip, br;q=0.9"], &both, Some(Gzip)),
            (&["gzip;q=0.1, x-gzip;q=0.8, br;q=0.5"], &both, Some(Gzip)),
            (&["br;q=0.2", "gzip;q=0.3"], &both, Some(Gzip)),
            (&["gzip,,\t, br"], &both, Some(Brotli)),
            // Browsers and curl send this.
            (&["gzip, deflate, br, zstd"], &all, Some(Zstd)),
            (&["gzip, deflate, br"], &all, Some(Brotli)),
            (&["deflate, gzip"], &all, Some(Gzip)),
            (&["deflate"], &all, Some(Deflate)),
            (&["br;q=1.0, gzip;q=0.8, *;q=0.1"], &all, Some(Brotli)),
            (&["*;q=0.1, gzip;q=0.05"], &all, Some(Zstd)),
            (&["zstd;q=0, *"], &all, Some(Brotli)),
            (&["*, identity;q=0"], &all, Some(Zstd)),
            (&["gzip;q=0.001, identity;q=0"], &all, Some(Gzip)),
            (&["gzip;q=0.5, identity;q=0.6, *;q=0"], &all, None),
            // With a dictionary only where it is named.
            (&["gzip, br, zstd, dcb, dcz"], &all, Some(Dcz)),
            (&["dcb"], &all, Some(Dcb)),
            (&["dcb, dcz;q=0.9"], &all, Some(Dcb)),
            (&["*"], &[Dcb, Dcz], None),
        ];
        for (fields, candidates, expected) in table {
            let chosen = accepted(fields).prefer(candidates.iter().copied());
            assert_eq!(chosen, *expected, "{fields:?}");
        }
    }

    #[test]
    fn identity() {
        for (fields, taken) in [
            (&[][..], true),
            (&["gzip"], true),
            (&["identity;q=0"], false),
            (&["*;q=0"], false),
            (&["*;q=0, identity"], true),
            (&["*;q=0", "identity;q=0.1"], true),
            (&["gzip, identity;q=0, *"], false),
            (&["identity;q=0, identity;q=1"], true),
        ] {
            assert_eq!(accepted(fields).takes_identity(), taken, "{fields:?}");
        }
    }

    #[test]
    fn a_field_that_is_not_text_is_passed_over() {
        let mut headers = HeaderMap::new();
        let value = http::HeaderValue::from_bytes(b"\xff, gzip").unwrap();
        headers.append(ACCEPT_ENCODING, value);
        assert_eq!(
            AcceptEncoding::from_headers(&headers).weight(ContentCoding::Gzip),
            1000
        );
    }
}
