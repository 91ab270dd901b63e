//! Tests of phases, without a socket.

use pingora::prelude::*;
use std::io::Cursor;
use tokio_test::io::Builder;

#[tokio::test]
async fn a_session_over_a_script() {
    let request = b"GET /scripted HTTP/1.1\r\nHost: a\r\nX-Flag: 1\r\n\r\n";
    let script = Builder::new().read(request).build();
    let mut session = Session::new_h1(Box::new(script));
    assert!(session.read_request().await.unwrap());
    assert_eq!(session.req_header().uri.path(), "/scripted");
    assert_eq!(session.get_header_bytes("x-flag"), b"1");
}

#[tokio::test]
async fn a_session_over_a_cursor() {
    let request = b"GET /read HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let mut session = Session::new_h1(Box::new(Cursor::new(request)));
    assert!(session.read_request().await.unwrap());
    assert_eq!(session.req_header().uri.path(), "/read");
}
