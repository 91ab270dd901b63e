//! One form of a path, for matching and for forwarding.

use super::{PAIRS, origin};
use async_trait::async_trait;
use pingora::http::RequestHeader;
use pingora::modules::http::HttpModules;
use pingora::prelude::*;
use pingora::proxy::modules::Rewrites;
use pingora_tests::http2::RawHttp2;
use pingora_tests::http2::frames::{self, Frame};
use pingora_tests::{Ask, TestServer, Version, VersionedUpstream, h2c_proxy};

/// Tells the upstream which target the phases saw, and moves paths.
struct Matching {
    upstream: VersionedUpstream,
    downstream: Rewrites,
    upstream_rules: Rewrites,
}

#[async_trait]
impl ProxyHttp for Matching {
    type CTX = ();
    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(self.downstream.clone()));
    }

    fn init_upstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(self.upstream_rules.clone()));
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.peer()))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        let matched = session.req_header().uri.path_and_query().unwrap();
        request.insert_header("x-matched", matched.as_str())
    }
}

async fn matching(
    upstream: VersionedUpstream,
    downstream: Rewrites,
    upstream_rules: Rewrites,
) -> TestServer {
    let matching = Matching {
        upstream,
        downstream,
        upstream_rules,
    };
    h2c_proxy(matching).await
}

/// Two readers may take each of these for different paths.
const PATHS: [&str; 36] = [
    "/",
    "//",
    "//b",
    "/a//b",
    "/a/",
    "/./a",
    "/a/.",
    "/../a",
    "/a/../b",
    "/a/..",
    "/a/...",
    "/%2e/a",
    "/a/%2e%2e/b",
    "/a/%2E%2E/b",
    "/a/.%2e/b",
    "/a%2fb",
    "/a%2Fb",
    "/a/..%2fb",
    "/a%5cb",
    "/a\\b",
    "/a\\..\\b",
    "/a;x=1/b",
    "/a/..;/b",
    "/a/..;x=1/b",
    "/%61",
    "/A",
    "/%25",
    "/%252e%252e/b",
    "/a%00b",
    "/a%0d%0aX:b",
    "/%c3%a4",
    "/%zz",
    "/a?b=/../c",
    "/a??b",
    "/?",
    "/~a|b^c",
];

/// CVE-2026-48020, CVE-2025-66490, CVE-2026-27587: a path is normalised behind the rules about it. Here nobody
/// normalises it: what the phases see is what the origin gets, byte for byte.
#[tokio::test]
async fn a_path_is_forwarded_as_it_is_matched() {
    for (down, up) in PAIRS {
        let (origin, upstream) = origin(up).await;
        let proxy = matching(upstream, Rewrites::new(), Rewrites::new()).await;
        for path in PATHS {
            let ask = Ask::get(path);
            let answer = ask.answered_over(down, proxy.address()).await;
            let case = format!("{down:?} to {up:?}: {path}");
            assert_eq!(answer.status(), 200, "{case}");
            let seen = origin.last_request();
            assert_eq!(seen.target(), path, "{case}");
            assert_eq!(seen.header("x-matched"), Some(path), "{case}");
        }
    }
}

/// CVE-2026-48020, CVE-2025-66490, CVE-2026-27587: what a URI can't hold is matched percent-encoded, and
/// forwarded as it came. Both are the same path.
#[tokio::test]
async fn a_path_that_is_no_uri_is_matched_encoded() {
    let (origin, upstream) = origin(Version::H1).await;
    let proxy = matching(upstream, Rewrites::new(), Rewrites::new()).await;
    for (path, matched) in [
        ("/<a>", "/%3Ca%3E"),
        ("/a`b", "/a%60b"),
        ("/<../b", "/%3C../b"),
    ] {
        let mut client = proxy.connect().await;
        let answer = client.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(answer.await.status(), 200, "{path}");
        let seen = origin.last_request();
        let both = (seen.target(), seen.header("x-matched"));
        assert_eq!(both, (path, Some(matched)));

        let mut client = RawHttp2::client(proxy.address(), &[]).await;
        let head = Frame::headers(1, frames::request("GET", path), true);
        client.send([head]).await;
        assert_eq!(client.answer(1).await.statuses, [200], "{path}");
        let seen = origin.last_request();
        let both = (seen.target(), seen.header("x-matched"));
        assert_eq!(both, (path, Some(matched)));
    }
}

/// Ways out of the path that a rule is about, as one server or another reads them.
const DETOURS: [&str; 16] = [
    "/api/v1/..",
    "/api/v1/../admin",
    "/api/v1/./admin",
    "/api/v1/a/../../admin",
    "/api/v1/%2e%2e/admin",
    "/api/v1/.%2E/admin",
    "/api/v1/..%2fadmin",
    "/api/v1/..%2Fadmin",
    "/api/v1/%2e%2e%2fadmin",
    "/api/v1/a%2f..%2fadmin",
    "/api/v1/..\\admin",
    "/api/v1/..%5cadmin",
    "/api/v1/..;/admin",
    "/api/v1/..;x=1/admin",
    "/api/v1/%252e%252e/admin",
    "/api/v1/..%252fadmin",
];

/// CVE-2026-48020, CVE-2025-66490, CVE-2026-27587: behind a rewrite, a detour would lead out of what the rule
/// opens. It is refused wherever the rule stands, and a rewritten path is matched as it is forwarded.
#[tokio::test]
async fn a_detour_out_of_a_rewritten_path_is_refused() {
    let rules = Rewrites::new().below("/api/v1", "/v1");
    for (down, up) in PAIRS {
        let placements = [
            (rules.clone(), Rewrites::new(), "/v1/a%2Fb?x"),
            (Rewrites::new(), rules.clone(), "/api/v1/a%2Fb?x"),
        ];
        for (downstream, upstream_rules, matched) in placements {
            let (origin, upstream) = origin(up).await;
            let proxy = matching(upstream, downstream, upstream_rules).await;
            for path in DETOURS {
                let answer = Ask::get(path).answered_over(down, proxy.address()).await;
                assert_eq!(answer.status(), 400, "{down:?} to {up:?}: {path}");
            }
            assert_eq!(origin.begun(), 0);
            let plain = Ask::get("/api/v1/a%2Fb?x");
            let answer = plain.answered_over(down, proxy.address()).await;
            assert_eq!(answer.status(), 200);
            let seen = origin.last_request();
            assert_eq!(seen.target(), "/v1/a%2Fb?x");
            assert_eq!(seen.header("x-matched"), Some(matched));
        }
    }
}
