//! The field `baggage` (W3C Baggage). No I/O.

use http::HeaderMap;
use std::fmt;

/// Most members of a list.
const MOST: usize = 64;
/// Most bytes of all of it.
const LONGEST: usize = 8192;

/// Values that programs pass to each other along a trace, forwarded unchanged. They are unverified: any sender may
/// have made them up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baggage(Vec<Box<str>>);

impl Baggage {
    /// Reads all fields of this name, which are one list. `None` if it breaks a rule, or has more than 64
    /// members or 8192 bytes: then nothing of it is passed on.
    pub fn from_fields(fields: &HeaderMap) -> Option<Self> {
        let mut members = Vec::new();
        let mut length = 0;
        for value in fields.get_all("baggage") {
            for member in value.to_str().ok()?.split(',') {
                let member = member.trim_matches([' ', '\t']);
                length += member.len() + 1;
                if !is_member(member) || members.len() == MOST || length > LONGEST + 1 {
                    return None;
                }
                members.push(member.into());
            }
        }
        Some(Baggage(members))
    }

    /// The value with this key, as it was sent: percent-encoded, without its properties.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| value)
    }

    /// Keys and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|member| {
            let (member, _) = member.split_once(';').unwrap_or((member, ""));
            let (key, value) = member.split_once('=')?;
            Some((trim(key), trim(value)))
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// A key with a value, and properties behind semicolons (section 3.2.1).
fn is_member(member: &str) -> bool {
    let mut parts = member.split(';');
    let pair = |part: &str| {
        let pair = part.split_once('=');
        pair.is_some_and(|(key, value)| is_key(trim(key)) && is_value(trim(value)))
    };
    parts.next().is_some_and(pair) && parts.all(|property| is_key(trim(property)) || pair(property))
}

/// A token (RFC 9110 section 5.6.2).
fn is_key(key: &str) -> bool {
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !key.is_empty() && key.bytes().all(sound)
}

fn is_value(value: &str) -> bool {
    let sound = |b: u8| b.is_ascii_graphic() && !b"\",;\\".contains(&b);
    value.bytes().all(sound)
}

impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(lines: &[&str]) -> Option<Baggage> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append("baggage", HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        Baggage::from_fields(&fields)
    }

    #[test]
    fn lists_are_read_and_written() {
        for (lines, written) in [
            (&["user=alice"][..], Some("user=alice")),
            (&["a=1 , b = 2;p;q = x"], Some("a=1,b = 2;p;q = x")),
            (&["a=", "b=%20%22="], Some("a=,b=%20%22=")),
            (&[], Some("")),
            (&["a"], None),
            (&["a=1,,b=2"], None),
            (&["a b=1"], None),
            (&["a=x y"], None),
            (&["a=\"x\""], None),
            (&["a=1;"], None),
            (&["a=1;p q"], None),
            (&["=1"], None),
            (&["a=é"], None),
            (&["a=\\"], None),
        ] {
            let baggage = read(lines).map(|baggage| baggage.to_string());
            assert_eq!(baggage.as_deref(), written, "{lines:?}");
        }
        let baggage = read(&["a=1,b = 2;p"]).unwrap();
        assert_eq!((baggage.get("b"), baggage.get("p")), (Some("2"), None));
    }

    #[test]
    fn there_are_bounds() {
        let many = |n: usize| {
            (0..n)
                .map(|i| format!("k{i}=v"))
                .collect::<Vec<_>>()
                .join(",")
        };
        assert!(read(&[&many(64)]).is_some());
        assert!(read(&[&many(65)]).is_none());
        let long = |n: usize| format!("k={}", "v".repeat(n - 2));
        assert!(read(&[&long(8192)]).is_some());
        assert!(read(&[&long(8193)]).is_none());
        assert!(read(&[&long(5000), &long(5000)]).is_none());
    }
}
