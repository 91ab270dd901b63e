//! The origin over HTTP/1.1.

use super::cases::{Case, Fault, Point};
use super::{Told, reply};
use pingora_tests::Connection;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const DRIP: Duration = Duration::from_millis(20);
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

pub(super) async fn serve(connection: Connection, case: Option<Case>, told: Arc<Told>) {
    match case {
        None => echo(connection).await,
        Some(case) => {
            fail(connection, case, &told).await;
            told.let_go.store(true, Ordering::SeqCst);
        }
    }
}

async fn echo(mut connection: Connection) {
    while let Some(request) = connection.request().await {
        let body = reply(&request.body);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = [head.into_bytes(), body].concat();
        if connection.try_send(answer).await.is_err() {
            return;
        }
    }
}

async fn fail(mut connection: Connection, case: Case, told: &Told) {
    if case.point == Point::Accepted {
        return misbehave(connection, case, told).await;
    }
    let Some(head) = connection.request_head().await else {
        return;
    };
    if case.point == Point::Request {
        connection.wait_for_bytes(5000).await;
        let early = match case.fault {
            Fault::Early | Fault::EarlyClose => {
                "HTTP/1.1 413 Too Long\r\nContent-Length: 5\r\n\r\nearly"
            }
            Fault::Busy => "HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nearly",
            _ => "",
        };
        let _ = connection.try_send(early).await;
        told.reached.notify_one();
        if matches!(case.fault, Fault::Early | Fault::Busy) {
            if connection.body_of(head).await.is_complete() {
                echo(connection).await;
            }
            return;
        }
        return misbehave(connection, case, told).await;
    }
    connection.body_of(head).await;
    let beginning = match case.point {
        Point::Head => "HTTP/1.1 200 OK\r\nContent-Len",
        Point::Interim => "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        Point::Begun => "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        Point::Body => "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n12345",
        Point::End => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        Point::After => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345",
        Point::Accepted | Point::Request | Point::Asked => "",
    };
    let _ = connection.try_send(beginning).await;
    if case.is_begun() && case.fault != Fault::Long {
        told.head_seen.notified().await;
    }
    misbehave(connection, case, told).await;
}

async fn misbehave(mut connection: Connection, case: Case, told: &Told) {
    let drop = match case.point {
        Point::End => "1\r\nx\r\n",
        _ => "x",
    };
    match case.fault {
        Fault::Reset => connection.reset(),
        Fault::Stall => ends(connection, told).await,
        Fault::Trickle => {
            if case.point < Point::Begun && case.point != Point::Head {
                let _ = connection.try_send("HTTP/1.1 200 OK\r\nX: ").await;
            }
            while connection.try_send(drop).await.is_ok() {
                tokio::time::sleep(DRIP).await;
            }
        }
        Fault::Long => {
            let _ = connection.try_send(POISON).await;
            ends(connection, told).await;
        }
        _ => {}
    }
}

/// Waits for the end; no further request may arrive.
async fn ends(mut connection: Connection, told: &Told) {
    let rest = connection.rest().await;
    let asked = rest.windows(5).filter(|part| part == b"PUT /").count();
    // The first one may not have been read.
    if asked > 1 || asked == 1 && !rest.starts_with(b"PUT /") {
        told.misused.store(true, Ordering::SeqCst);
    }
}
