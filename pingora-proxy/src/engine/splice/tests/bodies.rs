//! Whole bodies, both ways.

use super::*;
use tokio::net::{UnixListener, UnixStream};

#[tokio::test]
async fn responses_of_every_size_arrive_over_one_connection() {
    soon(async {
        let (address, connections) = origin(answer_by_path).await;
        let mut client = TcpStream::connect(serve(Plain::to(address)).await)
            .await
            .unwrap();
        for length in sizes() {
            let before = SPLICED.get();
            fetch(&mut client, length).await;
            let spliced = SPLICED.get() - before;
            assert!(
                spliced == 0 || length > WORTH_IT as usize,
                "{spliced} of {length}"
            );
            assert!(spliced > 0 || length < 1_000_000, "{spliced} of {length}");
        }
        assert_eq!(
            connections.load(Ordering::Relaxed),
            1,
            "the upstream connection is reused"
        );
    })
    .await;
}

#[tokio::test]
async fn uploads_of_every_size_arrive_over_one_connection() {
    soon(async {
        let (address, connections) = origin(judge_uploads).await;
        let mut client = TcpStream::connect(serve(Plain::to(address)).await)
            .await
            .unwrap();
        for length in sizes() {
            let before = SPLICED.get();
            upload(&mut client, length).await;
            let spliced = SPLICED.get() - before;
            assert!(
                spliced == 0 || length > WORTH_IT as usize,
                "{spliced} of {length}"
            );
            assert!(spliced > 0 || length < 1_000_000, "{spliced} of {length}");
        }
        assert_eq!(
            connections.load(Ordering::Relaxed),
            1,
            "the upstream connection is reused"
        );
    })
    .await;
}

