//! Message heads on their own: parsing, encoding, and what a proxy has to take out.

use crate::messages::{BROWSER_REQUEST, RESPONSE_HEAD};
use crate::{Failure, counted_from_here, warmed_up};
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::h1::{
    self, HeadLimits, HeadScanner, RequestFacts, RequestRules, ResponseContext, ResponseFacts,
};
use pingora::protocols::http::hop_by_hop::{
    HttpUpstreamRequestPolicy, prepare_downstream_response, prepare_upstream_request,
};
use std::hint::black_box;

/// Rounds that are not counted: they fill caches and grow buffers.
const WARM_UP: u32 = 10;

/// Runs `prepare` and `work` in turns, and counts only the latter.
fn rounds<S>(
    times: u32,
    mut prepare: impl FnMut() -> S,
    mut work: impl FnMut(S) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for round in 0..WARM_UP + times {
        if round == WARM_UP {
            warmed_up();
        }
        let prepared = prepare();
        counted_from_here(|| work(prepared))?;
    }
    Ok(())
}

fn scan_and_parse_request(head: &Bytes, into: &mut RequestHeader) -> Result<RequestFacts, Failure> {
    let rules = RequestRules::default();
    let end = HeadScanner::default().find_end(head, &rules.limits)?;
    assert_eq!(end, Some(head.len()));
    Ok(h1::parse_request(head, &rules, into)?)
}

fn scan_and_parse_response(
    head: &Bytes,
    into: &mut ResponseHeader,
) -> Result<ResponseFacts, Failure> {
    let (limits, context) = (HeadLimits::default(), ResponseContext::default());
    let end = HeadScanner::default().find_end(head, &limits)?;
    assert_eq!(end, Some(head.len()));
    Ok(h1::parse_response(head, &limits, context, into)?)
}

fn parsed_request() -> Result<RequestHeader, Failure> {
    let mut request = RequestHeader::build("GET", b"/", None)?;
    scan_and_parse_request(&Bytes::copy_from_slice(BROWSER_REQUEST), &mut request)?;
    Ok(request)
}

fn parsed_response() -> Result<ResponseHeader, Failure> {
    let mut response = ResponseHeader::build(200, None)?;
    scan_and_parse_response(&Bytes::copy_from_slice(RESPONSE_HEAD), &mut response)?;
    Ok(response)
}

pub(crate) fn parse_request(times: u32) -> Result<(), Failure> {
    let head = Bytes::copy_from_slice(BROWSER_REQUEST);
    let mut request = parsed_request()?;
    rounds(
        times,
        || (),
        |()| scan_and_parse_request(black_box(&head), &mut request).map(drop),
    )
}

pub(crate) fn parse_response(times: u32) -> Result<(), Failure> {
    let head = Bytes::copy_from_slice(RESPONSE_HEAD);
    let mut response = parsed_response()?;
    rounds(
        times,
        || (),
        |()| scan_and_parse_response(black_box(&head), &mut response).map(drop),
    )
}

pub(crate) fn encode_request(times: u32) -> Result<(), Failure> {
    let request = parsed_request()?;
    let mut out = Vec::with_capacity(4096);
    rounds(
        times,
        || (),
        |()| {
            out.clear();
            h1::encode_request(black_box(&request), &mut out);
            Ok(())
        },
    )?;
    assert_eq!(out, BROWSER_REQUEST);
    Ok(())
}

pub(crate) fn encode_response(times: u32) -> Result<(), Failure> {
    let response = parsed_response()?;
    let mut out = Vec::with_capacity(4096);
    rounds(
        times,
        || (),
        |()| {
            out.clear();
            h1::encode_response(black_box(&response), &mut out);
            Ok(())
        },
    )?;
    assert_eq!(out, RESPONSE_HEAD);
    Ok(())
}

pub(crate) fn prepare_request(times: u32) -> Result<(), Failure> {
    let request = parsed_request()?;
    let mut copy = parsed_request()?;
    let over = request.line().version;
    let policy = HttpUpstreamRequestPolicy::standard();
    rounds(
        times,
        || (),
        |()| {
            copy.assign_from(black_box(&request));
            Ok(prepare_upstream_request(&mut copy, &policy, over)?)
        },
    )?;
    assert!(copy.headers.get("connection").is_none() && copy.headers.len() == 11);
    Ok(())
}

pub(crate) fn prepare_response(times: u32) -> Result<(), Failure> {
    let response = parsed_response()?;
    rounds(
        times,
        || response.clone(),
        |mut response| {
            prepare_downstream_response(&mut response);
            // Freeing it is not what is measured here.
            std::mem::forget(black_box(response));
            Ok(())
        },
    )
}
