//! A good HTTP/2 origin, with the behaviours of its sister for HTTP/1.1.

use super::body::{fields, map, read_body, send_body};
use crate::message::Message;
use crate::origin::{Begun, Seen};
use crate::pattern;
use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Between two pieces of a slow body.
const PAUSE: Duration = Duration::from_millis(10);
/// The largest DATA frame of a body in pieces.
const PIECE: usize = 1000;

/// A stream's request to its connection.
enum Wish {
    GoAway,
}

/// Serves the streams of a connection, with the behaviours that [`Origin::http2`] describes.
///
/// [`Origin::http2`]: crate::Origin::http2
pub(crate) async fn serve<S>(stream: S, seen: Arc<Seen>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = Builder::new();
    builder
        .initial_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .max_concurrent_streams(seen.max_streams())
        .enable_connect_protocol();
    let Ok(mut connection) = builder.handshake(stream).await else {
        return;
    };
    let (wishes, mut wished) = mpsc::unbounded_channel();
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let (seen, wishes) = (seen.clone(), wishes.clone());
                    streams.spawn(answer(request, respond, seen, wishes));
                }
                _ => return,
            },
            wish = wished.recv() => match wish {
                Some(Wish::GoAway) => connection.graceful_shutdown(),
                None => return,
            },
        }
        while streams.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    seen: Arc<Seen>,
    wishes: mpsc::UnboundedSender<Wish>,
) {
    let (parts, mut body) = request.into_parts();
    let mut message = head(&parts);
    let begun = Begun::new(&seen);
    let early = Early::of(message.target());
    if let Early::Continue = early {
        let interim = response(100).body(()).expect("it is a response");
        let _ = respond.send_informational(interim);
    }
    if let Early::Now = early {
        seen.note(message.clone());
    } else {
        read_body(&mut body, &mut message).await;
        seen.note(message.clone());
        if !message.is_complete() {
            return;
        }
    }
    // An error means that the proxy has reset the stream, or is gone, which is its right.
    if behave(&message, &mut body, &mut respond, &wishes)
        .await
        .is_ok()
    {
        begun.finish();
    }
}

/// The frames before the body of the request.
enum Early {
    Nothing,
    Continue,
    Now,
}

impl Early {
    fn of(path: &str) -> Self {
        match path.split('/').nth(1) {
            Some("continue") => Self::Continue,
            Some("early" | "early-reset" | "pipe" | "websocket") => Self::Now,
            _ => Self::Nothing,
        }
    }
}

async fn behave(
    request: &Message,
    body: &mut RecvStream,
    respond: &mut SendResponse<Bytes>,
    wishes: &mpsc::UnboundedSender<Wish>,
) -> Result<(), h2::Error> {
    let mut parts = request.target().split('/').skip(1);
    let behaviour = parts.next().unwrap_or_default();
    let count: usize = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let without_body = request.method() == "HEAD";
    let mut answer = Answer {
        respond,
        without_body,
    };
    match behaviour {
        "echo" | "continue" => answer.fixed(&request.body).await,
        "length" => answer.fixed(&pattern(count)).await,
        "chunked" | "close" => answer.pieces(&pattern(count), PIECE, &[]).await,
        "drip" => answer.drip(&pattern(count)).await,
        "trailers" => {
            let trailers = [("x-checksum".to_string(), "42".to_string())];
            answer.pieces(b"checked", PIECE, &trailers).await
        }
        "echo-trailers" => {
            let trailers = request.trailers.clone();
            answer.pieces(&request.body, PIECE, &trailers).await
        }
        "hints" => {
            let link = "</style.css>; rel=preload";
            let interim = response(103).header("link", link).body(());
            answer
                .respond
                .send_informational(interim.expect("it is a response"))?;
            answer.fixed(b"hinted").await
        }
        "status" => {
            let status = u16::try_from(count).expect("a status");
            answer.status(status)
        }
        "slow" => answer.slow(count).await,
        "empty-frames" => answer.empty_frames(&pattern(count)).await,
        "short" | "cut" => answer.lie(count, count / 2, None).await,
        "long" => answer.lie(count, count + 10, None).await,
        "reset" => {
            answer
                .lie(count, count / 2, Some(Reason::INTERNAL_ERROR))
                .await
        }
        "reset-head" => {
            answer.respond.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        "reset-body" => answer.lie(count, 0, Some(Reason::INTERNAL_ERROR)).await,
        "reset-trailers" => {
            let mut stream = answer.open(response(200))?;
            send_body(&mut stream, pattern(count).into(), false).await?;
            settle().await;
            stream.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        "early" => {
            let mut stream = answer.open(response(413).header("content-length", 5))?;
            send_body(&mut stream, Bytes::from_static(b"early"), true).await?;
            // The rest of the upload is read and thrown away.
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
            }
            Ok(())
        }
        "early-reset" => {
            let mut stream = answer.open(response(413).header("content-length", 5))?;
            send_body(&mut stream, Bytes::from_static(b"early"), true).await?;
            settle().await;
            // RFC 9113 section 8.1: no error, and no more of this, please.
            stream.send_reset(Reason::NO_ERROR);
            Ok(())
        }
        "stall" => {
            let reason = poll_fn(|cx| answer.respond.poll_reset(cx)).await?;
            Err(reason.into())
        }
        "pipe" | "websocket" => answer.pipe(body).await,
        "goaway" => {
            let _ = wishes.send(Wish::GoAway);
            answer.fixed(b"last").await
        }
        _ => answer.fixed(request.target().as_bytes()).await,
    }
}

fn head(parts: &http::request::Parts) -> Message {
    let path = parts.uri.path_and_query();
    let path = path.map_or("", http::uri::PathAndQuery::as_str);
    let mut message = Message::empty(&format!("{} {path} HTTP/2.0", parts.method));
    let scheme = parts.uri.scheme_str().unwrap_or_default();
    let authority = parts.uri.authority();
    let authority = authority.map_or("", http::uri::Authority::as_str);
    message.fields = vec![
        (":scheme".to_string(), scheme.to_string()),
        (":authority".to_string(), authority.to_string()),
    ];
    if let Some(protocol) = parts.extensions.get::<h2::ext::Protocol>() {
        let protocol = protocol.as_str().to_string();
        message.fields.push((":protocol".to_string(), protocol));
    }
    message.fields.extend(fields(&parts.headers));
    message
}

fn response(status: u16) -> http::response::Builder {
    Response::builder().status(status)
}

/// Lets the connection's task write: a reset drops what waits there.
async fn settle() {
    tokio::time::sleep(PAUSE).await;
}

struct Answer<'a> {
    respond: &'a mut SendResponse<Bytes>,
    without_body: bool,
}

