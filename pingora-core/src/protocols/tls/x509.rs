//! Reads the fields of a certificate (RFC 5280 section 4.1) that are shown or compared. Pure.
//!
//! The TLS library decides about trust; this code only reads. `None` stands for values that can't be read.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const OCTETS: u8 = 0x04;
const BITS: u8 = 0x03;

/// Values that stand one after the other, each with its tag and its length (X.690).
#[derive(Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag and its contents. Lengths in more than four bytes and those without an end are
    /// none of DER's that a certificate may have.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], mut rest) = self.0.split_first_chunk()?;
        let length = if length < 0x80 {
            usize::from(length)
        } else {
            let count = usize::from(length & 0x7f);
            if !(1..=4).contains(&count) {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(count)?;
            rest = after;
            let all = bytes.iter();
            all.fold(0usize, |all, byte| (all << 8) | usize::from(*byte))
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    /// The next value, which has to have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(is, _)| *is == tag)
            .map(|(_, value)| value)
    }

    /// The next value if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) {
            self.expect(tag)
        } else {
            None
        }
    }

    pub(super) fn sequence(&mut self) -> Option<Der<'a>> {
        self.expect(SEQUENCE).map(Der)
    }
}

/// A value with its tag and its length.
#[cfg(not(feature = "openssl"))]
pub(super) fn wrapped(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut whole = vec![tag];
    match u8::try_from(value.len()) {
        Ok(short @ ..0x80) => whole.push(short),
        _ => {
            let bytes = value.len().to_be_bytes();
            let digits: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            whole.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
            whole.extend(digits);
        }
    }
    whole.extend_from_slice(value);
    whole
}

/// The facts of a certificate.
pub(super) struct Facts<'a> {
    serial: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    #[cfg_attr(feature = "openssl", allow(dead_code))] // OpenSSL reads what listeners show.
    key_algorithm: &'a [u8],
    #[cfg_attr(feature = "openssl", allow(dead_code))] // OpenSSL reads what listeners show.
    curve: Option<&'a [u8]>,
    #[cfg_attr(feature = "openssl", allow(dead_code))] // OpenSSL reads what listeners show.
    public_key: &'a [u8],
    /// The names of hosts among the alternative names.
    hosts: Vec<&'a str>,
    /// The addresses among them.
    addresses: Vec<IpAddr>,
    /// The first byte of what the key may be used for, if that is limited.
    key_usage: Option<u8>,
    /// Whether it is an authority's, and how many certificates may stand between it and a leaf; `None` if it
    /// says nothing about it.
    constraints: Option<(bool, Option<usize>)>,
}

