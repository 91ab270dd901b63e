//! Who wants to see the bytes, sees all of them.

use super::*;

/// A proxy with filters on both bodies.
struct Watching {
    to: Plain,
    wants: Option<bool>,
    seen: Arc<AtomicUsize>,
}

#[async_trait]
impl ProxyHttp for Watching {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn upstream_peer(&self, s: &mut Session, c: &mut ()) -> Result<Box<HttpPeer>> {
        self.to.upstream_peer(s, c).await
    }
    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<()> {
        self.seen
            .fetch_add(body.as_ref().map_or(0, Bytes::len), Ordering::Relaxed);
        Ok(())
    }
    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        self.seen
            .fetch_add(body.as_ref().map_or(0, Bytes::len), Ordering::Relaxed);
        Ok(None)
    }
    fn body_filters(&self, _: &Session, _: &()) -> Option<bool> {
        self.wants
    }
}

#[tokio::test]
async fn filters_see_every_byte_unless_the_proxy_says_otherwise() {
    const LENGTH: usize = 2_000_000;
    for (wants, seen_bytes) in [(None, LENGTH), (Some(true), LENGTH), (Some(false), 0)] {
        for uploads in [false, true] {
            soon(async move {
                SPLICED.set(0);
                let (address, _) = match uploads {
                    false => origin(answer_by_path).await,
                    true => origin(judge_uploads).await,
                };
                let seen = Arc::new(AtomicUsize::new(0));
                let proxy = Watching {
                    to: Plain::to(address),
                    wants,
                    seen: seen.clone(),
                };
                let mut client = TcpStream::connect(serve(proxy).await).await.unwrap();
                match uploads {
                    false => fetch(&mut client, LENGTH).await,
                    true => upload(&mut client, LENGTH).await,
                }
                let case = (wants, uploads);
                assert_eq!(seen.load(Ordering::Relaxed), seen_bytes, "{case:?}");
                assert_eq!(SPLICED.get() > 0, seen_bytes == 0, "{case:?}");
            })
            .await;
        }
    }
}

/// A proxy that asks for a minimum rate.
struct Measuring(Plain);

#[async_trait]
impl ProxyHttp for Measuring {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn upstream_peer(&self, s: &mut Session, c: &mut ()) -> Result<Box<HttpPeer>> {
        s.set_min_send_rate(Some(1));
        self.0.upstream_peer(s, c).await
    }
}

#[tokio::test]
async fn what_is_measured_is_copied() {
    soon(async {
        let (address, _) = origin(answer_by_path).await;
        let proxy = serve(Measuring(Plain::to(address))).await;
        let mut client = TcpStream::connect(proxy).await.unwrap();
        fetch(&mut client, 2_000_000).await;
        assert_eq!(SPLICED.get(), 0);
    })
    .await;
}
