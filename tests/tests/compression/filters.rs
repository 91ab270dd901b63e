//! A filter that wants plain text gets it, whatever the client accepts.

use crate::{coded, decoded, origin_of, plain_text};
use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::modules::http::compression::ResponseCompression;
use pingora::prelude::*;
use pingora::protocols::http::compression::Algorithm;
use pingora_tests::{Ask, Message, Version, proxy};
use std::net::SocketAddr;
use std::time::Duration;

/// Puts "Jill" in the place of "Jack", in texts that come in one piece.
struct Renaming {
    upstream: SocketAddr,
    /// Compresses again.
    level: u32,
    /// Asks for plain text when the response's head is there only.
    late: bool,
}

#[async_trait]
impl ProxyHttp for Renaming {
    type CTX = Vec<u8>;

    fn new_ctx(&self) -> Vec<u8> {
        Vec::new()
    }

    async fn early_request_filter(&self, session: &mut Session, _: &mut Vec<u8>) -> Result<()> {
        if !self.late {
            session.upstream_compression.adjust_decompression(true);
        }
        let modules = &mut session.downstream_modules_ctx;
        if let Some(module) = modules.get_mut::<ResponseCompression>() {
            module.adjust_level(self.level);
        }
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Vec<u8>) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        _: &mut ResponseHeader,
        _: &mut Vec<u8>,
    ) -> Result<()> {
        if self.late {
            session.upstream_compression.adjust_decompression(true);
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut Vec<u8>,
    ) -> Result<()> {
        response.remove_header("content-length");
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        seen: &mut Vec<u8>,
    ) -> Result<Option<Duration>> {
        seen.extend_from_slice(&body.take().unwrap_or_default());
        if end_of_stream {
            let text = String::from_utf8_lossy(seen);
            *body = Some(text.replace("Jack", "Jill").into());
        }
        Ok(None)
    }
}

const GZIP: &str = "Content-Type: text/plain\r\nContent-Encoding: gzip\r\nETag: \"a\"\r\n";

async fn asked(renaming: Renaming, accepted: &str) -> Message {
    let server = proxy(renaming).await;
    let answer = Ask::get("/")
        .with("accept-encoding", accepted)
        .answered_over(Version::H1, server.address())
        .await;
    assert_eq!(answer.status(), 200);
    assert!(answer.is_complete(), "{answer:?}");
    answer
}

#[tokio::test]
async fn a_filter_gets_plain_text_whatever_the_client_accepts() {
    let (plain, wanted) = (plain_text(), plain_text().replace("Jack", "Jill"));
    let origin = origin_of(GZIP, coded(Algorithm::Gzip, plain.as_bytes())).await;
    for late in [false, true] {
        for accepted in ["gzip", "gzip, deflate, br, zstd", "identity", "*", ""] {
            let renaming = Renaming {
                upstream: origin.address(),
                level: 0,
                late,
            };
            let answer = asked(renaming, accepted).await;
            assert_eq!(answer.header("content-encoding"), None, "{accepted}");
            assert_eq!(answer.header("etag"), Some("W/\"a\""), "{accepted}");
            assert_eq!(answer.text(), wanted, "{accepted} {late}");
        }
    }
}

#[tokio::test]
async fn what_was_plain_for_a_filter_is_compressed_again_for_those_who_accept_it() {
    let (plain, wanted) = (plain_text(), plain_text().replace("Jack", "Jill"));
    let origin = origin_of(GZIP, coded(Algorithm::Gzip, plain.as_bytes())).await;
    for accepted in ["gzip", "identity"] {
        let renaming = Renaming {
            upstream: origin.address(),
            level: 6,
            late: false,
        };
        let answer = asked(renaming, accepted).await;
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        let text = match answer.header("content-encoding") {
            Some("gzip") => decoded(Algorithm::Gzip, &answer.body),
            other => {
                assert_eq!((accepted, other), ("identity", None));
                answer.body.clone()
            }
        };
        assert_eq!(
            answer.header("content-encoding").is_some(),
            accepted == "gzip"
        );
        assert_eq!(String::from_utf8(text).unwrap(), wanted, "{accepted}");
    }
}