impl<'a> Facts<'a> {
    /// Reads a certificate in the DER format.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let mut tbs = Der(der).sequence()?.sequence()?;
        let _version = tbs.optional(0xa0);
        let serial = tbs.expect(INTEGER)?;
        let _signature = tbs.sequence()?;
        let issuer = tbs.expect(SEQUENCE)?;
        let mut validity = tbs.sequence()?;
        let not_before = time(validity.next()?)?;
        let not_after = time(validity.next()?)?;
        let subject = tbs.expect(SEQUENCE)?;
        let mut key = tbs.sequence()?;
        let mut algorithm = key.sequence()?;
        let key_algorithm = algorithm.expect(OBJECT)?;
        let curve = algorithm.optional(OBJECT);
        // The first byte says how many bits of the last are unused.
        let public_key = key.expect(BITS)?.split_first()?.1;
        let (_issuer_id, _subject_id) = (tbs.optional(0xa1), tbs.optional(0xa2));
        let mut facts = Facts {
            serial,
            issuer,
            subject,
            not_before,
            not_after,
            key_algorithm,
            curve,
            public_key,
            hosts: vec![],
            addresses: vec![],
            key_usage: None,
            constraints: None,
        };
        if let Some(extensions) = tbs.optional(0xa3) {
            facts.read_extensions(Der(extensions).sequence()?);
        }
        Some(facts)
    }

    fn read_extensions(&mut self, mut extensions: Der<'a>) {
        const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
        const ALTERNATIVES: &[u8] = &[0x55, 0x1d, 0x11];
        const CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
        while let Some(mut extension) = extensions.sequence() {
            let kind = extension.expect(OBJECT);
            let _critical = extension.optional(0x01);
            let Some(value) = extension.expect(OCTETS) else {
                continue;
            };
            if kind == Some(ALTERNATIVES) {
                self.read_alternatives(value);
            } else if kind == Some(KEY_USAGE) {
                let bits = Der(value).expect(BITS).unwrap_or_default();
                // Behind the number of bits that are unused.
                self.key_usage = Some(bits.get(1).copied().unwrap_or_default());
            } else if kind == Some(CONSTRAINTS) {
                self.constraints = Some(constraints(value));
            }
        }
    }

    /// The alternative names (RFC 5280 section 4.2.1.6).
    fn read_alternatives(&mut self, value: &'a [u8]) {
        const HOST: u8 = 0x82;
        const ADDRESS: u8 = 0x87;
        let mut names = Der(value).sequence().unwrap_or(Der(&[]));
        while let Some((tag, value)) = names.next() {
            match tag {
                HOST => self.hosts.extend(str::from_utf8(value)),
                ADDRESS => {
                    let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
                    let address = v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from));
                    self.addresses.extend(address);
                }
                _ => {}
            }
        }
    }

    /// Whether it may be an authority's. One without extensions, as of version 1, may if it is signed by itself.
    pub(super) fn may_be_authority(&self) -> bool {
        let constrained = self.constraints.map(|(is, _)| is);
        constrained.unwrap_or_else(|| self.names_itself()) && self.may_sign_certificates()
    }

    /// How many certificates may stand between it and a leaf, if that is limited.
    pub(super) fn path_length(&self) -> Option<usize> {
        self.constraints?.1
    }

    /// Whether the key may sign certificates.
    pub(super) fn may_sign_certificates(&self) -> bool {
        const KEY_CERT_SIGN: u8 = 0x04;
        self.key_usage
            .is_none_or(|usage| usage & KEY_CERT_SIGN != 0)
    }

    /// The addresses among the alternative names.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The serial number, in hexadecimal.
    pub(super) fn serial(&self) -> String {
        let zeros = self.serial.iter().take_while(|byte| **byte == 0).count();
        let digits = self.serial.get(zeros..).unwrap_or_default();
        if digits.is_empty() {
            return "0".to_string();
        }
        digits.iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// Whether the names of subject and issuer are one: it may be signed by itself.
    pub(super) fn names_itself(&self) -> bool {
        self.issuer == self.subject
    }

    /// The names of hosts: the alternative names, or without any the common name.
    pub(super) fn hosts(&self) -> Vec<String> {
        if self.hosts.is_empty() {
            return self.subject_entry("CN").into_iter().collect();
        }
        self.hosts.iter().map(|host| host.to_string()).collect()
    }

    /// The first entry of one kind in the subject.
    pub(super) fn subject_entry(&self, kind: &str) -> Option<String> {
        let mut entries = entries(self.subject).into_iter();
        entries.find(|(of, _)| *of == kind).map(|(_, value)| value)
    }

    /// The subject as RFC 4514 writes it: the last part first, with what means something else escaped.
    pub(super) fn distinguished_name(&self) -> String {
        let parts = entries(self.subject).into_iter().rev();
        let parts: Vec<String> = parts
            .map(|(kind, value)| format!("{kind}={}", escaped(&value)))
            .collect();
        parts.join(",")
    }
}

/// For certificates that a listener shows, and what is stapled to them.
#[cfg(not(feature = "openssl"))]
impl<'a> Facts<'a> {
    pub(super) fn raw_serial(&self) -> &'a [u8] {
        self.serial
    }

    /// The subject's name, without its header.
    pub(super) fn raw_subject(&self) -> &'a [u8] {
        self.subject
    }

    /// The bits of the public key.
    pub(super) fn public_key(&self) -> &'a [u8] {
        self.public_key
    }

    pub(super) fn key_algorithm(&self) -> &'a [u8] {
        self.key_algorithm
    }

    pub(super) fn curve(&self) -> Option<&'a [u8]> {
        self.curve
    }
}

/// The basic constraints (RFC 5280 section 4.2.1.9). Unreadable constraints allow nothing.
fn constraints(value: &[u8]) -> (bool, Option<usize>) {
    let Some(mut parts) = Der(value).sequence() else {
        return (false, None);
    };
    let is_authority = parts.optional(0x01).is_some_and(|value| value != [0]);
    let length = parts.optional(INTEGER).map(|digits| {
        let all = digits.iter().take(8);
        all.fold(0usize, |all, byte| (all << 8) | usize::from(*byte))
    });
    (is_authority, length)
}

