//! The service: paths, answers, and what is shown.

use crate::action::Action;
use crate::guard::{Guard, SHORTEST_TOKEN};
use crate::state::{self, Samples, Shown};
use crate::{Purger, UpstreamGroup, stored};
use async_trait::async_trait;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use pingora_cache::inspect::Inspector;
use pingora_core::apps::http_app::{HttpServer, ServeHttp};
use pingora_core::metrics::{gather, recent_incidents};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::Health;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;
use pingora_error::{Error, ErrorType, OrErr, Result};
use serde_json::json;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// The page, with script and style.
pub(crate) const PAGE: &str = include_str!("page.html");

/// The most bytes of a request's body.
const LONGEST_BODY: usize = 4096;

/// Only the page's own script and style may run, unchanged: a test keeps the hashes up to date.
const POLICY: &str = "default-src 'none'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; \
    base-uri 'none'; script-src 'sha256-0MvqmEPWad1NA57Fzn5fkvVABMWI82/yVcswLEeqZLU='; style-src 'sha256-LPE3EDGr9h3dREzQWuHYRaM6PwSvmIVDqYH6j/+hDwM='";

/// Sent with each answer.
const FIELDS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// The content of the page, and who may see it.
pub struct Admin {
    guard: Guard,
    shown: Shown,
    caches: Vec<(String, Inspector)>,
    configuration: String,
    actions: bool,
    remote: bool,
}

impl fmt::Debug for Admin {
    /// Omits the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("actions", &self.actions)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// A read-only page for operators who know this token.
    ///
    /// # Errors
    /// `InternalError` if the token has less than 16 bytes, or characters other than visible ASCII and inner spaces, which
    /// no browser could send.
    pub fn new(token: &str) -> Result<Self> {
        let is_visible = |byte: u8| (b' '..=b'~').contains(&byte);
        if token.len() < SHORTEST_TOKEN {
            let text = format!("the token of the admin page has less than {SHORTEST_TOKEN} bytes");
            return Error::e_explain(ErrorType::InternalError, text);
        }
        if token.trim() != token || !token.bytes().all(is_visible) {
            let text = "the token of the admin page has other than visible characters";
            return Error::e_explain(ErrorType::InternalError, text);
        }
        Ok(Admin {
            guard: Guard::new(token),
            shown: Shown::default(),
            caches: Vec::new(),
            configuration: String::new(),
            actions: false,
            remote: false,
        })
    }

    /// Shows a group of upstreams, such as the task of a balancer's background service. For their outcomes, use the same
    /// name for [`watch`](pingora_load_balancing::metrics::watch).
    #[must_use]
    pub fn upstreams(mut self, name: &str, group: Arc<dyn UpstreamGroup>) -> Self {
        self.shown.groups.push((name.to_owned(), group));
        self
    }

    /// Lets operators look at what a cache has stored: in the page, and as JSON by `GET /api/cache/<name>`. They see the
    /// addresses of all stored pages, with their queries.
    #[must_use]
    pub fn cache(mut self, name: &str, inspector: Inspector) -> Self {
        self.caches.push((name.to_owned(), inspector));
        self
    }

    /// Shows the configuration in force.
    #[must_use]
    pub fn configuration(mut self, configuration: &ServerConf) -> Self {
        let text = serde_yaml::to_string(configuration);
        self.configuration = text.unwrap_or_else(|error| error.to_string());
        self
    }

    /// Shows whether the process is ready; with [actions](Self::allow_actions), drains it.
    #[must_use]
    pub fn health(mut self, health: Arc<Health>) -> Self {
        self.shown.health = Some(health);
        self
    }

    /// With [actions](Self::allow_actions), purges the program's cache by this.
    #[must_use]
    pub fn purger(mut self, purger: impl Purger + 'static) -> Self {
        self.shown.purger = Some(Arc::new(purger));
        self
    }

    /// Allows operators to act: to disable and enable backends, change the log level, drain the process, and purge its
    /// cache. Each action has to be confirmed, and is logged.
    #[must_use]
    pub fn allow_actions(mut self) -> Self {
        self.actions = true;
        self
    }

    /// Also accepts this name as `Host`, without a port, as in the browser's address bar. Names of this machine are always
    /// accepted.
    #[must_use]
    pub fn host(mut self, name: &str) -> Self {
        self.guard.add_host(name);
        self
    }

    /// Allows an address that others can reach. The token and all figures then cross the network: put TLS in front.
    #[must_use]
    pub fn allow_remote(mut self) -> Self {
        self.remote = true;
        self
    }

    /// The page as an application, for a service of one's own.
    pub fn app(self) -> AdminApp {
        AdminApp {
            admin: self,
            begun: Instant::now(),
            samples: Mutex::default(),
        }
    }

