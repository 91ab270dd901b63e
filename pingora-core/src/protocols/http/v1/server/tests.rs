//! The server session against slow, greedy, faulty or absent clients.

mod bodies;
mod cancel;
mod connection;
mod faults;
mod limits;
mod responses;
mod tunnel;

use super::*;
use crate::protocols::http::ServerSession;
use http::StatusCode;
use pingora_error::Result;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex};

/// A window that is large enough for everything.
const WIDE: usize = 1 << 20;
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

type Client = DuplexStream;

fn pair(window: usize) -> (Client, HttpSession) {
    let (client, server) = duplex(window);
    (client, HttpSession::new(Box::new(server)))
}

/// A session that has read this request; the client has sent nothing else.
async fn asked(request: &[u8]) -> (Client, HttpSession) {
    let (mut client, mut session) = pair(WIDE);
    client.write_all(request).await.unwrap();
    session.read_request().await.unwrap().unwrap();
    (client, session)
}

fn header(status: u16, fields: &[(&'static str, &str)]) -> Box<ResponseHeader> {
    let mut header = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    Box::new(header)
}

async fn read_body(session: &mut HttpSession) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = session.read_body_bytes().await? {
        assert!(
            !piece.is_empty(),
            "an empty piece looks like nothing happened"
        );
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Everything received, without the `Date` fields that are added to responses.
async fn received(mut client: impl AsyncReadExt + Unpin) -> String {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    undated(&String::from_utf8_lossy(&bytes))
}

fn undated(text: &str) -> String {
    let lines = text.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("Date: ")).collect()
}

/// The bytes that have arrived so far, without the dates.
async fn arrived(client: &mut Client) -> String {
    let mut bytes = Vec::new();
    let mut reading = pin!(client.read_buf(&mut bytes));
    let read = std::future::poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
    if let Poll::Ready(read) = read {
        read.unwrap();
    }
    undated(&String::from_utf8_lossy(&bytes))
}

/// The session of the next request, if the connection is kept.
async fn next(session: HttpSession) -> Option<HttpSession> {
    match session.reuse().await.unwrap()?.into_session() {
        ServerSession::H1(session) => Some(session),
        other => panic!("{other:?}"),
    }
}

/// Answers each request with its method, its path and its body, for as long as the connection is
/// kept. Returns the number of requests.
async fn echo(mut session: HttpSession) -> usize {
    let mut requests = 0;
    loop {
        match session.read_request().await {
            Ok(Some(_)) => requests += 1,
            Ok(None) | Err(_) => return requests,
        }
        let body = read_body(&mut session).await.unwrap();
        let request = session.req_header();
        let mut answer = format!("[{} {} ", request.method, request.uri.path()).into_bytes();
        answer.extend_from_slice(&body);
        answer.push(b']');
        let length = answer.len().to_string();
        let header = header(200, &[("Content-Length", &length)]);
        session.write_response_header(header).await.unwrap();
        session.write_body(&answer).await.unwrap();
        match next(session).await {
            Some(kept) => session = kept,
            None => return requests,
        }
    }
}

/// Sends bytes, closes the client's side, and returns all the bytes that came back, together with
/// the server's result.
async fn talk<T>(
    window: usize,
    sent: &[u8],
    serve: impl AsyncFnOnce(HttpSession) -> T,
) -> (String, T) {
    let (client, session) = pair(window);
    let (reader, mut writer): (ReadHalf<Client>, WriteHalf<Client>) = tokio::io::split(client);
    let sending = async move {
        let _ = writer.write_all(sent).await;
        let _ = writer.shutdown().await;
    };
    let ((), answer, served) = tokio::join!(sending, received(reader), serve(session));
    (answer, served)
}

/// Answers without a body, so that only the end of the exchange matters.
async fn answer_empty(session: &mut HttpSession) {
    session
        .write_response_header(header(200, &[("Content-Length", "0")]))
        .await
        .unwrap();
}

/// Polls a fresh future once, drops it, and repeats until one is ready at its first poll.
async fn dropped_at_every_wait<T>(mut begin: impl AsyncFnMut() -> T) -> T {
    loop {
        {
            let mut once = pin!(begin());
            let polled = std::future::poll_fn(|cx| Poll::Ready(once.as_mut().poll(cx))).await;
            if let Poll::Ready(value) = polled {
                return value;
            }
        }
        tokio::task::yield_now().await;
    }
}
