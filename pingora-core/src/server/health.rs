//! Answers the questions of an orchestrator or a load balancer in front: whether the program is alive, ready, and
//! started.

use super::{ExecutionPhase, Server};
use crate::apps::http_app::{HttpServer, ServeHttp};
use crate::protocols::http::ServerSession;
use crate::services::listening::Service;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

/// Whether a dependency of the program currently works.
type Check = Box<dyn Fn() -> bool + Send + Sync>;

/// Health endpoints: three paths that answer 200 or 503, with a line of text for each dependency.
///
/// | path | 200 if |
/// |---|---|
/// | `/livez` | the process answers at all |
/// | `/readyz` | it has started, is not draining, and every dependency works |
/// | `/startupz` | every dependency has worked at the same time, and, if the program [waits for it](Health::wait_for_start), it has called [`Health::started`] |
///
/// A server drains from the moment it is told to stop. In an upgrade it is ready until the next server has taken
/// over. A program can also start draining before the stop: [`Health::drain`].
///
/// As a service on a separate port ([`Health::service`]), and in front of the phases of a proxy:
///
/// ```
/// use pingora_core::server::{Health, Server};
///
/// let mut server = Server::new(None).unwrap();
/// let health = Health::of(&server).dependency("database", || true).shared();
/// server.add_service(health.service("127.0.0.1:8081"));
/// // In `request_filter` of a proxy: self.health.respond(session).await
/// ```
///
/// Only GET and HEAD are answered. The answers name dependencies, so the port should not be publicly reachable.
pub struct Health {
    checks: Vec<(String, Check)>,
    phases: Option<Mutex<broadcast::Receiver<ExecutionPhase>>>,
    stopping: AtomicBool,
    drained: AtomicBool,
    waits: AtomicBool,
    started: AtomicBool,
}

impl Health {
    /// Follows the lifetime of this server: once it is told to stop, it is no longer ready.
    pub fn of(server: &Server) -> Self {
        Health {
            phases: Some(Mutex::new(server.watch_execution_phase())),
            ..Health::new()
        }
    }

    /// Follows no server: drains only if the program says so.
    pub fn new() -> Self {
        Health {
            checks: Vec::new(),
            phases: None,
            stopping: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            started: AtomicBool::new(false),
        }
    }

    /// Names a dependency without which the program is not ready. `works` is called for each request, on a thread
    /// that serves clients: it must not block. It should report the result of a background task.
    #[must_use]
    pub fn dependency(
        mut self,
        name: &str,
        works: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        self.checks.push((name.to_owned(), Box::new(works)));
        self
    }

    /// The program only counts as started once it calls [`Health::started`], even if all dependencies
    /// work.
    #[must_use]
    pub fn wait_for_start(self) -> Self {
        self.waits.store(true, Ordering::Relaxed);
        self
    }

