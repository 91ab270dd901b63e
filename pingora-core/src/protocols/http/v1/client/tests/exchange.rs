//! Both directions at once: early answers, broken write sides, tunnels, the next request.

use super::*;
use crate::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, ProxyDigest, SocketDigest, Ssl,
    TimingDigest, UniqueIDType,
};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A transport that returns its script, and then behaves as configured.
#[derive(Debug)]
pub(super) struct Scripted {
    answer: Vec<u8>,
    /// Once the answer was read, reading fails instead of ending.
    pub(super) fail_read: bool,
    /// Writing fails from the start.
    pub(super) fail_write: bool,
}

pub(super) fn scripted(answer: &[u8]) -> Scripted {
    Scripted {
        answer: answer.to_vec(),
        fail_read: false,
        fail_write: false,
    }
}

impl AsyncRead for Scripted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.answer.is_empty() && self.fail_read {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let length = self.answer.len().min(buf.remaining());
        buf.put_slice(&self.answer[..length]);
        self.answer.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(if self.fail_write {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            Ok(buf.len())
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[async_trait::async_trait]
impl crate::protocols::Shutdown for Scripted {
    async fn shutdown(&mut self) {}
}

impl UniqueID for Scripted {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl Ssl for Scripted {}
impl Peek for Scripted {}

impl GetTimingDigest for Scripted {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![]
    }
}

impl GetProxyDigest for Scripted {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Scripted {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

#[tokio::test]
async fn an_early_answer_is_read_while_the_request_is_under_way() {
    let (mut server, mut session) = pair(WIDE);
    let fields = [("Content-Length", "1000")];
    session
        .write_request_header(request("PUT", &fields))
        .await
        .unwrap();
    session.write_body(b"begun").await.unwrap();
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await
        .unwrap();
    assert_eq!(pieces(&mut session).await, "H200 B:ok.");
    assert!(!session.is_reusable(), "the rest of the request is owed");
    session.write_body(&[b'x'; 995]).await.unwrap();
    session.finish_body().await.unwrap();
    assert!(session.is_reusable(), "paid");
}

#[tokio::test]
async fn an_answer_survives_the_reset_that_follows_it() {
    let mut io = scripted(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
    (io.fail_read, io.fail_write) = (true, true);
    let mut session = HttpSession::new(Box::new(io));
    let error = session
        .write_request_header(request("PUT", &[("Content-Length", "9")]))
        .await;
    let error = error.unwrap_err();
    assert_eq!(
        (error.etype(), error.esource()),
        (&ErrorType::WriteError, &ErrorSource::Upstream)
    );
    session
        .queue_body(Bytes::from_static(b"into the void"))
        .unwrap();
    assert!(!session.wants_flush(), "nothing more is written");
    poll_fn(|cx| session.poll_flush(cx)).await.unwrap();
    assert_eq!(pieces(&mut session).await, "H413 B:big.");
    assert!(!session.is_reusable());
}

#[tokio::test]
async fn a_kept_connection_begins_anew() {
    let (mut server, mut session) =
        answered("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await;
    assert_eq!(pieces(&mut session).await, "H200.");
    let mut session = session.renew().unwrap();
    assert!(session.resp_header().is_none() && !session.will_keepalive());
    assert_eq!(
        (session.body_bytes_sent(), session.body_bytes_received()),
        (0, 0)
    );
    session
        .write_request_header(request("GET", &[("Connection", "close")]))
        .await
        .unwrap();
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await
        .unwrap();
    assert_eq!(pieces(&mut session).await, "H200 B:ok.");
    assert!(
        session.renew().is_none(),
        "we asked for the close ourselves"
    );
}

#[tokio::test]
async fn an_exchange_that_was_not_finished_is_not_reusable() {
    let (_server, session) = pair(WIDE);
    assert!(!session.is_reusable(), "nothing happened yet");
    let (mut server, mut session) = pair(WIDE);
    session.queue_request_header(&request("GET", &[])).unwrap();
    server.write_all(b"HTTP/1.1 204 x\r\n\r\n").await.unwrap();
    assert_eq!(pieces(&mut session).await, "H204.");
    assert!(!session.is_reusable(), "answered before it was asked");
    let (_server, mut session) =
        answered("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
    session.read_response().await.unwrap();
    session.read_body_bytes().await.unwrap();
    assert!(!session.is_reusable(), "half a response");
    let (mut server, mut session) = pair(WIDE);
    session
        .write_request_header(request("PUT", &[("Transfer-Encoding", "chunked")]))
        .await
        .unwrap();
    session.write_body(b"x").await.unwrap();
    server.write_all(b"HTTP/1.1 204 x\r\n\r\n").await.unwrap();
    assert_eq!(pieces(&mut session).await, "H204.");
    assert!(!session.is_reusable(), "the request has no end yet");
}

const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// RFC 9110 section 7.8: the rest of a body would be interpreted as the new protocol.
#[tokio::test]
async fn no_tunnel_opens_within_a_body() {
    /// Framing, pieces of the body, whether it ends, whether the tunnel opens.
    type Row = (
        &'static [(&'static str, &'static str)],
        &'static [&'static str],
        bool,
        bool,
    );
    let rows: [Row; 5] = [
        (&[], &[], false, true),
        (&[("Content-Length", "4")], &["body"], false, true),
        (&[("Content-Length", "4")], &["bo"], false, false),
        (&[("Transfer-Encoding", "chunked")], &["body"], true, true),
        (&[("Transfer-Encoding", "chunked")], &["body"], false, false),
    ];
    for (framing, pieces, ends, opens) in rows {
        let (mut server, mut session) = pair(WIDE);
        let mut fields = vec![("Connection", "Upgrade"), ("Upgrade", "tcp")];
        fields.extend(framing);
        session
            .queue_request_header(&request("POST", &fields))
            .unwrap();
        for piece in pieces {
            session
                .queue_body(Bytes::from_static(piece.as_bytes()))
                .unwrap();
        }
        if ends {
            session.queue_end(None).unwrap();
        }
        poll_fn(|cx| session.poll_flush(cx)).await.unwrap();
        server.write_all(SWITCH).await.unwrap();
        let head = poll_fn(|cx| session.poll_response_task(cx)).await;
        assert_eq!(head.is_ok(), opens, "{framing:?} {pieces:?}");
        assert_eq!(session.was_upgraded(), opens);
        if let Err(error) = head {
            assert_eq!(error.esource(), &pingora_error::ErrorSource::Upstream);
        }
    }
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_until_each_side_is_done() {
    let (mut server, mut session) = pair(WIDE);
    let fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    session
        .write_request_header(request("GET", &fields))
        .await
        .unwrap();
    session.queue_end(None).unwrap();
    assert!(
        session.is_upgrade_req() && !session.wants_flush(),
        "the end of a GET closes nothing"
    );
    server.write_all(SWITCH).await.unwrap();
    server.write_all(b"HTTP/1.1 ").await.unwrap();
    let head = poll_fn(|cx| session.poll_response_task(cx)).await.unwrap();
    assert!(matches!(head, HttpTask::Header(_, false)) && session.was_upgraded());
    session.queue_body(Bytes::from_static(b"raw")).unwrap();
    session.queue_end(None).unwrap();
    poll_fn(|cx| session.poll_flush(cx)).await.unwrap();
    let mut got = Vec::new();
    server.read_to_end(&mut got).await.unwrap();
    assert!(
        got.ends_with(b"\r\n\r\nraw"),
        "and then the end of our direction"
    );
    server.write_all(b"is only bytes").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(
        pieces(&mut session).await,
        "U:HTTP/1.1  U:is only bytes U:-."
    );
    assert!(!session.is_reusable() && session.renew().is_none());
}

#[tokio::test]
async fn an_upgrade_that_is_declined_is_an_ordinary_exchange() {
    let (mut server, mut session) = pair(WIDE);
    let fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    session
        .write_request_header(request("GET", &fields))
        .await
        .unwrap();
    session.queue_end(None).unwrap();
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
        .await
        .unwrap();
    assert_eq!(pieces(&mut session).await, "H200 B:no.");
    assert!(session.is_reusable());
}

#[tokio::test]
async fn pieces_in_memory_are_announced() {
    let (_server, mut session) = answered(
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1",
    )
    .await;
    assert!(!session.has_buffered_input(), "nothing was read yet");
    let mut announced = Vec::new();
    for _ in 0..3 {
        poll_fn(|cx| session.poll_response_task(cx)).await.unwrap();
        announced.push(session.has_buffered_input());
    }
    assert_eq!(
        announced,
        [true, true, false],
        "the beginning of a chunk is no piece"
    );
}
