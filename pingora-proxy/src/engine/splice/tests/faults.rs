//! Bodies that don't come to their end.

use super::*;

const LENGTH: usize = 8_000_000;

/// Sends a head that promises [`LENGTH`] bytes, and the first half of them.
async fn send_half(stream: &mut TcpStream) {
    read_head(stream).await.unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
        .write_all(&payload(LENGTH)[..LENGTH / 2])
        .await
        .unwrap();
}

/// Reads until the connection ends, in any way.
async fn read_what_comes(client: &mut TcpStream) -> Vec<u8> {
    let mut body = Vec::new();
    let _ = client.read_to_end(&mut body).await;
    body
}

#[tokio::test]
async fn a_body_that_is_cut_short_arrives_cut_short() {
    for reset in [false, true] {
        soon(async {
            let (address, _) = origin(move |mut stream| async move {
                send_half(&mut stream).await;
                if reset {
                    stream.set_zero_linger().unwrap();
                }
            })
            .await;
            let mut client = TcpStream::connect(serve(Plain::to(address)).await)
                .await
                .unwrap();
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            read_head(&mut client).await.unwrap();
            let body = read_what_comes(&mut client).await;
            assert!(body.len() < LENGTH, "never a whole body");
            assert!(body == payload(LENGTH)[..body.len()]);
            assert!(reset || body.len() == LENGTH / 2, "{} bytes", body.len());
            assert!(SPLICED.get() > 0);
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_exchange_along() {
    soon(async {
        let gone = Arc::new(tokio::sync::Notify::new());
        let told = gone.clone();
        let (address, _) = origin(move |mut stream| {
            let gone = gone.clone();
            async move {
                read_head(&mut stream).await.unwrap();
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
                gone.notify_one();
            }
        })
        .await;
        let proxy = serve(Plain::to(address)).await;
        for read in [100_000, 10_000_000] {
            let mut client = TcpStream::connect(proxy).await.unwrap();
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            read_body(&mut client, read).await;
            drop(client);
            told.notified().await;
        }
        assert!(SPLICED.get() > 0);
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_is_cut_short_reaches_no_end() {
    soon(async {
        let (told, mut got) = tokio::sync::mpsc::unbounded_channel();
        let (address, _) = origin(move |mut stream| {
            let told = told.clone();
            async move {
                read_head(&mut stream).await.unwrap();
                let _ = told.send(read_what_comes(&mut stream).await.len());
            }
        })
        .await;
        let mut client = TcpStream::connect(serve(Plain::to(address)).await)
            .await
            .unwrap();
        let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client
            .write_all(&payload(LENGTH)[..LENGTH / 2])
            .await
            .unwrap();
        drop(client);
        assert!(got.recv().await.unwrap() <= LENGTH / 2);
        assert!(SPLICED.get() > 0);
    })
    .await;
}

/// A server that has seen enough answers and closes; its answer is worth more than the error of
/// writing to it.
#[tokio::test]
async fn an_early_answer_to_an_upload_arrives() {
    soon(async {
        let (address, _) = origin(async |mut stream| {
            read_head(&mut stream).await.unwrap();
            read_body(&mut stream, LENGTH / 2).await;
            let answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nfull";
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            // Until the proxy has read the answer and closed: a reset would destroy it.
            read_what_comes(&mut stream).await;
        })
        .await;
        let mut client = TcpStream::connect(serve(Plain::to(address)).await)
            .await
            .unwrap();
        let (mut reader, mut writer) = client.split();
        let send = async {
            let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n");
            writer.write_all(head.as_bytes()).await.unwrap();
            let _ = writer.write_all(&payload(LENGTH)[..LENGTH - 1000]).await;
        };
        let receive = async {
            let head = read_head(&mut reader).await.unwrap();
            assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
            assert_eq!(read_body(&mut reader, 4).await, b"full");
        };
        tokio::join!(send, receive);
        assert!(SPLICED.get() > 0);
    })
    .await;
}

#[tokio::test]
async fn without_pipes_bodies_are_copied() {
    NO_PIPES.set(true);
    soon(async {
        let (address, connections) = origin(answer_by_path).await;
        let mut client = TcpStream::connect(serve(Plain::to(address)).await)
            .await
            .unwrap();
        for length in [400_000, 3_000_000] {
            fetch(&mut client, length).await;
        }
        assert_eq!((SPLICED.get(), connections.load(Ordering::Relaxed)), (0, 1));
    })
    .await;
}

/// A server that stalls in the middle of a body is given up, however the time is measured: by the
/// pieces, not from the beginning.
#[tokio::test]
async fn deadlines_follow_what_moves() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    // While a blocking task runs, the paused clock stands still until it is told to go on.
    tokio::task::spawn_blocking(move || held.recv());
    tokio::time::pause();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = gate.clone();
    let (address, _) = origin(move |mut stream| {
        let gate = gate.clone();
        async move {
            send_half(&mut stream).await;
            for _ in 0..5 {
                gate.acquire().await.unwrap().forget();
                stream.write_all(&[b'x'; 1000]).await.unwrap();
            }
            read_what_comes(&mut stream).await;
        }
    })
    .await;
    let mut proxy = Plain::to(address);
    proxy.0.options.read_timeout = Some(Duration::from_secs(60));
    let mut client = TcpStream::connect(serve(proxy).await).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut client).await.unwrap();
    read_body(&mut client, LENGTH / 2).await;
    for _ in 0..5 {
        tokio::time::advance(Duration::from_secs(40)).await;
        opened.add_permits(1);
        read_body(&mut client, 1000).await;
    }
    tokio::time::advance(Duration::from_secs(59)).await;
    tokio::select! {
        biased;
        early = client.read_u8() => panic!("not yet: {early:?}"),
        () = async { for _ in 0..100 { tokio::task::yield_now().await } } => {}
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(client.read_u8().await.is_err(), "the connection ends");
    assert!(SPLICED.get() > 0);
    release.send(()).unwrap();
}

/// A client that takes nothing is given up.
#[tokio::test]
async fn a_stalled_client_is_given_up() {
    struct Impatient(Plain);
    #[async_trait]
    impl ProxyHttp for Impatient {
        type CTX = ();
        fn new_ctx(&self) {}
        async fn upstream_peer(&self, s: &mut Session, c: &mut ()) -> Result<Box<HttpPeer>> {
            s.set_write_timeout(Some(Duration::from_millis(50)));
            self.0.upstream_peer(s, c).await
        }
        fn suppress_error_log(&self, _: &Session, _: &(), _: &Error) -> bool {
            true
        }
    }
    soon(async {
        let gone = Arc::new(tokio::sync::Notify::new());
        let told = gone.clone();
        let (address, _) = origin(move |mut stream| {
            let gone = gone.clone();
            async move {
                read_head(&mut stream).await.unwrap();
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
                gone.notify_one();
            }
        })
        .await;
        let proxy = serve(Impatient(Plain::to(address))).await;
        let mut client = TcpStream::connect(proxy).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        read_head(&mut client).await.unwrap();
        told.notified().await;
        assert!(SPLICED.get() > 0);
    })
    .await;
}
