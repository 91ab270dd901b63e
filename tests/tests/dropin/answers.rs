//! Programs that decide how a failed request is answered.

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::proxy::FailToProxy;
use pingora_tests::{Ask, Version, proxy};

struct Failing;

#[async_trait]
impl ProxyHttp for Failing {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Error::e_explain(ErrorType::HTTPStatus(429), "too many")
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, _: &mut ()) -> FailToProxy {
        match session.req_header().uri.path() {
            "/written" => {
                let _ = session.respond_error(418).await;
                FailToProxy {
                    error_code: 418,
                    can_reuse_downstream: true,
                }
            }
            "/default" => FailToProxy::by_default(session, e),
            _ => FailToProxy {
                error_code: 503,
                can_reuse_downstream: true,
            },
        }
    }
}

#[tokio::test]
async fn a_status_that_nothing_was_written_for_is_sent() {
    let server = proxy(Failing).await;
    for (path, status) in [("/silent", 503), ("/written", 418), ("/default", 429)] {
        let answer = Ask::get(path)
            .answered_over(Version::H1, server.address())
            .await;
        assert_eq!(answer.status(), status, "{path}");
    }
}

#[tokio::test]
async fn the_connection_goes_on_after_it() {
    let server = proxy(Failing).await;
    let mut connection = server.connect().await;
    for _ in 0..2 {
        connection
            .send(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(connection.response().await.status(), 503);
    }
}
