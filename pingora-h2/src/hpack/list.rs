//! The field list of one message, with its bounds.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use pingora_http::grammar::{Malformed, Section, SectionCheck};

use super::{Field, Pseudo, Sink};
use crate::spare::take_fields;

/// The bounds of a [`FieldList`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListLimits {
    /// The largest list, in bytes: name, value and 32 for each field (RFC 9113 section 6.5.2).
    /// Default: 65,536.
    pub max_bytes: usize,
    /// The most fields, pseudo-header fields and crumbs of `cookie` included. Default: 256.
    pub max_fields: usize,
    /// The most `cookie` fields (RFC 9113 section 8.2.3). Default: 100.
    pub max_crumbs: usize,
}

impl Default for ListLimits {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 10,
            max_fields: 256,
            max_crumbs: 100,
        }
    }
}

/// The reason for which a list is refused although nothing is malformed. Leads to a 431, or to the
/// end of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Over [`ListLimits::max_bytes`].
    Bytes,
    /// Over [`ListLimits::max_fields`].
    Fields,
    /// Over [`ListLimits::max_crumbs`].
    Crumbs,
}

/// The pseudo-header fields of a message. Each came at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PseudoFields {
    /// `:method`
    pub method: Option<Method>,
    /// `:scheme`
    pub scheme: Option<Bytes>,
    /// `:authority`
    pub authority: Option<Bytes>,
    /// `:path`
    pub path: Option<Bytes>,
    /// `:protocol`
    pub protocol: Option<Bytes>,
    /// `:status`
    pub status: Option<StatusCode>,
}

impl PseudoFields {
    /// Whether there are no pseudo-header fields, as trailers require.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The field list of one message while it is decoded.
///
/// The list keeps the first fault that it finds. From then on it stores nothing more, and of the
/// earlier fields only the pseudo-header fields are kept, for a log. The decoder continues in order to
/// keep its table correct.
///
/// ```
/// use pingora_h2::hpack::{Decoder, FieldList, ListLimits, Section};
///
/// let mut decoder = Decoder::new(4096);
/// let mut list = FieldList::new(Section::Request, ListLimits::default());
/// // RFC 7541 appendix C.3.1.
/// let block = b"\x82\x86\x84\x41\x0fwww.example.com";
/// decoder.decode(block, true, &mut list)?;
/// list.end();
/// assert_eq!((list.malformed(), list.refused()), (None, None));
/// assert_eq!(list.pseudo.authority.as_deref(), Some(&b"www.example.com"[..]));
/// # Ok::<(), pingora_h2::Error>(())
/// ```
#[derive(Debug)]
pub struct FieldList {
    /// The pseudo-header fields.
    pub pseudo: PseudoFields,
    /// All other fields in the order in which they came. `cookie` crumbs are not joined.
    pub fields: HeaderMap,
    check: SectionCheck,
    limits: ListLimits,
    bytes: usize,
    count: usize,
    crumbs: usize,
    refused: Option<Refusal>,
    malformed: Option<Malformed>,
}

impl FieldList {
    /// Creates an empty list. Allocates when the first regular field is added.
    pub fn new(section: Section, limits: ListLimits) -> Self {
        Self {
            pseudo: PseudoFields::default(),
            fields: HeaderMap::new(),
            check: SectionCheck::new(section),
            limits,
            bytes: 0,
            count: 0,
            crumbs: 0,
            refused: None,
            malformed: None,
        }
    }

    /// The size of the list in bytes (name, value and 32 for each field), even if the list is refused.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of fields, even if the list is refused.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The number of `cookie` fields that were kept.
    pub fn crumbs(&self) -> usize {
        self.crumbs
    }

    /// The bound that the list exceeds, if any.
    pub fn refused(&self) -> Option<Refusal> {
        self.refused
    }

    /// The reason why the list is malformed, if it is.
    pub fn malformed(&self) -> Option<Malformed> {
        self.malformed
    }

    #[cold]
    fn refuse(&mut self, why: Refusal) {
        self.refused.get_or_insert(why);
        self.forget();
    }

    #[cold]
    fn malform(&mut self, why: Malformed) {
        self.malformed.get_or_insert(why);
        self.forget();
    }

    fn forget(&mut self) {
        self.fields = HeaderMap::new();
    }

    /// Ends the block and checks the list as a whole (the required pseudo-header fields). Check
    /// [`malformed`](Self::malformed) and [`refused`](Self::refused) afterwards.
    pub fn end(&mut self) {
        if self.malformed.is_none()
            && self.refused.is_none()
            && let Err(why) = self.check.end()
        {
            self.malform(why);
        }
    }

    #[inline]
    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        if self.fields.capacity() == 0 {
            self.fields = take_fields();
        }
        if name == header::COOKIE {
            self.crumbs += 1;
            if self.crumbs > self.limits.max_crumbs {
                return self.refuse(Refusal::Crumbs);
            }
        }
        if self.fields.try_append(name, value).is_err() {
            self.refuse(Refusal::Fields);
        }
    }

    fn put(&mut self, field: Field) -> Result<(), Malformed> {
        match field {
            Field::Regular(name, value) => {
                self.append(name, value);
                Ok(())
            }
            Field::Malformed(why) => Err(why),
            _ if !self.fields.is_empty() => Err(Malformed::LatePseudo),
            Field::Method(method) => {
                self.check.line(b":method", method.as_str().as_bytes())?;
                self.pseudo.method = Some(method);
                Ok(())
            }
            Field::Status(status) => {
                self.check.line(b":status", status.as_str().as_bytes())?;
                self.pseudo.status = Some(status);
                Ok(())
            }
            Field::Pseudo(pseudo, value) => {
                self.check.line(pseudo.name().as_bytes(), &value)?;
                let place = match pseudo {
                    Pseudo::Authority => &mut self.pseudo.authority,
                    Pseudo::Path => &mut self.pseudo.path,
                    Pseudo::Protocol => &mut self.pseudo.protocol,
                    Pseudo::Scheme => &mut self.pseudo.scheme,
                };
                *place = Some(value);
                Ok(())
            }
        }
    }
}

impl Sink for FieldList {
    #[inline]
    fn wants(&mut self, size: usize) -> bool {
        self.bytes = self.bytes.saturating_add(size);
        self.count += 1;
        if self.bytes > self.limits.max_bytes {
            self.refuse(Refusal::Bytes);
        } else if self.count > self.limits.max_fields {
            self.refuse(Refusal::Fields);
        }
        self.refused.is_none() && self.malformed.is_none()
    }

    #[inline]
    fn field(&mut self, field: Field) {
        if let Err(why) = self.put(field) {
            self.malform(why);
        }
    }

    #[inline]
    fn indexed(&mut self, field: &Field) {
        match field {
            Field::Regular(name, value) => self.append(name.clone(), value.clone()),
            other => self.field(other.clone()),
        }
    }
}
