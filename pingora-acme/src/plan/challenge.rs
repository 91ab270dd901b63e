//! The choice of a challenge.

use instant_acme::ChallengeType;
use std::fmt;

/// A way to prove control of a name (RFC 8555 section 8, RFC 8737).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Challenge {
    /// By a response over plain HTTP on port 80. Not for wildcards.
    Http01,
    /// By a certificate in a TLS handshake on port 443. Not for wildcards.
    TlsAlpn01,
    /// By a record in the DNS. The only one for wildcards.
    Dns01,
}

impl Challenge {
    pub(crate) fn kind(self) -> ChallengeType {
        match self {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Challenge::Dns01 => ChallengeType::Dns01,
        }
    }
}

impl fmt::Display for Challenge {
    /// As in RFC 8555, such as `http-01`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Challenge::Http01 => "http-01",
            Challenge::TlsAlpn01 => "tls-alpn-01",
            Challenge::Dns01 => "dns-01",
        })
    }
}

/// Of those that are `offered`, the first one in order of `preference`; after failures, the next ones in
/// turn, because the cause may be the path to this server and not the name.
pub(crate) fn choose(
    preference: &[Challenge],
    offered: impl Fn(Challenge) -> bool,
    is_wildcard: bool,
    failures: u32,
) -> Option<Challenge> {
    let fits = |c: &Challenge| offered(*c) && (!is_wildcard || *c == Challenge::Dns01);
    let fitting: Vec<Challenge> = preference.iter().copied().filter(fits).collect();
    let turn = (failures as usize).checked_rem(fitting.len())?;
    fitting.get(turn).copied()
}

#[cfg(test)]
mod tests {
    use super::Challenge::*;
    use super::*;

    #[test]
    fn the_first_that_fits_is_taken_and_the_next_one_after_a_failure() {
        let all = &[Http01, TlsAlpn01, Dns01][..];
        for (preference, offered, wildcard, failures, chosen) in [
            (all, all, false, 0, Some(Http01)),
            (all, all, false, 1, Some(TlsAlpn01)),
            (all, all, false, 3, Some(Http01)),
            (all, &[Dns01, TlsAlpn01], false, 0, Some(TlsAlpn01)),
            (all, all, true, 0, Some(Dns01)),
            (all, all, true, 7, Some(Dns01)),
            (&[Http01, TlsAlpn01], all, true, 0, None),
            (&[Http01], &[Dns01], false, 5, None),
            (&[], all, false, 0, None),
        ] {
            let taken = choose(preference, |c| offered.contains(&c), wildcard, failures);
            assert_eq!(
                taken, chosen,
                "{preference:?} {offered:?} {wildcard} {failures}"
            );
        }
    }
}
