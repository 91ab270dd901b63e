//! One request of each kind through the smallest proxy.

use pingora::server::ShutdownSignal;
use pingora_tests::{Ending, FixedUpstream, Origin, eventually, proxy};

#[tokio::test]
async fn answers_of_every_shape_arrive() {
    let origin = Origin::well_behaved().await;
    let proxy = proxy(FixedUpstream(origin.address())).await;
    let mut client = proxy.connect().await;
    let shapes = [
        ("/length/100000", 100_000),
        ("/chunked/2500", 2500),
        ("/close/3000", 3000),
    ];
    for (path, length) in shapes {
        let answer = client
            .ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(
            (answer.status(), answer.body.len()),
            (200, length),
            "{path}"
        );
        assert!(answer.is_complete(), "{path}");
    }
    let answer = client
        .ask("HEAD /length/5 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(
        (answer.status(), answer.header("Content-Length")),
        (200, Some("5"))
    );
    for status in [204, 304] {
        let answer = client
            .ask(format!("GET /status/{status} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!((answer.status(), answer.text()), (status, ""));
    }
}

#[tokio::test]
async fn request_bodies_reach_the_origin_over_one_connection() {
    let origin = Origin::well_behaved().await;
    let proxy = proxy(FixedUpstream(origin.address())).await;
    let mut client = proxy.connect().await;
    let fixed = client
        .ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfixed")
        .await;
    assert_eq!(fixed.text(), "fixed");
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = client
        .ask(format!("{head}3\r\nchu\r\n4\r\nnked\r\n0\r\n\r\n"))
        .await;
    assert_eq!(chunked.text(), "chunked");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_never_complete() {
    let origin = Origin::well_behaved().await;
    let proxy = proxy(FixedUpstream(origin.address())).await;
    for path in ["/cut/1000", "/reset/1000"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = proxy.connect().await.ask(request).await;
        // A reset may overtake the head, and then an error answer is possible.
        let cut = matches!(answer.ending, Ending::CutShort | Ending::Reset);
        assert!(cut || answer.status() == 502, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_refuses_is_a_502_and_the_worker_lives() {
    let origin = Origin::well_behaved().await;
    let address = origin.address();
    drop(origin);
    let proxy = proxy(FixedUpstream(address)).await;
    for _ in 0..2 {
        let answer = proxy
            .connect()
            .await
            .ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(answer.status(), 502);
    }
}

#[tokio::test]
async fn a_server_stops_gracefully() {
    let origin = Origin::well_behaved().await;
    let proxy = proxy(FixedUpstream(origin.address())).await;
    let answer = proxy
        .connect()
        .await
        .ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(answer.status(), 200);
    proxy.signal(ShutdownSignal::GracefulTerminate);
    eventually("the server stops", || proxy.has_stopped()).await;
}
