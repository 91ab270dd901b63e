//! Clients of HTTP/2.

use super::*;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode};
use pingora_core::apps::HttpServerOptions;

/// A client that begins with HTTP/2, on a connection of its own.
async fn client_of<SV>(inner: SV) -> SendRequest<Bytes>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
{
    let mut proxy = http_proxy(&Arc::new(ServerConf::default()), inner);
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    proxy.server_options = Some(options);
    let client = Client::of(&Arc::new(proxy));
    let (requests, connection) = h2::client::handshake(client.io).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
        drop(client._shutdown);
    });
    requests
}

async fn fetch(
    requests: &mut SendRequest<Bytes>,
    method: Method,
    body: &'static str,
) -> (StatusCode, String) {
    let request = Request::builder()
        .method(method)
        .uri("http://example.com/x?y")
        .header("cookie", "a=b")
        .header("cookie", "c=d")
        .body(())
        .unwrap();
    let (response, mut upload) = requests.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        upload.send_data(body.into(), true).unwrap();
    }
    let (head, mut received) = timeout(PATIENCE, response)
        .await
        .unwrap()
        .unwrap()
        .into_parts();
    let mut whole = vec![];
    while let Some(piece) = received.data().await {
        whole.extend_from_slice(&piece.unwrap());
    }
    (head.status, String::from_utf8(whole).unwrap())
}

#[tokio::test]
async fn a_request_of_http2_reaches_an_origin_of_http1() {
    let origin = Origin::always(OK).await;
    let mut requests = client_of(Plain::to(&origin)).await;
    for _ in 0..2 {
        let answer = fetch(&mut requests, Method::GET, "").await;
        assert_eq!(answer, (StatusCode::OK, "ok".to_string()));
    }
    let seen = &origin.requests()[0];
    assert!(seen.starts_with("GET /x?y HTTP/1.1\r\n"), "{seen}");
    let lower = seen.to_lowercase();
    assert!(lower.contains("\r\nhost: example.com\r\n"), "{seen}");
    assert!(lower.contains("\r\ncookie: a=b; c=d\r\n"), "{seen}");
    assert_eq!(origin.connections(), [0, 0]);
}

#[tokio::test]
async fn a_body_of_unknown_length_goes_on_in_chunks() {
    let origin = Origin::always(OK).await;
    let mut requests = client_of(Plain::to(&origin)).await;
    let answer = fetch(&mut requests, Method::POST, "hello").await;
    assert_eq!(answer, (StatusCode::OK, "ok".to_string()));
    let seen = &origin.requests()[0].to_lowercase();
    assert!(
        seen.contains("\r\ntransfer-encoding: chunked\r\n"),
        "{seen}"
    );
    assert!(seen.contains("hello"), "{seen}");
}
