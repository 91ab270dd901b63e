//! `pingora-limits`.

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora_limits::estimator::Estimator;
use pingora_limits::inflight::{Guard, Inflight};
use pingora_limits::rate::{PROPORTIONAL_RATE_ESTIMATE_CALC_FN, Rate, RateComponents};
use pingora_tests::{Origin, proxy};
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

static RATE: LazyLock<Rate> = LazyLock::new(|| Rate::new(Duration::from_secs(3600)));
static IN_FLIGHT: LazyLock<Inflight> = LazyLock::new(Inflight::new);

/// Allows two requests for each user, and counts requests in flight.
struct Limited(SocketAddr);

#[async_trait]
impl ProxyHttp for Limited {
    type CTX = Option<Guard>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        let user = session.get_header_bytes("user").to_vec();
        let (guard, _) = IN_FLIGHT.incr(&user, 1);
        *ctx = Some(guard);
        if RATE.observe(&user, 1) <= 2 {
            return Ok(false);
        }
        let mut header = ResponseHeader::build(429, None)?;
        header.insert_header("Content-Length", "0")?;
        session
            .write_response_header(Box::new(header), true)
            .await?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

#[tokio::test]
async fn a_proxy_limits_requests_of_each_user() {
    let origin = Origin::well_behaved().await;
    let proxy = proxy(Limited(origin.address())).await;
    let mut client = proxy.connect().await;
    for (user, status) in [("a", 200), ("a", 200), ("a", 429), ("b", 200), ("a", 429)] {
        let request = format!("GET /length/5 HTTP/1.1\r\nHost: a\r\nUser: {user}\r\n\r\n");
        assert_eq!(client.ask(request).await.status(), status, "{user}");
    }
}

#[test]
fn the_items_of_limits() {
    let estimator = Estimator::new(8, 8);
    let count: isize = estimator.incr("key", 2);
    estimator.decr("key", 1);
    assert_eq!((count, estimator.get("key")), (2, 1));
    estimator.reset();

    let (guard, count): (Guard, isize) = Inflight::new().incr(String::from("key"), 1);
    assert_eq!((count, guard.get(), guard.incr()), (1, 1, 2));

    let rate = Rate::new_with_estimator_config(Duration::from_secs(3600), 2, 16);
    let observed: isize = rate.observe(&1_u32, 3);
    let per_second: f64 = rate.rate(&1_u32);
    assert_eq!((observed, per_second), (3, 0.0));
    let mut asked = 0;
    let samples = rate.rate_with(&1_u32, |of: RateComponents| {
        asked += 1;
        let same = of;
        assert!(same == of && of.interval == Duration::from_secs(3600));
        (
            of.prev_samples,
            of.curr_samples,
            of.current_interval_fraction < 1.0,
        )
    });
    assert_eq!((samples, asked), ((0, 3, true), 1));
    assert!(rate.rate_with(&1_u32, PROPORTIONAL_RATE_ESTIMATE_CALC_FN) > 0.0);
}
