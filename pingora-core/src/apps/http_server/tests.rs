//! The lifetime of a connection, from one request to the next and to its end.

use super::super::{HttpPersistentSettings, HttpServerOptions, ReusedHttpStream, is_shutting_down};
use super::*;
use pingora_http::ResponseHeader;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Answers each request with the number of earlier requests on the same connection, which it stores
/// with the connection.
#[derive(Default)]
struct Counter {
    options: Option<HttpServerOptions>,
    /// The number of seconds for which an idle connection is kept.
    keepalive: Option<u64>,
    /// Sets `keepalive` even if the server is shutting down.
    blindly: bool,
    /// Returns the connection as a stream instead of as a session.
    as_stream: bool,
    /// A request for `/wait` is answered when this is notified.
    go_on: Notify,
    served: AtomicUsize,
    seen: Mutex<Vec<String>>,
}

#[async_trait]
impl HttpServerApp for Counter {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let before = session.take_connection_user_context();
        if !session.read_request().await.ok()? {
            return None;
        }
        let path = session.req_header().uri.path().to_string();
        self.seen.lock().unwrap().push(path.clone());
        let down = is_shutting_down(shutdown) && !self.blindly;
        session.set_keepalive(self.keepalive.filter(|_| !down));
        if path == "/wait" {
            self.go_on.notified().await;
        }
        let before = before
            .and_then(|b| b.downcast::<usize>().ok())
            .map_or(0, |b| *b);
        let body = before.to_string();
        let header = Box::new(ResponseHeader::build(200, None).unwrap());
        session.write_response(header, body.into()).await.ok()?;
        self.served.fetch_add(1, Ordering::SeqCst);
        let mut settings = HttpPersistentSettings::for_session(&session);
        settings.set_user_context(Box::new(before + 1));
        let reusable = session.finish().await.ok()??;
        if !self.as_stream {
            return Some(ReusedHttpStream::from_reusable_stream(reusable, settings));
        }
        let (stream, ahead) = reusable.into_parts();
        if let Some(ahead) = ahead {
            settings.set_pipelined_prefix(ahead);
        }
        Some(ReusedHttpStream::new(stream, Some(settings)))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.options.as_ref()
    }
}

/// Serves the connection like a service.
async fn serve(io: DuplexStream, app: Arc<Counter>, shutdown: ShutdownWatch) {
    let mut reusable: Option<Stream> = Some(Box::new(io));
    while let Some(stream) = reusable {
        reusable = app.process_new(stream, &shutdown).await;
    }
}

