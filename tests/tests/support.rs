//! The support library, tested without a proxy between client and origin: failures in another suite
//! are then the proxy's.

use pingora_tests::{Connection, Ending, Nginx, Origin};

async fn ask(origin: &Origin, request: &str) -> pingora_tests::Message {
    Connection::to(origin.address()).await.ask(request).await
}

#[tokio::test]
async fn a_well_behaved_origin_keeps_the_connection() {
    let origin = Origin::well_behaved().await;
    let mut client = Connection::to(origin.address()).await;
    for _ in 0..3 {
        let answer = client
            .ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
            .await;
        assert_eq!((answer.status(), answer.text()), (200, "abc"));
    }
    let answer = client
        .ask("HEAD /length/5 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(
        (answer.header("content-length"), answer.text()),
        (Some("5"), "")
    );
    let answer = client
        .ask("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(answer.text(), "/x");
    client.closed().await;
    assert_eq!((origin.connections(), origin.requests().len()), (1, 5));
    origin.wait_until_unused().await;
}

#[tokio::test]
async fn bodies_are_read_by_their_framing() {
    let origin = Origin::well_behaved().await;
    let chunked = ask(&origin, "GET /chunked/2500 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(
        (chunked.body.len(), chunked.chunks),
        (2500, vec![1000, 1000, 500])
    );
    let closed = ask(&origin, "GET /close/30 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((closed.body.len(), closed.ending), (30, Ending::Closed));
    let trailers = ask(&origin, "GET /trailers HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(
        trailers.trailers,
        [("X-Checksum".to_string(), "42".to_string())]
    );
    let slow = ask(&origin, "GET /slow/3 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(slow.text(), "...");
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_told_from_a_reset() {
    let origin = Origin::well_behaved().await;
    let cut = ask(&origin, "GET /cut/100 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((cut.body.len(), cut.ending), (50, Ending::CutShort));
    let reset = ask(&origin, "GET /reset/100 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(reset.ending, Ending::Reset);
}

#[tokio::test]
async fn interim_answers_are_seen_or_skipped() {
    let origin = Origin::well_behaved().await;
    let mut client = Connection::to(origin.address()).await;
    client.send("GET /hints HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 103);
    assert_eq!(client.response().await.text(), "hinted");
    let head = "POST /continue HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.response().await.status(), 100);
    assert_eq!(client.ask("hi").await.text(), "hi");
}

#[tokio::test]
async fn a_scripted_origin_says_what_it_is_told() {
    let origin = Origin::scripted(|mut connection, index| async move {
        let request = connection.request().await.expect("a request");
        match index {
            0 => connection.reset(),
            _ => {
                connection
                    .send(format!("HTTP/1.0 200 {}\r\n\r\n", request.method()))
                    .await
            }
        }
    })
    .await;
    let mut first = Connection::to(origin.address()).await;
    first.send_in_pieces("GET / HTTP/1.1\r\n\r\n", 5).await;
    first.closed().await;
    let second = ask(&origin, "PUT / HTTP/1.1\r\n\r\n").await;
    assert_eq!(second.start_line, "HTTP/1.0 200 PUT");
}

#[tokio::test]
async fn an_upgraded_connection_echoes() {
    let origin = Origin::well_behaved().await;
    let mut client = Connection::to(origin.address()).await;
    let request =
        "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(client.ask(request).await.status(), 101);
    client.send(b"\x00raw").await;
    assert_eq!(client.bytes(4).await, b"\x00raw");
}

#[tokio::test]
async fn nginx_goes_and_comes_back_on_its_port() {
    let mut nginx = Nginx::answering("hello");
    for _ in 0..2 {
        let mut client = Connection::to(nginx.address()).await;
        let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(answer.text(), "hello");
        nginx.stop();
        assert!(std::net::TcpStream::connect(nginx.address()).is_err());
        nginx.start();
    }
}
