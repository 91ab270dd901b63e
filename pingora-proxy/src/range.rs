//! Ranges of a response (RFC 9110 section 14): the part of it that the client asked for.

use bytes::Bytes;
use http::StatusCode;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_RANGE, RANGE};
use pingora_core::protocols::http::v1::common::header_value_content_length;
use pingora_http::{RequestHeader, ResponseHeader};
use std::collections::VecDeque;
use std::ops::Range;

/// By default, no more ranges than this are honoured: each costs a part.
const DEFAULT_MAX_RANGES: usize = 32;

/// Several ranges of one response, sent as `multipart/byteranges`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiRangeInfo {
    /// The ranges, in the order asked for.
    pub ranges: Vec<Range<usize>>,
    /// The boundary between the parts.
    pub boundary: String,
    /// The whole response's type, repeated in each part.
    pub content_type: Option<String>,
    total_length: usize,
}

impl MultiRangeInfo {
    /// These ranges, with a boundary made at random.
    pub fn new(ranges: Vec<Range<usize>>) -> Self {
        let boundary = format!("{:016x}", fastrand::u64(..));
        MultiRangeInfo {
            ranges,
            boundary,
            content_type: None,
            total_length: 0,
        }
    }

    /// Sets the whole response's type.
    pub fn set_content_type(&mut self, content_type: String) {
        self.content_type = Some(content_type);
    }

    /// Sets the whole response's length, in bytes.
    pub fn set_total_length(&mut self, total_length: usize) {
        self.total_length = total_length;
    }

    /// The header of one part.
    pub fn part_head(&self, range: &Range<usize>) -> String {
        let content_type = match &self.content_type {
            Some(content_type) => format!("Content-Type: {content_type}\r\n"),
            None => String::new(),
        };
        let last = range.end.saturating_sub(1);
        format!(
            "\r\n--{}\r\n{content_type}Content-Range: bytes {}-{last}/{}\r\n\r\n",
            self.boundary, range.start, self.total_length
        )
    }

    /// The delimiter after the last part.
    pub fn tail(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }

    /// The length of the whole multipart body, in bytes.
    pub fn calculate_multipart_length(&self) -> usize {
        let part = |range: &Range<usize>| self.part_head(range).len() + range.len();
        self.ranges.iter().map(part).sum::<usize>() + self.tail().len()
    }
}

/// Cuts ranges out of a body that is read once, from its beginning. Of several, each begins behind the end of
/// the one before.
#[derive(Debug)]
pub(crate) struct Cut {
    ranges: std::vec::IntoIter<Range<usize>>,
    current: Option<Range<usize>>,
    /// Parts have heads; `None` for a single range.
    info: Option<MultiRangeInfo>,
    /// How much of the body has passed.
    position: usize,
}

impl Cut {
    /// One range.
    pub(crate) fn one(range: Range<usize>) -> Self {
        Cut {
            ranges: Vec::new().into_iter(),
            current: Some(range),
            info: None,
            position: 0,
        }
    }

    /// Several ranges, as parts.
    pub(crate) fn several(info: MultiRangeInfo) -> Self {
        let mut ranges = info.ranges.clone().into_iter();
        Cut {
            current: ranges.next(),
            ranges,
            info: Some(info),
            position: 0,
        }
    }

    /// Whether nothing more of the body is needed.
    pub(crate) fn is_over(&self) -> bool {
        self.current.is_none()
    }

    /// Takes the next piece of the body in, and appends what it yields.
    pub(crate) fn push(&mut self, piece: Bytes, out: &mut VecDeque<Bytes>) {
        let begin = self.position;
        self.position += piece.len();
        while let Some(range) = self.current.clone() {
            let from = range.start.max(begin);
            let until = range.end.min(self.position);
            if from < until {
                if let Some(info) = self.info.as_ref().filter(|_| from == range.start) {
                    out.push_back(Bytes::from(info.part_head(&range)));
                }
                out.push_back(piece.slice(from - begin..until - begin));
            }
            if range.end > self.position {
                return;
            }
            self.current = self.ranges.next();
            if let (None, Some(info)) = (&self.current, &self.info) {
                out.push_back(Bytes::from(info.tail()));
            }
        }
    }
}

/// The part of a response that the client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeType {
    /// The whole of it.
    None,
    /// One range.
    Single(Range<usize>),
    /// Several ranges.
    Multi(MultiRangeInfo),
    /// Only ranges that start beyond its end.
    Invalid,
}

impl RangeType {
    /// Several ranges, with a boundary made at random.
    pub fn new_multi(ranges: Vec<Range<usize>>) -> Self {
        RangeType::Multi(MultiRangeInfo::new(ranges))
    }
}

/// Applies one range-spec to a length: `Err` if it breaks the syntax, `None` if it lies beyond the end.
fn parse_spec(spec: &str, length: usize) -> Result<Option<Range<usize>>, ()> {
    let (first, last) = spec.split_once('-').ok_or(())?;
    let number = |text: &str| {
        if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            Ok(text.parse().unwrap_or(usize::MAX))
        } else {
            Err(())
        }
    };
    if first.is_empty() {
        let suffix = number(last)?.min(length);
        return Ok((suffix > 0).then(|| length - suffix..length));
    }
    let first = number(first)?;
    let end = if last.is_empty() {
        usize::MAX
    } else {
        number(last)?.saturating_add(1)
    };
    if end <= first && first < usize::MAX {
        return Err(());
    }
    Ok((first < length).then(|| first..end.min(length)))
}

