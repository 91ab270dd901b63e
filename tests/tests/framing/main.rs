//! Filters that drop, delay, replace or grow bodies, and heads that declare something else: the data
//! that either side gets is framed correctly, or the request fails.
//!
//! - `responses`: filters that change responses.
//! - `requests`: filters that change requests.
//!
//! Each row names the action of the filters in the field `X-Do`, and the origin's answer by its
//! path.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod requests;
mod responses;

use pingora::prelude::*;
use pingora_tests::http2::Http2Client;
use pingora_tests::{Ask, Connection, Message, Origin, TestServer, Version};

const PAIRS: [(Version, Version); 4] = [
    (Version::H1, Version::H1),
    (Version::H1, Version::H2),
    (Version::H2, Version::H1),
    (Version::H2, Version::H2),
];

async fn good_origin(version: Version) -> Origin {
    match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    }
}

/// The action that the filters should take.
fn wish(session: &Session) -> &str {
    let value = session.req_header().headers.get("x-do");
    value.map_or("", |value| value.to_str().unwrap())
}

/// A client that sends one request after the other over one connection, as long as that is open.
enum Client {
    H1(Connection),
    H2(Http2Client),
}

impl Client {
    async fn of(version: Version, server: &TestServer) -> Self {
        match version {
            Version::H1 => Client::H1(server.connect().await),
            Version::H2 => Client::H2(Http2Client::to(server.address()).await),
        }
    }

    /// The final answer, and whether another one may follow on the connection.
    async fn ask(&mut self, ask: &Ask) -> (Message, bool) {
        match self {
            Client::H1(connection) => {
                let answer = connection.exchange(ask).await.pop().unwrap();
                let closes = answer.header("connection") == Some("close");
                let goes_on = answer.is_complete() && !closes;
                (answer, goes_on)
            }
            Client::H2(client) => (client.ask(ask).await, true),
        }
    }

    /// Sends a request, and then another one, which must be answered normally.
    async fn ask_and_go_on(&mut self, ask: &Ask, what: &str) -> Message {
        let (answer, goes_on) = self.ask(ask).await;
        if goes_on {
            let (next, _) = self.ask(&Ask::get("/next")).await;
            assert_eq!((next.status(), next.text()), (200, "/next"), "{what}");
        }
        answer
    }
}
