//! Pieces that are written together.

use super::*;
use crate::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, ProxyDigest, Shutdown, SocketDigest,
    Ssl, TimingDigest, UniqueID, UniqueIDType,
};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A transport that counts the writes to it.
#[derive(Debug)]
struct Counted {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.writes.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Counted {
    async fn shutdown(&mut self) {}
}

impl UniqueID for Counted {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl Ssl for Counted {}
impl Peek for Counted {}

impl GetTimingDigest for Counted {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![]
    }
}

impl GetProxyDigest for Counted {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Counted {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

/// With one worker, and on each of many: it runs the most recently woken task first.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn responses_that_are_ready_together_leave_together() {
    const WAITING: usize = 16;
    // The tasks of the test run on the worker as well.
    let test = async {
        let (io, client) = duplex(64 * 1024);
        let writes = Arc::new(AtomicUsize::new(0));
        let io = Counted {
            io,
            writes: writes.clone(),
        };
        let server = start_on(with_h2c(|_| {}), Box::new(io));
        let (mut requests, connection) = connect(client).await;
        let mut waiting = vec![];
        for _ in 0..WAITING {
            requests = requests.ready().await.unwrap();
            waiting.push(requests.send_request(get("/wait"), true).unwrap().0);
        }
        while server.app.arrived.load(Ordering::SeqCst) < WAITING {
            server.app.waiting.notified().await;
        }
        let before = writes.load(Ordering::SeqCst);
        assert_eq!(fetch(&mut requests, "/go").await.1, "/go");
        for response in waiting {
            assert_eq!(read(response.await.unwrap()).await.1, "/wait");
        }
        let writes = writes.load(Ordering::SeqCst) - before;
        assert!(writes <= 4, "{writes} writes for {WAITING} responses");
        drop(requests);
        connection.await.unwrap().unwrap();
    };
    tokio::spawn(test).await.unwrap();
}
