//! Numbers that are no plain digits, or too large, wherever one is read.

use super::VERSIONS;
use async_trait::async_trait;
use pingora::cache::MemCache;
use pingora::modules::http::HttpModules;
use pingora::modules::http::compression::ResponseCompressionBuilder;
use pingora::modules::http::grpc_web::GrpcWeb;
use pingora::prelude::*;
use pingora::proxy::modules::{ErrorPages, ForwardedFields};
use pingora::proxy::{FailToProxy, ReadyCache, RetryPolicy};
use pingora::server::configuration::ServerConf;
use pingora_tests::{Ask, Connection, Origin, TestServer, h2c_proxy};
use std::net::SocketAddr;
use std::time::Duration;

/// HAProxy took years for the first.
const NUMBERS: [&str; 8] = [
    "1e99999999",
    "1e-99999999",
    "0x7fffffff",
    "-1",
    "+1",
    "99999999999999999999999999999999",
    "1.7976931348623157e308",
    "nan",
];

/// Everything that reads numbers, at once.
struct Reading {
    origin: SocketAddr,
    cache: ReadyCache,
    retries: RetryPolicy,
    pages: ErrorPages,
}

#[async_trait]
impl ProxyHttp for Reading {
    type CTX = ();
    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        let trusting = ForwardedFields::trusting("127.0.0.0/8".parse().unwrap());
        modules.add_module(Box::new(trusting.read_forwarded()));
        modules.add_module(ResponseCompressionBuilder::enable(1));
        modules.add_module(Box::new(GrpcWeb));
    }

    fn ready_cache(&self, _: &()) -> Option<&ReadyCache> {
        Some(&self.cache)
    }

    fn retry_policy(&self, _: &Session, _: &()) -> Option<&RetryPolicy> {
        Some(&self.retries)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, _: &mut ()) -> FailToProxy {
        self.pages.fail(session, e).await
    }
}

/// Answers with the field that the request names, and with the status that it names.
async fn origin() -> Origin {
    Origin::scripted(|mut connection: Connection, _| async move {
        while let Some(request) = connection.request().await {
            if !request.is_complete() {
                return;
            }
            let status = request.header("x-status").unwrap_or("200 OK");
            let field = request.header("x-field").unwrap_or("x-none: 0");
            let length = if field.starts_with("content-length") {
                ""
            } else {
                "Content-Length: 2\r\n"
            };
            let answer = format!("HTTP/1.1 {status}\r\n{field}\r\n{length}\r\nok");
            if connection.try_send(answer).await.is_err() {
                return;
            }
        }
    })
    .await
}

async fn reading() -> (Origin, TestServer) {
    let origin = origin().await;
    let policy = RetryPolicy::new(2).on_status([503]);
    let reading = Reading {
        origin: origin.address(),
        cache: ReadyCache::new(Box::leak(Box::new(MemCache::new()))),
        retries: policy.honour_retry_after(Duration::from_millis(1)),
        pages: ErrorPages::new(),
    };
    (origin, h2c_proxy(reading).await)
}

/// CVE-2025-11230: a number with a huge exponent keeps a loop busy. Fields of a request: those that decide nothing
/// are passed over.
#[tokio::test]
async fn numbers_in_requests_are_bounded() {
    const FIELDS: [(&str, &str); 14] = [
        ("accept-encoding", "gzip;q=N, br;q=N"),
        ("accept", "text/html;q=N, application/json;q=N"),
        ("range", "bytes=N-"),
        ("range", "bytes=0-N"),
        ("range", "bytes=-N"),
        ("if-range", "N"),
        ("if-modified-since", "Thu, N Jan 1970 00:00:00 GMT"),
        ("cache-control", "max-age=N"),
        ("cache-control", "max-stale=N, min-fresh=N"),
        ("grpc-timeout", "NS"),
        ("max-forwards", "N"),
        ("priority", "u=N"),
        ("forwarded", "for=\"127.0.0.1:N\""),
        ("x-forwarded-for", "127.0.0.1:N"),
    ];
    let (_origin, proxy) = reading().await;
    for version in VERSIONS {
        for number in NUMBERS {
            for (name, value) in FIELDS {
                let value = value.replace('N', number);
                // With an error page, and with a response that is cached.
                for status in ["200 OK", "502 Bad Gateway"] {
                    let ask = Ask::get("/").with(name, &value);
                    let ask = ask.with("x-status", status);
                    let ask = ask.with("x-field", "cache-control: max-age=60");
                    let answer = ask.answered_over(version, proxy.address()).await;
                    let case = format!("{version:?}: {name}: {value}: {answer:?}");
                    let expected = [200, 206, 416, 502];
                    assert!(expected.contains(&answer.status()), "{case}");
                    assert!(answer.is_complete(), "{case}");
                }
            }
        }
    }
}

