//! Exchanges that are under way, for what happens in the middle of them.

use crate::PATIENCE;
use crate::ask::{Ask, Version};
use crate::connection::Connection;
use crate::http2::{Http2Client, next_head, read_body, send_body};
use crate::message::Message;
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use std::net::SocketAddr;
use tokio::time::timeout;

/// An exchange whose head was sent, over a connection of its own. Dropped, it ends the connection.
#[derive(Debug)]
pub struct Running(Inner);

#[derive(Debug)]
enum Inner {
    H1 {
        connection: Connection,
        chunked: bool,
        ask: Ask,
    },
    H2 {
        client: Http2Client,
        answer: Box<ResponseFuture>,
        upload: SendStream<Bytes>,
        body: Option<RecvStream>,
        /// The part of the body that was read.
        read: Vec<u8>,
    },
}

impl Running {
    /// Sends the head alone. A request with a body, also an empty one, is to be gone on with.
    pub async fn begin(version: Version, address: SocketAddr, ask: &Ask) -> Self {
        Self(match version {
            Version::H1 => {
                let mut connection = Connection::to(address).await;
                connection.send(ask.http1_head()).await;
                Inner::H1 {
                    connection,
                    chunked: ask.body.is_some() && ask.length.is_none(),
                    ask: ask.clone(),
                }
            }
            Version::H2 => {
                let client = Http2Client::to(address).await;
                let begun = client.begin(ask, ask.body.is_none()).await;
                let (answer, upload) = begun.expect("the connection lives");
                Inner::H2 {
                    client,
                    answer: Box::new(answer),
                    upload,
                    body: None,
                    read: Vec::new(),
                }
            }
        })
    }

    /// Sends a piece of the body.
    ///
    /// # Panics
    /// When the other side has ended the exchange, or doesn't take it in time.
    pub async fn send(&mut self, piece: &[u8]) {
        assert!(self.try_send(piece).await, "the exchange has ended");
    }

    /// Sends a piece of the body; `false` when the other side has ended the exchange.
    pub async fn try_send(&mut self, piece: &[u8]) -> bool {
        match &mut self.0 {
            Inner::H1 {
                connection,
                chunked,
                ..
            } => {
                let bytes = if *chunked {
                    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
                } else {
                    piece.to_vec()
                };
                connection.try_send(bytes).await.is_ok()
            }
            Inner::H2 { upload, .. } => {
                let sending = send_body(upload, Bytes::copy_from_slice(piece), false);
                let sent = timeout(PATIENCE, sending).await;
                sent.expect("the other side takes what is sent").is_ok()
            }
        }
    }

    /// Ends the body.
    pub async fn finish(&mut self) {
        match &mut self.0 {
            Inner::H1 {
                connection,
                chunked: true,
                ..
            } => connection.send("0\r\n\r\n").await,
            Inner::H1 { .. } => {}
            Inner::H2 { upload, .. } => {
                let ended = upload.send_data(Bytes::new(), true);
                ended.expect("the exchange lives");
            }
        }
    }

    /// Ends the body, if the other side has not ended the exchange.
    pub async fn try_finish(&mut self) {
        match &mut self.0 {
            Inner::H1 {
                connection,
                chunked: true,
                ..
            } => {
                let _ = connection.try_send("0\r\n\r\n").await;
            }
            Inner::H1 { .. } => {}
            Inner::H2 { upload, .. } => {
                let _ = upload.send_data(Bytes::new(), true);
            }
        }
    }

    /// Ends the body with these trailers; over HTTP/1, its length must not have been announced.
    pub async fn finish_with(&mut self, trailers: &[(String, String)]) {
        match &mut self.0 {
            Inner::H1 { connection, .. } => {
                let lines = trailers.iter();
                let lines: String = lines.map(|(n, v)| format!("{n}: {v}\r\n")).collect();
                connection.send(format!("0\r\n{lines}\r\n")).await;
            }
            Inner::H2 { upload, .. } => {
                let mut fields = http::HeaderMap::new();
                for (name, value) in trailers {
                    let name: http::HeaderName = name.parse().expect("a name");
                    fields.append(name, value.parse().expect("a value"));
                }
                upload.send_trailers(fields).expect("the exchange lives");
            }
        }
    }

    /// Reads the next head: of an interim answer, or of the final one. Its status is 0 where the
    /// exchange ends instead; over HTTP/1 that panics.
    pub async fn head(&mut self) -> Message {
        match &mut self.0 {
            Inner::H1 { connection, .. } => connection.head().await,
            Inner::H2 { answer, body, .. } => {
                let next = timeout(PATIENCE, next_head(answer)).await;
                let (stream, message) = next.expect("a head comes in time");
                *body = stream;
                message
            }
        }
    }

    /// Waits for `count` bytes of the answer's body, its framing included.
    pub async fn wait_for_body(&mut self, count: usize) {
        match &mut self.0 {
            Inner::H1 { connection, .. } => connection.wait_for_bytes(count).await,
            Inner::H2 { body, read, .. } => {
                let body = body.as_mut().expect("the head came");
                while read.len() < count {
                    let data = timeout(PATIENCE, body.data()).await;
                    let data = data.expect("the body comes in time");
                    let data = data.expect("the body goes on").expect("no reset");
                    let _ = body.flow_control().release_capacity(data.len());
                    read.extend_from_slice(&data);
                }
            }
        }
    }

    /// Reads the body of the answer with this head.
    pub async fn rest_of(&mut self, head: Message) -> Message {
        match &mut self.0 {
            Inner::H1 {
                connection, ask, ..
            } if ask.method != "HEAD" => connection.rest_of(head).await,
            Inner::H1 { .. } => head,
            Inner::H2 { body, read, .. } => {
                let mut message = head;
                message.body.append(read);
                if let Some(body) = body {
                    let reading = timeout(PATIENCE, read_body(body, &mut message)).await;
                    reading.expect("the body ends in time");
                }
                message
            }
        }
    }

    /// Reads the final answer.
    pub async fn answer(&mut self) -> Message {
        loop {
            let head = self.head().await;
            if head.status() == 0 || head.status() >= 200 {
                return self.rest_of(head).await;
            }
        }
    }

    /// Ends the exchange by force: by a reset of the connection, or of the stream with CANCEL. The
    /// connection of the stream lives on in what this returns.
    pub async fn abort(self) -> Option<Http2Client> {
        match self.0 {
            Inner::H1 { connection, .. } => {
                connection.reset();
                None
            }
            Inner::H2 {
                client, mut upload, ..
            } => {
                upload.send_reset(Reason::CANCEL);
                Some(client)
            }
        }
    }
}
