//! Compressed responses in a real browser: streams of events, and dictionaries that it keeps.

use crate::{Compressing, plain_text};
use async_trait::async_trait;
use pingora::modules::http::HttpModules;
use pingora::modules::http::compression::{ResponseCompression, ResponseCompressionBuilder};
use pingora::prelude::*;
use pingora::protocols::http::compression::{Algorithm, CompressionSettings};
use pingora_tests::{Browser, Connection, Message, Origin, proxy};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// A browser takes seconds to start, and many more on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Notes the coding of each response that ends, and offers a dictionary if there is one.
struct Watched {
    compressing: Compressing,
    dictionary: Option<Vec<u8>>,
    codings: Arc<Mutex<Vec<(String, String)>>>,
}

#[async_trait]
impl ProxyHttp for Watched {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        let settings = self.compressing.settings.clone();
        modules.add_module(ResponseCompressionBuilder::with(settings));
    }

    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        if let Some(content) = &self.dictionary {
            let hash = openssl::sha::sha256(content);
            let module = session
                .downstream_modules_ctx
                .get_mut::<ResponseCompression>()
                .unwrap();
            module.set_dictionary(content.clone().into(), hash);
        }
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut ()) -> Result<Box<HttpPeer>> {
        self.compressing.upstream_peer(session, ctx).await
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, _: &mut ()) {
        let path = session.req_header().uri.path().to_string();
        let headers = session.response_written().map(|head| &head.headers);
        let coding = headers.and_then(|headers| headers.get("content-encoding"));
        let coding = coding.map_or("", |coding| coding.to_str().unwrap());
        self.codings
            .lock()
            .unwrap()
            .push((path, coding.to_string()));
    }
}

impl Watched {
    fn new(upstream: SocketAddr, algorithm: Algorithm) -> Self {
        Watched {
            compressing: Compressing {
                upstream,
                settings: CompressionSettings::new(0).level_of(algorithm, 5),
            },
            dictionary: None,
            codings: Arc::default(),
        }
    }
}

/// Each event is told back by a request.
const EVENTS: &str = r#"<!doctype html><title>events</title><script>
const source = new EventSource("/events");
source.onmessage = event => fetch("/heard/" + event.lastEventId + "/" + event.data);
</script>"#;

/// How many events there are in a stream, after which it ends.
const STREAM: usize = 5;

async fn answer(connection: &mut Connection, fields: &str, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n");
    connection.send(head + body).await;
}

/// Sends events, each when the one before was heard.
async fn send_events(connection: &mut Connection, request: &Message, heard: &Semaphore) {
    let last = request.header("last-event-id").unwrap_or("0");
    let last: usize = last.parse().unwrap();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    connection.send(head).await;
    for id in last + 1..=last + STREAM {
        let event = format!("retry: 10\nid: {id}\ndata: number-{id}\n\n");
        connection
            .send(format!("{:x}\r\n{event}\r\n", event.len()))
            .await;
        heard.acquire().await.unwrap().forget();
    }
    connection.send("0\r\n\r\n").await;
}

