//! `pingora_core`: applications, listeners, modules.

pub(crate) mod programs {
    use crate::any;
    use async_trait::async_trait;
    use bytes::BytesMut;
    use pingora_core::apps::*;
    use pingora_core::protocols::Stream;
    use pingora_core::protocols::http::v2::server::H2Options;
    use pingora_core::protocols::http::{ReusableHttpStream, ServerSession};
    use pingora_core::server::ShutdownWatch;

    use std::any::Any;
    use std::sync::Arc;
    use std::time::Duration;

    pub(crate) struct Program;
    #[async_trait]
    impl ServerApp for Program {
        async fn process_new(
            self: &Arc<Self>,
            _session: Stream,
            _shutdown: &ShutdownWatch,
        ) -> Option<Stream> {
            any()
        }

        async fn cleanup(&self) {}
    }

    struct Site;
    #[async_trait]
    impl HttpServerApp for Site {
        async fn process_new_http(
            self: &Arc<Self>,
            _session: ServerSession,
            _shutdown: &ShutdownWatch,
        ) -> Option<ReusedHttpStream> {
            any()
        }

        fn h2_options(&self) -> Option<H2Options> {
            any()
        }

        fn server_options(&self) -> Option<&HttpServerOptions> {
            any()
        }

        async fn http_cleanup(&self) {}
    }

    fn the_http_server_options(it: &mut HttpServerOptions) {
        let _: &bool = &it.h2c;
        let _: &bool = &it.allow_connect_method_proxying;
        let _: &Option<u32> = &it.keepalive_request_limit;
        let _: &Option<Duration> = &it.h2_idle_timeout;
        is_default::<HttpServerOptions>();
    }

    fn the_http_persistent_settings(it: &mut HttpPersistentSettings) {
        let _: HttpPersistentSettings =
            HttpPersistentSettings::for_session(any::<&ServerSession>());
        it.set_user_context(any::<Box<dyn Any + Send + Sync>>());
        let _: Option<Box<dyn Any + Send + Sync>> = it.take_user_context();
        it.set_pipelined_prefix(any::<BytesMut>());
        any::<HttpPersistentSettings>().apply_to_session(any::<&mut ServerSession>());
    }

    fn the_reused_http_stream() {
        let _: ReusedHttpStream =
            ReusedHttpStream::new(any::<Stream>(), any::<Option<HttpPersistentSettings>>());
        let _: ReusedHttpStream = ReusedHttpStream::from_reusable_stream(
            any::<ReusableHttpStream>(),
            any::<HttpPersistentSettings>(),
        );
        let _: (Stream, Option<HttpPersistentSettings>) = any::<ReusedHttpStream>().consume();
    }

    fn is_default<T: Default>() {}
}

mod http_app {
    use crate::any;
    use async_trait::async_trait;
    use http::Response;
    use pingora_core::apps::http_app::*;
    use pingora_core::apps::{HttpServerApp, HttpServerOptions};
    use pingora_core::modules::http::ModuleBuilder;
    use pingora_core::protocols::http::ServerSession;
    use pingora_core::protocols::http::v2::server::H2Options;

    struct OwnServeHttp;
    #[async_trait]
    impl ServeHttp for OwnServeHttp {
        async fn response(&self, _http_session: &mut ServerSession) -> Response<Vec<u8>> {
            any()
        }
    }

    fn the_http_server(it: &mut HttpServer<OwnServeHttp>) {
        let _: &Option<HttpServerOptions> = &it.server_options;
        let _: &Option<H2Options> = &it.h2_options;
        let _: HttpServer<OwnServeHttp> = HttpServer::<OwnServeHttp>::new_app(OwnServeHttp);
        it.add_module(any::<ModuleBuilder>());
        is_http_server_app::<HttpServer<OwnServeHttp>>();
    }

    fn is_http_server_app<T: HttpServerApp>() {}
}

mod listeners {
    use crate::any;
    use async_trait::async_trait;
    use pingora_core::listeners::tls::TlsSettings;
    use pingora_core::listeners::*;
    use pingora_core::protocols::TcpKeepalive;
    use pingora_core::protocols::l4::stream::Stream as L4Stream;
    use pingora_core::protocols::tls::{CustomALPN, TlsRef};
    use pingora_error::Result;
    use std::any::Any;
    use std::fs::Permissions;
    use std::net::SocketAddr;
    use std::sync::Arc;

    #[derive(Debug)]
    struct Nobody;
    #[async_trait]
    impl ConnectionFilter for Nobody {
        async fn should_accept(&self, _addr: Option<&SocketAddr>) -> bool {
            false
        }
    }

    #[derive(Debug)]
    struct Anybody;
    impl ConnectionFilter for Anybody {}
    fn filters() -> [Arc<dyn ConnectionFilter>; 3] {
        [
            Arc::new(Nobody),
            Arc::new(Anybody),
            Arc::new(AcceptAllFilter),
        ]
    }