#[tokio::test]
async fn unix_sockets_are_as_good() {
    soon(async {
        let directory = std::env::temp_dir().join(format!("splice-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("origin");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(answer_by_path(socket));
            }
        });
        let peer = HttpPeer::new_uds(path.to_str().unwrap(), false, String::new()).unwrap();
        let proxy = Arc::new(http_proxy(&Arc::new(ServerConf::default()), Plain(peer)));
        let (mut client, near) = UnixStream::pair().unwrap();
        tokio::spawn(serve_one(proxy, PlainStream::from(near)));
        for length in sizes() {
            fetch(&mut client, length).await;
        }
        assert!(SPLICED.get() > 3_000_000);
        std::fs::remove_dir_all(&directory).unwrap();
    })
    .await;
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_turn() {
    soon(async {
        let (address, _) = origin(answer_by_path).await;
        let mut client = TcpStream::connect(serve(Plain::to(address)).await)
            .await
            .unwrap();
        let lengths = [3_000_000, 5, 2_000_000, 0];
        for length in lengths {
            let request = format!("GET /{length} HTTP/1.1\r\nHost: a\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
        }
        for length in lengths {
            check_response(&mut client, length).await;
        }
        assert!(SPLICED.get() > 4_000_000);
    })
    .await;
}

/// A request behind an upload arrives in the same bytes as its end.
#[tokio::test]
async fn a_request_behind_an_upload_is_not_taken_for_its_body() {
    soon(async {
        let (address, _) = origin(judge_uploads).await;
        let mut client = TcpStream::connect(serve(Plain::to(address)).await)
            .await
            .unwrap();
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n";
        let mut bytes = Vec::new();
        for _ in 0..3 {
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(&payload(2_000_000));
        }
        let (mut reader, mut writer) = client.split();
        let send = async { writer.write_all(&bytes).await.unwrap() };
        let receive = async {
            for _ in 0..3 {
                check_response(&mut reader, 0).await;
            }
        };
        tokio::join!(send, receive);
        assert!(SPLICED.get() > 3_000_000);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_only_the_close_ends_passes_to_an_old_client() {
    soon(async {
        let (address, _) = origin(async |mut stream| {
            read_head(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await.unwrap();
            stream.write_all(&payload(5_000_000)).await.unwrap();
        })
        .await;
        let mut client = TcpStream::connect(serve(Plain::to(address)).await)
            .await
            .unwrap();
        client
            .write_all(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        read_head(&mut client).await.unwrap();
        let mut body = Vec::new();
        client.read_to_end(&mut body).await.unwrap();
        assert!(body == payload(5_000_000), "{} bytes", body.len());
        assert!(SPLICED.get() > 1_000_000, "{}", SPLICED.get());
    })
    .await;
}

/// Each piece reaches the client before the next one is sent: none is kept in a pipe, and no
/// readiness is missed.
#[tokio::test]
async fn a_slow_server_keeps_nothing_waiting() {
    const PIECES: [usize; 8] = [300_000, 1, 1000, 200_000, 7, 65_536, 30_000, 403_456];
    let length: usize = PIECES.iter().sum();
    soon(async move {
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let opened = gate.clone();
        let (address, _) = origin(move |mut stream| {
            let gate = gate.clone();
            async move {
                read_head(&mut stream).await.unwrap();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                let body = payload(length);
                let mut rest = &body[..];
                for piece in PIECES {
                    gate.acquire().await.unwrap().forget();
                    stream
                        .write_all(rest.split_off(..piece).unwrap())
                        .await
                        .unwrap();
                }
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
        let mut body = Vec::new();
        for piece in PIECES {
            opened.add_permits(1);
            body.extend(read_body(&mut client, piece).await);
        }
        assert!(body == payload(length));
        assert!(SPLICED.get() > 500_000);
    })
    .await;
}

/// The server keeps the bytes that a client does not read, except those that sockets and one pipe hold.
#[tokio::test]
async fn a_slow_client_holds_the_server_back() {
    const LENGTH: usize = 48_000_000;
    soon(async {
        let written = Arc::new(AtomicUsize::new(0));
        let (resume, stalled) = (Arc::new(tokio::sync::Notify::new()), written.clone());
        let resumed = resume.clone();
        let (address, _) = origin(move |mut stream| {
            let (written, resume) = (written.clone(), resume.clone());
            async move {
                read_head(&mut stream).await.unwrap();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                let body = payload(LENGTH);
                let mut rest = &body[..];
                while !rest.is_empty() {
                    let write = stream.write(rest);
                    let n = match tokio::time::timeout(Duration::from_millis(300), write).await {
                        Ok(n) => n.unwrap(),
                        Err(_) => {
                            resume.notify_one();
                            stream.write(rest).await.unwrap()
                        }
                    };
                    written.fetch_add(n, Ordering::Relaxed);
                    rest = &rest[n..];
                }
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
        resumed.notified().await;
        let held = stalled.load(Ordering::Relaxed);
        assert!(held < LENGTH / 2, "{held} bytes are somewhere on the way");
        assert!(read_body(&mut client, LENGTH).await == payload(LENGTH));
        assert!(SPLICED.get() > LENGTH / 2);
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_switches_between_large_and_small_pieces() {
    soon(async {
        // Echoes, after it has agreed to the upgrade.
        let (address, _) = origin(async |mut stream| {
            read_head(&mut stream).await.unwrap();
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        })
        .await;
        let mut client = TcpStream::connect(serve(Plain::to(address)).await).await.unwrap();
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let (mut reader, mut writer) = client.split();
        for length in [1, 4_000_000, 10, 1, 700_000, 3, 2_000_000] {
            let bytes = payload(length);
            let (_, back) = tokio::join!(writer.write_all(&bytes), read_body(&mut reader, length));
            assert!(back == bytes, "{length} bytes come back");
        }
        assert!(SPLICED.get() > 1_000_000, "{}", SPLICED.get());
        writer.shutdown().await.unwrap();
        assert_eq!(reader.read(&mut [0; 1]).await.unwrap(), 0, "the close passes through");
    })
    .await;
}
