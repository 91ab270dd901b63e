//! The engine driven from outside of the crates: a plain TCP relay, with custom halves and a custom
//! handler. Large data is moved by `splice(2)`; the engine provides back-pressure and the end of each
//! direction.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use pingora::prelude::*;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::exchange::{DownstreamHalf, SpliceSink, SpliceSource, UpstreamHalf};
use pingora::protocols::l4::stream::Stream;
use pingora::proxy::engine::{
    Exchange, Failure, Flow, Handler, Limits, OnFailure, deadline, drive,
};
use pingora::timeout::{Alarm, Deadline, Deadlines};
use pingora::{BError, ErrorSource};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(30);
const PIECE: usize = 64 * 1024;

/// One socket, with the data waiting to be written to it. Bounded by the engine: 64 KiB, and one
/// piece.
struct Half {
    io: Stream,
    side: ErrorSource,
    queue: BytesMut,
    /// The other side has ended: the queued data is the last to be written.
    ending: bool,
    ended: bool,
    broken: bool,
    alarm: Alarm,
    /// Bytes that passed through this program's memory.
    copied: usize,
    spliced_in: usize,
    spliced_out: usize,
}

impl Half {
    fn new(io: TcpStream, side: ErrorSource) -> Self {
        Half {
            io: io.into(),
            side,
            queue: BytesMut::new(),
            ending: false,
            ended: false,
            broken: false,
            alarm: Alarm::new(),
            copied: 0,
            spliced_in: 0,
            spliced_out: 0,
        }
    }

    fn failed(&self, etype: ErrorType, error: std::io::Error) -> BError {
        Error::create(etype, self.side.clone(), None, Some(Box::new(error)))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let mut memory = vec![0; PIECE];
        let mut read = ReadBuf::new(&mut memory);
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, &mut read));
        let filled = read.filled().len();
        self.copied += filled;
        memory.truncate(filled);
        Poll::Ready(match result {
            Ok(()) => Ok(Some(Bytes::from(memory)).filter(|piece| !piece.is_empty())),
            Err(error) => Err(self.failed(ReadError, error)),
        })
    }

    fn push(&mut self, piece: Option<&Bytes>, end: bool) {
        self.queue.extend_from_slice(piece.map_or(&[], |p| &p[..]));
        self.ending |= end;
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.queue.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.queue));
            match written {
                Ok(written) => self.queue.advance(written),
                Err(error) => return Poll::Ready(Err(self.failed(WriteError, error))),
            }
        }
        if self.ending && !self.ended {
            let ended = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
            self.ended = true;
            return Poll::Ready(ended.map_err(|error| self.failed(WriteError, error)));
        }
        Poll::Ready(Ok(()))
    }

    fn waits(&self) -> bool {
        !self.queue.is_empty() || self.ending && !self.ended
    }

    fn source(&mut self) -> Option<SpliceSource<'_>> {
        self.io.is_plain().then_some(SpliceSource {
            stream: &mut self.io,
            bound: None,
            received: &mut self.spliced_in,
            broken: &mut self.broken,
            side: self.side.clone(),
        })
    }

    fn sink(&mut self) -> Option<SpliceSink<'_>> {
        let clear = !self.waits();
        self.io.is_plain().then_some(SpliceSink {
            stream: &mut self.io,
            bound: None,
            sent: &mut self.spliced_out,
            clear,
            failed: &mut self.broken,
            side: self.side.clone(),
        })
    }
}

struct Client(Half);

impl DownstreamHalf for Client {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        self.0.poll_piece(cx)
    }

    fn body_done(&mut self) -> bool {
        false
    }

    fn take_request_trailers(&mut self) -> Option<Box<HeaderMap>> {
        None
    }

    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<BError> {
        Poll::Pending
    }

    fn queue(&mut self, task: HttpTask) -> Result<()> {
        if let HttpTask::UpgradedBody(data, end) = task {
            self.0.push(data.as_ref(), end);
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_out(cx)
    }

    fn wants_flush(&self) -> bool {
        self.0.waits()
    }

    fn queued(&self) -> usize {
        self.0.queue.len()
    }

    fn splice_source(&mut self) -> Option<SpliceSource<'_>> {
        self.0.source()
    }

    fn splice_sink(&mut self) -> Option<SpliceSink<'_>> {
        self.0.sink()
    }

    fn poll_alarm(
        &mut self,
        cx: &mut Context<'_>,
        deadlines: &Deadlines,
        now: Instant,
    ) -> Poll<Deadline> {
        self.0.alarm.poll_expired(cx, deadlines, now)
    }
}

struct Server(Half);

impl UpstreamHalf for Server {
    fn queue_body(&mut self, data: Bytes) -> Result<()> {
        self.0.push(Some(&data), false);
        Ok(())
    }

    fn queue_end(&mut self, _trailers: Option<&HeaderMap>) -> Result<()> {
        self.0.push(None, true);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_out(cx)
    }

    fn wants_flush(&self) -> bool {
        self.0.waits()
    }

    fn queued(&self) -> usize {
        self.0.queue.len()
    }

    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        let piece = ready!(self.0.poll_piece(cx))?;
        let end = piece.is_none();
        Poll::Ready(Ok(HttpTask::UpgradedBody(piece, end)))
    }

    fn has_input(&self) -> bool {
        false
    }

    fn splice_source(&mut self) -> Option<SpliceSource<'_>> {
        self.0.source()
    }

    fn splice_sink(&mut self) -> Option<SpliceSink<'_>> {
        self.0.sink()
    }
}

