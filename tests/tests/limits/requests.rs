//! Limits that phases check.

use async_trait::async_trait;
use pingora::modules::http::HttpModules;
use pingora::prelude::*;
use pingora::proxy::limits::{
    ClientNetwork, Quota, RateLimit, RateLimitModule, RequestLimit, UnderWay,
};
use pingora_tests::{Ask, Message, Origin, TestServer, Version, eventually, h2c_proxy};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const VERSIONS: [Version; 2] = [Version::H1, Version::H2];
const HOUR: Duration = Duration::from_secs(3600);

struct Limited {
    origin: SocketAddr,
    by_client: RateLimit,
    by_user: RateLimit,
    at_once: Arc<RequestLimit>,
}

#[async_trait]
impl ProxyHttp for Limited {
    type CTX = Option<UnderWay>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        let limit = RateLimit::new("host", Quota::new(3, HOUR), 8);
        modules.add_module(Box::new(RateLimitModule::by_head(limit, |request| {
            let tenant = request.headers.get("tenant");
            tenant.map(|tenant| tenant.as_bytes().to_vec())
        })));
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        match session.req_header().uri.path() {
            "/by-client" => self.by_client.refuse(session).await,
            "/by-user" => {
                let user = session.get_header_bytes("user").to_vec();
                let key = (user, ClientNetwork::of_session(session));
                self.by_user.refuse_by(session, &key).await
            }
            "/stall" => {
                *ctx = self.at_once.enter(session).await?;
                Ok(ctx.is_none())
            }
            _ => Ok(false),
        }
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }
}

async fn limited(at_once: RequestLimit) -> (Origin, TestServer, Arc<RequestLimit>) {
    let origin = Origin::well_behaved().await;
    let at_once = Arc::new(at_once);
    let proxy = h2c_proxy(Limited {
        origin: origin.address(),
        by_client: RateLimit::new("client", Quota::new(2, HOUR), 8),
        by_user: RateLimit::new("user", Quota::new(2, HOUR), 8).closing(),
        at_once: at_once.clone(),
    })
    .await;
    (origin, proxy, at_once)
}

fn check_refusal(answer: &Message, name: &str, count: u32) {
    let policy = format!("\"{name}\";q={count};w=3600");
    assert_eq!(answer.headers("ratelimit-policy"), [policy]);
    let limit = answer.header("ratelimit").unwrap();
    let time = limit.strip_prefix(&format!("\"{name}\";r=0;t=")).unwrap();
    let (time, most): (u64, u64) = (time.parse().unwrap(), 3600);
    assert!((most - 60..=most).contains(&time), "{limit}");
    let back: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    let earned = most / u64::from(count);
    assert!((earned - 60..=earned).contains(&back), "{back}");
}

#[tokio::test]
async fn a_client_that_has_used_its_quota_up_gets_429() {
    for version in VERSIONS {
        let (origin, proxy, _) = limited(RequestLimit::new(1)).await;
        for status in [200, 200, 429, 429] {
            let ask = Ask::get("/by-client");
            let answer = ask.answered_over(version, proxy.address()).await;
            assert_eq!(answer.status(), status, "{version:?}");
            if status == 429 {
                check_refusal(&answer, "client", 2);
            }
        }
        assert_eq!(origin.requests().len(), 2, "{version:?}");
        let other = Ask::get("/x").answered_over(version, proxy.address()).await;
        assert_eq!(other.status(), 200, "{version:?}");
        assert_eq!(other.header("ratelimit"), None);
    }
}

#[tokio::test]
async fn a_refusal_may_cost_the_connection() {
    let (_origin, proxy, _) = limited(RequestLimit::new(1)).await;
    for (user, statuses) in [("a", [200, 200, 429]), ("b", [200, 200, 429])] {
        let mut client = proxy.connect().await;
        let request = format!("GET /by-user HTTP/1.1\r\nHost: a\r\nUser: {user}\r\n\r\n");
        for status in statuses {
            let answer = client.ask(&request).await;
            assert_eq!(answer.status(), status);
            if status == 429 {
                check_refusal(&answer, "user", 2);
                assert_eq!(answer.header("connection"), Some("close"));
                client.closed().await;
            }
        }
    }
}

/// As a module, with a key from the head: the error page for a refused client has the fields, and so has
/// every other response.
#[tokio::test]
async fn a_module_limits_by_what_the_head_says() {
    for version in VERSIONS {
        let (origin, proxy, _) = limited(RequestLimit::new(1)).await;
        for (left, status) in [(2, 200), (1, 200), (0, 200), (0, 429)] {
            let ask = Ask::get("/x").with("tenant", "a");
            let answer = ask.answered_over(version, proxy.address()).await;
            assert_eq!(answer.status(), status, "{version:?}");
            let limit = answer.header("ratelimit").unwrap();
            let begin = format!("\"host\";r={left};t=");
            assert!(limit.starts_with(&begin), "{version:?}: {limit}");
            assert_eq!(answer.header("retry-after").is_some(), status == 429);
        }
        assert_eq!(origin.requests().len(), 3);
        let other = Ask::get("/x").with("tenant", "b");
        let other = other.answered_over(version, proxy.address()).await;
        assert_eq!(other.status(), 200);
    }
}

/// A proxy that is only limited by a module.
struct ByClient(SocketAddr);

#[async_trait]
impl ProxyHttp for ByClient {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        let limit = RateLimit::new("client", Quota::new(2, HOUR), 8);
        modules.add_module(Box::new(RateLimitModule::by_client(limit)));
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

#[tokio::test]
async fn a_module_limits_by_client() {
    for version in VERSIONS {
        let origin = Origin::well_behaved().await;
        let proxy = h2c_proxy(ByClient(origin.address())).await;
        for status in [200, 200, 429] {
            let answer = Ask::get("/x").answered_over(version, proxy.address()).await;
            assert_eq!(answer.status(), status, "{version:?}");
            assert_eq!(answer.headers("ratelimit").len(), 1);
        }
        assert_eq!(origin.requests().len(), 2);
    }
}

#[tokio::test]
async fn requests_at_once_are_bounded_and_others_are_refused_or_wait() {
    let limit = RequestLimit::new(1).waiting(1, Duration::from_secs(60));
    let (origin, proxy, limit) = limited(limit).await;
    let stalled = b"GET /stall HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut first = proxy.connect().await;
    first.send(stalled).await;
    eventually("the first one is under way", || origin.begun() == 1).await;
    assert_eq!((limit.available(), limit.queued()), (0, 0));
    let mut second = proxy.connect().await;
    second.send(stalled).await;
    eventually("the second one waits", || limit.queued() == 1).await;
    let mut third = proxy.connect().await;
    let refused = third.ask(stalled).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.header("retry-after"), Some("60"));
    // Its connection continues, and so do other requests.
    let other = third.ask("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(other.status(), 200);
    let before = origin.begun();
    // A place becomes free when its request is over, however it ended.
    first.reset();
    eventually("it is the second one's turn", || origin.begun() > before).await;
    assert_eq!((limit.available(), limit.queued()), (0, 0));
    second.reset();
    eventually("all places are free", || limit.available() == 1).await;
}
