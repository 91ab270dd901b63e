//! The responses that an unsafe request makes invalid (RFC 9111 section 4.4).

use super::CachePolicy;
use super::keys::{authority, push_uri};
use super::store::is_safe;
use super::uri::same_origin;
use crate::CacheKey;
use http::header::{CONTENT_LOCATION, LOCATION};
use http::response::Parts as RespHeader;
use pingora_http::RequestHeader;

impl CachePolicy {
    /// The keys that a request and its response have made invalid: none if the method is safe, or the response is
    /// an error. Otherwise the target, and what `Location` and `Content-Location` name, if it is of the same
    /// origin: no origin can purge the responses of another.
    ///
    /// These are keys of GET; purge them from the storage. Variants can't be found without them.
    pub fn invalidated(
        &self,
        scheme: &str,
        req: &RequestHeader,
        resp: &RespHeader,
    ) -> Vec<CacheKey> {
        let has_changed = resp.status.is_success() || resp.status.is_redirection();
        let Ok(authority) = authority(req) else {
            return Vec::new();
        };
        if is_safe(&req.method) || !has_changed {
            return Vec::new();
        }
        let own = req.origin_form();
        let named = [LOCATION, CONTENT_LOCATION].into_iter().filter_map(|name| {
            let reference = resp.headers.get(name)?.as_bytes();
            same_origin(scheme, authority, &own, reference)
        });
        let mut paths = vec![own.to_vec()];
        for path in named {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
            .iter()
            .map(|path| {
                let mut primary = b"GET ".to_vec();
                push_uri(&mut primary, scheme, authority, path);
                CacheKey::new(primary, "")
            })
            .collect()
    }
}
