//! The TLS stream: shutdown, errors, reads and writes that have to wait.

use super::*;
use crate::protocols::tls::openssl::test_certificates::authority;
use openssl::ssl::{Ssl, SslAcceptor, SslConnector, SslMethod, SslVerifyMode, SslVersion};
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

type Pair = (SslStream<DuplexStream>, SslStream<DuplexStream>);

/// Both ends of a session, over a transport that takes so many bytes at a time.
async fn pair_of(window: usize, version: SslVersion) -> Pair {
    // They would wait for a reader where the transport is narrow.
    pair_with_tickets(window, version, 0).await
}

async fn pair_with_tickets(window: usize, version: SslVersion, tickets: usize) -> Pair {
    let made = authority("ca").issue(&["one.example"], &[]);
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate(&made.cert).unwrap();
    acceptor.set_private_key(&made.key).unwrap();
    acceptor.set_max_proto_version(Some(version)).unwrap();
    acceptor.set_read_ahead(true);
    acceptor.set_num_tickets(tickets).unwrap();
    let acceptor = acceptor.build();
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector.set_read_ahead(true);
    let client = connector.build().configure().unwrap();
    let client = client
        .verify_hostname(false)
        .into_ssl("one.example")
        .unwrap();
    let (near, far) = duplex(window);
    let mut client = SslStream::new(client, near).unwrap();
    let mut server = SslStream::new(Ssl::new(acceptor.context()).unwrap(), far).unwrap();
    let (connected, accepted) = tokio::join!(client.connect(), server.accept());
    connected.unwrap();
    accepted.unwrap();
    (client, server)
}

async fn pair(window: usize) -> Pair {
    pair_of(window, SslVersion::TLS1_3).await
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n % 251) as u8).collect()
}

/// Sends all of it in writes of this many bytes, and says goodbye.
async fn send(stream: &mut SslStream<DuplexStream>, bytes: &[u8], size: usize) {
    for piece in bytes.chunks(size) {
        stream.write_all(piece).await.unwrap();
    }
    stream.flush().await.unwrap();
    AsyncWriteExt::shutdown(stream).await.unwrap();
}