struct Connection {
    client: DuplexStream,
    app: Arc<Counter>,
    shutdown: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Connection {
    fn to(app: Counter) -> Self {
        let (client, server) = duplex(1 << 16);
        let (shutdown, watch) = watch::channel(false);
        let app = Arc::new(app);
        let serving = tokio::spawn(serve(server, app.clone(), watch));
        Connection {
            client,
            app,
            shutdown,
            serving,
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.unwrap();
    }

    /// Everything received until the server closes, and the time that this took in seconds.
    async fn end(mut self) -> (String, u64) {
        let start = Instant::now();
        let mut bytes = Vec::new();
        self.client.read_to_end(&mut bytes).await.unwrap();
        self.serving.await.unwrap();
        (String::from_utf8(bytes).unwrap(), start.elapsed().as_secs())
    }

    async fn served(&self, requests: usize) {
        while self.app.served.load(Ordering::SeqCst) < requests {
            tokio::task::yield_now().await;
        }
    }

    async fn reached(&self, requests: usize) {
        while self.app.seen.lock().unwrap().len() < requests {
            tokio::task::yield_now().await;
        }
    }
}

fn kept() -> Counter {
    Counter {
        keepalive: Some(30),
        ..Counter::default()
    }
}

/// The bodies of these responses.
fn bodies(answers: &str) -> Vec<&str> {
    answers
        .split("\r\n\r\n")
        .skip(1)
        .map(|rest| &rest[..1])
        .collect()
}

#[tokio::test(start_paused = true)]
async fn one_connection_carries_many_requests_and_what_they_leave() {
    for as_stream in [false, true] {
        let mut connection = Connection::to(Counter {
            as_stream,
            ..kept()
        });
        connection.send(&GET.repeat(3)).await;
        let (answers, seconds) = connection.end().await;
        assert_eq!(bodies(&answers), ["0", "1", "2"], "{answers}");
        assert_eq!(seconds, 30, "and then it is idle for its time");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_requests_is_one_of_the_connection() {
    for as_stream in [false, true] {
        for limit in [1, 2, 5] {
            let mut options = HttpServerOptions::default();
            options.keepalive_request_limit = Some(limit);
            let app = Counter {
                options: Some(options),
                as_stream,
                ..kept()
            };
            let mut connection = Connection::to(app);
            connection.send(&GET.repeat(9)).await;
            let (answers, seconds) = connection.end().await;
            let count = bodies(&answers).len();
            assert_eq!(count, limit as usize, "as stream: {as_stream}: {answers}");
            assert_eq!(
                answers.matches("Connection: close").count(),
                1,
                "the last one says so"
            );
            assert!(seconds <= 5);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_grows_no_older_than_it_may() {
    let limited = || {
        let mut options = HttpServerOptions::default();
        options.set_max_connection_age(Some(Duration::from_secs(10)));
        Connection::to(Counter {
            options: Some(options),
            ..kept()
        })
    };
    let mut idle = limited();
    idle.send(GET).await;
    let (answers, seconds) = idle.end().await;
    assert_eq!((bodies(&answers), seconds), (vec!["0"], 10));
    let mut busy = limited();
    busy.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    busy.app.go_on.notify_one();
    busy.served(1).await;
    busy.send(&GET.repeat(2)).await;
    let (answers, _) = busy.end().await;
    assert_eq!(bodies(&answers), ["0", "1"], "{answers}");
    assert_eq!(answers.matches("Connection: close").count(), 1, "{answers}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_time_of_zero_is_none() {
    let connection = Connection::to(Counter {
        keepalive: Some(0),
        ..Counter::default()
    });
    let mut connection = connection;
    connection.send(GET).await;
    connection.served(1).await;
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    connection
        .send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    let (answers, _) = connection.end().await;
    assert_eq!(bodies(&answers), ["0", "1"]);
    let mut connection = Connection::to(Counter {
        keepalive: Some(u64::MAX),
        ..Counter::default()
    });
    connection.send(&GET.repeat(2)).await;
    connection.served(2).await;
    assert!(!connection.serving.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_let_go() {
    let (answers, seconds) = Connection::to(kept()).end().await;
    assert_eq!((answers.as_str(), seconds), ("", 60));
    let mut options = HttpServerOptions::default();
    options.set_header_timeout(Some(Duration::from_secs(7)));
    let app = Counter {
        options: Some(options),
        ..kept()
    };
    let mut connection = Connection::to(app);
    connection.send(b"GET / HT").await;
    let (_, seconds) = connection.end().await;
    assert!((7..=9).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_soon_after_the_shutdown_began() {
    for requests in [0, 2] {
        let mut connection = Connection::to(kept());
        connection.send(&GET.repeat(requests)).await;
        connection.served(requests).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        connection.shutdown.send(true).unwrap();
        let (answers, seconds) = connection.end().await;
        assert_eq!(bodies(&answers).len(), requests);
        assert!(seconds < 2, "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_shutdown_is_answered_and_is_the_last() {
    let mut connection = Connection::to(kept());
    connection.send(GET).await;
    connection.served(1).await;
    connection.shutdown.send(true).unwrap();
    connection.send(&GET.repeat(2)).await;
    let (answers, seconds) = connection.end().await;
    assert_eq!(bodies(&answers), ["0", "1"], "{answers}");
    assert!(answers.contains("Connection: close\r\n") && seconds <= 5);
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_outlives_the_shutdown_and_is_told_to_be_the_last() {
    for (blindly, as_stream) in [(false, false), (true, false), (true, true)] {
        let mut connection = Connection::to(Counter {
            blindly,
            as_stream,
            ..kept()
        });
        connection.send(GET).await;
        connection.served(1).await;
        connection
            .send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        connection.reached(2).await;
        connection.shutdown.send(true).unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
        connection.app.go_on.notify_one();
        let (answers, seconds) = connection.end().await;
        assert_eq!(bodies(&answers), ["0", "1"]);
        assert_eq!(answers.matches("Connection: close\r\n").count(), 1);
        assert!(seconds <= 5, "{answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_made_during_the_shutdown_carries_one_request() {
    let (client, server) = duplex(1 << 16);
    let (shutdown, watch) = watch::channel(true);
    let app = Arc::new(kept());
    let serving = tokio::spawn(serve(server, app.clone(), watch));
    let mut connection = Connection {
        client,
        app,
        shutdown,
        serving,
    };
    connection.send(&GET.repeat(2)).await;
    let (answers, seconds) = connection.end().await;
    assert_eq!(bodies(&answers), ["0"], "{answers}");
    assert!(answers.contains("Connection: close\r\n") && seconds <= 5);
}

#[tokio::test(start_paused = true)]
async fn the_options_count_for_every_request() {
    let mut options = HttpServerOptions::default();
    options.set_max_body_size(Some(1));
    let app = Counter {
        options: Some(options),
        ..kept()
    };
    let mut connection = Connection::to(app);
    connection.send(GET).await;
    connection
        .send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy")
        .await;
    let (answers, _) = connection.end().await;
    assert_eq!(bodies(&answers), ["0"], "the second is refused");
}

#[test]
fn what_an_idle_connection_waits_with_is_small() {
    let (_client, server) = duplex(16);
    let mut session = SessionV1::new(Box::new(server));
    let (_sender, shutdown) = watch::channel(false);
    let mut notice = ShutdownNotice::default();
    let waiting = request_begins(&mut session, None, &shutdown, &mut notice);
    assert!(size_of_val(&waiting) <= 512, "{}", size_of_val(&waiting));
}