/// CVE-2025-11230 where a number frames a request: it is refused.
#[tokio::test]
async fn numbers_that_frame_a_request_are_refused() {
    let (origin, proxy) = reading().await;
    for number in NUMBERS {
        for head in [
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {number}\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: a:{number}\r\n\r\n"),
            format!("GET http://a:{number}/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ] {
            let mut client = proxy.connect().await;
            let answer = client.ask(&head).await;
            assert_eq!(answer.status(), 400, "{head}");
            client.closed().await;
        }
    }
    assert_eq!(origin.connections(), 0);
    // As a chunk's size, the first one is a number.
    for size in NUMBERS.iter().skip(1).chain(&["1e999999999999999999"]) {
        let mut client = proxy.connect().await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = client.ask(format!("{head}{size}\r\n")).await;
        assert_eq!(answer.status(), 400, "{size}");
        client.closed().await;
    }
}

/// CVE-2025-11230: numbers in responses, which the cache, the pool and retries read.
#[tokio::test]
async fn numbers_in_responses_are_bounded() {
    const FIELDS: [(&str, &str, u16); 12] = [
        ("200 OK", "age: N", 200),
        ("200 OK", "cache-control: max-age=N", 200),
        ("200 OK", "cache-control: s-maxage=N, max-age=1", 200),
        ("200 OK", "cache-control: max-age=0, stale-if-error=N", 200),
        ("200 OK", "expires: Thu, N Jan 1970 00:00:00 GMT", 200),
        ("200 OK", "date: N", 200),
        ("200 OK", "keep-alive: timeout=N, max=N", 200),
        ("503 Busy", "retry-after: N", 503),
        ("206 Partial", "content-range: bytes 0-1/N", 206),
        ("206 Partial", "content-range: bytes 0-N/2", 206),
        ("200 OK", "content-length: N", 502),
        ("N OK", "x: y", 502),
    ];
    let (_origin, proxy) = reading().await;
    for (number, (status, field, expected)) in NUMBERS
        .iter()
        .flat_map(|number| FIELDS.map(|row| (number, row)))
    {
        let (status, field) = (status.replace('N', number), field.replace('N', number));
        let path = format!("/{status}/{field}").replace([' ', ','], "-");
        let ask = Ask::get(&path).with("x-status", &status);
        let ask = ask.with("x-field", &field);
        // The second time, what is stored is judged.
        for version in VERSIONS {
            let answer = ask.answered_over(version, proxy.address()).await;
            let case = format!("{version:?}: {status}, {field}");
            assert_eq!(answer.status(), expected, "{case}");
            assert!(answer.is_complete(), "{case}");
        }
    }
}

/// CVE-2025-11230 and CVE-2026-48042 in the configuration: a number that is none is refused, and so is a document
/// that is nested 10,000 times.
#[test]
fn a_configuration_of_huge_numbers_or_depth_is_refused() {
    for number in NUMBERS {
        let read = ServerConf::from_yaml(&format!("threads: {number}"));
        // YAML takes it for 1.
        assert!(read.is_err() || number == "+1", "{number}");
    }
    for bracket in ["[", "{a: "] {
        let deep = format!("own:\n  {}", bracket.repeat(10_000));
        assert!(ServerConf::from_yaml(&deep).is_err(), "{bracket}");
    }
}
