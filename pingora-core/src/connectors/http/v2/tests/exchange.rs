//! Requests and responses of servers that keep the rules.

use super::*;
use crate::protocols::http::HttpTask;
use std::future::poll_fn;

/// All pieces of the response in short, to its end or its failure: `H200` head, `B:x` body, `T`
/// trailers, `D` done, `U:x` tunnel, `!` failure; a `.` behind the one that ends it.
pub(super) async fn pieces(session: &mut Http2Session) -> String {
    let mut told = Vec::new();
    loop {
        let task = match next(session).await {
            Ok(task) => task,
            Err(error) => {
                told.push(format!("!{}", error.etype().as_str()));
                return told.join(" ");
            }
        };
        let text = |data: &Option<Bytes>| {
            data.as_ref()
                .map_or("-".into(), |d| String::from_utf8_lossy(d).into_owned())
        };
        let end = task.is_end();
        let name = match &task {
            HttpTask::Header(header, _) => format!("H{}", header.status.as_u16()),
            HttpTask::Body(data, _) => format!("B:{}", text(data)),
            HttpTask::UpgradedBody(data, _) => format!("U:{}", text(data)),
            HttpTask::Trailer(trailers) => format!("T{}", trailers.as_ref().map_or(0, |t| t.len())),
            HttpTask::Done => "D".into(),
            HttpTask::Failed(error) => panic!("{error}"),
        };
        told.push(if end { format!("{name}.") } else { name });
        if end {
            return told.join(" ");
        }
    }
}

/// The next piece, as an engine gets it: it writes what is queued meanwhile.
pub(super) async fn next(session: &mut Http2Session) -> Result<HttpTask> {
    poll_fn(|cx| {
        if session.wants_flush() {
            let _ = session.poll_flush(cx);
        }
        session.poll_response_task(cx)
    })
    .await
}

#[tokio::test]
async fn a_request_without_body_ends_its_stream_with_its_head() {
    let (server, conn) = pair(1).await;
    serve(server, |request, mut respond| async move {
        assert_eq!(request.uri(), "http://a/");
        assert!(request.body().is_end_stream());
        respond.send_response(response(204), true).unwrap();
    });
    let mut session = session(&conn).await;
    session.queue_request_header(&request("GET", &[])).unwrap();
    session.queue_end(None).unwrap();
    assert_eq!(pieces(&mut session).await, "H204.");
    assert!(session.response_finished());
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways() {
    let (server, conn) = pair(1).await;
    serve(server, |mut request, mut respond| async move {
        let mut send = respond.send_response(response(200), false).unwrap();
        let body = request.body_mut();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            send.send_data(data, false).unwrap();
        }
        let sent = body.trailers().await.unwrap().unwrap();
        assert_eq!(sent["x-sent"], "1");
        send.send_trailers(trailers(&[("grpc-status", "0")]))
            .unwrap();
    });
    let mut session = session(&conn).await;
    session.queue_request_header(&request("POST", &[])).unwrap();
    session.queue_body(Bytes::from_static(b"abc")).unwrap();
    assert_eq!(session.queued(), 3);
    session
        .queue_end(Some(&trailers(&[("x-sent", "1"), ("host", "b")])))
        .unwrap();
    assert_eq!(pieces(&mut session).await, "H200 B:abc T1.");
    assert_eq!(
        (session.body_bytes_sent(), session.body_bytes_received()),
        (3, 3)
    );
}
