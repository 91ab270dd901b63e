//! The number of bytes that the responses of one connection may hold while they are not read.

use super::*;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The window of the connection under test: less than two of its streams may hold.
const WINDOW: usize = 100_000;
const STREAMS: usize = 8;
const WHOLE: usize = 300_000;

/// Sends responses as the windows allow, and counts their bytes.
async fn respond_counted(mut respond: SendResponse<Bytes>, sent: Arc<AtomicUsize>) {
    let mut send = respond.send_response(response(200), false).unwrap();
    let mut left = WHOLE;
    while left > 0 {
        send.reserve_capacity(left.min(16 * 1024));
        let room = poll_fn(|cx| send.poll_capacity(cx)).await.unwrap().unwrap();
        let piece = Bytes::from(vec![b'x'; room.min(left)]);
        left -= piece.len();
        sent.fetch_add(piece.len(), Ordering::Relaxed);
        send.send_data(piece, left == 0).unwrap();
    }
}

/// The window bounds the memory that all streams hold together, and opens as data is read.
#[tokio::test]
async fn unread_responses_hold_no_more_than_the_connections_window() {
    let (server, client) = duplex(WIDE);
    let mut settings = H2HandshakeSettings::new();
    settings.max_streams = STREAMS;
    settings.connection_window_size = Some(u32::try_from(WINDOW).unwrap());
    let (server, conn) = tokio::join!(
        server::handshake(server),
        handshake(Box::new(client), settings)
    );
    let conn = conn.unwrap();
    let (sent, taken) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let counter = sent.clone();
    serve(server.unwrap(), move |_, respond| {
        respond_counted(respond, counter.clone())
    });
    let mut sessions = vec![];
    for _ in 0..STREAMS {
        let mut session = session(&conn).await;
        session
            .write_request_header(request("GET", &[]), true)
            .unwrap();
        session.read_response_header().await.unwrap();
        sessions.push(session);
    }
    while sent.load(Ordering::Relaxed) < WINDOW {
        tokio::task::yield_now().await;
    }
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(sent.load(Ordering::Relaxed), WINDOW, "of eight streams");
    let read = sessions.into_iter().map(|mut session| {
        let (sent, taken) = (sent.clone(), taken.clone());
        async move {
            while let Some(piece) = session.read_response_body().await.unwrap() {
                taken.fetch_add(piece.len(), Ordering::Relaxed);
                let held = sent.load(Ordering::Relaxed) - taken.load(Ordering::Relaxed);
                assert!(held <= WINDOW, "{held} bytes are held");
                tokio::task::yield_now().await;
            }
            assert_eq!(session.body_bytes_received(), WHOLE);
        }
    });
    futures::future::join_all(read).await;
    assert_eq!(taken.load(Ordering::Relaxed), STREAMS * WHOLE);
}
