//! The authority of a request: `Host`, `:authority` and the target's own.

use std::net::Ipv6Addr;

/// Whether these bytes are a non-empty `uri-host [ ":" port ]` (RFC 9110 section 7.2).
///
/// Stricter than RFC 3986 in cases where readers disagree: no user information, no comma (a sign of two
/// merged fields), no zone in an IPv6 address, a port of at most 65535.
pub fn is_authority(authority: &[u8]) -> bool {
    host_and_port(authority).is_some()
}

/// Whether this is the target of a CONNECT: an authority with a port (RFC 9110 section 9.3.6).
pub fn is_connect_target(target: &[u8]) -> bool {
    matches!(host_and_port(target), Some((_, Some(port))) if !port.is_empty())
}

/// Splits `uri-host [ ":" port ]` into the host (with the brackets of an IPv6 address) and the digits of
/// the port, which may be empty. `None`: it is invalid, see [`is_authority`].
pub fn host_and_port(authority: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let (host, port) = match authority {
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|&b| b == b']')?;
            let address = str::from_utf8(rest.get(..end)?).ok()?;
            address.parse::<Ipv6Addr>().ok()?;
            authority.split_at_checked(end + 2)?
        }
        _ => {
            let (host, port) = authority.split_at_checked(registered_name_len(authority))?;
            if host.is_empty() {
                return None;
            }
            (host, port)
        }
    };
    match port {
        [] => Some((host, None)),
        [b':', digits @ ..] if is_port(digits) => Some((host, Some(digits))),
        _ => None,
    }
}

/// The number of leading bytes that form a `reg-name`: name bytes and percent-encoded ones.
fn registered_name_len(authority: &[u8]) -> usize {
    #[allow(
        clippy::indexing_slicing,
        reason = "of a constant: it would not compile"
    )]
    const IS_NAME_BYTE: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < table.len() {
            table[byte] = is_name_byte(byte as u8);
            byte += 1;
        }
        table
    };
    let is_name_byte = |byte: u8| IS_NAME_BYTE.get(usize::from(byte)) == Some(&true);
    let mut left = authority;
    loop {
        let run = left.iter().position(|byte| !is_name_byte(*byte));
        left = run.and_then(|end| left.get(end..)).unwrap_or_default();
        left = match left {
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            _ => return authority.len() - left.len(),
        };
    }
}

/// `unreserved` and `sub-delims` of RFC 3986, without the comma.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b';'
                | b'='
        )
}

fn is_port(digits: &[u8]) -> bool {
    const TOO_LARGE: u32 = u16::MAX as u32 + 1;
    let number = digits.iter().try_fold(0, |number: u32, digit| {
        let number = number * 10 + u32::from(digit.wrapping_sub(b'0'));
        digit.is_ascii_digit().then_some(number.min(TOO_LARGE))
    });
    number.is_some_and(|number| number < TOO_LARGE)
}
