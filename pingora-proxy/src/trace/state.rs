//! The field `tracestate` (W3C Trace Context section 3.3). No I/O.

use http::HeaderMap;
use std::fmt;

/// Most members of a list.
const MOST: usize = 32;
/// Most bytes that are passed on.
const LONGEST: usize = 512;
/// Members that are longer go first if there is not room for all.
const LONG_MEMBER: usize = 128;

/// The state that tracing systems keep with a trace, each for itself; forwarded unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceState(Vec<(Box<str>, Box<str>)>);

impl TraceState {
    /// Reads all fields of this name, which are one list. `None` if it breaks a rule, or has more than 32
    /// members: then nothing of it is passed on.
    pub fn from_fields(fields: &HeaderMap) -> Option<Self> {
        let mut members: Vec<(Box<str>, Box<str>)> = Vec::new();
        for value in fields.get_all("tracestate") {
            for member in value.to_str().ok()?.split(',') {
                let member = member.trim_matches([' ', '\t']);
                if member.is_empty() {
                    continue;
                }
                let (key, value) = member.split_once('=')?;
                let is_new = members.iter().all(|(known, _)| **known != *key);
                if !is_key(key) || !is_value(value) || !is_new || members.len() == MOST {
                    return None;
                }
                members.push((key.into(), value.into()));
            }
        }
        Some(TraceState(members))
    }

    /// The value with this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| **known == *key);
        found.map(|(_, value)| &**value)
    }

    /// The members, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves members out until 512 bytes are enough: long ones first, then from the end (section 3.3.1.5).
    pub(crate) fn shorten(&mut self) {
        while self.length() > LONGEST {
            let length = |(key, value): &(Box<str>, Box<str>)| key.len() + value.len() + 1;
            match self
                .0
                .iter()
                .rposition(|member| length(member) > LONG_MEMBER)
            {
                Some(long) => drop(self.0.remove(long)),
                None => drop(self.0.pop()),
            }
        }
    }

    fn length(&self) -> usize {
        let bytes = self
            .0
            .iter()
            .map(|(key, value)| key.len() + value.len() + 2);
        bytes.sum::<usize>().saturating_sub(1)
    }
}

fn is_key(key: &str) -> bool {
    let begins = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let goes_on = |b: u8| begins(b) || b"_-*/@".contains(&b);
    (1..=256).contains(&key.len())
        && key.bytes().next().is_some_and(begins)
        && key.bytes().all(goes_on)
        && key.bytes().filter(|b| *b == b'@').count() <= 1
}

fn is_value(value: &str) -> bool {
    let sound = |b: u8| (0x20..=0x7e).contains(&b) && b != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(sound)
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (key, value)) in self.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(lines: &[&str]) -> Option<TraceState> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(
                "tracestate",
                HeaderValue::from_bytes(line.as_bytes()).unwrap(),
            );
        }
        TraceState::from_fields(&fields)
    }

    #[test]
    fn lists_are_read_and_written() {
        for (lines, written) in [
            (&["a=1,b=2"][..], Some("a=1,b=2")),
            (&["a=1 , \tb=x y", "c@d=3"], Some("a=1,b=x y,c@d=3")),
            (&["a=1,,b=2,"], Some("a=1,b=2")),
            (&[], Some("")),
            (&["1a=b:c;d/e*"], Some("1a=b:c;d/e*")),
            (&["a=1", "a=2"], None),
            (&["a"], None),
            (&["a="], None),
            (&["=1"], None),
            (&["A=1"], None),
            (&["a=1=2"], None),
            (&["a b=1"], None),
            (&["a@b@c=1"], None),
            (&["-a=1"], None),
            (&["a=é"], None),
        ] {
            let state = read(lines).map(|state| state.to_string());
            assert_eq!(state.as_deref(), written, "{lines:?}");
        }
        let many = |n: usize| {
            (0..n)
                .map(|i| format!("k{i}=v"))
                .collect::<Vec<_>>()
                .join(",")
        };
        assert!(read(&[&many(32)]).is_some());
        assert!(read(&[&many(33)]).is_none());
        assert_eq!(read(&["a=1,b=2"]).unwrap().get("b"), Some("2"));
    }

    #[test]
    fn long_members_go_first_and_then_the_last_ones() {
        let (long, short) = ("x".repeat(200), "y".repeat(100));
        let mut state =
            read(&[&format!("a={short},b={long},c={short},d={long},e={short}")]).unwrap();
        state.shorten();
        assert_eq!(
            state.to_string(),
            format!("a={short},b={long},c={short},e={short}")[..]
        );
        let mut state = read(&[&(0..8)
            .map(|i| format!("k{i}={short}"))
            .collect::<Vec<_>>()
            .join(",")])
        .unwrap();
        state.shorten();
        assert_eq!(state.iter().count(), 4);
        assert!(state.to_string().len() <= LONGEST);
    }
}
