//! Programs that raise the level of the module that exists by default.

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::modules::http::compression::ResponseCompression;
use pingora::prelude::*;
use pingora_tests::{Ask, Message, Origin, Version, proxy};
use std::net::SocketAddr;

/// Raises the level in the phase that the path names.
struct Raising(SocketAddr);

fn raise(session: &mut Session, phase: &str) {
    if session.req_header().uri.path() == phase {
        let modules = &mut session.downstream_modules_ctx;
        assert!(!modules.get::<ResponseCompression>().unwrap().is_enabled());
        let compression = modules.get_mut::<ResponseCompression>().unwrap();
        compression.adjust_level(6);
    }
}

#[async_trait]
impl ProxyHttp for Raising {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        raise(session, "/early");
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        raise(session, "/request");
        if session.req_header().uri.path() == "/answered" {
            raise(session, "/answered");
            let mut header = ResponseHeader::build(200, None)?;
            header.insert_header("content-type", "text/plain")?;
            let body = "answer ".repeat(100);
            session
                .write_response(Box::new(header), body.into())
                .await?;
            return Ok(true);
        }
        // Later changes to the request by a phase don't affect the module.
        session.req_header_mut().remove_header("x-nothing");
        Ok(false)
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        raise(session, "/peer");
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        request.remove_header("accept-encoding");
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        _: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        raise(session, "/response");
        Ok(())
    }
}

async fn asked(address: SocketAddr, path: &str) -> Message {
    Ask::get(path)
        .with("accept-encoding", "gzip")
        .answered_over(Version::H1, address)
        .await
}

#[tokio::test]
async fn the_level_can_be_raised_in_any_phase_up_to_the_response() {
    let origin = Origin::scripted(|mut connection, _| async move {
        while let Some(head) = connection.request_head().await {
            assert_eq!(head.header("accept-encoding"), None);
            let body = "piece ".repeat(100);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 600\r\n\r\n";
            connection.send(format!("{head}{body}").as_bytes()).await;
        }
    })
    .await;
    let server = proxy(Raising(origin.address())).await;
    for path in ["/early", "/request", "/answered", "/peer", "/response"] {
        let answer = asked(server.address(), path).await;
        assert_eq!(answer.status(), 200, "{path}");
        let coding = answer.header("content-encoding");
        assert_eq!(coding, Some("gzip"), "{path}: {answer:?}");
        assert!(answer.body.starts_with(&[0x1f, 0x8b]), "{path}");
    }
    let plain = asked(server.address(), "/plain").await;
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.body.len(), 600);
}