    /// The page as a service with one thread, which listens on this address, `IP:PORT`.
    ///
    /// # Errors
    /// `InternalError` if the address is invalid, or, without [`Admin::allow_remote`], not a loopback address.
    pub fn service(self, address: &str) -> Result<Service<HttpServer<AdminApp>>> {
        let parsed: SocketAddr = address
            .parse()
            .or_err(ErrorType::InternalError, "the address of the admin page")?;
        if !self.remote && !parsed.ip().is_loopback() {
            let text = format!(
                "{address}: the admin page listens on a loopback address, unless others are allowed"
            );
            return Error::e_explain(ErrorType::InternalError, text);
        }
        let mut service = Service::new("admin page".into(), HttpServer::new_app(self.app()));
        service.add_tcp(address);
        service.threads = Some(1);
        Ok(service)
    }
}

/// The page as an application.
pub struct AdminApp {
    admin: Admin,
    begun: Instant,
    samples: Mutex<Samples>,
}

impl fmt::Debug for AdminApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.admin.fmt(f)
    }
}

#[async_trait]
impl ServeHttp for AdminApp {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let (method, path) = (request.method.clone(), request.uri.path().to_owned());
        if let Err((status, text)) = self.admin.guard.check_host(&request.headers) {
            return answer(status, TEXT, text.into());
        }
        if path == "/" {
            return match method {
                Method::GET | Method::HEAD => answer(StatusCode::OK, HTML, PAGE.into()),
                _ => answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET".into()),
            };
        }
        if let Err((status, text)) = self.admin.guard.check(&request.headers) {
            log::info!("the admin page refused a request for {path:?}: {text}");
            return answer(status, TEXT, text.into());
        }
        match (method, &*path) {
            (Method::GET, "/api/state") => answer(StatusCode::OK, JSON, self.state()),
            (Method::POST, "/api/actions") => {
                let (status, text) = self.act(session).await;
                answer(status, TEXT, text)
            }
            (_, "/api/state" | "/api/actions") => {
                answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, String::new())
            }
            (Method::GET, path) if path.starts_with(CACHE) => {
                let name = path.get(CACHE.len()..).unwrap_or_default();
                let query = session.req_header().uri.query().unwrap_or_default();
                match stored::look(&self.admin.caches, name, query).await {
                    Ok(json) => answer(StatusCode::OK, JSON, json),
                    Err((status, text)) => answer(status, TEXT, text),
                }
            }
            _ => answer(StatusCode::NOT_FOUND, TEXT, "there is nothing here".into()),
        }
    }
}

impl AdminApp {
    fn state(&self) -> String {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let (metrics, seconds) = samples.describe(Instant::now(), gather());
        drop(samples);
        let groups = self.admin.shown.groups.iter();
        let groups: Vec<_> = groups
            .map(|(name, group)| state::group(name, &**group))
            .collect();
        let caches = self.admin.caches.iter();
        let caches: Vec<_> = caches
            .map(|(name, inspector)| state::cache(name, inspector))
            .collect();
        let incidents: Vec<_> = recent_incidents().iter().map(state::incident).collect();
        let health = self.admin.shown.health.as_ref();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "time": state::millis(SystemTime::now()),
            "up_seconds": self.begun.elapsed().as_secs(),
            "window_seconds": seconds,
            "actions_allowed": self.admin.actions,
            "log_level": log::max_level().as_str().to_lowercase(),
            "ready": health.map(|health| health.is_ready()),
            "draining": health.map(|health| health.is_draining()),
            "can_purge": self.admin.shown.purger.is_some(),
            "upstreams": groups,
            "caches": caches,
            "incidents": incidents,
            "metrics": metrics,
            "configuration": self.admin.configuration,
        })
        .to_string()
    }

    async fn act(&self, session: &mut ServerSession) -> (StatusCode, String) {
        if !self.admin.actions {
            let text = "this page only shows; see Admin::allow_actions";
            return (StatusCode::FORBIDDEN, text.into());
        }
        if !is_json(&session.req_header().headers) {
            let text = "the body has to be application/json";
            return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text.into());
        }
        let mut body = Vec::new();
        loop {
            match session.read_request_body().await {
                Ok(Some(piece)) if body.len() + piece.len() > LONGEST_BODY => {
                    return (StatusCode::PAYLOAD_TOO_LARGE, "too long".into());
                }
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break,
                Err(_) => return (StatusCode::BAD_REQUEST, "the body did not arrive".into()),
            }
        }
        match Action::parse(&body) {
            Ok(action) => action.perform(&self.admin.shown),
            Err(refusal) => refusal,
        }
    }
}

