//! Sockets: late registration, immediate reads, writes in pieces.

use super::*;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as StdStream};
use std::pin::pin;
use std::task::Waker;

/// A client's end that blocks, and the accepted end that does not.
fn pair() -> (StdStream, StdStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    server.set_nonblocking(true).unwrap();
    (client, server)
}

/// Waits until the sent data has arrived.
fn arrived(socket: &StdStream) {
    socket.set_nonblocking(false).unwrap();
    assert_eq!(socket.peek(&mut [0]).unwrap(), 1);
    socket.set_nonblocking(true).unwrap();
}

fn read_once(plain: &mut Plain, room: usize, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
    let mut memory = vec![0; room];
    let mut buf = ReadBuf::new(&mut memory);
    ready!(plain.poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().to_vec()))
}

async fn read(plain: &mut Plain, room: usize) -> Vec<u8> {
    poll_fn(|cx| read_once(plain, room, cx)).await.unwrap()
}

/// Outside of any runtime, where registration would panic.
#[test]
fn a_request_and_its_answer_need_no_reactor() {
    let (mut client, server) = pair();
    client.write_all(b"request").unwrap();
    arrived(&server);
    let mut plain = Plain::accepted(server, true);
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(read)) = read_once(&mut plain, 64, &mut cx) else {
        panic!("it was there");
    };
    assert_eq!(read, b"request");
    assert!(matches!(
        plain.poll_write(&mut cx, b"ans"),
        Poll::Ready(Ok(3))
    ));
    let slices = [IoSlice::new(b"w"), IoSlice::new(b"er")];
    let written = plain.poll_write_vectored(&mut cx, &slices);
    assert!(matches!(written, Poll::Ready(Ok(3))));
    plain.set_nodelay().unwrap();
    plain.shutdown().unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
    assert!(matches!(plain.handle, Handle::Fresh(_)));
}

#[tokio::test]
async fn whoever_has_to_wait_is_woken() {
    for expects_input in [true, false] {
        let (mut client, server) = pair();
        let mut plain = Plain::accepted(server, expects_input);
        let waits = poll_fn(|cx| Poll::Ready(read_once(&mut plain, 8, cx).is_pending()));
        assert!(waits.await);
        assert!(matches!(plain.handle, Handle::Tcp(_)));
        client.write_all(b"late").unwrap();
        assert_eq!(read(&mut plain, 8).await, b"late");
    }
}

#[tokio::test]
async fn what_comes_after_a_short_read_is_read_too() {
    for registered in [true, false] {
        let (mut client, server) = pair();
        client.write_all(b"one").unwrap();
        arrived(&server);
        let mut plain = Plain::accepted(server, true);
        if registered {
            plain.register().unwrap();
        }
        assert_eq!(read(&mut plain, 8).await, b"one");
        client.write_all(b"two").unwrap();
        assert_eq!(read(&mut plain, 8).await, b"two");
        drop(client);
        assert_eq!(read(&mut plain, 8).await, b"");
        assert_eq!(read(&mut plain, 8).await, b"", "and again");
    }
}

#[tokio::test]
async fn all_of_it_arrives_in_order_whatever_the_sizes() {
    let (client, server) = pair();
    client.set_nonblocking(true).unwrap();
    let (mut near, mut far) = (
        Plain::accepted(client, false),
        Plain::accepted(server, true),
    );
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
    let send = async {
        let mut random = fastrand::Rng::with_seed(5);
        let mut left = &sent[..];
        while !left.is_empty() {
            let most = random.usize(1..=90_000).min(left.len());
            let (first, second) = left[..most].split_at(most / 3);
            let slices = [IoSlice::new(first), IoSlice::new(second)];
            let n = if random.bool() {
                poll_fn(|cx| near.poll_write(cx, &left[..most])).await
            } else {
                poll_fn(|cx| near.poll_write_vectored(cx, &slices)).await
            };
            left = &left[n.unwrap()..];
        }
        near.shutdown().unwrap();
    };
    let receive = async {
        let mut random = fastrand::Rng::with_seed(6);
        let mut received = Vec::new();
        loop {
            let piece = read(&mut far, random.usize(1..=70_000)).await;
            if piece.is_empty() {
                break received;
            }
            received.extend_from_slice(&piece);
        }
    };
    let ((), received) = tokio::join!(send, receive);
    assert!(received == sent);
}