    /// For shared use.
    pub fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }

    /// The program has started. Only useful after [`Health::wait_for_start`].
    pub fn started(&self) {
        self.waits.store(false, Ordering::Relaxed);
    }

    /// From now on the program is not ready although it serves, so that a load balancer in front stops sending
    /// requests before the server is stopped. `false` reverts that.
    pub fn drain(&self, drains: bool) {
        self.drained.store(drains, Ordering::Relaxed);
    }

    /// Whether the server is told to stop, or [`Health::drain`] was called.
    pub fn is_draining(&self) -> bool {
        if let Some(phases) = &self.phases {
            let mut phases = phases.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                match phases.try_recv() {
                    Ok(phase) => self.enter(phase),
                    Err(TryRecvError::Lagged(_)) => {}
                    Err(TryRecvError::Closed) => {
                        self.stopping.store(true, Ordering::Relaxed);
                        break;
                    }
                    Err(TryRecvError::Empty) => break,
                }
            }
        }
        self.stopping.load(Ordering::Relaxed) || self.drained.load(Ordering::Relaxed)
    }

    fn enter(&self, phase: ExecutionPhase) {
        let stops = match phase {
            ExecutionPhase::Setup
            | ExecutionPhase::Bootstrap
            | ExecutionPhase::BootstrapComplete
            | ExecutionPhase::Running
            // It is not yet known whether the next server takes over; this one serves.
            | ExecutionPhase::GracefulUpgradeTransferringFds
            | ExecutionPhase::GracefulUpgradeCloseTimeout => false,
            ExecutionPhase::GracefulTerminate
            | ExecutionPhase::ShutdownStarted
            | ExecutionPhase::ShutdownGracePeriod
            | ExecutionPhase::ShutdownRuntimes
            | ExecutionPhase::Terminated => true,
        };
        self.stopping.store(stops, Ordering::Relaxed);
    }

    /// Whether the program has started; once it has, that does not change any more.
    pub fn has_started(&self) -> bool {
        if !self.started.load(Ordering::Relaxed) {
            let waits = self.waits.load(Ordering::Relaxed);
            let started = !waits && self.checks.iter().all(|(_, works)| works());
            self.started.fetch_or(started, Ordering::Relaxed);
        }
        self.started.load(Ordering::Relaxed)
    }

    /// Whether requests should be sent to this program.
    pub fn is_ready(&self) -> bool {
        self.has_started() && !self.is_draining() && self.checks.iter().all(|(_, works)| works())
    }

    /// The status and text for this path; `None`: it is not one of ours.
    fn answer(&self, path: &str) -> Option<(StatusCode, String)> {
        let (well, text) = match path {
            "/livez" => (true, "live\n".to_owned()),
            "/readyz" => (self.is_ready(), self.describe()),
            "/startupz" => (self.has_started(), self.describe()),
            _ => return None,
        };
        let status = if well {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        Some((status, text))
    }

    /// One line for each dependency of readiness.
    fn describe(&self) -> String {
        let of = |well: bool, good: &'static str, bad: &'static str| if well { good } else { bad };
        let mut text = format!(
            "server: {}\nstart: {}\n",
            of(!self.is_draining(), "serving", "draining"),
            of(self.has_started(), "complete", "under way")
        );
        for (name, works) in &self.checks {
            text.push_str(&format!("{name}: {}\n", of(works(), "ok", "failing")));
        }
        text
    }

    /// Answers the request if it is for one of the paths, and returns whether it was: for `request_filter` of a
    /// proxy, which returns the same. The answer passes no module.
    ///
    /// # Errors
    /// If the client is gone. Not cancel-safe: a response may be cut short.
    pub async fn respond(&self, session: &mut ServerSession) -> Result<bool> {
        let line = session.req_header().line();
        if line.method != Method::GET && line.method != Method::HEAD {
            return Ok(false);
        }
        let Some((status, text)) = self.answer(line.uri.path()) else {
            return Ok(false);
        };
        let head_only = line.method == Method::HEAD;
        let mut header = ResponseHeader::build(status, Some(3))?;
        header.insert_header(CONTENT_TYPE, "text/plain; charset=utf-8")?;
        header.insert_header(CACHE_CONTROL, "no-store")?;
        header.set_content_length(text.len())?;
        let body = if head_only { Bytes::new() } else { text.into() };
        session.write_response(Box::new(header), body).await?;
        Ok(true)
    }

    /// A service that answers at this TCP address, with one thread. Other paths get 404.
    pub fn service(self: &Arc<Self>, address: &str) -> Service<HttpServer<HealthApp>> {
        let app = HttpServer::new_app(HealthApp(self.clone()));
        let mut service = Service::new("health".to_owned(), app);
        service.add_tcp(address);
        service.threads = Some(1);
        service
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.checks.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("Health")
            .field("dependencies", &names)
            .finish_non_exhaustive()
    }
}

/// [`Health`] as an application; see [`Health::service`].
#[derive(Debug, Clone)]
pub struct HealthApp(pub Arc<Health>);

