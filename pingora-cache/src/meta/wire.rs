//! Metadata as bytes.
//!
//! Two parts, each of which begins with the number of its format. Numbers are little-endian; a text is its length
//! in four bytes and then its bytes. A reader that meets another number refuses the entry, which is then fetched
//! again.

use super::{CacheMeta, Inner};
use crate::key::HashBinary;
use bytes::Bytes;
use http::{Extensions, Version};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{ResponseHeader, header_value_from_raw};
use std::time::{Duration, SystemTime};

const INTERNAL: u8 = 1;
const HEADER: u8 = 1;

/// More bytes than any head may have; a length beyond is a fault of the storage.
const LARGEST: usize = 1 << 24;

pub(super) fn write(meta: &Inner) -> Result<(Vec<u8>, Vec<u8>)> {
    Ok((write_internal(meta), write_header(&meta.header)?))
}

pub(super) fn read(internal: &[u8], header: &[u8]) -> Result<CacheMeta> {
    let header = read_header(header)?;
    let mut reader = Reader(internal);
    reader.format(INTERNAL)?;
    let created = reader.time()?;
    let updated = reader.time()?;
    let fresh_until = reader.time()?;
    let provenance = reader.optional(Reader::time)?;
    let epoch_override = reader.optional(Reader::time)?;
    let stale_while_revalidate_sec = reader.u32()?;
    let stale_if_error_sec = reader.u32()?;
    let variance = reader.optional(Reader::hash)?;
    let generation = reader.optional(Reader::u64)?;
    reader.end()?;
    Ok(CacheMeta::of(Inner {
        created,
        updated,
        provenance,
        epoch_override,
        fresh_until,
        stale_while_revalidate_sec,
        stale_if_error_sec,
        variance,
        generation,
        header,
        extensions: Extensions::new(),
    }))
}

fn write_internal(meta: &Inner) -> Vec<u8> {
    let mut out = vec![INTERNAL];
    put_time(&mut out, meta.created);
    put_time(&mut out, meta.updated);
    put_time(&mut out, meta.fresh_until);
    for time in [meta.provenance, meta.epoch_override] {
        out.push(u8::from(time.is_some()));
        if let Some(time) = time {
            put_time(&mut out, time);
        }
    }
    out.extend(meta.stale_while_revalidate_sec.to_le_bytes());
    out.extend(meta.stale_if_error_sec.to_le_bytes());
    out.push(u8::from(meta.variance.is_some()));
    out.extend(meta.variance.iter().flatten());
    out.push(u8::from(meta.generation.is_some()));
    out.extend(meta.generation.map(u64::to_le_bytes).iter().flatten());
    out
}

fn write_header(header: &ResponseHeader) -> Result<Vec<u8>> {
    let mut out = vec![HEADER];
    out.extend(header.status.as_u16().to_le_bytes());
    out.push(match header.version {
        Version::HTTP_09 => 9,
        Version::HTTP_10 => 10,
        Version::HTTP_2 => 20,
        Version::HTTP_3 => 30,
        _ => 11,
    });
    let phrase = header.get_reason_phrase();
    let phrase = phrase.filter(|phrase| Some(*phrase) != header.status.canonical_reason());
    out.push(u8::from(phrase.is_some()));
    put_text(&mut out, phrase.unwrap_or_default().as_bytes())?;
    out.push(u8::from(header.has_case()));
    out.extend(length(header.headers.len())?.to_le_bytes());
    if header.has_case() {
        for (name, value) in header.case_header_iter() {
            put_text(&mut out, name.as_slice())?;
            put_text(&mut out, value.as_bytes())?;
        }
    } else {
        for (name, value) in &header.headers {
            put_text(&mut out, name.as_str().as_bytes())?;
            put_text(&mut out, value.as_bytes())?;
        }
    }
    Ok(out)
}

fn read_header(bytes: &[u8]) -> Result<ResponseHeader> {
    let mut reader = Reader(bytes);
    reader.format(HEADER)?;
    let status = u16::from_le_bytes(reader.array()?);
    let version = match reader.u8()? {
        9 => Version::HTTP_09,
        10 => Version::HTTP_10,
        11 => Version::HTTP_11,
        20 => Version::HTTP_2,
        30 => Version::HTTP_3,
        _ => return damaged(),
    };
    let has_phrase = reader.u8()? == 1;
    let phrase = reader.text()?;
    let has_case = reader.u8()? == 1;
    let count = reader.u32()? as usize;
    // No more than there is room for, in case the number is wrong: each field has two lengths.
    let hint = Some(count.min(reader.0.len() / 8));
    let mut header = if has_case {
        ResponseHeader::build(status, hint)?
    } else {
        ResponseHeader::build_no_case(status, hint)?
    };
    header.set_version(version);
    if has_phrase {
        let Ok(phrase) = std::str::from_utf8(phrase) else {
            return damaged();
        };
        header.set_reason_phrase(Some(phrase))?;
    }
    for _ in 0..count {
        let name = Bytes::copy_from_slice(reader.text()?);
        let value = header_value_from_raw(Bytes::copy_from_slice(reader.text()?));
        header.append_header(name, value)?;
    }
    reader.end()?;
    Ok(header)
}

/// Seconds since 1970, negative before, and nanoseconds. A time that does not fit is the nearest that does.
fn put_time(out: &mut Vec<u8>, time: SystemTime) {
    let (seconds, nanos) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => (
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            since.subsec_nanos(),
        ),
        Err(before) => {
            let before = before.duration();
            (
                i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds),
                0,
            )
        }
    };
    out.extend(seconds.to_le_bytes());
    out.extend(nanos.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) -> Result<()> {
    out.extend(length(text.len())?.to_le_bytes());
    out.extend(text);
    Ok(())
}

fn length(length: usize) -> Result<u32> {
    match u32::try_from(length) {
        Ok(number) if length <= LARGEST => Ok(number),
        _ => Error::e_explain(
            ErrorType::InternalError,
            "a header is too large to be stored",
        ),
    }
}

#[cold]
fn damaged<T>() -> Result<T> {
    Error::e_explain(ErrorType::InternalError, "stored metadata is damaged")
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        match self.0.split_at_checked(length) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => damaged(),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.take(N)?.try_into() {
            Ok(array) => Ok(array),
            Err(_) => damaged(),
        }
    }

    fn format(&mut self, known: u8) -> Result<()> {
        if self.u8()? == known {
            return Ok(());
        }
        Error::e_explain(
            ErrorType::InternalError,
            "stored metadata has a format of another release",
        )
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn hash(&mut self) -> Result<HashBinary> {
        self.array()
    }

    fn time(&mut self) -> Result<SystemTime> {
        let seconds = i64::from_le_bytes(self.array()?);
        let nanos = self.u32()?;
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(whole)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(whole)
        };
        let time = time.and_then(|time| time.checked_add(Duration::from_nanos(nanos.into())));
        time.map_or_else(damaged, Ok)
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => damaged(),
        }
    }

    fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { damaged() }
    }
}
