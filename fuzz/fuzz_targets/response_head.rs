//! Response heads: once accepted, unambiguous and stable when sent on.
#![no_main]

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use libfuzzer_sys::fuzz_target;
use pingora_core::protocols::http::h1::{
    BodyLength, HeadLimits, HeadScanner, ResponseContext, encode_response,
    by_tokens, outgoing_response_length, parse_response, parse_response_with_unsound_length,
};
use pingora_core::protocols::http::hop_by_hop::prepare_downstream_response;
use pingora_http::ResponseHeader;

fuzz_target!(|data: &[u8]| {
    let Some((&flags, data)) = data.split_first() else { return };
    let limits = HeadLimits::default();
    let context = ResponseContext {
        head_request: flags & 1 != 0,
        connect_request: flags & 2 != 0,
        upgrade_requested: flags & 4 != 0,
    };
    let end = match HeadScanner::default().find_end(data, &limits) {
        Ok(Some(end)) => end,
        _ => data.len(),
    };
    let head = Bytes::copy_from_slice(&data[..end]);
    let mut response = ResponseHeader::default();
    let forgiving =
        parse_response_with_unsound_length(&head, &limits, context, &mut response);
    let result = parse_response(&head, &limits, context, &mut response);
    if head.len() <= limits.head_bytes {
        let mut slowly = ResponseHeader::default();
        let slow = by_tokens::parse_response(&head, &limits, context, false, &mut slowly);
        assert_eq!(result, slow.map_err(|fault| fault.of_response()));
        slowly.keep_head(head);
        assert_eq!(slowly.headers, response.headers);
        assert_eq!(slowly.get_reason_phrase(), response.get_reason_phrase());
    }
    let Ok(facts) = result.inspect_err(|fault| assert_eq!(fault.status(), 502)) else { return };
    assert_eq!(forgiving, Ok(facts));

    let has = |name| response.headers.contains_key(name);
    assert!(!(has(CONTENT_LENGTH) && has(TRANSFER_ENCODING)));
    assert!(response.headers.get_all(CONTENT_LENGTH).iter().count() <= 1);
    assert!(facts.body != BodyLength::UntilClose || !facts.keep_alive);
    assert!(!(facts.informational && facts.upgraded));
    assert!(!facts.informational || facts.body == BodyLength::Empty);

    let mut wire = Vec::new();
    encode_response(&response, &mut wire);
    assert_eq!(wire.split(|&b| b == b'\n').count(), response.headers.len() + 3);
    let roomy = HeadLimits { head_bytes: 1 << 20, ..limits };
    let mut again = ResponseHeader::default();
    let read_back = parse_response(&wire.clone().into(), &roomy, context, &mut again)
        .expect("what is accepted can be read again");
    assert_eq!(read_back.body, facts.body);
    assert_eq!(read_back.upgraded, facts.upgraded);
    assert_eq!(again.headers, response.headers);
    let mut wire_again = Vec::new();
    encode_response(&again, &mut wire_again);
    assert_eq!(wire, wire_again);

    let tunnel = context.connect_request && response.status.is_success();
    if !tunnel {
        let length = outgoing_response_length(&response, context.head_request, false);
        assert_eq!(length, Ok(facts.body), "what is accepted can be sent");
    }
    prepare_downstream_response(&mut again);
    assert_eq!(again.headers.get(CONTENT_LENGTH), response.headers.get(CONTENT_LENGTH));
    assert!(!again.headers.contains_key(TRANSFER_ENCODING));
    let length = outgoing_response_length(&again, false, true);
    assert!(length.is_ok_and(|length| length != BodyLength::Chunked));
});