/// Everything from one side goes to the other.
struct Relay {
    flow: Flow,
    client: Client,
    server: Server,
}

impl Relay {
    fn between(client: TcpStream, server: TcpStream, limits: Limits) -> Self {
        let mut exchange = Exchange::new();
        exchange.became_tunnel();
        let mut flow = Flow::new(exchange, limits);
        flow.turn.set_request_unseen(true);
        flow.turn.set_response_unseen(true);
        Relay {
            flow,
            client: Client(Half::new(client, ErrorSource::Downstream)),
            server: Server(Half::new(server, ErrorSource::Upstream)),
        }
    }
}

impl Handler for Relay {
    type Down = Client;
    type Up = Server;
    type Error = BError;

    fn parts(&mut self) -> (&mut Flow, &mut Client, &mut Server) {
        (&mut self.flow, &mut self.client, &mut self.server)
    }

    async fn on_body(&mut self, piece: Option<Bytes>) -> Result<()> {
        match piece {
            Some(piece) => {
                self.flow.turn.count_bytes(piece.len());
                self.server.queue_body(piece)
            }
            None => {
                self.flow.exchange.request_ended();
                self.server.queue_end(None)
            }
        }
    }

    async fn on_task(&mut self, task: HttpTask) -> Result<()> {
        if task.is_end() {
            self.flow.exchange.response_ended();
        }
        self.client.queue(task)
    }

    fn on_failure(&mut self, failure: Failure) -> Result<()> {
        match failure {
            Failure::UpstreamUnwritable(error) => match self.flow.exchange.upstream_unwritable() {
                OnFailure::End => Err(error),
                OnFailure::GoOn => Ok(()),
            },
            Failure::UpstreamFailed(error)
            | Failure::DownstreamFailed(error)
            | Failure::DownstreamUnwritable(error) => Err(error),
            Failure::Expired(kind) => Err(deadline::expired(kind)),
        }
    }
}

/// A socket to the relay, one from it, and the relay between them.
async fn relayed(limits: Limits) -> (TcpStream, TcpStream, Relay) {
    let (near, client) = connected().await;
    let (server, far) = connected().await;
    (near, far, Relay::between(client, server, limits))
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n * 31 % 251) as u8).collect()
}

#[tokio::test]
async fn a_relay_of_tcp_is_a_handler_of_the_engine() {
    let (near, far, mut relay) = relayed(Limits::default()).await;
    let (up, down) = (pattern(3_000_000), pattern(5_000_000));
    let driven = tokio::spawn(async move {
        let result = drive(&mut relay).await;
        (result, relay)
    });
    let exchange = async {
        let (mut near_in, mut near_out) = near.into_split();
        let (mut far_in, mut far_out) = far.into_split();
        let (mut got_up, mut got_down) = (vec![], vec![]);
        // Each writes all its data before it ends its direction; neither waits for the other.
        let near_writes = async {
            near_out.write_all(b"hello").await.unwrap();
            near_out.write_all(&up).await.unwrap();
            near_out.shutdown().await.unwrap();
        };
        let far_writes = async {
            far_out.write_all(&down).await.unwrap();
            far_out.shutdown().await.unwrap();
        };
        let (_, _, read_up, read_down) = tokio::join!(
            near_writes,
            far_writes,
            far_in.read_to_end(&mut got_up),
            near_in.read_to_end(&mut got_down),
        );
        assert_eq!(read_up.unwrap(), got_up.len());
        assert_eq!(read_down.unwrap(), got_down.len());
        assert!(got_up.starts_with(b"hello") && got_up[5..] == up[..]);
        assert!(got_down == down);
    };
    timeout(PATIENCE, exchange).await.expect("the bytes stall");
    let (result, relay) = timeout(PATIENCE, driven).await.unwrap().unwrap();
    result.unwrap();
    for (name, half, bytes) in [
        ("client", &relay.client.0, 3_000_005),
        ("server", &relay.server.0, 5_000_000),
    ] {
        assert_eq!(half.copied + half.spliced_in, bytes, "{name}");
        assert!(
            half.spliced_in > bytes / 2,
            "{name}: only {} of {bytes} were spliced",
            half.spliced_in
        );
    }
}

#[tokio::test]
async fn a_relay_ends_at_the_engines_limits() {
    let limits = Limits {
        upstream_read: Some(Duration::from_millis(50)),
        ..Limits::default()
    };
    let (_near, _far, mut relay) = relayed(limits).await;
    let error = timeout(PATIENCE, drive(&mut relay)).await.unwrap();
    let error = error.unwrap_err();
    assert_eq!(
        (error.etype(), error.esource()),
        (&ReadTimedout, &ErrorSource::Upstream)
    );
}

#[tokio::test]
async fn a_relay_ends_where_a_side_breaks() {
    let (near, far, mut relay) = relayed(Limits::default()).await;
    let driven = tokio::spawn(async move { drive(&mut relay).await });
    far.set_zero_linger().unwrap();
    drop(far);
    let error = timeout(PATIENCE, driven).await.unwrap().unwrap();
    assert_eq!(error.unwrap_err().esource(), &ErrorSource::Upstream);
    drop(near);
}