/// The kinds of entries that a name is made of, by their numbers, in the words of RFC 4514 section 3 and of
/// common use.
const KINDS: [(&[u8], &str); 12] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 9, 1], "emailAddress"),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];

/// The entries of a name, in their order: kind and value.
fn entries(name: &[u8]) -> Vec<(&'static str, String)> {
    const SET: u8 = 0x31;
    let mut found = vec![];
    let mut sets = Der(name);
    while let Some(set) = sets.expect(SET) {
        let mut set = Der(set);
        while let Some(mut entry) = set.sequence() {
            let (Some(kind), Some((tag, value))) = (entry.expect(OBJECT), entry.next()) else {
                break;
            };
            let known = KINDS.iter().find(|(number, _)| *number == kind);
            found.push((known.map_or("OID", |(_, word)| word), text(tag, value)));
        }
    }
    found
}

/// A text in one of the alphabets that names may have.
fn text(tag: u8, value: &[u8]) -> String {
    const TELETEX: u8 = 0x14;
    const BMP: u8 = 0x1e;
    match tag {
        TELETEX => value.iter().map(|byte| char::from(*byte)).collect(),
        BMP => {
            let (pairs, _) = value.as_chunks::<2>();
            let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
            char::decode_utf16(units)
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        _ => String::from_utf8_lossy(value).into_owned(),
    }
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (index, c) in value.chars().enumerate() {
        let at_an_end = (index == 0 && matches!(c, ' ' | '#')) || (index == last && c == ' ');
        if at_an_end || matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            text.push('\\');
        }
        if c.is_control() {
            text.extend(c.to_string().bytes().map(|b| format!("\\{b:02X}")));
        } else {
            text.push(c);
        }
    }
    text
}

/// A date: `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
pub(super) fn time((tag, value): (u8, &[u8])) -> Option<SystemTime> {
    let text = str::from_utf8(value).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = text.split_at(2);
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (GENERALIZED_TIME, 14) => {
            let (year, rest) = text.split_at(4);
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    let (hour, minute, second) = (part(4)?, part(6)?, part(8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

/// Days since 1970 of a date in the Gregorian calendar, whose years begin in March here, so that leap days come
/// last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "000229120000Z", Some(951_825_600)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "20500101000000Z", None),
            (UTC_TIME, "700101000000", None),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "70010100000xZ", None),
            (INTEGER, "700101000000Z", None),
        ] {
            let read = time((tag, text.as_bytes()));
            let seconds = seconds.map(|s| SystemTime::UNIX_EPOCH + Duration::from_secs(s));
            assert_eq!(read, seconds, "{text}");
        }
    }

    #[test]
    fn lengths_beyond_the_end_are_refused() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0],
        ] {
            assert!(Der(bytes).next().is_none(), "{bytes:?}");
            assert!(Facts::read(bytes).is_none(), "{bytes:?}");
        }
        assert_eq!(Der(&[4, 0x81, 1, 7]).next(), Some((4, &[7][..])));
    }

    #[test]
    fn names_are_written_so_that_they_can_be_told_apart() {
        assert_eq!(escaped("#x "), "\\#x\\ ");
        assert_eq!(escaped("a,b\n"), "a\\,b\\0A");
        assert_eq!(text(0x1e, &[0, b'a', 0x20, 0xac]), "a€");
        assert_eq!(text(0x14, &[0xe9]), "é");
    }

    #[cfg(feature = "openssl")]
    #[test]
    fn it_reads_what_openssl_writes() {
        use crate::protocols::tls::certificate::get_serial;
        use crate::protocols::tls::openssl::test_certificates::authority;
        let made = authority("the authority");
        let der = made.cert.to_der().unwrap();
        let facts = Facts::read(&der).unwrap();
        assert_eq!(facts.serial(), get_serial(&made.cert).unwrap());
        assert_eq!(
            facts.subject_entry("O").as_deref(),
            Some("Test Organisation")
        );
        assert_eq!(
            facts.distinguished_name(),
            "CN=the authority,OU=Test Unit,O=Test Organisation"
        );
        assert!(facts.names_itself() && facts.not_before < facts.not_after);
        // Every byte of it, one after the other, may be wrong.
        for at in 0..der.len() {
            let mut broken = der.clone();
            broken[at] ^= 0xff;
            if let Some(facts) = Facts::read(&broken) {
                let _ = (facts.hosts(), facts.distinguished_name(), facts.serial());
            }
        }
    }
}
