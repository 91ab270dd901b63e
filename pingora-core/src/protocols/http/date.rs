//! The `Date` field (RFC 9110 section 6.6.1).

use http::HeaderValue;
use httpdate::HttpDate;
use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    static CACHED: RefCell<(u64, HeaderValue)> =
        const { RefCell::new((u64::MAX, HeaderValue::from_static(""))) };
}

/// The time now, as a `Date` field has it. Formatted once a second on each thread.
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

/// The format has no years above 9999; a clock that says so is wrong anyway.
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
    fn a_clock_may_say_anything() {
        let formatted = |seconds| format(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(formatted(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(formatted(253_402_300_799), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(formatted(253_402_300_800), "Thu, 01 Jan 1970 00:00:00 GMT");
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(format(before), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
