//! Trailer sections (RFC 9112 section 7.1.2).

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use httparse::EMPTY_HEADER;
use pingora_http::grammar::{has_odd_separators, is_field_name, is_taken_for, with_hyphens};
use pingora_http::{ControlField, is_relied_on};

use super::head::{ends_lines_with_crlf, field_fault, tokenising_fault};
use super::{Fault, HeadLimits, HeadScanner, list_elements};

/// The limits of a trailer section.
const LIMITS: HeadLimits = HeadLimits {
    head_bytes: 16 * 1024,
    fields: 64,
    target_bytes: 16 * 1024,
};

/// Whether a field with this name may be in a trailer section.
///
/// Fields that frame or route a message, authenticate someone, condition a request or describe the
/// content have been used by the time trailers arrive; a recipient that merged them into the head would
/// be deceived (RFC 9110 section 6.5.1). They are dropped in both directions. Dropping a field loses
/// its value, which harms no recipient that follows the rules, whereas refusing the message at this
/// point would cut off a body that was already passed on.
///
/// Many servers treat `_` like `-` in names, and some treat any separator like that, so a name is judged by
/// every name that it may be confused with.
pub fn may_be_trailer(name: &HeaderName) -> bool {
    let text = name.as_str();
    // The `http` crate accepts a quotation mark in a name given by a program.
    is_field_name(text.as_bytes())
        && if has_odd_separators(text.as_bytes()) {
            may_be_spelt(&with_hyphens(text))
        } else {
            may_be_spelt(text)
        }
}

fn may_be_spelt(name: &str) -> bool {
    !(FORBIDDEN.iter().any(|forbidden| forbidden.as_str() == name)
        || FORBIDDEN_CUSTOM.contains(&name)
        || is_relied_on(name)
        || name.starts_with("if-")
        || name.starts_with("access-control-"))
}

/// The `Connection` options in a message's head, which may also name fields of its trailer section:
/// those are for one hop too (RFC 9110 section 7.6.1).
#[derive(Debug, Default)]
pub(crate) struct Nominated(Option<Box<Options>>);

/// One list of all options. Separate, because almost no session has one.
#[derive(Debug)]
struct Options(Box<[u8]>);

impl Nominated {
    /// Collects the names in these control fields. Stores nothing if they are at most the usual
    /// ones.
    pub(crate) fn by<'a>(
        control_fields: impl FnOnce(&mut dyn FnMut(ControlField, &'a [u8])),
    ) -> Self {
        let mut options: Option<Vec<u8>> = None;
        control_fields(&mut |field, value| {
            let usual = [&b"keep-alive"[..], b"close"].contains(&value);
            if field == ControlField::Connection && !usual {
                let options = options.get_or_insert_default();
                options.extend_from_slice(value);
                options.push(b',');
            }
        });
        Self(options.map(|options| Box::new(Options(options.into_boxed_slice()))))
    }

    /// Drops the trailers that are named, in any spelling. `None`: there are no others.
    #[cold]
    pub(crate) fn without(&self, trailers: Box<HeaderMap>) -> Option<Box<HeaderMap>> {
        let Some(options) = &self.0 else {
            return Some(trailers);
        };
        let mut kept = HeaderMap::with_capacity(trailers.len());
        for (name, value) in trailers.iter() {
            if !list_elements(&options.0)
                .any(|option| is_taken_for(name.as_str().as_bytes(), option))
            {
                kept.append(name.clone(), value.clone());
            }
        }
        (!kept.is_empty()).then(|| Box::new(kept))
    }
}

const FORBIDDEN: [HeaderName; 38] = [
    header::AGE,
    header::ALLOW,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_SECURITY_POLICY,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::EXPECT,
    header::EXPIRES,
    header::FORWARDED,
    header::HOST,
    header::LAST_MODIFIED,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::ORIGIN,
    header::PRAGMA,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::REFERER,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
    header::VARY,
    header::VIA,
    header::WARNING,
    header::WWW_AUTHENTICATE,
];

/// Names that the `http` crate has no constants for.
const FORBIDDEN_CUSTOM: [&str; 10] = [
    "authentication-info",
    "client-ip",
    "front-end-https",
    "http2-settings",
    "keep-alive",
    "proxy-authentication-info",
    "proxy-connection",
    "x-host",
    "x-original-host",
    "x-url-scheme",
];

/// Collects a trailer section, which may arrive in pieces. Bounded: 16 KiB and 64 fields.
#[derive(Debug, Clone, Default)]
pub(super) struct TrailerSection {
    bytes: Vec<u8>,
    scanner: HeadScanner,
}

impl TrailerSection {
    /// Processes received bytes. Returns how many of them belong to the section, and the fields
    /// once it is complete.
    ///
    /// # Errors
    /// The same as for the fields of a head.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<(usize, Option<Box<HeaderMap>>), Fault> {
        let before = self.bytes.len();
        // One byte over the limit is enough to notice it.
        let room = (LIMITS.head_bytes + 1).saturating_sub(before);
        let taken = input.get(..room).unwrap_or(input);
        self.bytes.extend_from_slice(taken);
        match self.scanner.find_end(&self.bytes, &LIMITS) {
            Ok(Some(end)) => {
                self.bytes.truncate(end);
                let fields = parse(&self.bytes)?;
                Ok((end - before, Some(Box::new(fields))))
            }
            Ok(None) => Ok((taken.len(), None)),
            Err(fault) if fault.status() == 414 => Err(Fault::new(431, "a trailer is too long")),
            Err(fault) => Err(fault),
        }
    }
}

fn parse(section: &[u8]) -> Result<HeaderMap, Fault> {
    let mut slots = [EMPTY_HEADER; LIMITS.fields];
    let fields = match httparse::parse_headers(section, &mut slots) {
        Ok(httparse::Status::Complete((end, fields))) if end == section.len() => fields,
        Ok(_) => return Err(Fault::bad("the trailer section is malformed")),
        Err(error) => return Err(tokenising_fault(error, section)),
    };
    let (_, later) = fields.split_first().unwrap_or((&EMPTY_HEADER, &[]));
    if !ends_lines_with_crlf(section, later) {
        return Err(Fault::bad(
            "a line of the trailer section does not end with CRLF",
        ));
    }
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| field_fault(pingora_http::FieldRefused::Name))?;
        let value = HeaderValue::from_bytes(field.value)
            .map_err(|_| field_fault(pingora_http::FieldRefused::Value))?;
        if may_be_trailer(&name) {
            map.append(name, value);
        }
    }
    Ok(map)
}
