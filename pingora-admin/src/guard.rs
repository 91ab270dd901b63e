//! Decides which requests are admitted. Pure.

use http::{HeaderMap, StatusCode, header};
use std::hint::black_box;

/// The least length of a token, in bytes.
pub(crate) const SHORTEST_TOKEN: usize = 16;

/// Names of this machine, which no other machine's page can have.
const OWN: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The demands on a request.
#[derive(Debug)]
pub(crate) struct Guard {
    token: Vec<u8>,
    hosts: Vec<String>,
}

/// The reason why a request is denied: a status and a line of text.
pub(crate) type Denial = (StatusCode, &'static str);

impl Guard {
    pub(crate) fn new(token: &str) -> Self {
        Guard {
            token: token.as_bytes().to_vec(),
            hosts: OWN.map(str::to_owned).to_vec(),
        }
    }

    pub(crate) fn add_host(&mut self, name: &str) {
        self.hosts.push(name.to_ascii_lowercase());
    }

    /// Whether the request was meant for us: it uses one of our names, and not a name that an attacker has pointed
    /// here.
    pub(crate) fn check_host(&self, headers: &HeaderMap) -> Result<(), Denial> {
        let host = one(headers, header::HOST).map(without_port);
        let is_ours = |host: &str| self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
        if host.is_some_and(is_ours) {
            Ok(())
        } else {
            let text = "this is not a name of the admin page; see Admin::host";
            Err((StatusCode::MISDIRECTED_REQUEST, text))
        }
    }

    /// Whether the request comes from the page itself or from no browser at all, and has the token.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Denial> {
        let foreign = (StatusCode::FORBIDDEN, "another page asks");
        if headers.contains_key(header::ORIGIN) {
            let host = one(headers, header::HOST).unwrap_or_default();
            let origin = one(headers, header::ORIGIN).unwrap_or_default();
            let asker = ["http://", "https://"]
                .iter()
                .find_map(|scheme| origin.strip_prefix(scheme));
            if host.is_empty() || !asker.is_some_and(|asker| asker.eq_ignore_ascii_case(host)) {
                return Err(foreign);
            }
        }
        if headers.contains_key("sec-fetch-site") {
            let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
            if !matches!(site, Some(b"same-origin" | b"none")) {
                return Err(foreign);
            }
        }
        let given = one(headers, header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(token.trim())
        });
        if same(given.unwrap_or_default().as_bytes(), &self.token) {
            Ok(())
        } else {
            Err((StatusCode::UNAUTHORIZED, "the token is missing or wrong"))
        }
    }
}

/// The field, if there is one and it is text.
fn one(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether they are equal. The time does not depend on how much of the beginning is right.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let mut difference = u8::from(given.len() != wanted.len());
    for (at, wanted) in wanted.iter().enumerate() {
        let given = given.get(at).copied().unwrap_or_default();
        difference = black_box(difference | (given ^ wanted));
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    const TOKEN: &str = "correct horse battery";

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_own_names_are_answered() {
        let mut guard = Guard::new(TOKEN);
        guard.add_host("Admin.example");
        let rows: [(&[(&str, &str)], bool); 12] = [
            (&[("host", "127.0.0.1:6193")], true),
            (&[("host", "LOCALHOST")], true),
            (&[("host", "[::1]:6193")], true),
            (&[("host", "[::1]")], true),
            (&[("host", "admin.example:443")], true),
            (&[("host", "evil.example:6193")], false),
            (&[("host", "127.0.0.1.evil.example")], false),
            (&[("host", "localhost.")], false),
            (&[("host", "localhost:80:80")], false),
            (&[("host", "")], false),
            (&[("host", "localhost"), ("host", "localhost")], false),
            (&[], false),
        ];
        for (fields, passes) in rows {
            assert_eq!(
                guard.check_host(&headers(fields)).is_ok(),
                passes,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn other_pages_of_the_same_browser_get_nothing() {
        let guard = Guard::new(TOKEN);
        let good = format!("Bearer {TOKEN}");
        let rows: [(&[(&str, &str)], u16); 9] = [
            (&[], 0),
            (&[("origin", "http://127.0.0.1:1")], 0),
            (
                &[
                    ("origin", "https://127.0.0.1:1"),
                    ("sec-fetch-site", "same-origin"),
                ],
                0,
            ),
            (&[("origin", "http://127.0.0.1:2")], 403),
            (&[("origin", "http://evil.example")], 403),
            (&[("origin", "null")], 403),
            (
                &[
                    ("origin", "http://127.0.0.1:1"),
                    ("origin", "http://127.0.0.1:1"),
                ],
                403,
            ),
            (&[("sec-fetch-site", "cross-site")], 403),
            (&[("sec-fetch-site", "same-site")], 403),
        ];
        for (fields, status) in rows {
            let mut all = headers(fields);
            all.insert("host", "127.0.0.1:1".parse().unwrap());
            all.insert("authorization", good.parse().unwrap());
            let refused = guard
                .check(&all)
                .err()
                .map_or(0, |(status, _)| status.as_u16());
            assert_eq!(refused, status, "{fields:?}");
        }
    }

    #[test]
    fn the_token_has_to_be_right_to_the_last_byte() {
        let guard = Guard::new(TOKEN);
        let rows = [
            ("Bearer correct horse battery", true),
            ("bearer correct horse battery", true),
            ("Bearer correct horse batterz", false),
            ("Bearer correct horse batter", false),
            ("Bearer correct horse battery1", false),
            ("Bearer ", false),
            ("Bearer", false),
            ("Basic correct horse battery", false),
            ("correct horse battery", false),
        ];
        for (value, passes) in rows {
            let fields = headers(&[("authorization", value)]);
            assert_eq!(guard.check(&fields).is_ok(), passes, "{value}");
        }
        assert!(guard.check(&HeaderMap::new()).is_err());
        assert!(same(b"", b"") && !same(b"a", b"") && !same(b"", b"a"));
    }
}
