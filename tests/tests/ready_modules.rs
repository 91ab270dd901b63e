//! The ready-made modules, between real clients and origins of both HTTP versions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::http::StatusCode;
use pingora::modules::http::HttpModules;
use pingora::prelude::*;
use pingora::proxy::modules::{
    Authenticated, BasicAuth, Cors, CorsCheck, EarlyHints, Forwarded, ForwardedFields, IpRules,
    NamedRequest, Redirects, RequestId, Rewrites,
};
use pingora_tests::{
    Ask, Message, Origin, Refusing, TestServer, Version, VersionedUpstream, h2c_proxy,
};
use std::net::SocketAddr;

const PAIRS: [(Version, Version); 4] = [
    (Version::H1, Version::H1),
    (Version::H1, Version::H2),
    (Version::H2, Version::H1),
    (Version::H2, Version::H2),
];

/// `ada:lovelace`.
const ADA: &str = "Basic YWRhOmxvdmVsYWNl";

struct Guarded {
    upstream: VersionedUpstream,
    fields: ForwardedFields,
}

#[async_trait]
impl ProxyHttp for Guarded {
    type CTX = ();
    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        let auth = BasicAuth::new("test").and_then(|auth| auth.user("ada", "lovelace"));
        modules.add_module(Box::new(auth.unwrap().admit_preflight()));
        modules.add_module(Box::new(Cors::of(&["https://a.example"]).unwrap()));
        modules.add_module(Box::new(RequestId::new()));
        let denied = IpRules::new().deny("192.0.2.0/24".parse().unwrap());
        modules.add_module(Box::new(denied.behind(self.fields.clone())));
        modules.add_module(Box::new(self.fields.clone()));
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        let modules = &mut session.downstream_modules_ctx;
        assert!(modules.get::<Forwarded>().unwrap().client().is_some());
        let user = modules.get::<Authenticated>().unwrap().user();
        assert!(user.is_none_or(|user| user == "ada"));
        let check = modules.get_mut::<CorsCheck>();
        if let Some(answer) = check.and_then(CorsCheck::preflight) {
            session.write_response_header(answer, true).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.peer()))
    }
}

async fn guarded(up: Version, fields: ForwardedFields) -> (Origin, TestServer) {
    let origin = match up {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    };
    let upstream = VersionedUpstream {
        address: origin.address(),
        version: up,
    };
    let proxy = h2c_proxy(Guarded { upstream, fields }).await;
    (origin, proxy)
}

fn trusting_loopback() -> ForwardedFields {
    ForwardedFields::trusting("127.0.0.0/8".parse().unwrap())
}

async fn asked(ask: Ask, version: Version, address: SocketAddr) -> Message {
    ask.with("authorization", ADA)
        .answered_over(version, address)
        .await
}

/// Every field that identifies the client, sent by an untrusted client.
const FORGED: [&str; 12] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-user",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "client-ip",
];

/// Class of CVE-2026-33433, -54763, -39858: neither a field nor an alias of it reaches the upstream; and of
/// CVE-2026-88004: they don't come back as trailers either.
#[tokio::test]
async fn what_a_client_says_of_itself_never_arrives() {
    for (down, up) in PAIRS {
        let (origin, proxy) = guarded(up, ForwardedFields::new()).await;
        let mut ask = Ask::by("POST", "/echo-trailers").pieces("body", 4);
        for name in FORGED {
            for alias in [
                name.to_string(),
                name.replace('-', "_"),
                name.replacen('-', "_", 1),
            ] {
                ask = ask.with(&alias, "6.6.6.6").trailer(&alias, "6.6.6.6");
            }
        }
        let ask = ask
            .with("x-request-id", "6.6.6.6")
            .with("x_request-id", "6.6.6.6");
        let answer = asked(ask, down, proxy.address()).await;
        assert_eq!(answer.status(), 200, "{down:?} to {up:?}");
        let seen = origin.last_request();
        let all = format!("{:?} {:?}", seen.fields, seen.trailers);
        assert!(!all.contains("6.6.6.6"), "{down:?} to {up:?}: {all}");
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
        assert_eq!(seen.header("x-forwarded-host"), Some("test.example"));
        assert_eq!(seen.header("authorization"), None);
        assert_eq!(seen.header("x-request-id"), answer.header("x-request-id"));
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_the_client_before_it_is_not() {
    for (down, up) in PAIRS {
        let (origin, proxy) = guarded(up, trusting_loopback().with_via("edge")).await;
        let ask = Ask::get("/")
            .with("x-forwarded-for", "6.6.6.6, 203.0.113.5")
            .with("x-forwarded-proto", "https")
            .with("x-forwarded-host", "shop.example")
            .with("via", "1.1 front");
        let answer = asked(ask, down, proxy.address()).await;
        assert_eq!(answer.status(), 200);
        let seen = origin.last_request();
        assert_eq!(
            seen.header("x-forwarded-for"),
            Some("203.0.113.5, 127.0.0.1")
        );
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("x-forwarded-host"), Some("shop.example"));
        let version = if down == Version::H1 {
            "1.1 edge"
        } else {
            "2 edge"
        };
        assert_eq!(
            seen.headers("via"),
            ["1.1 front", version],
            "{down:?} to {up:?}"
        );
    }
}

#[tokio::test]
async fn who_is_refused_gets_an_answer_and_the_origin_is_not_asked() {
    for down in [Version::H1, Version::H2] {
        let (origin, proxy) = guarded(Version::H1, trusting_loopback()).await;
        let address = proxy.address();
        let denied = Ask::get("/").with("x-forwarded-for", "192.0.2.9");
        assert_eq!(asked(denied, down, address).await.status(), 403);

        let nobody = Ask::get("/").with("origin", "https://a.example");
        let nobody = nobody.answered_over(down, address).await;
        assert_eq!(nobody.status(), 401);
        let challenge = nobody.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Basic realm=\"test\""), "{challenge}");
        assert!(nobody.header("x-request-id").is_some());
        let allowed = nobody.header("access-control-allow-origin");
        assert_eq!(allowed, Some("https://a.example"), "the page may see that");

        let preflight = Ask::by("OPTIONS", "/")
            .with("origin", "https://a.example")
            .with("access-control-request-method", "POST");
        let preflight = preflight.answered_over(down, address).await;
        assert_eq!(preflight.status(), 204);
        let methods = preflight.header("access-control-allow-methods");
        assert_eq!(methods, Some("GET, HEAD, POST"));
        assert_eq!(origin.begun(), 0);
    }
}

