//! HTTP request and response headers that preserve the case of field names.
//!
//! Header names are case-insensitive, and a correct peer ignores their case. Some peers do not. A proxy
//! therefore sends a name the way it arrived: [`RequestHeader`] and [`ResponseHeader`] wrap the [`http`]
//! crate's heads and store the spelling of names beside the map.
//!
//! This costs nothing for names in Title-Case (`Content-Type`), the usual spelling in HTTP/1. Only a name
//! that differs (`ETag`, `DNT`, `sec-ch-ua`) is stored, in one small entry. HTTP/2 has only lower-case
//! names, so no spellings are kept there ([`RequestHeader::build_no_case`]).
//!
//! Both types dereference to their `http` parts for reading. They have no mutable dereference: every
//! change goes through a method, so that map and spelling stay consistent.
//!
//! ```
//! use pingora_http::RequestHeader;
//!
//! let mut req = RequestHeader::build("GET", b"/index.html", None)?;
//! req.insert_header("host", "example.com")?;
//! req.append_header(http::header::ACCEPT, "text/html")?;
//! assert_eq!(req.headers.get("Host").unwrap(), "example.com");
//!
//! let mut wire = Vec::new();
//! req.header_to_h1_wire(&mut wire);
//! assert_eq!(wire, b"host: example.com\r\nAccept: text/html\r\n");
//! # Ok::<(), pingora_http::BError>(())
//! ```
//!
//! # Layout
//! | module | what it is |
//! |---|---|
//! | `request`, `response` | the two heads |
//! | `case_header_name` | a name with its spelling, and conversions into one |
//! | `name_cases` | which names of a map are spelt differently, and walking a map in wire form |
//! | `name_cache` | recently seen names, per thread, so that a custom name needs no allocation |
//! | `control_field` | the fields that a proxy needs in order to pass a message on |
//! | `wire` | fields as they arrived, before they are accessed |
//! | `target` | request targets that a URI can't hold |
//! | [`authority`] | the authority of a raw request target |
//!
//! Page in the repository: `docs/architecture.md`.
#![forbid(unsafe_code)]

pub mod authority;
pub mod grammar;

mod case_header_name;
mod control_field;
mod name_cache;
mod name_cases;
mod request;
mod response;
mod target;
mod value;
mod wire;

pub use case_header_name::{CaseHeaderName, HeaderNameVariant, IntoCaseHeaderName};
pub use http::HeaderMap as HMap;
pub use http::method::Method;
pub use http::status::StatusCode;
pub use http::version::Version;
pub use name_cache::header_name_from_slice;
pub use request::RequestHeader;
pub use response::ResponseHeader;
pub use value::{header_value_from_raw, header_value_from_slice};

#[doc(hidden)]
pub use case_header_name::FieldName;
#[doc(hidden)]
pub use control_field::{ControlField, is_relied_on};
#[doc(hidden)]
pub use name_cases::FieldRefused;
#[doc(hidden)]
pub use pingora_error::BError;
#[doc(hidden)]
pub use target::TargetRefused;
#[doc(hidden)]
pub use wire::ParsedFields;

/// The two heads.
pub mod prelude {
    pub use crate::RequestHeader;
    pub use crate::ResponseHeader;
}

#[cfg(test)]
mod tests;
