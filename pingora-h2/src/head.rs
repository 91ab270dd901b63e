//! The heads of messages, and the checks that apply to a whole head (RFC 9113 section 8).

use crate::flat::FlatFields;
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
    /// Fields to be sent after those, without a map. A head that was received has none.
    pub flat: FlatFields,
    /// The fault of a request that arrived. Its stream is reset after the answer, whatever that is.
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
            ..Head::default()
        }
    }

    /// Whether another response follows this one.
    pub fn is_informational(&self) -> bool {
        self.pseudo
            .status
            .is_some_and(|status| status.is_informational())
    }

    pub(crate) fn is_connect(&self) -> bool {
        self.pseudo.method == Some(Method::CONNECT)
    }
}

/// The fault in the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadFault {
    /// The status to answer with: 400, or 431 for a head over a bound.
    pub status: u16,
    /// The detail for logs. Never contains anything that the peer sent.
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

/// The fault that the list itself reports: an exceeded bound, or a malformed field.
fn of_list(list: &FieldList) -> Result<(), HeadFault> {
    if let Some(malformed) = list.malformed() {
        return Err(HeadFault::malformed(malformed.reason()));
    }
    if list.refused().is_some() {
        return Err(HeadFault::too_large("the header fields are over a limit"));
    }
    Ok(())
}

/// Checks a request. Returns the length that it declares.
pub(crate) fn check_request(
    list: &FieldList,
    extended_connect: bool,
) -> Result<Option<u64>, HeadFault> {
    of_list(list)?;
    if list.pseudo.protocol.is_some() && !extended_connect {
        // RFC 8441 section 4.
        let detail = "a :protocol although none was announced to be taken";
        return Err(HeadFault::malformed(detail));
    }
    declared_length(&list.fields)
}

/// Checks a response. Returns its status, and the length that it declares.
pub(crate) fn check_response(list: &FieldList) -> Result<(StatusCode, Option<u64>), HeadFault> {
    of_list(list)?;
    let missing = HeadFault::malformed("a response has no :status");
    let status = list.pseudo.status.ok_or(missing)?;
    Ok((status, declared_length(&list.fields)?))
}

/// Checks trailers.
pub(crate) fn check_trailers(list: &FieldList) -> Result<(), HeadFault> {
    of_list(list)
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
    use crate::hpack::{Field, ListLimits, Pseudo, Section, Sink};
    use bytes::Bytes;
    use http::header::HeaderValue;

    fn get(lengths: &[&'static str], protocol: bool) -> FieldList {
        let mut list = FieldList::new(Section::Request, ListLimits::default());
        let text =
            |pseudo, text: &'static str| Field::Pseudo(pseudo, Bytes::from_static(text.as_bytes()));
        list.field(Field::Method(if protocol {
            Method::CONNECT
        } else {
            Method::GET
        }));
        list.field(text(Pseudo::Scheme, "https"));
        list.field(text(Pseudo::Authority, "a"));
        list.field(text(Pseudo::Path, "/"));
        if protocol {
            list.field(text(Pseudo::Protocol, "websocket"));
        }
        for length in lengths {
            let value = HeaderValue::from_static(length);
            list.field(Field::Regular(CONTENT_LENGTH, value));
        }
        list.end();
        list
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
            let found = check_request(&get(lengths, false), true);
            assert_eq!(
                found.map_err(|fault| fault.status),
                *expected,
                "{lengths:?}"
            );
        }
    }

    /// RFC 8441 section 4.
    #[test]
    fn a_protocol_is_named_only_where_that_was_announced() {
        assert_eq!(check_request(&get(&[], true), true), Ok(None));
        assert!(check_request(&get(&[], true), false).is_err());
    }

    #[test]
    fn a_list_over_a_bound_is_a_431() {
        let limits = ListLimits {
            max_fields: 2,
            ..ListLimits::default()
        };
        let mut list = FieldList::new(Section::Response, limits);
        for _ in 0..3 {
            list.wants(40);
        }
        list.end();
        let fault = check_response(&list).unwrap_err();
        assert_eq!(fault.status, 431);
    }
}
