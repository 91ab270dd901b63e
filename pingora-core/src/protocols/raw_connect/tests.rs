use super::*;
use crate::upstreams::peer::BasicPeer;
use ::http::{Method, Request};

fn parts() -> Box<Parts> {
    let none: [(&str, &Vec<u8>); 0] = [];
    generate_connect_header("one.example", 443, none.into_iter()).unwrap()
}

#[tokio::test]
async fn a_stream_that_somebody_else_connected_becomes_a_tunnel() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let proxy = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buf = [0; 1024];
        let n = stream.read(&mut buf).await.unwrap();
        let answer = b"HTTP/1.1 204 No Content\r\n\r\nmore";
        stream.write_all(answer).await.unwrap();
        String::from_utf8(buf[..n].to_vec()).unwrap()
    });
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let stream: Stream = Box::new(L4Stream::from(stream));
    let peer = BasicPeer::new(&addr.to_string());
    let (mut stream, digest) = connect(stream, &parts(), &peer).await.unwrap();
    assert_eq!(digest.response.status, 204);
    assert!(digest.user_data.is_none());
    let mut more = [0; 4];
    stream.read_exact(&mut more).await.unwrap();
    assert_eq!(&more, b"more");
    assert_eq!(
        proxy.await.unwrap(),
        "CONNECT one.example:443 HTTP/1.1\r\nHost: one.example:443\r\n\r\n"
    );
}

#[test]
fn only_requests_for_a_tunnel_are_sent() {
    assert!(request::encode(&parts()).is_ok());
    let mut get = parts();
    get.method = Method::GET;
    assert!(request::encode(&get).is_err());
    let mut path = parts();
    path.uri = Request::new(()).uri().clone();
    assert!(request::encode(&path).is_err());
    let mut body = parts();
    body.headers.insert("content-length", "1".parse().unwrap());
    assert!(request::encode(&body).is_err());
}

#[test]
fn an_error_keeps_the_answer_and_shows_its_status() {
    let mut response = ResponseHeader::build(403, None).unwrap();
    response.insert_header("X-Secret", "secret").unwrap();
    let e = ConnectProxyError::boxed_new(Box::new(response));
    assert_eq!(e.response.status, 403);
    let shown = format!("{e} {e:?}");
    assert!(
        shown.contains("403") && !shown.contains("secret"),
        "{shown}"
    );
}
