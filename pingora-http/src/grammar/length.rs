//! `Content-Length` (RFC 9110 section 8.6).

use super::list_elements;

/// The combined value of all `Content-Length` fields of a message.
///
/// ```
/// use pingora_http::grammar::ContentLength;
///
/// let length = ContentLength::read(None, b"17").unwrap();
/// assert_eq!(length.bytes(), 17);
/// // A second field that says the same is dropped, another one is refused.
/// assert!(ContentLength::read(Some(length), b"17").is_ok());
/// assert!(ContentLength::read(Some(length), b"18").is_err());
/// // The forwarded value has no leading zeros.
/// assert_eq!(ContentLength::read(None, b"010").unwrap().digits(), b"10");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentLength<'a> {
    /// The digits as they arrived.
    given: &'a [u8],
    bytes: u64,
}

/// The reason why a `Content-Length` was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthRefused {
    /// It is not a plain number: empty, signed, with spaces inside, not decimal.
    NotPlain,
    /// It is over 2^63 - 1.
    TooLarge,
    /// Two values disagree.
    Different,
}

impl LengthRefused {
    /// The reason, for a log line.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotPlain => "Content-Length is not a plain number",
            Self::TooLarge => "Content-Length is too large",
            Self::Different => "two different values of Content-Length",
        }
    }
}

impl<'a> ContentLength<'a> {
    /// Reads the value of one field; `known` is the result of the fields before it.
    ///
    /// A list is accepted if all its elements, and those of all other fields, have the same digits (RFC
    /// 9110 section 8.6). Leading zeros are part of the RFC's grammar and are accepted; some readers
    /// treat them as octal, so they are never sent on: see [`digits`](Self::digits).
    ///
    /// # Errors
    /// Anything but digits, more than 63 bits, or values that are spelt differently.
    #[inline]
    pub fn read(known: Option<Self>, value: &'a [u8]) -> Result<Self, LengthRefused> {
        if known.is_none()
            && let Ok(bytes) = decimal(value)
        {
            // The usual case: one field, one number.
            return Ok(Self {
                given: value,
                bytes,
            });
        }
        Self::read_list(known, value)
    }

    fn read_list(mut known: Option<Self>, value: &'a [u8]) -> Result<Self, LengthRefused> {
        for given in list_elements(value) {
            match known {
                Some(known) if known.given == given => {}
                Some(_) => return Err(LengthRefused::Different),
                None => {
                    let bytes = decimal(given)?;
                    known = Some(Self { given, bytes });
                }
            }
        }
        known.ok_or(LengthRefused::NotPlain)
    }

    /// The length of the body, in bytes.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The form to send on: the digits of the number, without leading zeros.
    #[inline]
    pub fn digits(&self) -> &'a [u8] {
        let mut digits = self.given;
        while let [b'0', rest @ ..] = digits
            && !rest.is_empty()
        {
            digits = rest;
        }
        digits
    }

    /// Whether `value`, the last one read, is spelt like [`digits`](Self::digits): a single number
    /// without leading zeros.
    #[inline]
    pub fn is_written_as(&self, value: &[u8]) -> bool {
        // An element of a list is shorter than the list.
        self.given.len() == value.len() && !matches!(self.given, [b'0', _, ..])
    }
}

/// `1*DIGIT`, at most 2^63 - 1: other readers count bytes in signed numbers.
///
/// # Errors
/// [`LengthRefused::NotPlain`], [`LengthRefused::TooLarge`].
#[inline]
pub fn decimal(digits: &[u8]) -> Result<u64, LengthRefused> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(LengthRefused::NotPlain);
    }
    /// This many digits always fit.
    const SURELY_FIT: usize = 18;
    let (first, rest) = digits.split_at(digits.len().min(SURELY_FIT));
    let number = first.iter().fold(0, |number: u64, digit| {
        number * 10 + u64::from(digit - b'0')
    });
    let number = rest.iter().try_fold(number, |number, digit| {
        let number = number
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
        (number <= i64::MAX.unsigned_abs()).then_some(number)
    });
    number.ok_or(LengthRefused::TooLarge)
}
