//! The client session against slow, talkative, faulty or absent servers.

mod exchange;
mod receiving;
mod sending;

use super::*;
use crate::protocols::http::HttpTask;
use pingora_error::{ErrorSource, ErrorType, Result, RetryType};
use pingora_http::RequestHeader;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const WIDE: usize = 1 << 20;

fn pair(window: usize) -> (DuplexStream, HttpSession) {
    let (server, client) = duplex(window);
    (server, HttpSession::new(Box::new(client)))
}

fn request(method: &str, fields: &[(&'static str, &str)]) -> Box<RequestHeader> {
    let mut request = RequestHeader::build(method, b"/", None).unwrap();
    request.insert_header("Host", "a").unwrap();
    for (name, value) in fields {
        request.append_header(*name, *value).unwrap();
    }
    Box::new(request)
}

/// A session that has sent this request, and whose server answers with exactly these bytes.
async fn answered(method: &str, answer: &[u8]) -> (DuplexStream, HttpSession) {
    let (mut server, mut session) = pair(WIDE);
    session
        .write_request_header(request(method, &[]))
        .await
        .unwrap();
    server.write_all(answer).await.unwrap();
    (server, session)
}

async fn read_body(session: &mut HttpSession) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = session.read_body_bytes().await? {
        assert!(!piece.is_empty());
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// A short form of all pieces of the response, to its end or its failure: `H200` head, `B:x` body,
/// `T` trailers, `D` done, `U:x` tunnel, `!` failure; a `.` after the piece that ends it.
async fn pieces(session: &mut HttpSession) -> String {
    let mut told = Vec::new();
    loop {
        let task = match poll_fn(|cx| session.poll_response_task(cx)).await {
            Ok(task) => task,
            Err(error) => {
                told.push(format!("!{}", error.etype().as_str()));
                return told.join(" ");
            }
        };
        let text = |data: &Option<Bytes>| {
            data.as_ref()
                .map_or("-".into(), |d| String::from_utf8_lossy(d).into_owned())
        };
        let end = task.is_end();
        let name = match &task {
            HttpTask::Header(header, _) => format!("H{}", header.status.as_u16()),
            HttpTask::Body(data, _) => format!("B:{}", text(data)),
            HttpTask::UpgradedBody(data, _) => format!("U:{}", text(data)),
            HttpTask::Trailer(trailers) => format!("T{}", trailers.as_ref().map_or(0, |t| t.len())),
            HttpTask::Done => "D".into(),
            HttpTask::Failed(error) => panic!("{error}"),
        };
        told.push(if end { format!("{name}.") } else { name });
        if end {
            return told.join(" ");
        }
    }
}

async fn dropped_at_every_wait<T>(mut begin: impl AsyncFnMut() -> T) -> T {
    loop {
        {
            let mut once = pin!(begin());
            let polled = poll_fn(|cx| Poll::Ready(once.as_mut().poll(cx))).await;
            if let Poll::Ready(value) = polled {
                return value;
            }
        }
        tokio::task::yield_now().await;
    }
}
