//! A session's knowledge of its request and its connection.

use super::*;
use crate::protocols::Stream;

#[tokio::test]
async fn the_request_reads_as_one_of_http1_would() {
    let mut pair = Pair::new().await;
    let cookies = [("cookie", "a=b"), ("cookie", "c=d"), ("x", "y")];
    let exchange = pair.begin(request(Method::GET, &cookies), true).await;
    let session = &exchange.session;
    let head = session.req_header();
    assert_eq!(head.version, http::Version::HTTP_2);
    assert_eq!(head.raw_path(), b"/x?y");
    assert_eq!(head.uri.authority().unwrap(), "example.com");
    assert_eq!(session.get_header_bytes("host"), b"example.com");
    assert_eq!(session.get_header_bytes("cookie"), b"a=b; c=d");
    assert_eq!(session.request_summary(), "GET /x?y, Host: example.com");
    assert_eq!(session.stream_id(), 1);
    assert!(session.digest().is_some() && session.client_addr().is_none());
    assert!(!session.is_upgrade_req());
}

#[tokio::test]
async fn a_request_is_read_once() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.get().await;
    let again = exchange.session.read_request().unwrap_err();
    assert_eq!(*again.root_etype(), ErrorType::InternalError);
}

#[tokio::test]
async fn what_is_added_to_the_digest_stays_with_the_request() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.get().await;
    let digest = exchange.session.digest_mut().unwrap();
    digest.timing_digest.push(None);
    assert_eq!(exchange.session.digest().unwrap().timing_digest.len(), 1);
    let next = pair.get().await;
    assert_eq!(next.session.digest().unwrap().timing_digest.len(), 0);
}

/// The public way to serve a connection answers refused requests by itself.
#[tokio::test]
async fn a_refused_request_is_answered_and_told() {
    let (client_io, server_io) = duplex(64 * 1024);
    let io: Stream = Box::new(server_io);
    let serving = tokio::spawn(async move {
        let mut connection = handshake(io, Some(default_h2_options())).await.unwrap();
        let mut told = vec![];
        while let Some(accepted) = HttpSession::from_h2_conn(&mut connection, Arc::default())
            .await
            .unwrap()
        {
            told.push(match accepted {
                H2Accept::Rejected => "rejected",
                H2Accept::Session(mut session) => {
                    session
                        .write_response_header(header(200, &[]), true)
                        .unwrap();
                    "served"
                }
            });
        }
        told
    });
    let (mut requests, connection) = h2::client::handshake(client_io).await.unwrap();
    let connection = tokio::spawn(connection);
    for (host, expected) in [("example.org", 400), ("example.com", 200)] {
        let request = request(Method::GET, &[("host", host)]);
        let (response, _) = requests.send_request(request, true).unwrap();
        assert_eq!(response.await.unwrap().status().as_u16(), expected);
    }
    drop(requests);
    connection.await.unwrap().unwrap();
    assert_eq!(serving.await.unwrap(), ["rejected", "served"]);
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<HttpSession>() <= 32);
    assert!(size_of::<Inner>() <= 1024, "{}", size_of::<Inner>());
}
