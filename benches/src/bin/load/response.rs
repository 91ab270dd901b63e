//! Just enough HTTP/1 to know where a message ends.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The request that every mode sends where it has no body.
pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n";

/// The facts of a message head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the head, blank line included.
    pub(crate) len: usize,
    /// Bytes of the body, by `Content-Length`; 0 without one.
    pub(crate) body: u64,
    /// The answer's status is 200; for a request: always false.
    pub(crate) ok: bool,
}

impl Head {
    /// The head at the beginning of `bytes`, or `None` while it is incomplete.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let len = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(bytes.get(..len)?);
        let body = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0);
        Some(Self {
            len,
            body,
            ok: head.starts_with("HTTP/1.1 200 "),
        })
    }
}

/// Reads one message with a length and drops its body.
///
/// `buffer` keeps what was read beyond the message. Returns `None` where the peer closed
/// between two messages.
pub(crate) async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    scratch: &mut [u8],
) -> io::Result<Option<Head>> {
    let head = loop {
        if let Some(head) = Head::parse(buffer) {
            break head;
        }
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
    };
    let buffered = (buffer.len() - head.len).min(usize::try_from(head.body).unwrap_or(usize::MAX));
    buffer.drain(..head.len + buffered);
    let mut missing = head.body - buffered as u64;
    while missing > 0 {
        let limit = scratch
            .len()
            .min(usize::try_from(missing).unwrap_or(usize::MAX));
        let part = scratch.get_mut(..limit).unwrap_or_default();
        match stream.read(part).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => missing -= read as u64,
        }
    }
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_known_once_complete() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\n\r\nabc";
        assert_eq!(Head::parse(&bytes[..20]), None);
        let head = Head::parse(bytes).expect("complete");
        assert_eq!(
            head,
            Head {
                len: bytes.len() - 3,
                body: 3,
                ok: true
            }
        );
    }

    #[tokio::test]
    async fn messages_are_read_one_by_one() {
        let mut wire: &[u8] =
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n";
        let (mut buffer, mut scratch) = (Vec::new(), [0; 2]);
        let mut next = async || read_message(&mut wire, &mut buffer, &mut scratch).await;
        assert!(next().await.expect("first").expect("a message").ok);
        assert!(!next().await.expect("second").expect("a message").ok);
        assert!(next().await.expect("end").is_none());
    }
}