/// Reads to the end, this many bytes at a time.
async fn receive(stream: &mut SslStream<DuplexStream>, size: usize) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), vec![0; size]);
    loop {
        match stream.read(&mut buf).await.unwrap() {
            0 => return all,
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

#[tokio::test]
async fn bytes_arrive_whole_and_in_order_whatever_the_sizes() {
    let sent = bytes(200_000);
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for window in [100, 5_000, 17_000, 70_000, 1 << 20] {
            for (write, read) in [
                (200_000, 1 << 20),
                (70_000, 1_000),
                (1_000, 64 * 1024),
                (16_385, 8_192),
            ] {
                let (mut client, mut server) = pair_of(window, version).await;
                let (got, ()) =
                    tokio::join!(receive(&mut server, read), send(&mut client, &sent, write));
                assert!(got == sent, "{window} {write} {read}");
            }
        }
    }
}

#[tokio::test]
async fn both_directions_at_once_through_a_narrow_transport() {
    let (up, down) = (bytes(300_000), bytes(400_000));
    let (client, server) = pair(1_000).await;
    let both = |stream: SslStream<DuplexStream>, sent: Vec<u8>, expected: usize| async move {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut got = vec![0; expected];
        let writing = async {
            writer.write_all(&sent).await.unwrap();
            writer.flush().await.unwrap();
        };
        let (read, ()) = tokio::join!(reader.read_exact(&mut got), writing);
        read.unwrap();
        got
    };
    let (at_server, at_client) = tokio::join!(
        both(server, down.clone(), up.len()),
        both(client, up.clone(), down.len())
    );
    assert!(at_server == up && at_client == down);
}

#[tokio::test]
async fn slices_of_all_sizes_leave_together() {
    let (mut client, mut server) = pair(1 << 20).await;
    let all = bytes(150_000);
    let cuts = [0, 5, 5, 100, 30_000, 30_001, 63_000, 149_999, 150_000];
    let slices: Vec<&[u8]> = cuts.windows(2).map(|cut| &all[cut[0]..cut[1]]).collect();
    let slices: Vec<IoSlice<'_>> = slices.into_iter().map(IoSlice::new).collect();
    let n = client.write_vectored(&slices).await.unwrap();
    // Whole records, several at once.
    let batch = WRITE_AT_ONCE..WRITE_AT_ONCE + MAX_RECORD;
    assert!(batch.contains(&n), "{n}");
    client.flush().await.unwrap();
    let mut got = vec![0; n];
    server.read_exact(&mut got).await.unwrap();
    assert!(got == all[..n]);
    assert_eq!(client.write_vectored(&[]).await.unwrap(), 0);
    assert_eq!(client.write(&[]).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_pending_is_reported_once_and_sent_once() {
    let (mut client, mut server) = pair(50).await;
    let sent = bytes(40_000);
    let write = |client: &mut SslStream<DuplexStream>, cx: &mut Context<'_>, bytes: &[u8]| {
        Pin::new(client).poll_write(cx, bytes)
    };
    poll_fn(|cx| {
        // However often it is asked: what is sealed stays sealed.
        for _ in 0..3 {
            assert!(write(&mut client, cx, &sent).is_pending());
        }
        Poll::Ready(())
    })
    .await;
    assert_eq!(client.writing.accepted, 40_000);
    let mut got = vec![0; 40_000];
    let writing = async {
        client.flush().await.unwrap();
        // All has left, which no call has reported yet: an empty write is none, and fewer bytes are a mistake.
        assert_eq!(client.write(&[]).await.unwrap(), 0);
        assert_eq!(client.write(&sent).await.unwrap(), 40_000);
        client.write_all(b"more").await.unwrap();
    };
    let mut more = [0; 4];
    let reading = async {
        server.read_exact(&mut got).await.unwrap();
        server.read_exact(&mut more).await.unwrap();
    };
    tokio::join!(writing, reading);
    assert!(got == sent);
    assert_eq!(&more, b"more");
    poll_fn(|cx| {
        assert!(write(&mut client, cx, &sent).is_pending());
        Poll::Ready(())
    })
    .await;
    let mut rest = vec![0; 40_000];
    let (read, flushed) = tokio::join!(server.read_exact(&mut rest), client.flush());
    read.unwrap();
    flushed.unwrap();
    let e = client.write(b"other").await.unwrap_err();
    assert_eq!(e.kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn an_idle_session_holds_no_buffer() {
    let (mut client, mut server) = pair(1 << 20).await;
    let sent = bytes(60_000);
    for _ in 0..3 {
        client.write_all(&sent).await.unwrap();
        let mut got = vec![0; sent.len()];
        server.read_exact(&mut got).await.unwrap();
        assert!(got == sent);
        // Nothing has arrived: the answer costs no call into the library.
        poll_fn(|cx| {
            let mut buf = [0; 16];
            let mut buf = ReadBuf::new(&mut buf);
            assert!(Pin::new(&mut server).poll_read(cx, &mut buf).is_pending());
            Poll::Ready(())
        })
        .await;
        assert!(server.starved);
        for stream in [&client, &server] {
            assert_eq!(stream.session.get_ref().buffered(), 0);
        }
    }
}

#[tokio::test]
async fn a_reader_with_little_room_loses_nothing() {
    let (mut client, mut server) = pair(1 << 20).await;
    client.write_all(&bytes(50_000)).await.unwrap();
    let mut first = [0];
    server.read_exact(&mut first).await.unwrap();
    // The rest was taken off the transport with it, and waits.
    let mut rest = vec![0; 49_999];
    server.read_exact(&mut rest).await.unwrap();
    assert!([&first[..], &rest].concat() == bytes(50_000));
}

#[tokio::test]
async fn data_in_front_of_a_cut_is_delivered() {
    let (mut client, mut server) = pair(1 << 20).await;
    client.write_all(&bytes(20_000)).await.unwrap();
    AsyncWriteExt::shutdown(client.get_mut()).await.unwrap();
    let mut got = vec![0; 20_000];
    server.read_exact(&mut got).await.unwrap();
    assert!(got == bytes(20_000));
    let e = server.read(&mut got).await.unwrap_err();
    assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn garbage_is_an_error_and_the_other_side_hears_of_it() {
    let (mut client, mut server) = pair(1 << 20).await;
    client
        .get_mut()
        .write_all(&[23, 3, 3, 0, 5, 1, 2, 3, 4, 5])
        .await
        .unwrap();
    assert!(server.read(&mut [0; 16]).await.is_err());
    let e = client.read(&mut [0; 16]).await.unwrap_err();
    assert!(e.to_string().contains("alert"), "{e}");
}

/// Looks for something to read once, and finds nothing.
async fn finds_nothing(stream: &mut SslStream<DuplexStream>) {
    poll_fn(|cx| {
        let mut buf = [0; 16];
        let mut buf = ReadBuf::new(&mut buf);
        assert!(Pin::new(&mut *stream).poll_read(cx, &mut buf).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn tickets_leave_when_a_read_has_to_wait() {
    let (mut client, mut server) = pair_with_tickets(1 << 20, SslVersion::TLS1_3, 2).await;
    assert!(server.writing.holds_tickets);
    // Memory of their size, and no more.
    let held = server.session.get_ref().buffered();
    assert!((1..4096).contains(&held), "{held}");
    finds_nothing(&mut server).await;
    assert!(!server.writing.holds_tickets);
    assert_eq!(server.session.get_ref().buffered(), 0);
    finds_nothing(&mut client).await;
    assert!(!client.session.get_ref().has_arrived());
    server.write_all(b"late").await.unwrap();
    let mut got = [0; 4];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"late");
}

#[tokio::test]
async fn tickets_leave_with_what_is_written_first() {
    for flushes in [false, true] {
        let (mut client, mut server) = pair_with_tickets(1 << 20, SslVersion::TLS1_3, 2).await;
        client.write_all(b"request").await.unwrap();
        let mut got = [0; 7];
        server.read_exact(&mut got).await.unwrap();
        assert!(
            server.writing.holds_tickets,
            "the request was there already"
        );
        if flushes {
            server.flush().await.unwrap();
        }
        assert_eq!(server.write(b"").await.unwrap(), 0);
        server.write_all(b"answer").await.unwrap();
        assert!(!server.writing.holds_tickets);
        assert_eq!(server.session.get_ref().buffered(), 0);
        let mut got = [0; 6];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"answer");
        AsyncWriteExt::shutdown(&mut server).await.unwrap();
        assert_eq!(client.read(&mut got).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn tickets_that_find_no_room_are_sent_when_there_is_some() {
    let (mut client, mut server) = pair_with_tickets(64, SslVersion::TLS1_3, 2).await;
    let served = async {
        let mut got = [0; 7];
        server.read_exact(&mut got).await.unwrap();
        server.write_all(&bytes(1000)).await.unwrap();
        AsyncWriteExt::shutdown(&mut server).await.unwrap();
    };
    let asked = async {
        client.write_all(b"request").await.unwrap();
        receive(&mut client, 100).await
    };
    assert_eq!(tokio::join!(served, asked).1, bytes(1000));
}

#[tokio::test]
async fn the_last_flight_of_tls_1_2_leaves_at_once() {
    let (_client, server) = pair_with_tickets(1 << 20, SslVersion::TLS1_2, 1).await;
    assert!(!server.writing.holds_tickets);
    assert_eq!(server.session.get_ref().buffered(), 0);
}