/// Whether the request declares JSON, which a form of another page can't do without a preflight request.
fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE);
    let declared = declared.and_then(|value| value.to_str().ok());
    let kind = declared.and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

const CACHE: &str = "/api/cache/";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Vec<u8>> {
    let mut response = Response::new(body.into_bytes());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in FIELDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use pingora_core::metrics::{FailedSide, IncidentKind, Listener, RequestMeter, note_incident};
    use pingora_load_balancing::LoadBalancer;
    use pingora_load_balancing::selection::RoundRobin;
    use serde_json::Value;
    use std::time::Duration;

    /// The only element of this name.
    fn element(name: &str) -> &'static str {
        let (_, rest) = PAGE.split_once(&format!("<{name}>")).unwrap();
        let (content, rest) = rest.split_once(&format!("</{name}>")).unwrap();
        assert!(!rest.contains(&format!("<{name}")));
        content
    }

    #[test]
    fn the_policy_allows_what_the_page_has_and_nothing_else() {
        for (name, of) in [("script", "script-src"), ("style", "style-src")] {
            let sum = openssl::sha::sha256(element(name).as_bytes());
            let sum = base64::engine::general_purpose::STANDARD.encode(sum);
            let expected = format!("{of} 'sha256-{sum}'");
            assert!(POLICY.contains(&expected), "{expected}");
        }
        for foreign in [
            "http://",
            "https://",
            "//cdn",
            "<link",
            "<img",
            "<iframe",
            " style=",
            " onclick=",
            "innerHTML",
            "eval(",
        ] {
            assert!(!PAGE.contains(foreign), "{foreign} is in the page");
        }
    }

    /// The page asks once a second. An event has to be in the first answer after it, so that the page shows it within two.
    #[test]
    fn the_first_look_behind_a_failure_tells_of_it() {
        assert!(PAGE.contains("timer = setTimeout(look, 1000);"));
        let balancer = LoadBalancer::<RoundRobin>::try_from_iter(["127.0.0.1:1"]).unwrap();
        let balancer = Arc::new(balancer);
        let app = Admin::new("correct horse battery").unwrap();
        let app = app.upstreams("shop", balancer.clone()).app();
        let look = || serde_json::from_str::<Value>(&app.state()).unwrap();
        let requests = |state: &Value| {
            let families = state["metrics"].as_array().unwrap();
            let mut found = families.iter();
            let failed = found.find(|one| one["name"] == "pingora_request_failures_total");
            let series = failed.unwrap()["series"].as_array().unwrap();
            let mut of_side = series.iter().filter(|one| {
                one["labels"]["service"] == "looked at" && one["labels"]["side"] == "upstream"
            });
            let found = of_side.next().unwrap();
            (found["value"].as_f64().unwrap(), found["rate"].as_f64())
        };
        let listener = Listener::find("looked at", "192.0.2.1:80");
        let (ready, state) = (look(), |state: &Value| {
            let backend = &state["upstreams"][0]["backends"][0];
            (backend["ready"].clone(), backend["enabled"].clone())
        });
        assert_eq!(state(&ready), (json!(true), json!(true)));
        assert_eq!(
            requests(&ready),
            (0.0, None),
            "the first look of all has no rates"
        );

        RequestMeter::begin(listener).failed(FailedSide::Upstream);
        note_incident(
            IncidentKind::Failed,
            "GET /looked-at",
            "boom",
            502,
            Duration::ZERO,
        );
        for backend in balancer.backends().get_backend().iter() {
            balancer.backends().set_enable(backend, false);
        }
        let failing = look();
        assert_eq!(state(&failing), (json!(false), json!(false)));
        let (failures, rate) = requests(&failing);
        assert!(failures == 1.0 && rate.is_some_and(|rate| rate > 0.0));
        let mut incidents = failing["incidents"].as_array().unwrap().iter();
        assert!(incidents.any(|one| one["request"] == "GET /looked-at"));
    }

    #[test]
    fn what_is_unsafe_has_to_be_asked_for() {
        let token = "correct horse battery";
        assert!(Admin::new("short").is_err());
        for bad in [
            "sixteen bytes and\n",
            " sixteen bytes at least",
            "sechzehn Zeichen für",
        ] {
            assert!(Admin::new(bad).is_err(), "{bad:?}");
        }
        let admin = || Admin::new(token).unwrap();
        assert!(!format!("{:?}", admin().app()).contains("horse"));
        for address in ["127.0.0.1:0", "[::1]:0", "127.9.9.9:1"] {
            assert!(admin().service(address).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:0", "192.0.2.1:1", "[::]:0", "localhost:1", ""] {
            assert!(admin().service(address).is_err(), "{address}");
        }
        assert!(admin().allow_remote().service("0.0.0.0:0").is_ok());
    }
}
