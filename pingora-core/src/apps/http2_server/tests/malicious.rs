//! Clients that try to keep the server busy without useful work.

use super::raw::*;
use super::*;

const ENHANCE_YOUR_CALM: u32 = 11;

/// Floods a server that has opened a stream for `/wait`; returns how much it accepted.
async fn flooded(most: usize, bytes: impl FnMut(usize) -> Vec<u8>) -> usize {
    let (server, io) = start(with_h2c(|_| {}));
    let mut raw = Raw::begin(io).await;
    // A POST, so that DATA may follow.
    let head = frame(HEADERS, END_HEADERS, 1, &request("/wait"));
    raw.send(&head).await;
    server.app.waiting.notified().await;
    let (sent, code) = raw.flood(most, bytes).await;
    assert_eq!(code, Some(ENHANCE_YOUR_CALM), "after {sent}");
    server.task.await.unwrap();
    sent
}

fn stream(number: usize) -> u32 {
    number as u32 * 2 + 3
}

/// CVE-2023-44487.
#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let sent = flooded(10_000, |number| {
        let reset = frame(RST_STREAM, 0, stream(number), &[0, 0, 0, 8]);
        [opening(stream(number), "/wait"), reset].concat()
    })
    .await;
    assert!((100..1000).contains(&sent), "{sent}");
}

/// CVE-2025-8671: the server is made to reset streams, here by a window that overflows.
#[tokio::test]
async fn resets_that_the_server_is_made_to_send_end_the_connection() {
    let sent = flooded(10_000, |number| {
        let overflow = frame(WINDOW_UPDATE, 0, stream(number), &[0x7f, 0xff, 0xff, 0xff]);
        [opening(stream(number), "/wait"), overflow].concat()
    })
    .await;
    assert!((100..1000).contains(&sent), "{sent}");
}

#[tokio::test]
async fn frames_that_carry_nothing_end_the_connection() {
    let rows: &[(&str, Vec<u8>)] = &[
        ("PING", frame(PING, 0, 0, &[7; 8])),
        ("PING answers", frame(PING, 1, 0, &[7; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("unknown", frame(0x77, 0, 0, &[])),
    ];
    for (name, bytes) in rows {
        let sent = flooded(100_000, |_| bytes.repeat(10)).await;
        assert!((150..20_000).contains(&sent), "{name}: {sent} times ten");
    }
}

#[tokio::test]
async fn empty_data_ends_the_connection() {
    let sent = flooded(10_000, |_| frame(DATA, 0, 1, &[])).await;
    assert!(sent < 5000, "{sent}");
}

#[tokio::test]
async fn a_header_list_without_end_ends_the_connection() {
    let sent = flooded(10_000, |number| match number {
        0 => frame(HEADERS, END_STREAM, 3, &request("/a")),
        _ => frame(CONTINUATION, 0, 3, &fields(&[("a", "b")])),
    })
    .await;
    assert!(sent < 100, "{sent}");
}

#[tokio::test]
async fn a_header_list_that_is_much_too_large_ends_the_connection() {
    let value = "x".repeat(16_000);
    let sent = flooded(1000, |number| match number {
        0 => frame(HEADERS, END_STREAM, 3, &request("/a")),
        _ => frame(CONTINUATION, 0, 3, &fields(&[("a", &value)])),
    })
    .await;
    assert!(sent < 100, "{sent}");
}

#[tokio::test]
async fn a_header_list_that_is_too_large_is_answered_and_costs_one_stream() {
    let (server, io) = start(with_h2c(|_| {}));
    let (mut requests, connection) = connect(io).await;
    let mut large = get("/a");
    large
        .headers_mut()
        .insert("x", "y".repeat(70_000).parse().unwrap());
    let answer = requests.send_request(large, true).unwrap().0.await;
    assert_eq!(answer.unwrap().status().as_u16(), 431);
    assert_eq!(fetch(&mut requests, "/b").await.0, StatusCode::OK);
    drop(requests);
    connection.await.unwrap().unwrap();
    server.task.await.unwrap();
    assert_eq!(server.app.served.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_the_others_served() {
    let mut options = H2Options::new();
    options.max_concurrent_streams(5000);
    let app = App {
        h2_options: Some(options),
        ..with_h2c(|_| {})
    };
    let (server, io) = start(app);
    let mut raw = Raw::begin(io).await;
    for number in 0..101 {
        raw.send(&super::raw::opening(number * 2 + 1, "/wait"))
            .await;
    }
    let refused = raw.next_of(RST_STREAM).await.unwrap();
    assert_eq!((refused.stream, refused.code()), (201, 7));
    while server.app.arrived.load(Ordering::SeqCst) < 100 {
        server.app.waiting.notified().await;
    }
    server.app.go_on.notify_waiters();
    let mut served = 0;
    while served < 100 {
        let frame = raw.next_of(HEADERS).await.unwrap();
        assert_eq!(frame.status(), Some(200));
        served += 1;
    }
}

#[tokio::test]
async fn a_client_that_asks_for_much_and_reads_it_is_no_attacker() {
    let (server, io) = start(with_h2c(|_| {}));
    let (requests, connection) = connect(io).await;
    for _ in 0..60 {
        let mut requests = requests.clone().ready().await.unwrap();
        let mut under_way = vec![];
        for number in 0..90 {
            let (response, mut upload) = requests.send_request(get("/a"), false).unwrap();
            match number % 9 {
                // Aborted before it is answered, now and then.
                0 => upload.send_reset(Reason::CANCEL),
                _ => upload.send_data("x".into(), true).unwrap(),
            }
            under_way.push(response);
        }
        for (number, response) in under_way.into_iter().enumerate() {
            if number % 9 != 0 {
                assert_eq!(read(response.await.unwrap()).await.0, StatusCode::OK);
            }
        }
    }
    drop(requests);
    connection.await.unwrap().unwrap();
    server.task.await.unwrap();
}

/// RFC 9113 section 8.1.1. The application sees refused requests.
#[tokio::test(start_paused = true)]
async fn fields_that_can_not_be_end_their_stream_alone() {
    for bad in [
        ("X-Upper", "1"),
        ("x-newline", "a\r\nb"),
        ("x-zero", "a\0b"),
        ("x y", "1"),
        (":foo", "1"),
        ("connection", "close"),
    ] {
        let (server, io) = start(with_h2c(|_| {}));
        let mut raw = Raw::begin(io).await;
        let mut block = request("/a");
        block.extend(fields(&[bad]));
        raw.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block))
            .await;
        let answer = raw.next_of(HEADERS).await.unwrap();
        assert_eq!((answer.stream, answer.status()), (1, Some(400)), "{bad:?}");
        let reset = raw.next_of(RST_STREAM).await.unwrap();
        assert_eq!((reset.stream, reset.code()), (1, 1), "{bad:?}");
        raw.send(&opening(3, "/b")).await;
        assert_eq!(raw.next_of(HEADERS).await.unwrap().status(), Some(200));
        assert_eq!(server.app.refused.lock().unwrap().len(), 1);
        drop(raw);
        server.task.await.unwrap();
        assert_eq!(server.app.served.load(Ordering::SeqCst), 1);
    }
}
