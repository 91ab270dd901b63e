//! Requests as a test thinks of them, whatever the version that carries them.

use crate::connection::Connection;
use crate::http2::Http2Client;
use crate::message::Message;
use std::net::SocketAddr;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.1.
    H1,
    /// HTTP/2, in cleartext with prior knowledge.
    H2,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Host, or `:authority`.
    pub authority: String,
    /// Further fields.
    pub fields: Vec<(String, String)>,
    /// The body; `None`: the request ends with its head.
    pub body: Option<Vec<u8>>,
    /// The value of Content-Length; `None`: the length is not announced.
    pub length: Option<usize>,
    /// The most that one chunk or DATA frame carries; 0: as much as fits.
    pub piece: usize,
    /// Trailers.
    pub trailers: Vec<(String, String)>,
}

impl Ask {
    /// Gets a path.
    pub fn get(path: &str) -> Self {
        Self::by("GET", path)
    }

    /// A request by any method, without a body.
    pub fn by(method: &str, path: &str) -> Self {
        Self {
            method: method.to_string(),
            path: path.to_string(),
            authority: "test.example".to_string(),
            fields: Vec::new(),
            body: None,
            length: None,
            piece: 0,
            trailers: Vec::new(),
        }
    }

    /// With a further field.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_string(), value.to_string()));
        self
    }

    /// With a body whose length is announced.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        self.length = Some(body.len());
        self.body = Some(body);
        self
    }

    /// With a body of a length that is not announced, in pieces of `size`.
    pub fn pieces(mut self, body: impl Into<Vec<u8>>, size: usize) -> Self {
        self.body = Some(body.into());
        self.piece = size;
        self
    }

    /// With a length that may be a lie.
    pub fn claiming(mut self, length: usize) -> Self {
        self.length = Some(length);
        self
    }

    /// With a trailer.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_string(), value.to_string()));
        self
    }

    /// The head over HTTP/1.1.
    pub fn http1_head(&self) -> String {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n",
            self.method, self.path, self.authority
        );
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        match self.length {
            Some(length) => head += &format!("Content-Length: {length}\r\n"),
            None if self.body.is_some() => head += "Transfer-Encoding: chunked\r\n",
            None => {}
        }
        head + "\r\n"
    }

    /// The bytes of its body over HTTP/1.1.
    pub fn http1_body(&self) -> Vec<u8> {
        let Some(body) = &self.body else {
            return Vec::new();
        };
        if self.length.is_some() {
            return body.clone();
        }
        let mut bytes = Vec::new();
        for chunk in body.chunks(if self.piece == 0 { 65_536 } else { self.piece }) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n");
        for (name, value) in &self.trailers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// Sends it over a connection of its own, and reads the answers: interim ones, then the final
    /// one. Pieces of one byte go out each in a segment of its own.
    pub async fn over(&self, version: Version, address: SocketAddr) -> Vec<Message> {
        match version {
            Version::H2 => Http2Client::to(address).await.exchange(self).await,
            Version::H1 => {
                let mut connection = Connection::to(address).await;
                connection.exchange(self).await
            }
        }
    }

    /// As [`over`](Self::over), the final answer alone.
    pub async fn answered_over(&self, version: Version, address: SocketAddr) -> Message {
        let mut answers = self.over(version, address).await;
        answers.pop().expect("there is a last one")
    }
}
