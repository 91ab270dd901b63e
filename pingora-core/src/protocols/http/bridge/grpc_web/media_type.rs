//! The media types of gRPC and gRPC-Web.

use crate::protocols::http::h1::list_elements;
use http::HeaderValue;

/// The form of a gRPC-Web body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// The frames as they are.
    Binary,
    /// The frames in base64.
    Text,
}

const GRPC: &str = "application/grpc";
const WEB: &str = "application/grpc-web";
const WEB_TEXT: &str = "application/grpc-web-text";

/// The text after `name` if this is that media type, such as `+proto` or `; charset=utf-8`.
fn rest_of<'a>(media_type: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (begin, rest) = media_type.split_at_checked(name.len())?;
    let ends = matches!(rest, [] | [b'+' | b';' | b' ' | b'\t', ..]);
    (begin.eq_ignore_ascii_case(name.as_bytes()) && ends).then_some(rest)
}

fn web_form(media_type: &[u8]) -> Option<(Encoding, &[u8])> {
    rest_of(media_type, WEB)
        .map(|rest| (Encoding::Binary, rest))
        .or_else(|| rest_of(media_type, WEB_TEXT).map(|rest| (Encoding::Text, rest)))
}

fn with(name: &str, rest: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&[name.as_bytes(), rest].concat()).ok()
}

/// The form of a gRPC-Web body, and the corresponding gRPC media type.
pub(crate) fn to_grpc(media_type: &[u8]) -> Option<(Encoding, HeaderValue)> {
    let (encoding, rest) = web_form(media_type)?;
    Some((encoding, with(GRPC, rest)?))
}

/// The gRPC-Web media type that corresponds to one of gRPC.
pub(crate) fn to_web(media_type: &[u8], encoding: Encoding) -> Option<HeaderValue> {
    let rest = rest_of(media_type, GRPC)?;
    match encoding {
        Encoding::Binary => with(WEB, rest),
        Encoding::Text => with(WEB_TEXT, rest),
    }
}

/// Whether this is the media type of gRPC.
pub(crate) fn is_grpc(media_type: &[u8]) -> bool {
    rest_of(media_type, GRPC).is_some()
}

/// The form that these values of `Accept` name; `otherwise` if they name none, or both.
pub(crate) fn accepted<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    otherwise: Encoding,
) -> Encoding {
    let named: Vec<Encoding> = values
        .flat_map(list_elements)
        .filter_map(|element| web_form(element).map(|(encoding, _)| encoding))
        .collect();
    match named.split_first() {
        Some((first, others)) if others.iter().all(|other| other == first) => *first,
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Encoding::{Binary, Text};

    #[test]
    fn requests_are_told_apart() {
        let rows: &[(&str, Option<(Encoding, &str)>)] = &[
            ("application/grpc-web", Some((Binary, "application/grpc"))),
            (
                "application/grpc-web+proto",
                Some((Binary, "application/grpc+proto")),
            ),
            (
                "application/grpc-web+json",
                Some((Binary, "application/grpc+json")),
            ),
            (
                "Application/gRPC-Web+Proto",
                Some((Binary, "application/grpc+Proto")),
            ),
            (
                "application/grpc-web-text",
                Some((Text, "application/grpc")),
            ),
            (
                "application/grpc-web-text+proto",
                Some((Text, "application/grpc+proto")),
            ),
            (
                "application/grpc-web+proto; charset=utf-8",
                Some((Binary, "application/grpc+proto; charset=utf-8")),
            ),
            (
                "application/grpc-web;a=b",
                Some((Binary, "application/grpc;a=b")),
            ),
            ("application/grpc", None),
            ("application/grpc+proto", None),
            ("application/grpc-website", None),
            ("application/grpc-web-texture", None),
            ("application/json", None),
            ("text/plain; application/grpc-web", None),
            ("", None),
        ];
        for (web, expected) in rows {
            let got = to_grpc(web.as_bytes());
            let got = got.as_ref().map(|(e, v)| (*e, v.to_str().unwrap()));
            assert_eq!(got, *expected, "{web}");
        }
    }

    #[test]
    fn responses_get_the_form_that_is_wanted() {
        let rows: &[(&str, Encoding, Option<&str>)] = &[
            ("application/grpc", Binary, Some("application/grpc-web")),
            (
                "application/grpc+proto",
                Binary,
                Some("application/grpc-web+proto"),
            ),
            ("application/grpc", Text, Some("application/grpc-web-text")),
            (
                "application/grpc+proto",
                Text,
                Some("application/grpc-web-text+proto"),
            ),
            ("APPLICATION/GRPC", Text, Some("application/grpc-web-text")),
            ("application/grpc-web", Binary, None),
            ("text/html", Text, None),
        ];
        for (grpc, encoding, expected) in rows {
            let got = to_web(grpc.as_bytes(), *encoding);
            assert_eq!(
                got.as_ref().map(|v| v.to_str().unwrap()),
                *expected,
                "{grpc}"
            );
        }
        assert!(is_grpc(b"application/grpc;x") && !is_grpc(b"application/grpc-web"));
    }

    #[test]
    fn accept_decides_if_it_is_clear() {
        let rows: &[(&[&str], Encoding, Encoding)] = &[
            (&[], Binary, Binary),
            (&[], Text, Text),
            (&["*/*"], Text, Text),
            (&["application/grpc-web-text"], Binary, Text),
            (
                &["application/grpc-web-text+proto;q=1, text/html"],
                Binary,
                Text,
            ),
            (&["application/grpc-web+proto"], Text, Binary),
            (&["text/html", "application/grpc-web"], Text, Binary),
            (
                &["application/grpc-web, application/grpc-web-text"],
                Text,
                Text,
            ),
            (
                &["application/grpc-web", "application/grpc-web-text"],
                Binary,
                Binary,
            ),
        ];
        for (values, requested, expected) in rows {
            let got = accepted(values.iter().map(|v| v.as_bytes()), *requested);
            assert_eq!(got, *expected, "{values:?}");
        }
    }
}
