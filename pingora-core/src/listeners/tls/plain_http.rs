//! The answer to a request in plain HTTP on a port that speaks TLS.

use crate::protocols::http::date::get_cached_date;
use crate::protocols::tls::PlainHttp;

/// The words that others have for it, too.
const TEXT: &str = "400 Bad Request: The plain HTTP request was sent to HTTPS port\n";

/// The whole answer, as it goes to the client.
pub(super) fn answer(request: PlainHttp) -> Vec<u8> {
    let date = get_cached_date();
    let length = TEXT.len();
    let mut answer = b"HTTP/1.1 400 Bad Request\r\nDate: ".to_vec();
    answer.extend_from_slice(date.as_bytes());
    let rest = format!(
        "\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    answer.extend_from_slice(rest.as_bytes());
    if request == PlainHttp::Request {
        answer.extend_from_slice(TEXT.as_bytes());
    }
    answer
}
