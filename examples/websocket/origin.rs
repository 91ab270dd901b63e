//! An origin: a page, and a WebSocket that echoes its input.

use crate::frames::{self, CLOSE, Frame, PING, PONG, TEXT};
use async_trait::async_trait;
use bytes::Bytes;
use pingora::apps::{HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use pingora::services::listening::Service;
use pingora::tls::{base64, sha};
use std::sync::Arc;

/// A page that talks to the WebSocket.
const PAGE: &str = include_str!("page.html");

pub(super) struct Echo;

/// The origin as a service.
pub(super) fn echo() -> Service<Echo> {
    let mut service = Service::new("an echo".into(), Echo);
    service.add_tcp("127.0.0.1:0");
    service.threads = Some(1);
    service
}

#[async_trait]
impl HttpServerApp for Echo {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        // One request per connection keeps the example short.
        session.set_keepalive(None);
        let served = match session.req_header().uri.path() {
            "/echo" if session.is_upgrade_req() => talk(&mut session, shutdown.clone()).await,
            "/" => page(&mut session).await,
            _ => session.respond_error(404).await,
        };
        served.ok()?;
        session.finish().await.ok()?;
        None
    }
}

async fn page(session: &mut ServerSession) -> Result<()> {
    let mut header = ResponseHeader::build(200, None)?;
    header.insert_header("Content-Type", "text/html; charset=utf-8")?;
    let page = Bytes::from_static(PAGE.as_bytes());
    session.write_response(Box::new(header), page).await
}

/// The answer to the client's key (RFC 6455 section 1.3).
fn accept(key: &[u8]) -> String {
    let text = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    base64::encode_block(&sha::sha1(&text))
}

/// Opens the tunnel. From then on, pieces of the bodies are the bytes of the protocol.
async fn talk(session: &mut ServerSession, mut shutdown: ShutdownWatch) -> Result<()> {
    let accept = accept(session.get_header_bytes("Sec-WebSocket-Key"));
    let mut header = ResponseHeader::build(101, None)?;
    header.insert_header("Connection", "Upgrade")?;
    header.insert_header("Upgrade", "websocket")?;
    header.insert_header("Sec-WebSocket-Accept", accept)?;
    session.write_response_header(Box::new(header)).await?;
    send(session, TEXT, b"welcome").await?;
    let mut received = Vec::new();
    loop {
        let piece = tokio::select! {
            piece = session.read_request_body() => piece?,
            _ = shutdown.changed() => return close(session, 1001).await,
        };
        let Some(piece) = piece else {
            return Ok(());
        };
        received.extend_from_slice(&piece);
        loop {
            match frames::take(&mut received) {
                Ok(None) => break,
                Ok(Some(frame)) if frame.opcode == CLOSE => {
                    send(session, CLOSE, &frame.payload).await?;
                    return session.write_response_body(Bytes::new(), true).await;
                }
                Ok(Some(frame)) => answer(session, frame).await?,
                Err(broken) => return close(session, broken.0).await,
            }
        }
    }
}

async fn answer(session: &mut ServerSession, frame: Frame) -> Result<()> {
    let opcode = match frame.opcode {
        PING => PONG,
        PONG => return Ok(()),
        data => data,
    };
    let frame = frames::write(&Frame { opcode, ..frame });
    session.write_response_body(frame.into(), false).await
}

async fn send(session: &mut ServerSession, opcode: u8, payload: &[u8]) -> Result<()> {
    let frame = Frame {
        is_last: true,
        opcode,
        payload: payload.to_vec(),
    };
    let frame = frames::write(&frame);
    session.write_response_body(frame.into(), false).await
}

async fn close(session: &mut ServerSession, code: u16) -> Result<()> {
    send(session, CLOSE, &code.to_be_bytes()).await?;
    session.write_response_body(Bytes::new(), true).await
}
