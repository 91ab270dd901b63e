//! Names that a server may confuse with others (CVE-2026-33433, CVE-2026-54763, CVE-2026-39858,
//! GHSA-f59h).

use super::{PAIRS, behind_a_proxy};
use async_trait::async_trait;
use pingora::http::RequestHeader;
use pingora::prelude::*;
use pingora::protocols::http::aliases::{AliasPolicy, OnAlias};
use pingora_tests::{
    Ask, Message, Origin, TestServer, Version, VersionedUpstream, proxy_with, speak_h2c,
};

/// The fields that every proxy relies on: for framing, for one hop, for the client's identity.
const RELIED_ON: [&str; 16] = [
    "cf-connecting-ip",
    "client-cert",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "remote-user",
    "transfer-encoding",
    "true-client-ip",
    "x-auth-user",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

fn aliases(name: &str) -> [String; 4] {
    [
        name.replace('-', "_"),
        name.replacen('-', "_", 1),
        name.replace('-', "."),
        name.replace('-', "_").to_uppercase(),
    ]
}

/// The names received by the origin whose value is evil.
fn evil(seen: &Message) -> Vec<String> {
    let fields = seen.fields.iter().chain(&seen.trailers);
    let evil = fields.filter(|(_, value)| value == "evil");
    evil.map(|(name, _)| name.to_lowercase()).collect()
}

#[tokio::test]
async fn aliases_of_what_a_proxy_relies_on_do_not_pass() {
    for (down, up) in PAIRS {
        let (origin, proxy) = behind_a_proxy(up).await;
        for name in RELIED_ON {
            let mut ask = Ask::get("/x").with("a_b", "good");
            let mut spelt = aliases(name).to_vec();
            if down == Version::H2 {
                spelt.pop();
            }
            for alias in &spelt {
                ask = ask.with(alias, "evil");
            }
            let answer = ask.answered_over(down, proxy.address()).await;
            assert_eq!(answer.status(), 200, "{down:?} to {up:?}: {name}");
            let seen = origin.last_request();
            assert_eq!(evil(&seen), [""; 0], "{down:?} to {up:?}");
            assert_eq!(seen.header("a_b"), Some("good"), "others pass");
        }
    }
}

/// Sets one field, and removes another.
struct Edits(VersionedUpstream);

#[async_trait]
impl ProxyHttp for Edits {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.peer()))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        request.insert_header("X-Tenant", "good")?;
        request.remove_header("X-Plan");
        Ok(())
    }
}

async fn with_policy(up: Version, policy: AliasPolicy) -> (Origin, TestServer) {
    let origin = match up {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    };
    let upstream = VersionedUpstream {
        address: origin.address(),
        version: up,
    };
    let conf = pingora::server::configuration::ServerConf {
        threads: 1,
        ..Default::default()
    };
    let proxy = proxy_with(conf, Edits(upstream), |service| {
        speak_h2c(service);
        let proxy = service.app_logic_mut().unwrap();
        proxy.set_alias_policy(policy);
    })
    .await;
    (origin, proxy)
}

/// Fields that a program sets or removes don't come back: not under another name, not as a trailer.
#[tokio::test]
async fn what_a_program_sets_or_removes_does_not_come_back() {
    let policy = AliasPolicy::standard()
        .protect("x-tenant")
        .protect("x-plan");
    for (down, up) in PAIRS {
        let (origin, proxy) = with_policy(up, policy.clone()).await;
        let mut ask = Ask::by("POST", "/echo-trailers").pieces("body", 4);
        for name in ["x-tenant", "x-plan"] {
            for spelt in aliases(name).iter().take(3).chain([&name.to_string()]) {
                ask = ask.with(spelt, "evil").trailer(spelt, "evil");
            }
        }
        ask = ask.trailer("x-sum", "42").with("a_b", "good");
        let answer = ask.answered_over(down, proxy.address()).await;
        assert_eq!((answer.status(), answer.text()), (200, "body"));
        let seen = origin.last_request();
        assert_eq!(evil(&seen), [""; 0], "{down:?} to {up:?}");
        assert_eq!(seen.headers("x-tenant"), ["good"]);
        assert_eq!(seen.header("a_b"), Some("good"));
        assert_eq!(seen.trailers.len(), 1, "{:?}", seen.trailers);
    }
}

#[tokio::test]
async fn names_that_may_be_taken_for_others_can_be_refused() {
    let policy = AliasPolicy::standard()
        .relied_on(OnAlias::Refuse)
        .others(OnAlias::Drop);
    for (down, up) in PAIRS {
        let (origin, proxy) = with_policy(up, policy.clone()).await;
        let ask = |name: &str| Ask::get("/x").with(name, "evil");
        let refused = ask("x_forwarded_for");
        let refused = refused.answered_over(down, proxy.address()).await;
        assert_eq!(refused.status(), 400, "{down:?} to {up:?}");
        assert_eq!(origin.requests().len(), 0);
        let dropped = ask("a_b").answered_over(down, proxy.address()).await;
        assert_eq!(dropped.status(), 200);
        assert_eq!(evil(&origin.last_request()), [""; 0]);
    }
}
