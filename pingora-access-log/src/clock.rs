//! The time in the formats of logs. Formatted once per second on each thread.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// One second in all formats, in UTC.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Second {
    /// Since 1970.
    pub(crate) number: u64,
    /// `10/Oct/2000:13:55:36 +0000`
    pub(crate) common: String,
    /// `2000-10-10T13:55:36`, to be followed by a fraction and `Z`.
    pub(crate) iso: String,
    /// `Oct 10 13:55:36` (RFC 3164 section 4.1.2).
    pub(crate) syslog: String,
}

impl Second {
    fn new(number: u64) -> Self {
        let (days, time) = (number / 86_400, number % 86_400);
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        let (year, month, day) = date(days);
        let name = usize::try_from(month - 1).ok().and_then(|m| MONTHS.get(m));
        let name = name.copied().unwrap_or_default();
        let clock = format!("{hour:02}:{minute:02}:{second:02}");
        Second {
            number,
            common: format!("{day:02}/{name}/{year:04}:{clock} +0000"),
            iso: format!("{year:04}-{month:02}-{day:02}T{clock}"),
            syslog: format!("{name} {day:>2} {clock}"),
        }
    }
}

/// Year, month and day of a day since 1970. Years are counted from March, so that the leap day is the last one.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 {
        (year, month + 3)
    } else {
        (year + 1, month - 9)
    };
    (year + era * 400, month, day)
}

thread_local! {
    static PRESENT: RefCell<Second> = RefCell::default();
}

/// Calls `f` with the current second and the milliseconds in it.
pub(crate) fn with_now<R>(f: impl FnOnce(&Second, u32) -> R) -> R {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    PRESENT.with_borrow_mut(|second| {
        if second.number != now.as_secs() || second.iso.is_empty() {
            *second = Second::new(now.as_secs());
        }
        f(second, now.subsec_millis())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_is_right() {
        let rows = [
            (
                0,
                "01/Jan/1970:00:00:00 +0000",
                "1970-01-01T00:00:00",
                "Jan  1 00:00:00",
            ),
            (
                951_827_696,
                "29/Feb/2000:12:34:56 +0000",
                "2000-02-29T12:34:56",
                "Feb 29 12:34:56",
            ),
            (
                971_186_136,
                "10/Oct/2000:13:55:36 +0000",
                "2000-10-10T13:55:36",
                "Oct 10 13:55:36",
            ),
            (
                4_107_542_399,
                "28/Feb/2100:23:59:59 +0000",
                "2100-02-28T23:59:59",
                "Feb 28 23:59:59",
            ),
            (
                4_107_542_400,
                "01/Mar/2100:00:00:00 +0000",
                "2100-03-01T00:00:00",
                "Mar  1 00:00:00",
            ),
        ];
        for (number, common, iso, syslog) in rows {
            let second = Second::new(number);
            assert_eq!(
                (&*second.common, &*second.iso, &*second.syslog),
                (common, iso, syslog)
            );
        }
        with_now(|second, millis| assert!(second.number > 1_700_000_000 && millis < 1000));
    }
}
