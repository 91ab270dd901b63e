//! `GrpcHealthCheck` against servers of another make.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use http::Response;
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{GrpcHealthCheck, HealthCheck};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The path, the authority and the message of a request.
type Asked = Arc<Mutex<Vec<(String, String, Vec<u8>)>>>;

#[derive(Clone, Copy)]
enum Answer {
    /// A message.
    Says(&'static [u8]),
    /// Only a head, with this status of gRPC.
    Refuses(&'static str),
    Status(u16),
    Nothing,
}

async fn server(answer: Answer) -> (Backend, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = listener.local_addr().unwrap().into();
    let asked = Asked::default();
    let told = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer, told.clone()));
        }
    });
    (backend, asked)
}

async fn serve(stream: TcpStream, answer: Answer, asked: Asked) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    let mut held = Vec::new();
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        let (head, mut body) = request.into_parts();
        let asked = asked.clone();
        if matches!(answer, Answer::Nothing) {
            held.push((respond, body));
            continue;
        }
        tokio::spawn(async move {
            let mut message = Vec::new();
            while let Some(Ok(piece)) = body.data().await {
                message.extend_from_slice(&piece);
            }
            let path = head.uri.path().to_string();
            let authority = head
                .uri
                .authority()
                .map(|a| a.to_string())
                .unwrap_or_default();
            asked.lock().unwrap().push((path, authority, message));
            let mut response = Response::new(());
            response
                .headers_mut()
                .insert("content-type", "application/grpc".parse().unwrap());
            match answer {
                Answer::Says(message) => {
                    let mut stream = respond.send_response(response, false).unwrap();
                    stream
                        .send_data(Bytes::from_static(message), false)
                        .unwrap();
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", "0".parse().unwrap());
                    stream.send_trailers(trailers).unwrap();
                }
                Answer::Refuses(code) => {
                    response
                        .headers_mut()
                        .insert("grpc-status", code.parse().unwrap());
                    respond.send_response(response, true).unwrap();
                }
                Answer::Status(status) => {
                    *response.status_mut() = status.try_into().unwrap();
                    respond.send_response(response, true).unwrap();
                }
                Answer::Nothing => {}
            }
        });
    }
    Ok(())
}

#[tokio::test]
async fn a_backend_that_serves_is_healthy() {
    let (backend, asked) = server(Answer::Says(b"\0\0\0\0\x02\x08\x01")).await;
    let check = GrpcHealthCheck::new("app.test:50051", false, "shop.Orders");
    check.check(&backend).await.unwrap();
    let (path, authority, message) = asked.lock().unwrap().pop().unwrap();
    assert_eq!(path, "/grpc.health.v1.Health/Check");
    assert_eq!(authority, "app.test:50051");
    assert_eq!(message, b"\0\0\0\0\x0d\x0a\x0bshop.Orders");

    let mut elsewhere = GrpcHealthCheck::new("app.test", false, "");
    elsewhere.port_override = Some(backend.as_inet().unwrap().port());
    elsewhere
        .check(&Backend::new("127.0.0.1:1").unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn any_other_answer_is_a_failed_check() {
    for (answer, why) in [
        (Answer::Says(b"\0\0\0\0\x02\x08\x02"), "status 2"),
        (Answer::Says(b"\0\0\0\0\0"), "status 0"),
        (Answer::Says(b"\0\0\0\0\x02\x08"), "no message"),
        (Answer::Says(&[0; 5_000]), "long"),
        (Answer::Refuses("12"), "grpc-status"),
        (Answer::Status(503), "503"),
    ] {
        let (backend, _) = server(answer).await;
        let check = GrpcHealthCheck::new("app.test", false, "");
        let error = check.check(&backend).await.unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    let (backend, _) = server(Answer::Nothing).await;
    let mut check = GrpcHealthCheck::new("app.test", false, "");
    check.peer_template.options.read_timeout = Some(Duration::from_millis(100));
    assert!(check.check(&backend).await.is_err());
    // One that speaks HTTP/1 only, as far as it speaks.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = listener.local_addr().unwrap().into();
    assert!(check.check(&backend).await.is_err());
}