#[async_trait]
impl ServeHttp for HealthApp {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let line = session.req_header().line();
        let asks = line.method == Method::GET || line.method == Method::HEAD;
        let answer = self.0.answer(line.uri.path()).filter(|_| asks);
        let (status, text) = answer.unwrap_or((StatusCode::NOT_FOUND, String::new()));
        let mut response = Response::new(text.into_bytes());
        *response.status_mut() = status;
        let fields = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        fields.insert(CONTENT_TYPE, plain);
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{server, told};
    use super::*;
    use crate::server::ShutdownSignal;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    fn ask(connection: &mut TcpStream, path: &str) -> String {
        write!(connection, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = vec![0; 4096];
        let length = connection.read(&mut answer).unwrap();
        String::from_utf8(answer[..length].to_vec()).unwrap()
    }

    fn status(answer: &str) -> &str {
        answer.split(' ').nth(1).unwrap_or_default()
    }

    fn connect(address: SocketAddr) -> TcpStream {
        let connection = TcpStream::connect(address).unwrap();
        let limit = Some(Duration::from_secs(60));
        connection.set_read_timeout(limit).unwrap();
        connection
    }

    #[test]
    fn a_dependency_decides_on_readiness_and_once_on_the_start() {
        let works = Arc::new(AtomicBool::new(false));
        let asked = works.clone();
        let health = Health::new()
            .dependency("db", move || asked.load(Ordering::Relaxed))
            .wait_for_start();
        let state = |path: &str| health.answer(path).unwrap().0.as_u16();
        let all = || ["/livez", "/readyz", "/startupz"].map(state);
        assert_eq!(all(), [200, 503, 503]);
        works.store(true, Ordering::Relaxed);
        assert_eq!(all(), [200, 503, 503], "the program has not said so");
        health.started();
        assert_eq!(all(), [200, 200, 200]);
        works.store(false, Ordering::Relaxed);
        assert_eq!(all(), [200, 503, 200]);
        let text = health.answer("/readyz").unwrap().1;
        assert_eq!(text, "server: serving\nstart: complete\ndb: failing\n");
        works.store(true, Ordering::Relaxed);
        health.drain(true);
        assert_eq!(all(), [200, 503, 200]);
        health.drain(false);
        assert_eq!(all(), [200, 200, 200]);
        assert!(health.answer("/").is_none());
    }

    #[test]
    fn in_an_upgrade_the_old_server_is_ready_until_the_next_one_has_taken_over() {
        let health = Health::new();
        let rows = [
            (ExecutionPhase::Running, false),
            (ExecutionPhase::GracefulUpgradeTransferringFds, false),
            (ExecutionPhase::GracefulUpgradeCloseTimeout, false),
            (ExecutionPhase::Running, false),
            (ExecutionPhase::GracefulTerminate, true),
            (ExecutionPhase::ShutdownStarted, true),
        ];
        for (phase, draining) in rows {
            health.enter(phase);
            assert_eq!(health.is_draining(), draining, "{phase:?}");
        }
    }

    #[test]
    fn a_server_that_is_told_to_stop_is_live_and_not_ready() {
        let mut server = server();
        let health = Health::of(&server).shared();
        let service = health.service("127.0.0.1:0");
        let addresses = service.bound_addresses();
        server.add_service(service);
        let (tell, run) = told();
        let runs = std::thread::spawn(move || server.try_run(run));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let address = runtime.block_on(addresses.wait()).unwrap()[0];
        let mut kept = connect(address);
        assert_eq!(status(&ask(&mut kept, "/readyz")), "200");
        assert_eq!(status(&ask(&mut kept, "/elsewhere")), "404");
        tell.send(ShutdownSignal::GracefulTerminate).unwrap();
        runs.join().unwrap().unwrap();
        assert!(health.is_draining() && !health.is_ready());
        assert_eq!(health.answer("/livez").unwrap().0, 200);
    }

    #[tokio::test]
    async fn a_proxy_answers_for_its_paths_and_no_others() {
        let health = Health::new();
        let rows = [
            ("GET /readyz?x", true, "200"),
            ("HEAD /livez", true, "200"),
            ("POST /readyz", false, ""),
            ("GET /other", false, ""),
        ];
        for (line, ours, wanted) in rows {
            let (mut client, stream) = tokio::io::duplex(4096);
            let mut session = ServerSession::new_http1(Box::new(stream));
            let request = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
            tokio::io::AsyncWriteExt::write_all(&mut client, request.as_bytes())
                .await
                .unwrap();
            assert!(session.read_request().await.unwrap());
            assert_eq!(health.respond(&mut session).await.unwrap(), ours, "{line}");
            drop(session);
            let mut answer = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut client, &mut answer)
                .await
                .unwrap();
            assert_eq!(status(&answer), wanted, "{answer}");
            assert_eq!(answer.contains("serving"), line == "GET /readyz?x");
        }
    }
}
