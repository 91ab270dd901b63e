//! The `Date` field (RFC 9110 section 6.6.1).

use http::{HeaderValue, StatusCode};
use httpdate::HttpDate;
use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

/// Whether a response of this status, with or without a `Date`, must be given one before it is sent:
/// every final response without one, including those of an origin. An origin has to date its 2xx, 3xx
/// and 4xx responses, and may date its 5xx; a recipient that forwards a response without a date adds
/// the time of its arrival.
#[inline]
pub(crate) fn is_missing(status: StatusCode, dated: bool) -> bool {
    !dated && !status.is_informational()
}

/// Appends a `Date` field with the current time, in HTTP/1 syntax.
#[cold]
pub(crate) fn put_date_line(out: &mut Vec<u8>) {
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(get_cached_date().as_bytes());
    out.extend_from_slice(b"\r\n");
}

thread_local! {
    static CACHED: RefCell<(u64, HeaderValue)> =
        const { RefCell::new((u64::MAX, HeaderValue::from_static(""))) };
}

/// The current time in the format of a `Date` field. Formatted once per second on each thread.
pub fn get_cached_date() -> HeaderValue {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    CACHED
        .try_with(|cached| {
            let mut cached = cached.try_borrow_mut().ok()?;
            if cached.0 != second {
                *cached = (second, format(now));
            }
            Some(cached.1.clone())
        })
        .ok()
        .flatten()
        .unwrap_or_else(|| format(now))
}

/// The format has no years above 9999; a clock with such a year is wrong anyway.
fn format(time: SystemTime) -> HeaderValue {
    const LAST_SECOND: u64 = 253_402_300_799;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let known = if since.as_secs() > LAST_SECOND {
        UNIX_EPOCH
    } else {
        UNIX_EPOCH + since
    };
    let text = HttpDate::from(known).to_string();
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Reads a date in any of the forms of RFC 9110 section 5.6.7.
pub fn parse(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_date_is_now() {
        let before = SystemTime::now() - Duration::from_secs(1);
        let (first, second) = (get_cached_date(), get_cached_date());
        let after = SystemTime::now();
        for value in [first, second] {
            let date: HttpDate = value.to_str().unwrap().parse().unwrap();
            let date = SystemTime::from(date);
            assert!(before <= date && date <= after);
        }
    }

    #[test]
    fn final_responses_are_dated() {
        let rows = [
            (100, false, false),
            (101, false, false),
            (103, false, false),
            (200, false, true),
            (200, true, false),
            (204, false, true),
            (304, false, true),
            (404, false, true),
            (404, true, false),
            (500, false, true),
            (999, false, true),
        ];
        for (status, dated, missing) in rows {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_missing(status, dated), missing, "{status} {dated}");
        }
    }

    #[test]
    fn a_date_line_is_a_field() {
        let mut out = b"A: b\r\n".to_vec();
        put_date_line(&mut out);
        let text = String::from_utf8(out).unwrap();
        let value = text.strip_prefix("A: b\r\nDate: ").unwrap();
        let value = value.strip_suffix("\r\n").unwrap();
        assert!(value.parse::<HttpDate>().is_ok(), "{value}");
    }

    #[test]
    fn a_clock_may_say_anything() {
        let formatted = |seconds| format(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(formatted(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(formatted(253_402_300_799), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(formatted(253_402_300_800), "Thu, 01 Jan 1970 00:00:00 GMT");
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(format(before), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
