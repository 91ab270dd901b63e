//! Which tunnel requests are sent, and what an error reveals.

use super::*;
use ::http::{Method, Request};

fn parts() -> Box<Parts> {
    let none: [(&str, &Vec<u8>); 0] = [];
    generate_connect_header("one.example", 443, none.into_iter()).unwrap()
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
