//! From the user's phases to a service that a server can host.

use crate::{HttpProxy, ProxyHttp};
use futures::future::BoxFuture;
use pingora_core::apps::HttpServerOptions;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::http::custom::Connector as CustomConnector;
use pingora_core::protocols::Stream;
use pingora_core::protocols::tls::backend::ClientBackend;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RuntimeOpts, ShutdownWatch};
use pingora_core::services::listening::Service;
use std::fmt;
use std::sync::Arc;

/// The default name of a proxy service.
const DEFAULT_NAME: &str = "Pingora HTTP Proxy Service";

/// Serves a connection whose TLS handshake chose a [custom
/// protocol](pingora_core::protocols::ALPN). If it returns the connection, that is passed in
/// again as a new one.
pub type ProcessCustomSession<SV, C> = Arc<
    dyn Fn(Arc<HttpProxy<SV, C>>, Stream, &ShutdownWatch) -> BoxFuture<'static, Option<Stream>>
        + Send
        + Sync
        + Unpin
        + 'static,
>;

/// A proxy as an application, with its modules in place, for use in your own services.
pub fn http_proxy<SV>(conf: &Arc<ServerConf>, inner: SV) -> HttpProxy<SV>
where
    SV: ProxyHttp,
{
    let mut proxy = HttpProxy::new(inner, conf.clone());
    proxy.handle_init_modules();
    proxy
}

/// A service that runs these phases for each request. Add listeners to it, then add it to a server.
pub fn http_proxy_service<SV>(conf: &Arc<ServerConf>, inner: SV) -> Service<HttpProxy<SV, ()>>
where
    SV: ProxyHttp,
{
    http_proxy_service_with_name(conf, inner, DEFAULT_NAME)
}

/// [`http_proxy_service`] with a name for its threads and for the log.
pub fn http_proxy_service_with_name<SV>(
    conf: &Arc<ServerConf>,
    inner: SV,
    name: &str,
) -> Service<HttpProxy<SV, ()>>
where
    SV: ProxyHttp,
{
    Service::new(name.to_string(), http_proxy(conf, inner))
}

/// [`http_proxy_service_with_name`] with connections over a custom protocol: `connector` makes the
/// connections to upstreams, and `on_custom` serves those of clients.
pub fn http_proxy_service_with_name_custom<SV, C>(
    conf: &Arc<ServerConf>,
    inner: SV,
    name: &str,
    connector: C,
    on_custom: ProcessCustomSession<SV, C>,
) -> Service<HttpProxy<SV, C>>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync + 'static,
    C: CustomConnector,
{
    ProxyServiceBuilder::new(conf, inner)
        .name(name)
        .custom(connector, on_custom)
        .build()
}

type OverrideRuntime = Arc<dyn Fn(&RuntimeOpts) -> Option<RuntimeOpts> + Send + Sync>;

/// Builds a proxy service step by step.
///
/// ```
/// # use async_trait::async_trait;
/// # use pingora_core::prelude::*;
/// # use pingora_proxy::{ProxyHttp, ProxyServiceBuilder, Session};
/// # struct Proxy;
/// # #[async_trait]
/// # impl ProxyHttp for Proxy {
/// #     type CTX = ();
/// #     fn new_ctx(&self) {}
/// #     async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
/// #         Ok(Box::new(HttpPeer::new("127.0.0.1:8080", false, String::new())))
/// #     }
/// # }
/// # use std::sync::Arc;
/// # use pingora_core::server::configuration::ServerConf;
/// # use pingora_core::apps::HttpServerOptions;
/// let conf = Arc::new(ServerConf::default());
/// let mut options = HttpServerOptions::default();
/// options.keepalive_request_limit = Some(1000);
/// let mut service = ProxyServiceBuilder::new(&conf, Proxy)
///     .name("edge")
///     .server_options(options)
///     .build();
/// service.add_tcp("127.0.0.1:0");
/// ```
pub struct ProxyServiceBuilder<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync + 'static,
    C: CustomConnector,
{
    conf: Arc<ServerConf>,
    inner: SV,
    name: String,
    custom: C,
    on_custom: Option<ProcessCustomSession<SV, C>>,
    client_options: Option<ConnectorOptions>,
    tls_session_capacity: Option<usize>,
    tls_backend: Option<Arc<dyn ClientBackend>>,
    server_options: Option<HttpServerOptions>,
    override_runtime: Option<OverrideRuntime>,
}

