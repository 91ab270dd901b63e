//! Who a client is, is told by those who checked it.

use super::{PAIRS, origin};
use async_trait::async_trait;
use http::HeaderValue;
use pingora::modules::http::HttpModules;
use pingora::prelude::*;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::aliases::AliasPolicy;
use pingora::proxy::modules::ClientCert;
use pingora::proxy::subrequest::Ctx;
use pingora::server::configuration::ServerConf;
use pingora_tests::{
    Ask, Connection, Message, Origin, TestServer, Version, VersionedUpstream, proxy_with, speak_h2c,
};
use std::net::SocketAddr;

/// The fields that the server of authorisation answers with.
const IDENTITY: [&str; 3] = ["x-auth-user", "remote-user", "x-tenant"];

/// Asks another server whether the client may proceed, and who it is, as docs/subrequests.md shows.
struct Gate {
    upstream: VersionedUpstream,
    authority: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Gate {
    type CTX = ();
    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(ClientCert::new().with_chain()));
    }

    fn allow_spawning_subrequest(&self, session: &Session, _: &()) -> bool {
        !session.is_subrequest()
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        let Some(spawner) = session.subrequest_spawner.clone() else {
            return Ok(false);
        };
        for name in IDENTITY {
            session.req_header_mut().remove_header(name);
        }
        let (mut question, mut answer) = spawner.create_subrequest(session, Ctx::builder().build());
        let head = question.session_mut().req_header_mut();
        head.set_uri(http::Uri::from_static("/may-i"));
        let told = async {
            let mut told: Vec<(&str, HeaderValue)> = Vec::new();
            while let Some(task) = answer.rx.recv().await {
                if let HttpTask::Header(header, _) = &task {
                    let find = |name| Some((name, header.headers.get(name)?.clone()));
                    told.extend(IDENTITY.into_iter().filter_map(find));
                }
            }
            told
        };
        let (told, ()) = tokio::join!(told, question.run());
        for (name, value) in told {
            session.req_header_mut().insert_header(name, value)?;
        }
        Ok(false)
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        if session.is_subrequest() {
            return Ok(Box::new(HttpPeer::new(
                self.authority,
                false,
                String::new(),
            )));
        }
        Ok(Box::new(self.upstream.peer()))
    }
}

/// A server of authorisation that lets everybody in, and knows the name of those with a cookie.
async fn authority() -> Origin {
    Origin::scripted(|mut connection: Connection, _| async move {
        while let Some(request) = connection.request().await {
            let name = match request.header("cookie") {
                Some(_) => "X-Auth-User: ada\r\n",
                None => "",
            };
            connection
                .send(format!(
                    "HTTP/1.1 200 OK\r\n{name}Content-Length: 0\r\n\r\n"
                ))
                .await;
        }
    })
    .await
}

async fn gate(up: Version) -> (Origin, Origin, TestServer) {
    let (origin, upstream) = origin(up).await;
    let authority = authority().await;
    let gate = Gate {
        upstream,
        authority: authority.address(),
    };
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    let proxy = proxy_with(conf, gate, |service| {
        speak_h2c(service);
        let proxy = service.app_logic_mut().unwrap();
        proxy.set_alias_policy(AliasPolicy::standard().protect("x-tenant"));
    });
    let proxy = proxy.await;
    (origin, authority, proxy)
}

/// Every field and trailer of the request whose value the client made up.
fn forged(seen: &Message) -> Vec<&str> {
    let all = seen.fields.iter().chain(&seen.trailers);
    let forged = all.filter(|(_, value)| value.contains("forged"));
    forged.map(|(name, _)| name.as_str()).collect()
}

/// GHSA-7r4p: a proxy copies the fields that the server of authorisation sends, and keeps the client's if it sends
/// none. They are gone under every spelling, from the head and from the trailers; and so are those of a
/// certificate that nobody showed.
#[tokio::test]
async fn identity_that_nobody_confirmed_does_not_arrive() {
    for (down, up) in PAIRS {
        let (origin, _authority, proxy) = gate(up).await;
        let names = IDENTITY.iter().chain(&["client-cert", "client-cert-chain"]);
        let mut ask = Ask::by("POST", "/echo").pieces("body", 4);
        for name in names {
            for spelt in [
                name.to_string(),
                name.replace('-', "_"),
                name.to_uppercase(),
            ] {
                // HTTP/2 has no upper case.
                if down == Version::H1 || spelt == spelt.to_lowercase() {
                    ask = ask.with(&spelt, ":forged:").trailer(&spelt, ":forged:");
                }
            }
        }
        for (ask, user) in [
            (ask.clone(), None),
            (ask.with("cookie", "a=b"), Some("ada")),
        ] {
            let answer = ask.answered_over(down, proxy.address()).await;
            assert_eq!((answer.status(), answer.text()), (200, "body"));
            let seen = origin.last_request();
            assert_eq!(forged(&seen), [""; 0], "{down:?} to {up:?}");
            assert_eq!(seen.header("x-auth-user"), user, "{down:?} to {up:?}");
        }
    }
}
