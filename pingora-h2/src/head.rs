//! The heads of messages, and what makes one malformed as a whole (RFC 9113 section 8).

use crate::hpack::{FieldList, PseudoFields};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode};
use pingora_http::grammar::ContentLength;
use std::fmt;

/// The head of a request or a response, informational or final.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// The pseudo-header fields.
    pub pseudo: PseudoFields,
    /// All other fields. Crumbs of `cookie` are not joined.
    pub fields: HeaderMap,
    /// What is wrong with a request that arrived. Its stream is reset once it was answered, whatever
    /// the answer is.
    pub fault: Option<HeadFault>,
}

impl Head {
    /// The head of a response with this status and these fields.
    pub fn response(status: StatusCode, fields: HeaderMap) -> Self {
        Head {
            pseudo: PseudoFields {
                status: Some(status),
                ..PseudoFields::default()
            },
            fields,
            fault: None,
        }
    }

    /// Whether this is a response that another one follows.
    pub fn is_informational(&self) -> bool {
        self.pseudo
            .status
            .is_some_and(|status| status.is_informational())
    }

    pub(crate) fn is_connect(&self) -> bool {
        self.pseudo.method == Some(Method::CONNECT)
    }
}

/// What is wrong with the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadFault {
    /// The status to answer with: 400, or 431 for a head over a bound.
    pub status: u16,
    /// What is wrong, for logs. Never holds anything that the peer sent.
    pub detail: &'static str,
}

impl HeadFault {
    pub(crate) const fn malformed(detail: &'static str) -> Self {
        HeadFault {
            status: 400,
            detail,
        }
    }

    const fn too_large(detail: &'static str) -> Self {
        HeadFault {
            status: 431,
            detail,
        }
    }
}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail)
    }
}

/// What the list says about itself: a bound that it is over, or a field that is malformed.
fn of_list(list: &FieldList) -> Result<(), HeadFault> {
    if let Some(malformed) = list.malformed() {
        return Err(HeadFault::malformed(malformed.detail()));
    }
    if list.refused().is_some() {
        return Err(HeadFault::too_large("the header fields are over a limit"));
    }
    Ok(())
}

/// Checks a request (RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4). Returns the length that it
/// declares.
pub(crate) fn check_request(
    list: &FieldList,
    extended_connect: bool,
) -> Result<Option<u64>, HeadFault> {
    of_list(list)?;
    let pseudo = &list.pseudo;
    let missing = HeadFault::malformed("a pseudo-header field is missing");
    let method = pseudo.method.as_ref().ok_or(missing)?;
    if pseudo.status.is_some() {
        return Err(HeadFault::malformed("a request has a :status"));
    }
    let connect = *method == Method::CONNECT;
    if pseudo.protocol.is_some() && !(connect && extended_connect) {
        let detail = "a :protocol in a request that can't have one";
        return Err(HeadFault::malformed(detail));
    }
    if connect && pseudo.protocol.is_none() {
        if pseudo.scheme.is_some() || pseudo.path.is_some() {
            return Err(HeadFault::malformed("a CONNECT has a :scheme or a :path"));
        }
        pseudo.authority.as_ref().ok_or(missing)?;
    } else if pseudo.scheme.is_none() || pseudo.path.is_none() {
        return Err(missing);
    } else if pseudo.path.as_ref().is_some_and(|path| path.is_empty()) {
        return Err(HeadFault::malformed("the path is empty"));
    }
    declared_length(&list.fields)
}

/// Checks a response (RFC 9113 section 8.3.2). Returns its status, and the length that it declares.
pub(crate) fn check_response(list: &FieldList) -> Result<(StatusCode, Option<u64>), HeadFault> {
    of_list(list)?;
    let pseudo = &list.pseudo;
    let request = pseudo.method.is_some()
        || pseudo.scheme.is_some()
        || pseudo.authority.is_some()
        || pseudo.path.is_some()
        || pseudo.protocol.is_some();
    if request {
        let detail = "a response has a pseudo-header field of requests";
        return Err(HeadFault::malformed(detail));
    }
    let missing = HeadFault::malformed("a response has no :status");
    let status = pseudo.status.ok_or(missing)?;
    Ok((status, declared_length(&list.fields)?))
}

/// Checks trailers (RFC 9113 section 8.1).
pub(crate) fn check_trailers(list: &FieldList) -> Result<(), HeadFault> {
    of_list(list)?;
    if list.pseudo.is_empty() {
        Ok(())
    } else {
        let detail = "trailers have a pseudo-header field";
        Err(HeadFault::malformed(detail))
    }
}

