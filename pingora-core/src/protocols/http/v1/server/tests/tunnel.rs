//! Connections that became tunnels.

use super::*;
use crate::protocols::http::HttpTask;
use std::future::poll_fn;

const UPGRADE: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn switching() -> Box<ResponseHeader> {
    header(101, &[("Connection", "Upgrade"), ("Upgrade", "websocket")])
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_direction_ends_by_itself() {
    let sent = [UPGRADE, b"\0first\r\n\r\n"].concat();
    for window in [1, WIDE] {
        let (answer, ()) = talk(window, &sent, async |mut session| {
            session.read_request().await.unwrap().unwrap();
            assert!(session.is_upgrade_req() && session.is_body_done());
            assert_eq!(session.is_upgrade(&switching()), Some(true));
            session.write_response_header(switching()).await.unwrap();
            assert!(session.was_upgraded() && !session.is_body_done());
            let body = read_body(&mut session).await.unwrap();
            assert_eq!(
                body, b"\0first\r\n\r\n",
                "what came with the head is part of the tunnel"
            );
            // The client's direction is over; ours is not.
            session
                .queue_task(HttpTask::UpgradedBody(Some("0\r\n\r\n".into()), false))
                .unwrap();
            session
                .queue_task(HttpTask::UpgradedBody(Some("tail".into()), true))
                .unwrap();
            session.write_proxy_tasks().await.unwrap();
            assert!(
                next(session).await.is_none(),
                "a tunnel carries no other request"
            );
        })
        .await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
            "{head}"
        );
        assert!(
            !head.contains("Transfer-Encoding") && !head.contains("close"),
            "{head}"
        );
        assert_eq!(body, "0\r\n\r\ntail");
    }
}

#[tokio::test]
async fn the_end_of_our_direction_leaves_the_other_open() {
    let (mut client, mut session) = asked(UPGRADE).await;
    session.write_response_header(switching()).await.unwrap();
    session
        .queue_task(HttpTask::UpgradedBody(Some("bye".into()), true))
        .unwrap();
    poll_fn(|cx| session.poll_flush(cx)).await.unwrap();
    assert!(
        received(&mut client).await.ends_with("\r\n\r\nbye"),
        "the client saw the end"
    );
    client.write_all(b"still here").await.unwrap();
    let piece = poll_fn(|cx| session.poll_read_body(cx)).await.unwrap();
    assert_eq!(piece.as_deref(), Some(&b"still here"[..]));
}

#[tokio::test]
async fn without_a_101_the_bytes_behind_an_upgrade_are_the_next_request() {
    let sent = [UPGRADE, GET].concat();
    let (answer, requests) = talk(WIDE, &sent, echo).await;
    assert_eq!(requests, 2);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2);
}

#[tokio::test]
async fn a_tunnel_is_not_bounded_by_the_body_limit() {
    let (mut client, mut session) = pair(WIDE);
    session.set_max_body_size(Some(1));
    client.write_all(UPGRADE).await.unwrap();
    session.read_request().await.unwrap().unwrap();
    session.write_response_header(switching()).await.unwrap();
    client.write_all(b"more than one").await.unwrap();
    let piece = poll_fn(|cx| session.poll_read_body(cx)).await.unwrap();
    assert_eq!(piece.map(|p| p.len()), Some(13));
}

#[tokio::test]
async fn a_body_precedes_the_tunnel() {
    let sent = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
        Content-Length: 2\r\n\r\nhiraw";
    for reads in [false, true] {
        let (_client, mut session) = asked(sent).await;
        assert!(session.is_upgrade_req());
        if reads {
            assert_eq!(read_body(&mut session).await.unwrap(), b"hi");
        }
        let switched = session.write_response_header(switching()).await;
        assert_eq!(switched.is_ok(), reads);
        if let Err(error) = switched {
            assert_eq!(error.esource(), &pingora_error::ErrorSource::Upstream);
            continue;
        }
        let piece = poll_fn(|cx| session.poll_read_body(cx)).await.unwrap();
        assert_eq!(piece.as_deref(), Some(&b"raw"[..]));
    }
}

#[tokio::test]
async fn connect_becomes_a_tunnel_by_success() {
    let (mut client, mut session) = pair(WIDE);
    session.set_request_rules(RequestRules {
        allow_connect: true,
        ..RequestRules::default()
    });
    client
        .write_all(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nraw")
        .await
        .unwrap();
    session.read_request().await.unwrap().unwrap();
    session
        .write_response_header(header(200, &[]))
        .await
        .unwrap();
    assert!(session.was_upgraded());
    assert_eq!(arrived(&mut client).await, "HTTP/1.1 200 OK\r\n\r\n");
    let piece = poll_fn(|cx| session.poll_read_body(cx)).await.unwrap();
    assert_eq!(piece.as_deref(), Some(&b"raw"[..]));
}
