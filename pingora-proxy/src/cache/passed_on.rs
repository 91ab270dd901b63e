//! Finds the ranges that go to the origin as they are, if nothing is stored.

/// Whether one of the parts of a `Range` begins at this byte or later, or is counted from the end. A field that can't be
/// read asks for the whole (RFC 9110 section 14.2).
pub(super) fn begins_late(range: &[u8], from: u64) -> bool {
    let Some(specs) = str::from_utf8(range)
        .ok()
        .and_then(|range| range.trim_ascii().split_once('='))
        .filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes"))
        .map(|(_, specs)| specs)
    else {
        return false;
    };
    let mut is_late = false;
    for spec in specs.split(',').map(str::trim_ascii) {
        let Some((first, last)) = spec.split_once('-') else {
            return false;
        };
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        if !(is_number(first) && (last.is_empty() || is_number(last)))
            && !(first.is_empty() && is_number(last))
        {
            return false;
        }
        // A number that is too large to be read is beyond any other one.
        is_late |= first.parse::<u64>().map_or(true, |first| first >= from);
    }
    is_late
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_passed_on_by_where_they_begin() {
        for (range, from_100, from_0) in [
            ("bytes=0-9", false, true),
            ("bytes=99-", false, true),
            ("bytes=100-", true, true),
            ("Bytes=100-200", true, true),
            ("bytes=-5", true, true),
            ("bytes=0-9, 100-109", true, true),
            ("bytes=0-9,20-29", false, true),
            ("bytes=99999999999999999999999-", true, true),
            // The whole is asked for by these.
            ("bytes=", false, false),
            ("bytes=-", false, false),
            ("bytes=a-", false, false),
            ("bytes=+5-", false, false),
            ("bytes=100", false, false),
            ("bytes=100-x", false, false),
            ("items=100-", false, false),
            ("100-", false, false),
        ] {
            let range = range.as_bytes();
            let is_late = (begins_late(range, 100), begins_late(range, 0));
            assert_eq!(is_late, (from_100, from_0), "{}", range.escape_ascii());
        }
    }
}
