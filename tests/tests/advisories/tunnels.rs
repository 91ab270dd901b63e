//! Bytes that come before a tunnel exists.

use pingora::apps::HttpServerOptions;
use pingora::server::configuration::ServerConf;
use pingora_tests::{
    Connection, FixedUpstream, Message, Origin, TestServer, eventually, proxy, proxy_with,
};
use std::sync::{Arc, Mutex};

const CONNECT: &str = "CONNECT inner.example:443 HTTP/1.1\r\nHost: inner.example:443\r\n\r\n";
/// What the client sends at once: a request, if anybody takes it for one.
const PAYLOAD: &str = "GET /smuggled HTTP/1.1\r\nHost: inner.example\r\n\r\n";

/// What an origin got behind the head of a CONNECT before it answered, and after it.
type Got = Arc<Mutex<Vec<(Vec<u8>, Vec<u8>)>>>;

/// Answers the first request of each connection with these bytes, once nothing more comes.
async fn answering(answer: &'static str) -> (Origin, Got) {
    let got = Got::default();
    let noted = got.clone();
    let origin = Origin::scripted(move |mut connection: Connection, _| {
        let noted = noted.clone();
        async move {
            let head = connection.request_head().await;
            let Some(head) = head.filter(|head| head.method() == "CONNECT") else {
                return;
            };
            assert_eq!(head.target(), "inner.example:443");
            // Everything that the proxy would send unasked is here by now.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            let early = if connection.has_input() {
                connection.some_bytes().await.unwrap_or_default()
            } else {
                Vec::new()
            };
            connection.send(answer).await;
            if answer.starts_with("HTTP/1.1 200") {
                let late = connection.bytes(PAYLOAD.len()).await;
                noted.lock().unwrap().push((early, late));
                return;
            }
            connection.finish().await;
            let late = connection.rest().await;
            noted.lock().unwrap().push((early, late));
        }
    })
    .await;
    (origin, got)
}

async fn connecting(origin: &Origin) -> TestServer {
    let mut options = HttpServerOptions::default();
    options.allow_connect_method_proxying = true;
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    proxy_with(conf, FixedUpstream(origin.address()), |service| {
        service.app_logic_mut().unwrap().server_options = Some(options);
    })
    .await
}

/// What became of a CONNECT with a payload behind it: the first answer, and what came after it.
async fn payload_at_once(server: &TestServer) -> (Message, Vec<u8>) {
    let mut client = server.connect().await;
    client.send(format!("{CONNECT}{PAYLOAD}")).await;
    let answer = client.response_to("CONNECT").await;
    let rest = match answer.status() {
        200 => Vec::new(),
        _ => client.rest().await,
    };
    (answer, rest)
}

/// The class of Envoy 1.36.3 and Traefik #13542: the payload of a CONNECT is forwarded before its 200. It waits for
/// the 200; and if there is another answer, nobody takes it for a request.
#[tokio::test]
async fn the_payload_of_a_connect_waits_for_its_200() {
    for (answer, status) in [
        ("HTTP/1.1 200 OK\r\n\r\n", 200),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", 502),
        (
            "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
            302,
        ),
    ] {
        let (origin, got) = answering(answer).await;
        let server = connecting(&origin).await;
        let (said, rest) = payload_at_once(&server).await;
        assert_eq!(said.status(), status);
        assert_eq!(String::from_utf8_lossy(&rest), "", "after {status}");
        eventually("the origin has seen all", || got.lock().unwrap().len() == 1).await;
        let (early, late) = got.lock().unwrap().pop().unwrap();
        assert_eq!(String::from_utf8_lossy(&early), "", "before {status}");
        let granted = if status == 200 { PAYLOAD } else { "" };
        assert_eq!(String::from_utf8_lossy(&late), granted, "after {status}");
        assert_eq!(origin.connections(), 1, "nothing else was asked");
    }
}

/// The class of Envoy 1.36.3 and Traefik #13542 where CONNECT is not turned on: 405, and the connection ends.
#[tokio::test]
async fn the_payload_of_a_refused_connect_is_no_request() {
    let (origin, _) = answering("").await;
    let server = proxy(FixedUpstream(origin.address())).await;
    let (said, rest) = payload_at_once(&server).await;
    assert_eq!(said.status(), 405);
    assert_eq!(String::from_utf8_lossy(&rest), "");
    assert_eq!(origin.connections(), 0);
}