    fn the_l4_buffer_settings(it: &mut L4BufferSettings) {
        let _ = L4BufferSettings {
            read: any::<Option<usize>>(),
            write: any::<Option<usize>>(),
        };
        let _: &Option<usize> = &it.read;
        let _: &Option<usize> = &it.write;
        let _: L4BufferSettings = L4BufferSettings::new(1, 1);
        let _: L4BufferSettings = L4BufferSettings::unbuffered();
        let _: L4BufferSettings = any::<L4BufferSettings>().read(1);
        let _: L4BufferSettings = any::<L4BufferSettings>().write(1);
        let _: usize = it.read_capacity();
        let _: usize = it.write_capacity();
        is_default::<L4BufferSettings>();
        is_eq::<L4BufferSettings>();
        is_partial_eq::<L4BufferSettings>();
    }

    fn the_alpn(it: &mut ALPN) {
        match it {
            ALPN::H1 => {}
            ALPN::H2 => {}
            ALPN::H2H1 => {}
            ALPN::Custom(a) => {
                let _: &mut CustomALPN = a;
            }
        }
        let _: ALPN = ALPN::new(1, 1);
        let _: u8 = it.get_max_http_version();
        let _: u8 = it.get_min_http_version();
        is_display::<ALPN>();
        is_hash::<ALPN>();
        is_partial_eq::<ALPN>();
        is_partial_ord::<ALPN>();
    }

    fn the_server_address(it: &mut ServerAddress) {
        match it {
            ServerAddress::Tcp(a, b) => {
                let _: (&mut String, &mut Option<TcpSocketOptions>) = (a, b);
            }
            ServerAddress::Uds(a, b) => {
                let _: (&mut String, &mut Option<Permissions>) = (a, b);
            }
        }
    }

    fn the_tcp_socket_options(it: &mut TcpSocketOptions) {
        let _ = TcpSocketOptions {
            ipv6_only: any::<Option<bool>>(),
            tcp_fastopen: any::<Option<usize>>(),
            tcp_keepalive: any::<Option<TcpKeepalive>>(),
            dscp: any::<Option<u8>>(),
            so_reuseport: any::<Option<bool>>(),
            tcp_snd_buf: any::<Option<usize>>(),
            tcp_recv_buf: any::<Option<usize>>(),
        };
        let _: &Option<bool> = &it.ipv6_only;
        let _: &Option<usize> = &it.tcp_fastopen;
        let _: &Option<TcpKeepalive> = &it.tcp_keepalive;
        let _: &Option<u8> = &it.dscp;
        let _: &Option<bool> = &it.so_reuseport;
        let _: &Option<usize> = &it.tcp_snd_buf;
        let _: &Option<usize> = &it.tcp_recv_buf;
        is_default::<TcpSocketOptions>();
    }

    struct OwnTlsAccept;
    #[async_trait]
    impl TlsAccept for OwnTlsAccept {
        async fn certificate_callback(&self, _ssl: &mut TlsRef)
        where
            Self: Sync,
        {
            any()
        }

        async fn handshake_complete_callback(
            &self,
            _ssl: &TlsRef,
        ) -> Option<Arc<dyn Any + Send + Sync>>
        where
            Self: Sync,
        {
            any()
        }
    }

    struct OwnPreTlsProcess;
    #[async_trait]
    impl PreTlsProcess for OwnPreTlsProcess {
        async fn process(&self, _stream: &mut L4Stream) -> Result<()> {
            any()
        }
    }

    fn the_listener_config() {
        let _: ListenerConfig = ListenerConfig::tcp("a");
        let _: ListenerConfig = ListenerConfig::uds("a");
        let _: ListenerConfig =
            any::<ListenerConfig>().tcp_socket_options(any::<TcpSocketOptions>());
        let _: ListenerConfig = any::<ListenerConfig>().permissions(any::<Permissions>());
        let _: ListenerConfig = any::<ListenerConfig>().tls(any::<TlsSettings>());
        let _: ListenerConfig = any::<ListenerConfig>().l4_buffer(any::<L4BufferSettings>());
    }

    fn the_listeners(it: &mut Listeners) {
        let _: Listeners = Listeners::new();
        let _: Listeners = Listeners::tcp("a");
        let _: Listeners = Listeners::uds("a", any::<Option<Permissions>>());
        let _: Result<Listeners> = Listeners::tls("a", "a", "a");
        it.add_tcp("a");
        it.add_tcp_with_settings("a", any::<TcpSocketOptions>());
        it.add_uds("a", any::<Option<Permissions>>());
        let _: Result<()> = it.add_tls("a", "a", "a");
        it.add_tls_with_settings("a", any::<Option<TcpSocketOptions>>(), any::<TlsSettings>());
        it.add_address(any::<ServerAddress>());
        let _: Vec<String> = it.addresses();
        it.add_listener(any::<ListenerConfig>());
        it.set_pre_tls_callback(any::<PreTlsCallback>());
        it.add_endpoint(any::<ServerAddress>(), any::<Option<TlsSettings>>());
    }

