//! Requests whose nonce an authority refuses (RFC 8555 section 6.5).

use crate::issuer::problem;
use instant_acme::Error as AcmeError;

/// How often a request is begun. Each time, `instant-acme` sends it up to three times before it reports the refusal.
const MOST: u32 = 5;

/// Awaits a request, and makes it again if the authority has refused its nonce: the authority has done nothing then, and
/// has sent the nonce for the next attempt.
///
/// An authority forgets nonces when it starts anew, and one of several machines may not know those of the others; a
/// whole order is not to fail by that.
///
/// A macro, because the futures of an `AsyncFnMut` are not known to be `Send`.
macro_rules! with_fresh_nonce {
    ($request:expr) => {{
        let mut attempts = $crate::nonces::Attempts::default();
        loop {
            let done = $request.await;
            if !attempts.again(&done) {
                break done;
            }
        }
    }};
}
pub(crate) use with_fresh_nonce;

/// How often a request was begun.
#[derive(Default)]
pub(crate) struct Attempts(u32);

impl Attempts {
    /// Whether the request is made again after this attempt.
    pub(crate) fn again<T>(&mut self, done: &Result<T, AcmeError>) -> bool {
        self.0 += 1;
        match done {
            Err(e) if self.0 < MOST && problem(e) == Some("badNonce") => {
                log::debug!("a request is made again: {e}");
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use instant_acme::Problem;

    /// What an authority reports.
    fn reported(kind: &str) -> AcmeError {
        let problem = format!(r#"{{"type": "urn:ietf:params:acme:error:{kind}"}}"#);
        AcmeError::Api(serde_json::from_str::<Problem>(&problem).unwrap())
    }

    /// Makes a request that is refused for its nonce this often; how often it was made, and what became of it.
    async fn refused(times: u32, then: &str) -> (u32, Result<(), AcmeError>) {
        let mut made = 0;
        let mut request = || {
            made += 1;
            std::future::ready(match (made > times, then) {
                (false, _) => Err(reported("badNonce")),
                (true, "") => Ok(()),
                (true, kind) => Err(reported(kind)),
            })
        };
        let done = with_fresh_nonce!(request());
        (made, done)
    }

    #[tokio::test]
    async fn a_refused_nonce_is_not_the_end_of_a_request() {
        for times in 0..MOST {
            let (made, done) = refused(times, "").await;
            assert_eq!(made, times + 1);
            assert!(done.is_ok(), "{times}");
        }
    }

    #[tokio::test]
    async fn an_authority_that_refuses_all_nonces_is_left_alone() {
        let (made, done) = refused(u32::MAX, "").await;
        assert_eq!(made, MOST);
        assert_eq!(problem(&done.unwrap_err()), Some("badNonce"));
    }

    #[tokio::test]
    async fn other_problems_are_reported_at_once() {
        let (made, done) = refused(1, "rateLimited").await;
        assert_eq!(made, 2);
        assert_eq!(problem(&done.unwrap_err()), Some("rateLimited"));
    }
}
