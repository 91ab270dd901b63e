//! The messages that are measured with.

/// A browser's request: 12 header fields.
pub(crate) const BROWSER_REQUEST: &[u8] = b"GET /some/page?with=a&query=string HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: max-age=0\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/120.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Referer: https://www.example.com/some/page/with/a/path\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n\
    \r\n";

/// The least that a request can be.
pub(crate) const SMALL_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n";

/// The head of an answer: 9 header fields, and 48 bytes of body to come.
pub(crate) const RESPONSE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx/1.22.1\r\n\
    Date: Tue, 01 Jul 2025 12:00:00 GMT\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Content-Length: 48\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: public, max-age=300\r\n\
    ETag: \"65a1b2c3-30\"\r\n\
    Last-Modified: Mon, 30 Jun 2025 08:00:00 GMT\r\n\
    Vary: Accept-Encoding\r\n\
    \r\n";

/// The content of the body.
pub(crate) const BODY: [u8; 48] = [b'x'; 48];

/// Head and body of the answer.
pub(crate) fn response() -> Vec<u8> {
    [RESPONSE_HEAD, &BODY].concat()
}
