//! The ready cache: RFC 9111 without a phase of one's own, and what attackers try.

use super::support::{Scripted, VERSIONS, leak, ok};
use async_trait::async_trait;
use pingora::cache::MemCache;
use pingora::cache::policy::CachePolicy;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::proxy::ReadyCache;
use pingora::server::configuration::ServerConf;
use pingora_tests::http2::frames::{self, Frame};
use pingora_tests::http2::{Http2Client, RawHttp2};
use pingora_tests::{Ask, Authority, Connection, Version, h2c_proxy, proxy_with, speak_h2c};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Clone)]
pub(super) struct Ready {
    pub(super) origin: SocketAddr,
    pub(super) cache: Arc<ReadyCache>,
}

impl Ready {
    fn of(origin: &Scripted) -> Self {
        let cache = ReadyCache::new(leak(MemCache::new())).cache_status("test");
        let policy = CachePolicy::new().tag_fields(["Cache-Tag"]);
        Ready {
            origin: origin.address(),
            cache: Arc::new(cache.policy(policy)),
        }
    }
}

#[async_trait]
impl ProxyHttp for Ready {
    type CTX = ();

    fn new_ctx(&self) {}

    fn ready_cache(&self, _: &()) -> Option<&ReadyCache> {
        Some(&self.cache)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }
}

const FRESH: &str = "Cache-Control: max-age=60\r\n";

/// Names what it was asked for.
async fn echoing(fields: &'static str) -> Scripted {
    Scripted::new(move |request, number| {
        let host = request.header("host").unwrap_or("none");
        let body = format!("{} {host}{} {number}", request.method(), request.target());
        ok(fields, &body)
    })
    .await
}

#[tokio::test]
async fn only_what_may_be_is_stored() {
    for (fields, is_stored) in [
        (FRESH, true),
        ("Cache-Control: max-age=60, private\r\n", false),
        ("Cache-Control: max-age=60\r\nSet-Cookie: a=b\r\n", false),
        (
            "Cache-Control: max-age=0\r\nCDN-Cache-Control: max-age=60\r\n",
            true,
        ),
        ("", false),
    ] {
        let origin = echoing(fields).await;
        let server = h2c_proxy(Ready::of(&origin)).await;
        for version in VERSIONS {
            for _ in 0..2 {
                let answer = Ask::get("/").answered_over(version, server.address()).await;
                assert_eq!(answer.status(), 200);
            }
        }
        assert_eq!(origin.asked() == 1, is_stored, "{fields}");
    }
}

#[tokio::test]
async fn what_happened_is_said_in_cache_status() {
    let origin = echoing(FRESH).await;
    let server = h2c_proxy(Ready::of(&origin)).await;
    let status = async |ask: &Ask| {
        let answer = ask.answered_over(Version::H1, server.address()).await;
        answer.header("cache-status").unwrap().to_string()
    };
    let get = Ask::get("/");
    assert_eq!(status(&get).await, "test; fwd=uri-miss; stored");
    assert!(status(&get).await.starts_with("test; hit; ttl="));
    assert_eq!(status(&Ask::by("POST", "/other")).await, "test; fwd=method");
}