#[tokio::test]
async fn a_peer_that_never_stops_leaves_others_their_turn() {
    let (client, server) = pair();
    let flood = std::thread::spawn(move || {
        let mut client = client;
        while client.write_all(&[0; 64 * 1024]).is_ok() {}
    });
    let mut plain = Plain::accepted(server, false);
    read(&mut plain, 16).await;
    // So small that there is always more.
    let mut reads = 0;
    let pending: Poll<()> = {
        let mut reading = pin!(async {
            loop {
                read(&mut plain, 16).await;
                reads += 1;
                assert!(reads < 10_000, "never pending");
            }
        });
        poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await
    };
    assert!(pending.is_pending());
    drop(plain);
    flood.join().unwrap();
}

#[tokio::test]
async fn a_full_socket_takes_the_rest_when_there_is_room() {
    let (mut client, server) = pair();
    let mut plain = Plain::accepted(server, true);
    let mut written = 0;
    let piece = [7; 10_000];
    while let Poll::Ready(n) = poll_fn(|cx| Poll::Ready(plain.poll_write(cx, &piece))).await {
        written += n.unwrap();
    }
    assert!(written > 0);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all.len()
    });
    written += poll_fn(|cx| plain.poll_write(cx, &piece)).await.unwrap();
    plain.shutdown().unwrap();
    assert_eq!(reader.join().unwrap(), written);
}

#[tokio::test]
async fn a_connection_that_was_reset_says_so() {
    let (client, server) = pair();
    crate::sys::socket::set_reset_on_close(client.as_raw_fd(), true).unwrap();
    let mut plain = Plain::accepted(server, false);
    drop(client);
    let failed = poll_fn(|cx| read_once(&mut plain, 8, cx))
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_writer_that_is_never_stopped_leaves_others_their_turn() {
    let (client, server) = pair();
    let drain = std::thread::spawn(move || {
        let mut client = client;
        while client.read(&mut [0; 64 * 1024]).is_ok_and(|n| n > 0) {}
    });
    let mut plain = Plain::accepted(server, false);
    plain.register().unwrap();
    let mut writes = 0;
    let pending: Poll<()> = {
        let mut writing = pin!(async {
            loop {
                poll_fn(|cx| plain.poll_write(cx, b"a little"))
                    .await
                    .unwrap();
                writes += 1;
                assert!(writes < 1000, "never pending, and the socket is not full");
            }
        });
        poll_fn(|cx| Poll::Ready(writing.as_mut().poll(cx))).await
    };
    assert!(pending.is_pending());
    drop(plain);
    drain.join().unwrap();
}

#[tokio::test]
async fn a_fresh_socket_that_brings_more_and_more_is_registered() {
    let (mut client, server) = pair();
    client.write_all(b"more and more").unwrap();
    arrived(&server);
    let mut plain = Plain::accepted(server, true);
    assert_eq!(read(&mut plain, 4).await, b"more");
    assert!(matches!(plain.handle, Handle::Fresh(_)));
    assert_eq!(read(&mut plain, 64).await, b" and more");
    assert!(matches!(plain.handle, Handle::Tcp(_)));
}

#[tokio::test]
async fn more_slices_than_a_call_takes_are_not_taken_for_a_full_socket() {
    let (mut client, server) = pair();
    let mut plain = Plain::accepted(server, true);
    plain.register().unwrap();
    let slices = vec![IoSlice::new(b"x"); 2 * MOST_SLICES];
    let mut written = 0;
    while written < slices.len() {
        let left = &slices[written..];
        written += poll_fn(|cx| plain.poll_write_vectored(cx, left))
            .await
            .unwrap();
    }
    client.read_exact(&mut vec![0; written]).unwrap();
}

#[tokio::test]
async fn closing_what_is_gone_is_no_error() {
    let (client, server) = pair();
    crate::sys::socket::set_reset_on_close(client.as_raw_fd(), true).unwrap();
    let mut plain = Plain::accepted(server, false);
    drop(client);
    poll_fn(|cx| read_once(&mut plain, 8, cx))
        .await
        .unwrap_err();
    plain.shutdown().unwrap();
}
