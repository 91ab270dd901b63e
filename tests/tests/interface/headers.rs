//! `pingora_http`: heads of requests and responses.

mod pingora_http {
    use crate::any;
    use bytes::BytesMut;
    use http::header::HeaderValue;
    use http::request::Parts as ReqParts;
    use http::response::Parts as RespParts;
    use http::{Extensions, Uri};
    use pingora_error::Result;
    use pingora_http::*;

    fn conversions(request: RequestHeader, response: ResponseHeader) {
        let _: (&ReqParts, &RespParts) = (request.as_ref(), response.as_ref());
        let _: (&Method, &Uri, &HMap) = (&request.method, &request.uri, &request.headers);
        let _: (StatusCode, Version) = (response.status, response.version);
        let (request, response): (ReqParts, RespParts) = (request.into(), response.into());
        let _: (RequestHeader, ResponseHeader) = (request.into(), response.into());
        let _ = "a".into_case_header_name();
        let _ = String::from("a").into_case_header_name();
        let _ = http::header::HOST.into_case_header_name();
    }

    fn the_request_header(it: &mut RequestHeader) {
        let _: Result<RequestHeader> = RequestHeader::build("GET", b"a", any::<Option<usize>>());
        let _: Result<RequestHeader> =
            RequestHeader::build_no_case("GET", b"a", any::<Option<usize>>());
        let _: Result<bool> = it.append_header("a", "a");
        let _: Result<()> = it.insert_header("a", "a");
        let _: Option<HeaderValue> = it.remove_header("a");
        it.header_to_h1_wire(&mut BytesMut::new());
        for (_, value) in it.case_header_iter() {
            let _: &HeaderValue = value;
        }
        let _: bool = it.has_case();
        it.map(|name, _| match name {
            HeaderNameVariant::Case(_) => Ok(()),
            HeaderNameVariant::Titled(_) => Ok(()),
        })
        .unwrap();
        let _: &mut Extensions = it.extensions_mut();
        it.set_method(any::<Method>());
        it.set_uri(any::<Uri>());
        let _: Result<()> = it.set_raw_path(b"a");
        it.set_send_end_stream(true);
        let _: Option<bool> = it.send_end_stream();
        let _: &[u8] = it.raw_path();
        let _: bool = it.raw_path_is_utf8();
        let _: Option<&str> = it.uri_file_extension();
        it.set_version(any::<Version>());
        let _: ReqParts = it.as_owned_parts();
    }

    fn the_response_header(it: &mut ResponseHeader) {
        let _: Result<ResponseHeader> = ResponseHeader::build(200, any::<Option<usize>>());
        let _: Result<ResponseHeader> = ResponseHeader::build_no_case(200, any::<Option<usize>>());
        let _: Result<bool> = it.append_header("a", "a");
        let _: Result<()> = it.insert_header("a", "a");
        let _: Option<HeaderValue> = it.remove_header("a");
        it.header_to_h1_wire(&mut BytesMut::new());
        for (_, value) in it.case_header_iter() {
            let _: &HeaderValue = value;
        }
        let _: bool = it.has_case();
        it.map(|_, _| Ok(())).unwrap();
        let _: &mut Extensions = it.extensions_mut();
        let _: Result<()> = it.set_status(200);
        it.set_version(any::<Version>());
        let _: Result<()> = it.set_reason_phrase(any::<Option<&str>>());
        let _: Option<&str> = it.get_reason_phrase();
        let _: RespParts = it.as_owned_parts();
        let _: Result<()> = it.set_content_length(1);
    }

    fn functions_and_constants() {
        let _: HeaderValue = header_value_from_raw("a");
        let _: HeaderValue = header_value_from_slice(b"a");
    }
}

mod authority {

    use pingora_http::authority::*;

    fn the_raw_target_authority(it: &mut RawTargetAuthority<'_>) {
        match it {
            RawTargetAuthority::None => {}
            RawTargetAuthority::Absolute {
                scheme,
                authority,
                path_and_query,
            } => {
                let _ = (scheme, authority, path_and_query);
            }
            RawTargetAuthority::AmbiguousAuthority => {}
        }
        let _: Option<&[u8]> = it.authority();
        is_eq::<RawTargetAuthority<'_>>();
        is_partial_eq::<RawTargetAuthority<'_>>();
    }

    fn functions_and_constants() {
        let _: RawTargetAuthority<'_> = raw_target_authority(b"a");
        let _: bool = is_http_family_scheme(b"a");
    }

    fn is_eq<T: Eq>() {}
    fn is_partial_eq<T: PartialEq>() {}
}
