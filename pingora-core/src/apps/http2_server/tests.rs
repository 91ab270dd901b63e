//! HTTP/2 connections, from their first byte to their last.

mod batches;
mod connections;
mod malicious;
mod raw;

use super::super::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use crate::process::ShutdownWatch;
use crate::protocols::Stream;
use crate::protocols::http::ServerSession;
use crate::protocols::http::v2::server::H2Options;
use async_trait::async_trait;
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode};
use pingora_http::ResponseHeader;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Answers each request with its path.
#[derive(Default)]
struct App {
    options: Option<HttpServerOptions>,
    h2_options: Option<H2Options>,
    /// A request for `/wait` is answered when this is notified.
    go_on: Notify,
    /// Notified when a request for `/wait` has arrived.
    waiting: Notify,
    /// The number of requests for `/wait` so far.
    arrived: AtomicUsize,
    served: AtomicUsize,
    ended: AtomicUsize,
    refused: Mutex<Vec<String>>,
}

#[async_trait]
impl HttpServerApp for App {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if let Err(error) = session.read_request().await {
            self.refused.lock().unwrap().push(error.to_string());
            let status = session.fault().map_or(400, |fault| fault.status());
            session.respond_error(status).await.ok()?;
            return None;
        }
        let path = session.req_header().uri.path().to_string();
        if path == "/wait" {
            let mut told = std::pin::pin!(self.go_on.notified());
            told.as_mut().enable();
            self.arrived.fetch_add(1, Ordering::SeqCst);
            self.waiting.notify_one();
            tokio::select! {
                _ = told => {}
                _ = session.read_body_or_idle(true) => {
                    self.ended.fetch_add(1, Ordering::SeqCst);
                    return None;
                }
            }
        }
        if path == "/go" {
            self.go_on.notify_waiters();
        }
        if path == "/panic" {
            panic!("as asked for");
        }
        self.served.fetch_add(1, Ordering::SeqCst);
        let header = Box::new(ResponseHeader::build(200, None).unwrap());
        let written = session.write_response(header, path.into()).await;
        self.ended.fetch_add(1, Ordering::SeqCst);
        written.ok()?;
        session.finish().await.ok()?;
        None
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.options.as_ref()
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.h2_options.clone()
    }
}

fn with_h2c(change: impl FnOnce(&mut HttpServerOptions)) -> App {
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    change(&mut options);
    App {
        options: Some(options),
        ..App::default()
    }
}

struct Server {
    app: Arc<App>,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn start(app: App) -> (Server, DuplexStream) {
    let (io, client) = duplex(256 * 1024);
    (start_on(app, Box::new(io)), client)
}

fn start_on(app: App, io: Stream) -> Server {
    let app = Arc::new(app);
    let (shutdown, down) = watch::channel(false);
    let served = app.clone();
    let task = tokio::spawn(async move {
        let mut stream = Some(io);
        while let Some(next) = stream {
            stream = served.process_new(next, &down).await;
        }
    });
    Server {
        app,
        shutdown,
        task,
    }
}

async fn connect(io: DuplexStream) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let (requests, connection): (_, Connection<DuplexStream>) =
        h2::client::handshake(io).await.unwrap();
    (requests, tokio::spawn(connection))
}

fn get(path: &str) -> Request<()> {
    let uri = format!("http://example.com{path}");
    Request::get(uri).body(()).unwrap()
}

async fn read(response: Response<RecvStream>) -> (StatusCode, Bytes) {
    let (head, mut body) = response.into_parts();
    let mut whole = vec![];
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        whole.extend_from_slice(&data);
    }
    (head.status, whole.into())
}

async fn fetch(requests: &mut SendRequest<Bytes>, path: &str) -> (StatusCode, Bytes) {
    let mut requests = requests.clone().ready().await.unwrap();
    let (response, _) = requests.send_request(get(path), true).unwrap();
    read(response.await.unwrap()).await
}

/// Whether the connection took another request, which is answered then.
async fn fetch_or_end(requests: &mut SendRequest<Bytes>, path: &str) -> bool {
    let Ok(mut requests) = requests.clone().ready().await else {
        return false;
    };
    let (response, _) = requests.send_request(get(path), true).unwrap();
    match response.await {
        Ok(response) => read(response).await.0 == StatusCode::OK,
        // The goodbye was on its way.
        Err(_) => false,
    }
}

/// Sends a request and returns its future answer.
fn ask(requests: &mut SendRequest<Bytes>, path: &str) -> h2::client::ResponseFuture {
    requests.send_request(get(path), true).unwrap().0
}
