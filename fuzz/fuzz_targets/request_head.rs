//! Request heads: found and read the same however they are cut, and once accepted, unambiguous and
//! stable when sent on.
#![no_main]

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use libfuzzer_sys::fuzz_target;
use pingora_core::protocols::http::h1::{
    BodyLength, HeadLimits, HeadScanner, RequestRules, encode_request, outgoing_request_length,
    by_tokens, parse_request, skip_leading_crlf,
};
use pingora_core::protocols::http::hop_by_hop::{
    HttpUpstreamRequestPolicy, prepare_upstream_request,
};
use pingora_core::protocols::http::authority::validate_request_authority;
use pingora_http::{ControlField, RequestHeader};

fuzz_target!(|data: &[u8]| {
    let Some((&flags, data)) = data.split_first() else { return };
    let limits = match flags & 4 {
        0 => HeadLimits::default(),
        _ => HeadLimits { head_bytes: 300, fields: 4, target_bytes: 20 },
    };
    let rules =
        RequestRules { limits, allow_connect: flags & 1 != 0, allow_obs_fold: flags & 2 != 0 };
    let data = &data[skip_leading_crlf(data)..];

    let whole = HeadScanner::default().find_end(data, &limits).ok();
    let mut scanner = HeadScanner::default();
    let step = usize::from(flags >> 3) + 1;
    let mut ends: Vec<usize> = (0..data.len()).step_by(step).collect();
    ends.push(data.len());
    let pieces = ends.into_iter().map(|end| scanner.find_end(&data[..end], &limits)).find_map(
        |found| match found {
            Ok(None) => None,
            Ok(found) => Some(Some(found)),
            Err(_) => Some(None),
        },
    );
    let pieces = pieces.unwrap_or(Some(None));
    // In a head that is there whole, each line is for the parser to look at.
    assert!(whole == pieces || pieces.is_none(), "{whole:?}, in pieces {pieces:?}");

    let end = whole.flatten().unwrap_or(data.len());
    let head = Bytes::copy_from_slice(&data[..end]);
    let mut request = RequestHeader::default();
    let parsed = parse_request(&head, &rules, &mut request);
    if head.len() <= limits.head_bytes && !rules.allow_obs_fold {
        let mut slowly = RequestHeader::default();
        assert_eq!(parsed, by_tokens::parse_request(&head, &rules, &mut slowly));
        slowly.keep_head(head);
        assert_eq!(slowly.headers, request.headers);
        assert_eq!((&slowly.method, slowly.raw_path()), (&request.method, request.raw_path()));
    }
    let Ok(facts) = parsed else { return };
    assert!(whole.flatten().is_some(), "an accepted head has an end");
    assert_eq!(whole, pieces, "an accepted head has it however it is cut");

    assert_ne!(facts.body, BodyLength::UntilClose);
    let count = |name| request.headers.get_all(name).iter().count();
    assert!(count(HOST) <= 1 && count(CONTENT_LENGTH) <= 1);
    assert!(count(TRANSFER_ENCODING) == 0 || count(CONTENT_LENGTH) == 0);
    validate_request_authority(&request).expect("target and Host agree");

    let mut wire = Vec::new();
    encode_request(&request, &mut wire);
    let lines = wire.split(|&b| b == b'\n').count();
    assert_eq!(lines, request.headers.len() + 3, "a field is a line");
    let roomy = HeadLimits { head_bytes: 1 << 20, fields: 1 << 10, target_bytes: 1 << 16 };
    let found = HeadScanner::default().find_end(&wire, &roomy);
    assert_eq!(found, Ok(Some(wire.len())));
    let mut again = RequestHeader::default();
    let rules = RequestRules { limits: roomy, allow_connect: true, allow_obs_fold: false };
    let read_back = parse_request(&wire.clone().into(), &rules, &mut again);
    assert_eq!(read_back, Ok(facts));
    assert_eq!(again.headers, request.headers);
    assert_eq!(again.raw_path(), request.raw_path());
    let mut wire_again = Vec::new();
    encode_request(&again, &mut wire_again);
    assert_eq!(wire, wire_again);

    let length = outgoing_request_length(&request).expect("what is accepted can be sent");
    assert!(length == facts.body || request.method == http::Method::CONNECT);
    let standard = HttpUpstreamRequestPolicy::standard();
    if prepare_upstream_request(&mut again, &standard, http::Version::HTTP_11).is_ok() {
        assert_eq!(again.headers.get(HOST), request.headers.get(HOST));
        assert_eq!(again.headers.get(CONTENT_LENGTH), request.headers.get(CONTENT_LENGTH));
        assert!(!again.headers.contains_key(TRANSFER_ENCODING));
        let is_alias = |name: &http::HeaderName| {
            ControlField::of(name.as_str().as_bytes()) == Some(ControlField::Alias)
        };
        assert!(!again.headers.keys().any(is_alias));
        let upgrade = again.headers.contains_key("upgrade");
        let option = upgrade || again.headers.contains_key("te");
        assert_eq!(option, again.headers.contains_key("connection"));
        assert!(facts.upgrade || !upgrade, "only a sound upgrade passes");
    }

    // A change to the header while it is lent does not last.
    let mut lent_wire = Vec::new();
    let mut fresh = RequestHeader::default();
    parse_request(&wire.clone().into(), &rules, &mut fresh).expect("read back once");
    if let Some(mut lent) = fresh.lend() {
        if prepare_upstream_request(&mut lent, &standard, http::Version::HTTP_11).is_ok() {
            encode_request(&lent, &mut lent_wire);
            let mut copy_wire = Vec::new();
            encode_request(&again, &mut copy_wire);
            assert_eq!(lent_wire, copy_wire);
        }
    }
    let mut wire_again = Vec::new();
    encode_request(&fresh, &mut wire_again);
    assert_eq!(wire, wire_again);
    assert_eq!(fresh.headers, request.headers);
});