#[tokio::test]
async fn a_client_that_wants_what_is_stored_or_nothing_gets_that() {
    let origin = echoing(FRESH).await;
    let server = h2c_proxy(Ready::of(&origin)).await;
    let ask = Ask::get("/").with("Cache-Control", "only-if-cached");
    for version in VERSIONS {
        let answer = ask.answered_over(version, server.address()).await;
        assert_eq!(answer.status(), 504);
    }
    assert_eq!(origin.asked(), 0);
    Ask::get("/")
        .answered_over(Version::H1, server.address())
        .await;
    let answer = ask.answered_over(Version::H1, server.address()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(origin.asked(), 1);
}

#[tokio::test]
async fn an_unsafe_request_makes_its_target_invalid() {
    let origin = echoing(FRESH).await;
    let server = h2c_proxy(Ready::of(&origin)).await;
    for (number, version) in VERSIONS.into_iter().enumerate() {
        let get = Ask::get("/a");
        let first = get.answered_over(version, server.address()).await;
        let again = get.answered_over(version, server.address()).await;
        assert_eq!(first.text(), again.text());
        let post = Ask::by("POST", "/a").body("x");
        let posted = post.answered_over(version, server.address()).await;
        assert!(posted.text().starts_with("POST"));
        let after = get.answered_over(version, server.address()).await;
        assert_ne!(first.text(), after.text());
        // What is read next is stored again; the next turn begins with it.
        assert_eq!(origin.asked(), 3 + 2 * number);
    }
}

#[tokio::test]
async fn tags_hosts_and_prefixes_are_purged_as_groups() {
    let origin = Scripted::new(|request, number| {
        let tag = request.target().trim_start_matches('/').to_string();
        ok(
            &format!("{FRESH}Cache-Tag: all, {tag}\r\n"),
            &number.to_string(),
        )
    })
    .await;
    let ready = Ready::of(&origin);
    let cache = ready.cache.clone();
    let server = h2c_proxy(ready).await;
    let ask = async |path: &str| {
        let answer = Ask::get(path)
            .answered_over(Version::H1, server.address())
            .await;
        answer.text().to_string()
    };
    let before = (ask("/one").await, ask("/two").await);
    cache.rules().purges().purge_tag("one");
    let after = (ask("/one").await, ask("/two").await);
    assert!(before.0 != after.0 && before.1 == after.1);
    cache
        .rules()
        .purges()
        .purge_prefix("http://test.example/tw");
    let last = (ask("/one").await, ask("/two").await);
    assert!(after.0 == last.0 && after.1 != last.1);
    cache.rules().purges().purge_host("http", "test.example");
    assert!(ask("/one").await != last.0 && ask("/two").await != last.1);
}

#[tokio::test]
async fn what_is_not_part_of_the_key_does_not_poison() {
    let origin = echoing(FRESH).await;
    let server = h2c_proxy(Ready::of(&origin)).await;
    let raw = async |request: String| {
        let mut client = Connection::to(server.address()).await;
        client.ask(request).await
    };
    // Fields by which origins choose a response.
    for (name, value) in [
        ("X-HTTP-Method-Override", "POST"),
        ("X-HTTP-Method", "DELETE"),
        ("X-Original-URL", "/admin"),
        ("X-Rewrite-URL", "/admin"),
    ] {
        let before = origin.asked();
        let ask = Ask::get("/").with(name, value);
        ask.answered_over(Version::H1, server.address()).await;
        assert_eq!(origin.asked(), before + 1, "{name}");
    }
    let first = Ask::get("/")
        .answered_over(Version::H1, server.address())
        .await;
    assert!(
        first.text().starts_with("GET test.example/ "),
        "it was not stored: {}",
        first.text()
    );

    // The target's authority counts, and the origin is told the same one.
    let absolute = |host: &str| {
        format!("GET http://evil.example/a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    };
    for host in ["test.example", "evil.example"] {
        let answer = raw(absolute(host)).await;
        if answer.status() == 200 {
            assert!(
                answer.text().starts_with("GET evil.example"),
                "{}",
                answer.text()
            );
        }
    }
    let answer = Ask::get("/a")
        .answered_over(Version::H1, server.address())
        .await;
    assert!(
        answer.text().starts_with("GET test.example/a"),
        "{}",
        answer.text()
    );
    // The same host, written otherwise, is the same key.
    let mut ask = Ask::get("/a");
    ask.authority = "TEST.example:80".into();
    let same = ask.answered_over(Version::H1, server.address()).await;
    assert_eq!(same.text(), answer.text());
    // Another port is another host.
    ask.authority = "test.example:81".into();
    let other = ask.answered_over(Version::H1, server.address()).await;
    assert_ne!(other.text(), answer.text());
}

#[tokio::test]
async fn a_body_of_a_get_keeps_it_away_from_the_cache() {
    let origin = echoing(FRESH).await;
    let server = h2c_proxy(Ready::of(&origin)).await;
    for version in VERSIONS {
        let before = origin.asked();
        for _ in 0..2 {
            let ask = Ask::by("GET", "/").body("poison");
            ask.answered_over(version, server.address()).await;
        }
        assert_eq!(origin.asked(), before + 2);
    }
}

/// RFC 9111 section 2: the scheme of the key is that of the connection, whatever a target says.
#[tokio::test]
async fn what_came_over_tls_is_not_stored_for_others() {
    let origin = echoing(FRESH).await;
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&["test.example"]);
    let text = |path: PathBuf| path.to_str().unwrap().to_string();
    let settings = TlsSettings::intermediate(&text(certificate), &text(key)).unwrap();
    let server = proxy_with(ServerConf::default(), Ready::of(&origin), |service| {
        speak_h2c(service);
        let mut settings = settings;
        settings.enable_h2();
        service.add_tls_with_settings("127.0.0.1:0", None, settings);
    })
    .await;
    let [plain, secure] = server.addresses() else {
        panic!("{:?}", server.addresses());
    };
    let get = Ask::get("/");
    let mut insecure = Vec::new();
    // Over HTTP/1 and HTTP/2, in every form that says `https`.
    insecure.push(
        get.answered_over(Version::H1, *plain)
            .await
            .text()
            .to_string(),
    );
    let absolute = "GET https://test.example/ HTTP/1.1\r\nHost: test.example\r\n\r\n";
    let mut client = Connection::to(*plain).await;
    insecure.push(client.ask(absolute).await.text().to_string());
    let mut client = RawHttp2::client(*plain, &[]).await;
    let block = frames::block(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "test.example"),
        (":path", "/"),
    ]);
    client.send([Frame::headers(1, block, true)]).await;
    let answer = client.answer(1).await;
    insecure.push(String::from_utf8(answer.body).unwrap());
    assert_eq!(origin.asked(), 1, "{insecure:?}");

    let client = Http2Client::over_tls(*secure, &authority, "test.example").await;
    let first = client.ask(&get).await.text().to_string();
    assert!(!insecure.contains(&first), "{first}");
    assert_eq!(client.ask(&get).await.text(), first, "stored for these");
    assert_eq!(origin.asked(), 2);
}