/// The length that these fields declare.
fn declared_length(fields: &HeaderMap) -> Result<Option<u64>, HeadFault> {
    let mut known = None;
    for value in fields.get_all(CONTENT_LENGTH) {
        let read = ContentLength::read(known, value.as_bytes());
        known = Some(read.map_err(|refused| HeadFault::malformed(refused.reason()))?);
    }
    Ok(known.map(|length| length.bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::{Field, ListLimits, Pseudo, Sink};
    use bytes::Bytes;
    use http::header::{HeaderName, HeaderValue};

    fn list(fields: &[(&'static str, &'static str)]) -> FieldList {
        let mut list = FieldList::new(ListLimits::default());
        for (name, value) in fields {
            let text = Bytes::from_static(value.as_bytes());
            assert!(list.wants(name.len() + value.len() + 32));
            list.field(match *name {
                ":method" => Field::Method(Method::from_bytes(value.as_bytes()).unwrap()),
                ":status" => Field::Status(StatusCode::from_bytes(value.as_bytes()).unwrap()),
                ":scheme" => Field::Pseudo(Pseudo::Scheme, text),
                ":authority" => Field::Pseudo(Pseudo::Authority, text),
                ":path" => Field::Pseudo(Pseudo::Path, text),
                ":protocol" => Field::Pseudo(Pseudo::Protocol, text),
                name => Field::Regular(
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                ),
            });
        }
        list
    }

    const GET: [(&str, &str); 4] = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a"),
        (":path", "/"),
    ];

    /// RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4.
    #[test]
    fn a_request_has_the_pseudo_fields_that_it_needs() {
        type Row<'a> = (&'a [(&'static str, &'static str)], Result<(), u16>);
        let connect = (":method", "CONNECT");
        let protocol = (":protocol", "websocket");
        let rows: &[Row<'_>] = &[
            (&GET, Ok(())),
            (&[GET[0], GET[1], GET[3]], Ok(())),
            (&[GET[1], GET[2], GET[3]], Err(400)),
            (&[GET[0], GET[2], GET[3]], Err(400)),
            (&[GET[0], GET[1], GET[2]], Err(400)),
            (&[GET[0], GET[1], (":path", "")], Err(400)),
            (&[GET[0], GET[1], GET[3], (":status", "200")], Err(400)),
            (&[GET[0], GET[1], GET[3], protocol], Err(400)),
            (&[connect, GET[2]], Ok(())),
            (&[connect], Err(400)),
            (&[connect, GET[1], GET[2]], Err(400)),
            (&[connect, GET[2], GET[3]], Err(400)),
            (&[connect, GET[1], GET[2], GET[3], protocol], Ok(())),
            (&[connect, GET[2], protocol], Err(400)),
            (&[], Err(400)),
        ];
        for (fields, expected) in rows {
            let found = check_request(&list(fields), true).map(|_| ());
            assert_eq!(found.map_err(|fault| fault.status), *expected, "{fields:?}");
        }
        let extended = list(&[connect, GET[1], GET[2], GET[3], protocol]);
        assert!(check_request(&extended, false).is_err(), "not announced");
    }

    /// RFC 9110 section 8.6.
    #[test]
    fn a_length_is_declared_once_or_alike() {
        type Row<'a> = (&'a [&'static str], Result<Option<u64>, u16>);
        let rows: &[Row<'_>] = &[
            (&[], Ok(None)),
            (&["5"], Ok(Some(5))),
            (&["5", "5"], Ok(Some(5))),
            (&["5", "6"], Err(400)),
            (&["-1"], Err(400)),
            (&["18446744073709551616"], Err(400)),
        ];
        for (lengths, expected) in rows {
            let mut fields = GET.to_vec();
            fields.extend(lengths.iter().map(|length| ("content-length", *length)));
            let found = check_request(&list(&fields), true);
            assert_eq!(
                found.map_err(|fault| fault.status),
                *expected,
                "{lengths:?}"
            );
        }
    }

    /// RFC 9113 sections 8.1 and 8.3.2.
    #[test]
    fn responses_and_trailers_have_the_pseudo_fields_that_they_may_have() {
        let ok = (":status", "204");
        let rows: &[(&[(&'static str, &'static str)], bool, bool)] = &[
            (&[ok], true, false),
            (&[ok, ("x", "1")], true, false),
            (&[("x", "1")], false, true),
            (&[], false, true),
            (&[ok, GET[3]], false, false),
            (&GET, false, false),
        ];
        for (fields, response, trailers) in rows {
            let list = list(fields);
            assert_eq!(check_response(&list).is_ok(), *response, "{fields:?}");
            assert_eq!(check_trailers(&list).is_ok(), *trailers, "{fields:?}");
        }
    }
}