impl<SV, C> fmt::Debug for ProxyServiceBuilder<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync + 'static,
    C: CustomConnector,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyServiceBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<SV> ProxyServiceBuilder<SV, ()>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync + 'static,
{
    /// A service with these phases.
    pub fn new(conf: &Arc<ServerConf>, inner: SV) -> Self {
        ProxyServiceBuilder {
            conf: conf.clone(),
            inner,
            name: DEFAULT_NAME.to_string(),
            custom: (),
            on_custom: None,
            client_options: None,
            tls_session_capacity: None,
            tls_backend: None,
            server_options: None,
            override_runtime: None,
        }
    }
}

impl<SV, C> ProxyServiceBuilder<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync + 'static,
    C: CustomConnector,
{
    /// Sets a name for its threads and for the log.
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        self.name = name.as_ref().to_string();
        self
    }

    /// Adds a custom protocol: `connector` makes the connections to upstreams, and `on_custom` serves
    /// clients whose TLS handshake chose such a protocol.
    pub fn custom<C2: CustomConnector>(
        self,
        connector: C2,
        on_custom: ProcessCustomSession<SV, C2>,
    ) -> ProxyServiceBuilder<SV, C2> {
        ProxyServiceBuilder {
            conf: self.conf,
            inner: self.inner,
            name: self.name,
            custom: connector,
            on_custom: Some(on_custom),
            client_options: self.client_options,
            tls_session_capacity: self.tls_session_capacity,
            tls_backend: self.tls_backend,
            server_options: self.server_options,
            override_runtime: self.override_runtime,
        }
    }

    /// Sets how many TLS sessions with upstreams are kept for resumption. The default is 1024; with 0
    /// none is kept, and every handshake is a full one. See
    /// [`set_tls_session_capacity`](pingora_core::connectors::TransportConnector).
    #[must_use]
    pub fn tls_session_capacity(mut self, sessions: usize) -> Self {
        self.tls_session_capacity = Some(sessions);
        self
    }

    /// The backend that speaks TLS with upstreams instead of OpenSSL. If it can't do what the options demand, the log
    /// says so and every TLS connection to an upstream fails. See
    /// [`set_tls_backend`](pingora_core::connectors::TransportConnector).
    #[must_use]
    pub fn tls_backend(mut self, backend: Arc<dyn ClientBackend>) -> Self {
        self.tls_backend = Some(backend);
        self
    }

    /// How connections to upstreams are made; by default as the configuration says.
    pub fn client_options(mut self, options: ConnectorOptions) -> Self {
        self.client_options = Some(options);
        self
    }

    /// Sets the options for client connections.
    pub fn server_options(mut self, options: HttpServerOptions) -> Self {
        self.server_options = Some(options);
        self
    }

    /// Sets the runtime of this service, made from the server's options.
    pub fn runtime_opts_override<F>(mut self, override_fn: F) -> Self
    where
        F: Fn(&RuntimeOpts) -> Option<RuntimeOpts> + Send + Sync + 'static,
    {
        self.override_runtime = Some(Arc::new(override_fn));
        self
    }

    /// The service.
    pub fn build(self) -> Service<HttpProxy<SV, C>> {
        let options = self
            .client_options
            .unwrap_or_else(|| ConnectorOptions::from_server_conf(&self.conf));
        let connector = Connector::new_custom(Some(options), self.custom);
        if let Some(sessions) = self.tls_session_capacity {
            connector.transport().set_tls_session_capacity(sessions);
        }
        if let Some(backend) = self.tls_backend
            && let Err(e) = connector.transport().set_tls_backend(&*backend)
        {
            log::error!("TLS connections to upstreams will fail: {e}");
        }
        let mut proxy = HttpProxy::assemble(self.inner, connector, &self.conf);
        proxy.server_options = self.server_options;
        proxy.on_custom = self.on_custom;
        proxy.handle_init_modules();
        let mut service = Service::new(self.name, proxy);
        if let Some(override_runtime) = self.override_runtime {
            service.set_runtime_opts_override(override_runtime);
        }
        service
    }
}
