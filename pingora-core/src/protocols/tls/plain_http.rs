//! Clients that speak plain HTTP to a TLS listener: how to recognize and how to answer them.

use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// The longest method that is looked for, in bytes.
const LONGEST_METHOD: usize = 16;
/// How long a client may take to read its answer and to end, all together.
const LINGER: Duration = Duration::from_secs(5);
/// How long it may be silent meanwhile.
const SILENCE: Duration = Duration::from_secs(1);

/// A request in plain HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlainHttp {
    /// Its answer has a body.
    Request,
    /// Its answer has none: HEAD.
    Head,
}

impl PlainHttp {
    /// Recognises a request in the first `bytes` of a client: a method, a space, and the beginning
    /// of a target (RFC 9112 section 3). `None` for anything else, and for less.
    pub(crate) fn recognize(bytes: &[u8]) -> Option<Self> {
        let start = bytes.get(..LONGEST_METHOD.min(bytes.len()))?;
        let end = start.iter().position(|byte| *byte == b' ')?;
        let (method, target) = (bytes.get(..end)?, bytes.get(end + 1..)?);
        if method.is_empty() || !method.iter().all(u8::is_ascii_uppercase) {
            return None;
        }
        let targets = [&b"/"[..], b"*", b"http://", b"https://"];
        let has_target = targets
            .iter()
            .any(|target_start| target.starts_with(target_start));
        match method {
            b"HEAD" if has_target => Some(PlainHttp::Head),
            // An authority may be anything.
            b"CONNECT" => Some(PlainHttp::Request),
            _ => has_target.then_some(PlainHttp::Request),
        }
    }
}

/// Sends `answer`, and waits until the client has had the chance to read it: if unread data is left,
/// closing the connection would destroy the answer. Further data from the client is read and dropped, for some
/// seconds at most, with a buffer of one piece.
pub(crate) async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, answer: &[u8]) {
    let end = Instant::now() + LINGER;
    let sending = async {
        stream.write_all(answer).await?;
        stream.flush().await?;
        stream.shutdown().await
    };
    if !matches!(timeout_at(end, sending).await, Ok(Ok(()))) {
        return;
    }
    let mut dropped = [0; 4096];
    loop {
        let silent = end.min(Instant::now() + SILENCE);
        match timeout_at(silent, stream.read(&mut dropped)).await {
            Ok(Ok(1..)) if Instant::now() < end => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_other_bytes() {
        use PlainHttp::{Head, Request};
        for (bytes, is) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Request)),
            (b"GET /", Some(Request)),
            (b"HEAD / HTTP/1.0\r\n", Some(Head)),
            (b"OPTIONS * HTTP/1.1", Some(Request)),
            (b"DELETE /x", Some(Request)),
            (b"PROPFIND /x", Some(Request)),
            (b"GET http://one.example/", Some(Request)),
            (b"CONNECT one.example:443 HTTP/1.1", Some(Request)),
            (b"PRI * HTTP/2.0\r\n", Some(Request)),
            (b"", None),
            (b"GET", None),
            (b"GET ", None),
            (b" / HTTP/1.1", None),
            (b"get / HTTP/1.1", None),
            (b"EHLO one.example\r\n", None),
            (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", None),
            (b"USER x\r\n", None),
            (b"AVERYLONGMETHODTHATNOBODYHAS /", None),
            (b"\x16\x03\x01\x02\x00\x01", None),
        ] {
            assert_eq!(PlainHttp::recognize(bytes), is, "{}", bytes.escape_ascii());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn neither_silence_nor_bytes_keep_it() {
        // A client that neither reads nor says anything, and one that never ends.
        for talks in [false, true] {
            let (mut near, far) = tokio::io::duplex(64);
            let (mut reader, mut writer) = tokio::io::split(far);
            let talking = tokio::spawn(async move {
                while talks && writer.write_all(&[b'x'; 64]).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            });
            let begun = Instant::now();
            let reading = async {
                let mut answer = vec![];
                reader.read_to_end(&mut answer).await.map(|_| answer)
            };
            let (answer, ()) = tokio::join!(reading, turn_away(&mut near, b"no"));
            assert_eq!(answer.unwrap(), b"no");
            let limit = if talks { LINGER } else { SILENCE };
            assert!(begun.elapsed() <= limit + Duration::from_millis(10));
            talking.abort();
        }
        let (mut near, _far) = tokio::io::duplex(1);
        let begun = Instant::now();
        turn_away(&mut near, b"an answer that nobody reads").await;
        assert!(begun.elapsed() <= LINGER + Duration::from_millis(10));
    }
}
