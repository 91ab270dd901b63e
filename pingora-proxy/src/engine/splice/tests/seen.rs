//! A filter that wants to see a body sees every byte of it.

use super::*;
use pingora_http::ResponseHeader;

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
                let (address, _) = if uploads {
                    origin(judge_uploads).await
                } else {
                    origin(answer_by_path).await
                };
                let seen = Arc::new(AtomicUsize::new(0));
                let proxy = Watching {
                    to: Plain::to(address),
                    wants,
                    seen: seen.clone(),
                };
                let mut client = TcpStream::connect(serve(proxy).await).await.unwrap();
                if uploads {
                    upload(&mut client, LENGTH).await
                } else {
                    fetch(&mut client, LENGTH).await
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

/// A proxy that takes an interest in the bytes once the response has begun.
struct Awakened(Plain, Arc<AtomicUsize>);

#[async_trait]
impl ProxyHttp for Awakened {
    type CTX = bool;
    fn new_ctx(&self) -> bool {
        false
    }
    async fn upstream_peer(&self, s: &mut Session, _: &mut bool) -> Result<Box<HttpPeer>> {
        self.0.upstream_peer(s, &mut ()).await
    }
    async fn response_filter(
        &self,
        _: &mut Session,
        _: &mut ResponseHeader,
        awake: &mut bool,
    ) -> Result<()> {
        *awake = true;
        Ok(())
    }
    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        _: &mut bool,
    ) -> Result<()> {
        let seen = body.as_ref().map_or(0, Bytes::len);
        self.1.fetch_add(seen, Ordering::Relaxed);
        Ok(())
    }
    fn body_filters(&self, _: &Session, awake: &bool) -> Option<bool> {
        Some(*awake)
    }
}

#[tokio::test]
async fn a_proxy_may_change_its_mind_in_the_middle_of_an_upload() {
    const LENGTH: usize = 30_000_000;
    soon(async {
        let (address, _) = origin(async |mut stream| {
            read_head(&mut stream).await.unwrap();
            let mut body = read_body(&mut stream, LENGTH / 3).await;
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
            stream.write_all(head).await.unwrap();
            body.extend(read_body(&mut stream, LENGTH - LENGTH / 3).await);
            let verdict = if body == payload(LENGTH) {
                b"same"
            } else {
                b"else"
            };
            stream.write_all(verdict).await.unwrap();
        })
        .await;
        let seen = Arc::new(AtomicUsize::new(0));
        let proxy = serve(Awakened(Plain::to(address), seen.clone())).await;
        let mut client = TcpStream::connect(proxy).await.unwrap();
        let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&payload(LENGTH)).await.unwrap();
        read_head(&mut client).await.unwrap();
        assert_eq!(read_body(&mut client, 4).await, b"same");
        let (seen, spliced) = (seen.load(Ordering::Relaxed), SPLICED.get());
        assert!(seen > 0 && spliced > 0 && seen + spliced <= LENGTH);
    })
    .await;
}
