//! A client's bytes on an HTTP/2 connection: no input panics, hangs or is served twice.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pingora_core::protocols::http::v2::server::{H2Accept, HttpSession, handshake};
use pingora_http::ResponseHeader;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

async fn serve(mut session: HttpSession) {
    let host = session.get_header_bytes("host").to_vec();
    assert!(
        !host.is_empty() || session.req_header().method == http::Method::CONNECT,
        "a request without a host was accepted"
    );
    let cookies = session.req_header().headers.get_all("cookie").iter();
    assert!(cookies.count() <= 1, "cookies are joined");
    while let Ok(Some(piece)) = session.read_body_bytes().await {
        assert!(!piece.is_empty());
    }
    let Ok(header) = ResponseHeader::build(200, None) else {
        return;
    };
    let _ = session.write_response_header(Box::new(header), false);
    let _ = session
        .write_body(Bytes::from_static(b"answer"), true)
        .await;
}

async fn run(frames: &[u8]) {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let serving = async {
        let Ok(mut connection) = handshake(Box::new(server), None).await else {
            return;
        };
        let mut sessions = tokio::task::JoinSet::new();
        while let Ok(Some(accepted)) =
            HttpSession::from_h2_conn(&mut connection, Arc::default()).await
        {
            if let H2Accept::Session(session) = accepted {
                sessions.spawn(serve(session));
            }
        }
        drop(connection);
        while let Some(ended) = sessions.join_next().await {
            ended.expect("a session panicked");
        }
    };
    let sending = async {
        for bytes in [PREFACE, SETTINGS, frames] {
            let _ = client.write_all(bytes).await;
        }
        let _ = client.shutdown().await;
        let mut answers = vec![];
        let _ = client.read_to_end(&mut answers).await;
    };
    let both = async { tokio::join!(serving, sending) };
    let ended = tokio::time::timeout(Duration::from_secs(20), both).await;
    ended.expect("the connection hangs");
}

fuzz_target!(|frames: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(run(frames));
});