/// Evaluates a `Range` field against a response of this length. A field that breaks the syntax, or asks
/// for too much, or for the same more than once, is ignored (RFC 9110 section 14.2).
fn parse_range(value: &[u8], length: usize, most: usize) -> RangeType {
    let Ok(text) = std::str::from_utf8(value) else {
        return RangeType::None;
    };
    let Some((unit, specs)) = text.split_once('=') else {
        return RangeType::None;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return RangeType::None;
    }
    let mut ranges = Vec::new();
    for (count, spec) in specs
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .enumerate()
    {
        match parse_spec(spec, length) {
            Ok(_) if count >= most => return RangeType::None,
            Ok(Some(range)) => ranges.push(range),
            Ok(None) => {}
            Err(()) => return RangeType::None,
        }
    }
    // Ranges that overlap so much that they exceed the whole: a small request that asks for a huge response.
    let asked = ranges.iter().map(ExactSizeIterator::len);
    if asked.fold(0, usize::saturating_add) > length {
        return RangeType::None;
    }
    match ranges.len() {
        0 => RangeType::Invalid,
        1 => RangeType::Single(ranges.remove(0)),
        _ => RangeType::new_multi(ranges),
    }
}

/// Whether an `If-Range` field permits the range (RFC 9110 section 13.1.5): it must be a strong entity
/// tag, or a date, equal to the response's own.
fn if_range_holds(req: &RequestHeader, resp: &ResponseHeader) -> bool {
    let Some(condition) = req.headers.get(IF_RANGE) else {
        return true;
    };
    let condition = condition.as_bytes();
    let own = match condition.first() {
        Some(b'"') => resp.headers.get(http::header::ETAG),
        _ => resp.headers.get(http::header::LAST_MODIFIED),
    };
    own.is_some_and(|own| own.as_bytes() == condition)
}

/// Applies the request's `Range` to a complete response: changes its header into a partial response
/// (206), or into a refusal if no range can be satisfied (416), and returns the part to send.
/// `max_multipart_ranges` limits how many ranges are honoured; 32 if `None`.
pub fn range_header_filter(
    req: &RequestHeader,
    resp: &mut ResponseHeader,
    max_multipart_ranges: Option<usize>,
) -> RangeType {
    if resp.line().status != StatusCode::OK
        || !matches!(req.line().method, http::Method::GET | http::Method::HEAD)
        || !req.has_field(&RANGE)
    {
        return RangeType::None;
    }
    let length = header_value_content_length(resp.headers.get(CONTENT_LENGTH));
    let (Some(length), Some(range)) = (length, req.headers.get(RANGE)) else {
        return RangeType::None;
    };
    if !if_range_holds(req, resp) {
        return RangeType::None;
    }
    let most = max_multipart_ranges.unwrap_or(DEFAULT_MAX_RANGES);
    let mut kind = parse_range(range.as_bytes(), length, most);
    match apply(&mut kind, resp, length) {
        Ok(()) => kind,
        Err(_) => RangeType::None,
    }
}