impl Answer<'_> {
    fn open(&mut self, head: http::response::Builder) -> Result<SendStream<Bytes>, h2::Error> {
        let head = head.body(()).expect("it is a response");
        self.respond.send_response(head, self.without_body)
    }

    fn status(&mut self, status: u16) -> Result<(), h2::Error> {
        let head = match status {
            204 | 304 => response(status),
            _ => response(status).header("content-length", 0),
        };
        let head = head.body(()).expect("it is a response");
        self.respond.send_response(head, true).map(drop)
    }

    async fn fixed(&mut self, body: &[u8]) -> Result<(), h2::Error> {
        let mut stream = self.open(response(200).header("content-length", body.len()))?;
        if self.without_body {
            return Ok(());
        }
        send_body(&mut stream, Bytes::copy_from_slice(body), true).await
    }

    async fn pieces(
        &mut self,
        body: &[u8],
        size: usize,
        trailers: &[(String, String)],
    ) -> Result<(), h2::Error> {
        let mut stream = self.open(response(200))?;
        if self.without_body {
            return Ok(());
        }
        for piece in body.chunks(size) {
            send_body(&mut stream, Bytes::copy_from_slice(piece), false).await?;
        }
        match trailers {
            [] => stream.send_data(Bytes::new(), true),
            trailers => stream.send_trailers(map(trailers)),
        }
    }

    /// Each byte in a frame of its own.
    async fn drip(&mut self, body: &[u8]) -> Result<(), h2::Error> {
        let mut stream = self.open(response(200).header("content-length", body.len()))?;
        if self.without_body {
            return Ok(());
        }
        for (number, byte) in body.iter().enumerate() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let last = number + 1 == body.len();
            send_body(&mut stream, Bytes::copy_from_slice(&[*byte]), last).await?;
        }
        Ok(())
    }

    async fn slow(&mut self, count: usize) -> Result<(), h2::Error> {
        let mut stream = self.open(response(200))?;
        if self.without_body {
            return Ok(());
        }
        for _ in 0..count {
            tokio::time::sleep(PAUSE).await;
            send_body(&mut stream, Bytes::from_static(b"."), false).await?;
        }
        stream.send_data(Bytes::new(), true)
    }

    /// With frames without payload before, between and behind.
    async fn empty_frames(&mut self, body: &[u8]) -> Result<(), h2::Error> {
        let mut stream = self.open(response(200).header("content-length", body.len()))?;
        if self.without_body {
            return Ok(());
        }
        stream.send_data(Bytes::new(), false)?;
        for piece in body.chunks(PIECE) {
            send_body(&mut stream, Bytes::copy_from_slice(piece), false).await?;
            stream.send_data(Bytes::new(), false)?;
            stream.send_data(Bytes::new(), false)?;
        }
        stream.send_data(Bytes::new(), true)
    }

    /// Announces one length and sends another; the end may be a reset.
    async fn lie(
        &mut self,
        announced: usize,
        sent: usize,
        reset: Option<Reason>,
    ) -> Result<(), h2::Error> {
        let mut stream = self.open(response(200).header("content-length", announced))?;
        if self.without_body {
            return Ok(());
        }
        let end = reset.is_none();
        if sent > 0 || end {
            send_body(&mut stream, pattern(sent).into(), end).await?;
        }
        if let Some(reason) = reset {
            settle().await;
            stream.send_reset(reason);
        }
        Ok(())
    }

    /// Sends back every piece as it comes.
    async fn pipe(&mut self, body: &mut RecvStream) -> Result<(), h2::Error> {
        let mut stream = self.open(response(200))?;
        while let Some(data) = body.data().await {
            let data = data?;
            let _ = body.flow_control().release_capacity(data.len());
            send_body(&mut stream, data, false).await?;
        }
        stream.send_data(Bytes::new(), true)
    }
}