/// Every request gets its own identifier, even on one connection, and even if the phases never ask
/// for it.
#[tokio::test]
async fn names_differ() {
    let (_origin, proxy) = guarded(Version::H1, ForwardedFields::new()).await;
    let mut connection = proxy.connect().await;
    let mut names = std::collections::HashSet::new();
    for _ in 0..10 {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: {ADA}\r\n\r\n");
        let answer = connection.ask(request).await;
        let name = answer.header("x-request-id").unwrap().to_string();
        assert!(names.insert(name));
    }
    assert!(size_of::<NamedRequest>() <= 128);
}

/// Sends requests elsewhere: by a redirect, or to another path of the upstream. The first connection of each
/// request fails.
struct Moving {
    upstream: VersionedUpstream,
    fields: ForwardedFields,
    hints: EarlyHints,
    nowhere: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Moving {
    type CTX = bool;

    fn new_ctx(&self) -> bool {
        false
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        let redirects = Redirects::new()
            .to_https()
            .below("/old", "/", StatusCode::PERMANENT_REDIRECT)
            .behind(self.fields.clone());
        modules.add_module(Box::new(redirects));
    }

    fn init_upstream_modules(&self, modules: &mut HttpModules) {
        let rewrites = Rewrites::new().below("/api/v1", "/v1");
        modules.add_module(Box::new(rewrites.host("backend.internal").unwrap()));
    }

    async fn request_filter(&self, session: &mut Session, _: &mut bool) -> Result<bool> {
        let sent = self.hints.send(session).await?;
        assert_eq!(sent, session.req_header().uri.path() == "/api/v1/page");
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Session, failed: &mut bool) -> Result<Box<HttpPeer>> {
        if *failed {
            return Ok(Box::new(self.upstream.peer()));
        }
        Ok(Box::new(HttpPeer::new(self.nowhere, false, String::new())))
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        failed: &mut bool,
        mut error: Box<Error>,
    ) -> Box<Error> {
        *failed = true;
        error.set_retry(true);
        error
    }
}

#[tokio::test]
async fn requests_are_sent_elsewhere_and_browsers_are_given_hints() {
    let refusing = Refusing::new();
    for (down, up) in PAIRS {
        let origin = match up {
            Version::H1 => Origin::well_behaved().await,
            Version::H2 => Origin::http2().await,
        };
        let upstream = VersionedUpstream {
            address: origin.address(),
            version: up,
        };
        let style = "</style.css>; rel=preload; as=style";
        let hints = EarlyHints::new().below("/api/v1/page", style).unwrap();
        let proxy = h2c_proxy(Moving {
            upstream,
            fields: trusting_loopback(),
            hints: hints.over_http1(),
            nowhere: refusing.address(),
        })
        .await;
        let secure = |path: &str| {
            let ask = Ask::get(path).with("X-Forwarded-Proto", "https");
            ask.with("Sec-Fetch-Mode", "navigate")
        };
        for (ask, status, location) in [
            (Ask::get("/x?q"), 308, Some("https://test.example/x?q")),
            (
                Ask::by("POST", "/x").body("text"),
                308,
                Some("https://test.example/x"),
            ),
            (secure("/old//evil.example"), 308, Some("/evil.example")),
            (secure("/api/v1/users"), 200, None),
            (secure("/api/v1/../../admin"), 400, None),
        ] {
            let answers = ask.over(down, proxy.address()).await;
            let case = format!("{down:?} to {up:?}: {ask:?} {answers:?}");
            let [answer] = &answers[..] else {
                panic!("{case}")
            };
            assert_eq!(answer.status(), status, "{case}");
            assert_eq!(answer.header("Location"), location, "{case}");
        }
        let told = origin.last_request();
        assert_eq!(told.target(), "/v1/users");
        let host = told.header("Host").or(told.header(":authority"));
        assert_eq!(host, Some("backend.internal"), "{told:?}");
        // Hints don't end the tries: they are no part of the upstream's answer.
        let answers = secure("/api/v1/page").over(down, proxy.address()).await;
        let [hints, answer] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!((hints.status(), hints.header("Link")), (103, Some(style)));
        assert_eq!((answer.status(), answer.text()), (200, "/v1/page"));
    }
}