async fn events_arrive_one_by_one(algorithm: Algorithm) {
    let (told, mut tells) = mpsc::unbounded_channel();
    let heard = Arc::new(Semaphore::new(0));
    let permits = heard.clone();
    let origin = Origin::scripted(move |mut connection, _| {
        let (told, heard) = (told.clone(), permits.clone());
        async move {
            while let Some(request) = connection.request_head().await {
                match request.target() {
                    "/" => answer(&mut connection, "Content-Type: text/html\r\n", EVENTS).await,
                    "/events" => send_events(&mut connection, &request, &heard).await,
                    path => {
                        told.send(path.to_string()).unwrap();
                        answer(&mut connection, "", "").await;
                    }
                }
            }
        }
    })
    .await;
    let watched = Watched::new(origin.address(), algorithm);
    let codings = watched.codings.clone();
    let server = proxy(watched).await;
    let _browser = Browser::open(server.address(), "/");
    // The second and the third stream begin where the one before them ended.
    let mut id = 0;
    while id < 3 * STREAM {
        let path = timeout(PATIENCE, tells.recv()).await.unwrap().unwrap();
        if path.starts_with("/heard/") {
            id += 1;
            assert_eq!(path, format!("/heard/{id}/number-{id}"), "{algorithm:?}");
            heard.add_permits(1);
        }
    }
    let codings = codings.lock().unwrap();
    let mut streams = codings.iter().filter(|(path, _)| path == "/events");
    let ended: Vec<_> = streams.by_ref().map(|(_, coding)| &**coding).collect();
    assert!(ended.len() >= 2, "{ended:?}");
    assert!(ended.iter().all(|coding| *coding == algorithm.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_hears_every_event_at_once() {
    for algorithm in [Algorithm::Gzip, Algorithm::Brotli, Algorithm::Zstd] {
        events_arrive_one_by_one(algorithm).await;
    }
}

/// Keeps a dictionary, reads pages until told that it was used, and tells what it read.
const READER: &str = r#"<!doctype html><title>dictionaries</title><script>
async function read() {
    await (await fetch("/dictionary")).text();
    for (let page = 0; ; page++) {
        const text = await (await fetch("/pages/" + page)).text();
        const told = await fetch("/read/" + page, { method: "POST", body: text });
        if (await told.text() === "enough") return;
        await new Promise(done => setTimeout(done, 20));
    }
}
read().catch(error => fetch("/failed", { method: "POST", body: String(error) }));
</script>"#;

/// A page: most of it stands in the dictionary, and some of it twice.
fn page(number: usize) -> String {
    let text = dictionary();
    let (first, second) = text.split_at(number * 997 % text.len());
    format!("page {number}: {second}{first}{second}, and the end of page {number}")
}

/// Text that does not repeat itself, longer than a block of the compressor.
fn dictionary() -> String {
    let mut random = fastrand::Rng::with_seed(7);
    let letters = std::iter::repeat_with(|| random.lowercase());
    plain_text() + &letters.take(150_000).collect::<String>()
}

async fn a_dictionary_is_used(algorithm: Algorithm) {
    let (told, mut tells) = mpsc::unbounded_channel();
    let enough = Arc::new(Mutex::new(false));
    let is_enough = enough.clone();
    let origin = Origin::scripted(move |mut connection, _| {
        let (told, enough) = (told.clone(), is_enough.clone());
        async move {
            while let Some(request) = connection.request().await {
                let text = "Content-Type: text/plain\r\n";
                let target = request.target().to_string();
                let number = target.rsplit('/').next().unwrap().parse().ok();
                match (&*target, number) {
                    ("/", _) => {
                        answer(&mut connection, "Content-Type: text/html\r\n", READER).await;
                    }
                    ("/dictionary", _) => {
                        let fields = "Use-As-Dictionary: match=\"/pages/*\"\r\nCache-Control: max-age=3600\r\n";
                        let fields = format!("{text}{fields}");
                        answer(&mut connection, &fields, &dictionary()).await;
                    }
                    (path, Some(number)) if path.starts_with("/pages/") => {
                        answer(&mut connection, text, &page(number)).await;
                    }
                    _ => {
                        told.send((target, request.text().to_string())).unwrap();
                        let enough = *enough.lock().unwrap();
                        answer(&mut connection, text, if enough { "enough" } else { "more" }).await;
                    }
                }
            }
        }
    })
    .await;
    let mut watched = Watched::new(origin.address(), algorithm);
    watched.dictionary = Some(dictionary().into_bytes());
    let codings = watched.codings.clone();
    let server = proxy(watched).await;
    let _browser = Browser::open(server.address(), "/");
    let mut used = 0;
    while used < 20 {
        let (path, text) = timeout(PATIENCE, tells.recv()).await.unwrap().unwrap();
        assert_ne!(path, "/failed", "{algorithm:?}: {text}");
        let Some(number) = path.strip_prefix("/read/") else {
            continue;
        };
        let number: usize = number.parse().unwrap();
        assert!(text == page(number), "{algorithm:?}, page {number}");
        let codings = codings.lock().unwrap();
        let with_dictionary = codings
            .iter()
            .filter(|(_, coding)| coding == algorithm.as_str());
        used = with_dictionary.count();
        *enough.lock().unwrap() = used >= 20;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_uses_the_dictionary_that_it_keeps() {
    for algorithm in [Algorithm::Dcb, Algorithm::Dcz] {
        a_dictionary_is_used(algorithm).await;
    }
}