fn apply(
    kind: &mut RangeType,
    resp: &mut ResponseHeader,
    length: usize,
) -> pingora_error::Result<()> {
    match kind {
        RangeType::None => resp.insert_header(ACCEPT_RANGES, "bytes"),
        RangeType::Invalid => {
            resp.set_status(StatusCode::RANGE_NOT_SATISFIABLE)?;
            resp.set_content_length(0)?;
            resp.remove_header(&CONTENT_TYPE);
            resp.insert_header(CONTENT_RANGE, format!("bytes */{length}"))
        }
        RangeType::Single(range) => {
            resp.set_status(StatusCode::PARTIAL_CONTENT)?;
            resp.set_content_length(range.len())?;
            let last = range.end.saturating_sub(1);
            resp.insert_header(
                CONTENT_RANGE,
                format!("bytes {}-{last}/{length}", range.start),
            )
        }
        RangeType::Multi(info) => {
            if let Some(own) = resp.headers.get(CONTENT_TYPE) {
                info.set_content_type(String::from_utf8_lossy(own.as_bytes()).into_owned());
            }
            info.set_total_length(length);
            resp.set_status(StatusCode::PARTIAL_CONTENT)?;
            resp.set_content_length(info.calculate_multipart_length())?;
            let content_type = format!("multipart/byteranges; boundary={}", info.boundary);
            resp.insert_header(CONTENT_TYPE, content_type)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood_or_ignored() {
        let rows: &[(&str, RangeType)] = &[
            ("bytes=0-0", RangeType::Single(0..1)),
            ("bytes=0-9", RangeType::Single(0..10)),
            ("bytes=5-", RangeType::Single(5..10)),
            ("bytes=-3", RangeType::Single(7..10)),
            ("bytes=-30", RangeType::Single(0..10)),
            ("bytes=0-99", RangeType::Single(0..10)),
            ("Bytes = 1-1", RangeType::Single(1..2)),
            ("bytes=10-", RangeType::Invalid),
            ("bytes=-0", RangeType::Invalid),
            ("bytes=99999999999999999999999-", RangeType::Invalid),
            ("bytes=2-1", RangeType::None),
            ("bytes=a-b", RangeType::None),
            ("bytes=1", RangeType::None),
            ("bytes=+1-2", RangeType::None),
            ("lines=0-1", RangeType::None),
            ("bytes", RangeType::None),
            ("bytes=20-30, 1-2", RangeType::Single(1..3)),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_range(text.as_bytes(), 10, 4), *expected, "{text}");
        }
        let RangeType::Multi(several) = parse_range(b"bytes=0-1,-1", 10, 4) else {
            panic!()
        };
        assert_eq!(several.ranges, [0..2, 9..10]);
        assert_eq!(parse_range(b"bytes=0-0,1-1,2-2", 10, 2), RangeType::None);
        // As much as the whole together, and more.
        assert!(matches!(
            parse_range(b"bytes=0-6,-3", 10, 4),
            RangeType::Multi(_)
        ));
        assert_eq!(parse_range(b"bytes=0-6,-4", 10, 4), RangeType::None);
        assert_eq!(parse_range(b"bytes=0-,0-,0-", 10, 4), RangeType::None);
    }

    fn pair(range: &str) -> (RequestHeader, ResponseHeader) {
        let mut req = RequestHeader::build("GET", b"/", None).unwrap();
        req.insert_header("Range", range).unwrap();
        let mut resp = ResponseHeader::build(200, None).unwrap();
        resp.insert_header("Content-Length", "10").unwrap();
        resp.insert_header("Content-Type", "text/plain").unwrap();
        resp.insert_header("ETag", "\"a\"").unwrap();
        (req, resp)
    }

    #[test]
    fn a_single_range_becomes_206() {
        let (req, mut resp) = pair("bytes=2-4");
        assert_eq!(
            range_header_filter(&req, &mut resp, None),
            RangeType::Single(2..5)
        );
        assert_eq!(resp.status, 206);
        assert_eq!(resp.headers["content-range"], "bytes 2-4/10");
        assert_eq!(resp.headers["content-length"], "3");
    }

    #[test]
    fn an_impossible_range_becomes_416() {
        let (req, mut resp) = pair("bytes=10-");
        assert_eq!(
            range_header_filter(&req, &mut resp, None),
            RangeType::Invalid
        );
        assert_eq!(resp.status, 416);
        assert_eq!(resp.headers["content-range"], "bytes */10");
    }

    #[test]
    fn several_ranges_become_parts_of_the_promised_length() {
        let (req, mut resp) = pair("bytes=0-1,4-5");
        let RangeType::Multi(info) = range_header_filter(&req, &mut resp, None) else {
            panic!()
        };
        let parts: String = info
            .ranges
            .iter()
            .map(|r| info.part_head(r) + &"x".repeat(r.len()))
            .collect();
        let whole = parts + &info.tail();
        assert_eq!(
            resp.headers["content-length"],
            whole.len().to_string().as_str()
        );
    }

    #[test]
    fn ranges_are_cut_out_wherever_the_pieces_end() {
        let body: Vec<u8> = (0..100).collect();
        for size in [1, 3, 7, 50, 100, 200] {
            let cut_out = |mut cut: Cut| {
                let mut out = VecDeque::new();
                for piece in body.chunks(size) {
                    if !cut.is_over() {
                        cut.push(Bytes::copy_from_slice(piece), &mut out);
                    }
                }
                assert!(cut.is_over());
                out.iter().flatten().copied().collect::<Vec<u8>>()
            };
            for range in [0..1, 0..100, 42..50, 99..100] {
                assert_eq!(cut_out(Cut::one(range.clone())), body[range]);
            }
            let mut info = MultiRangeInfo::new(vec![0..2, 2..9, 98..100]);
            info.set_total_length(100);
            let length = info.calculate_multipart_length();
            let expected = info.ranges.iter().flat_map(|range| {
                let head = info.part_head(range).into_bytes();
                head.into_iter().chain(body[range.clone()].iter().copied())
            });
            let mut expected: Vec<u8> = expected.collect();
            expected.extend_from_slice(info.tail().as_bytes());
            assert_eq!(cut_out(Cut::several(info)), expected);
            assert_eq!(expected.len(), length);
        }
    }

    #[test]
    fn if_range_needs_the_responses_own_mark() {
        let (mut req, mut resp) = pair("bytes=0-1");
        req.insert_header("If-Range", "\"b\"").unwrap();
        assert_eq!(range_header_filter(&req, &mut resp, None), RangeType::None);
        req.insert_header("If-Range", "\"a\"").unwrap();
        assert_eq!(
            range_header_filter(&req, &mut resp, None),
            RangeType::Single(0..2)
        );
    }
}