    fn functions_and_constants() {
        let _: &usize = &DEFAULT_L4_READ_BUFFER_SIZE;
        let _: &usize = &DEFAULT_L4_WRITE_BUFFER_SIZE;
        let _: TlsAcceptCallbacks = any::<Box<dyn TlsAccept + Send + Sync>>();
        let _: PreTlsCallback = any::<Arc<dyn PreTlsProcess>>();
    }

    fn is_default<T: Default>() {}
    fn is_eq<T: Eq>() {}
    fn is_partial_eq<T: PartialEq>() {}
    fn is_display<T: std::fmt::Display>() {}
    fn is_hash<T: std::hash::Hash>() {}
    fn is_partial_ord<T: PartialOrd>() {}
}

mod tls {
    use crate::any;
    use pingora_core::listeners::TlsAcceptCallbacks;
    use pingora_core::listeners::tls::*;
    use pingora_core::server::configuration::ServerConf;
    use pingora_error::{ErrorType, Result};

    fn the_tls_settings(it: &mut TlsSettings) {
        let _: Result<TlsSettings> = TlsSettings::intermediate("a", "a");
        let _: Result<TlsSettings> = TlsSettings::with_callbacks(any::<TlsAcceptCallbacks>());
        it.set_offload_threadpool(1, 1);
        it.set_offload_threadpool_from_server_conf(any::<&ServerConf>());
        it.enable_h2();
        it.set_alpn(any::<ALPN>());
    }

    fn functions_and_constants() {
        let _: &ErrorType = &TLS_CONF_ERR;
    }
}

mod modules {
    use crate::any;
    use async_trait::async_trait;
    use bytes::Bytes;
    use http::HeaderMap;
    use pingora_core::modules::http::*;
    use pingora_error::Result;
    use pingora_http::{RequestHeader, ResponseHeader};
    use std::any::Any;

    struct Everything;
    #[async_trait]
    impl HttpModule for Everything {
        async fn request_header_filter(&mut self, _req: &mut RequestHeader) -> Result<()> {
            any()
        }

        async fn request_body_filter(
            &mut self,
            _body: &mut Option<Bytes>,
            _end_of_stream: bool,
        ) -> Result<()> {
            any()
        }

        async fn response_header_filter(
            &mut self,
            _resp: &mut ResponseHeader,
            _end_of_stream: bool,
        ) -> Result<()> {
            any()
        }

        fn response_body_filter(
            &mut self,
            _body: &mut Option<Bytes>,
            _end_of_stream: bool,
        ) -> Result<()> {
            any()
        }

        fn response_trailer_filter(
            &mut self,
            _trailers: &mut Option<Box<HeaderMap>>,
        ) -> Result<Option<Bytes>> {
            any()
        }

        fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
            any()
        }

        fn as_any(&self) -> &dyn Any {
            self
        }

        fn as_any_mut(&mut self) -> &mut dyn Any {
            self
        }
    }

    struct Builder;
    impl HttpModuleBuilder for Builder {
        fn order(&self) -> i16 {
            1
        }

        fn init(&self) -> Module {
            Box::new(Everything)
        }
    }

    fn modules_of_ours() {
        use pingora_core::modules::http::{compression, grpc_web};

        let mut modules = HttpModules::new();
        modules.add_module(Box::new(Builder));
        modules.add_module(Box::new(grpc_web::GrpcWeb));
        modules.add_module(compression::ResponseCompressionBuilder::enable(0));
        let mut context: HttpModuleCtx = modules.build_ctx();
        context
            .get_mut::<compression::ResponseCompression>()
            .unwrap()
            .adjust_level(6);
        context.get_mut::<grpc_web::GrpcWebBridge>().unwrap().init();
    }

    fn the_http_modules(it: &mut HttpModules) {
        let _: HttpModules = HttpModules::new();
        it.add_module(any::<ModuleBuilder>());
        let _: HttpModuleCtx = it.build_ctx();
    }

    async fn the_http_module_ctx(it: &mut HttpModuleCtx) {
        let _: HttpModuleCtx = HttpModuleCtx::empty();
        let _: Option<&Everything> = it.get::<Everything>();
        let _: Option<&mut Everything> = it.get_mut::<Everything>();
        let _: Result<()> = it.request_header_filter(any::<&mut RequestHeader>()).await;
        let _: Result<()> = it
            .request_body_filter(any::<&mut Option<Bytes>>(), true)
            .await;
        let _: Result<()> = it
            .response_header_filter(any::<&mut ResponseHeader>(), true)
            .await;
        let _: Result<()> = it.response_body_filter(any::<&mut Option<Bytes>>(), true);
        let _: Result<Option<Bytes>> =
            it.response_trailer_filter(any::<&mut Option<Box<HeaderMap>>>());
        let _: Result<Option<Bytes>> = it.response_done_filter();
    }

    fn functions_and_constants() {
        let _: Module = any::<Box<dyn HttpModule + Send + Sync + 'static>>();
        let _: ModuleBuilder = any::<Box<dyn HttpModuleBuilder + Send + Sync + 'static>>();
    }
}
