//! `pingora_core`: peers and connectors.

mod peer {
    use crate::any;
    use pingora_core::connectors::L4Connect;
    use pingora_core::connectors::l4::BindTo;
    use pingora_core::protocols::TcpKeepalive;
    use pingora_core::protocols::l4::socket::SocketAddr;
    use pingora_core::protocols::tls::{CaType, HandshakeCompleteHook};
    use pingora_core::upstreams::peer::*;
    use pingora_core::utils::tls::CertKey;
    use pingora_error::Result;
    use std::borrow::Cow;
    use std::collections::BTreeMap;
    use std::net::IpAddr;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::net::TcpSocket;

    fn facts_of(peer: &mut impl Peer) {
        let _: &SocketAddr = peer.address();
        let _: bool = peer.tls();
        let _: &str = peer.sni();
        let _: u64 = peer.reuse_hash();
        let _: Option<&Proxy> = peer.get_proxy();
        let _: Option<&PeerOptions> = peer.get_peer_options();
        let _: Option<&mut PeerOptions> = peer.get_mut_peer_options();
        let _: bool = peer.verify_cert();
        let _: bool = peer.verify_hostname();
        let _: Option<&String> = peer.alternative_cn();
        let _: Option<&BindTo> = peer.bind_to();
        let _: Option<Duration> = peer.connection_timeout();
        let _: Option<Duration> = peer.total_connection_timeout();
        let _: Option<Duration> = peer.idle_timeout();
        let _: Option<&ALPN> = peer.get_alpn();
        let _: Option<&Arc<CaType>> = peer.get_ca();
        let _: Option<&Arc<CertKey>> = peer.get_client_cert_key();
        let _: Option<&TcpKeepalive> = peer.tcp_keepalive();
        let _: Option<Duration> = peer.h2_ping_interval();
        let _: Option<usize> = peer.tcp_recv_buf();
        let _: Option<u8> = peer.dscp();
        let _: bool = peer.tcp_fast_open();
        let _: bool = peer.matches_fd(1);
        let _: Option<Tracer> = peer.get_tracer();
        let _: Option<&Arc<dyn Fn(&TcpSocket) -> Result<()> + Send + Sync + 'static>> =
            peer.upstream_tcp_sock_tweak_hook();
        let _: Option<&ProxyDigestUserDataHook> = peer.proxy_digest_user_data_hook();
        let _: Option<&HandshakeCompleteHook> = peer.upstream_tls_handshake_complete_hook();
    }

    #[derive(Clone)]
    struct Elsewhere(SocketAddr);
    impl std::fmt::Display for Elsewhere {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{}", self.0)
        }
    }

    impl Peer for Elsewhere {
        fn address(&self) -> &SocketAddr {
            &self.0
        }

        fn tls(&self) -> bool {
            false
        }

        fn sni(&self) -> &str {
            ""
        }

        fn reuse_hash(&self) -> u64 {
            1
        }
    }

    fn peers_of_every_kind() {
        facts_of(&mut any::<HttpPeer>());
        facts_of(&mut any::<BasicPeer>());
        facts_of(&mut Elsewhere("127.0.0.1:80".parse().unwrap()));
        let user_data: ProxyDigestUserDataHook = Arc::new(|_request, _response| Some(Box::new(1)));
        any::<HttpPeer>().options.proxy_digest_user_data_hook = Some(user_data);
    }

    #[derive(Debug)]
    struct OwnTracing;
    impl Tracing for OwnTracing {
        fn on_connected(&self) {
            any()
        }

        fn on_disconnected(&self) {
            any()
        }

        fn boxed_clone(&self) -> Box<dyn Tracing> {
            any()
        }
    }

    fn the_basic_peer(it: &mut BasicPeer) {
        let _ = BasicPeer {
            _address: any::<SocketAddr>(),
            sni: any::<String>(),
            options: any::<PeerOptions>(),
        };
        let _: &SocketAddr = &it._address;
        let _: &String = &it.sni;
        let _: &PeerOptions = &it.options;
        let _: BasicPeer = BasicPeer::new("a");
        let _: Result<BasicPeer> = BasicPeer::new_uds("/a");
        is_display::<BasicPeer>();
        is_peer::<BasicPeer>();
    }

    fn the_scheme(it: &mut Scheme) {
        match it {
            Scheme::HTTP => {}
            Scheme::HTTPS => {}
        }
        let _: Scheme = Scheme::from_tls_bool(true);
        is_display::<Scheme>();
        is_hash::<Scheme>();
        is_partial_eq::<Scheme>();
    }

    fn the_http_upstream_request_policy(it: &mut HttpUpstreamRequestPolicy) {
        let _ = HttpUpstreamRequestPolicy {
            strip_hop_by_hop: any::<bool>(),
            strip_connection_nominated: any::<bool>(),
            reject_malformed_connection_nominations: any::<bool>(),
            h1_upgrade: any::<H1UpgradePolicy>(),
        };
        let _: &bool = &it.strip_hop_by_hop;
        let _: &bool = &it.strip_connection_nominated;
        let _: &bool = &it.reject_malformed_connection_nominations;
        let _: &H1UpgradePolicy = &it.h1_upgrade;
        let _: HttpUpstreamRequestPolicy = HttpUpstreamRequestPolicy::standard();
        let _: HttpUpstreamRequestPolicy = HttpUpstreamRequestPolicy::preserve();
        let _: HttpUpstreamRequestPolicy = HttpUpstreamRequestPolicy::deny_upgrades();
        is_default::<HttpUpstreamRequestPolicy>();
        is_eq::<HttpUpstreamRequestPolicy>();
        is_partial_eq::<HttpUpstreamRequestPolicy>();
    }

    fn the_h1_upgrade_policy(it: &mut H1UpgradePolicy) {
        match it {
            H1UpgradePolicy::WebSocketOnly => {}
            H1UpgradePolicy::Preserve => {}
            H1UpgradePolicy::Deny => {}
        }
        is_eq::<H1UpgradePolicy>();
        is_partial_eq::<H1UpgradePolicy>();
    }

    fn the_peer_options(it: &mut PeerOptions) {
        let _: &Option<BindTo> = &it.bind_to;
        let _: &Option<Duration> = &it.connection_timeout;
        let _: &Option<Duration> = &it.total_connection_timeout;
        let _: &Option<Duration> = &it.read_timeout;
        let _: &Option<Duration> = &it.idle_timeout;
        let _: &Option<Duration> = &it.write_timeout;
        let _: &bool = &it.verify_cert;
        let _: &bool = &it.verify_hostname;
        let _: &Option<String> = &it.alternative_cn;
        let _: &ALPN = &it.alpn;
        let _: &Option<Arc<CaType>> = &it.ca;
        let _: &Option<TcpKeepalive> = &it.tcp_keepalive;
        let _: &Option<usize> = &it.tcp_recv_buf;
        let _: &Option<u8> = &it.dscp;
        let _: &Option<Duration> = &it.h2_ping_interval;
        let _: &usize = &it.max_h2_streams;
        let _: &Option<u32> = &it.h2_stream_window_size;
        let _: &Option<u32> = &it.h2_connection_window_size;
        let _: &bool = &it.allow_h1_response_invalid_content_length;
        let _: &HttpUpstreamRequestPolicy = &it.http_upstream_request_policy;
        let _: &BTreeMap<String, Vec<u8>> = &it.extra_proxy_headers;
        let _: &Option<Cow<'static, str>> = &it.curves;
        let _: &bool = &it.second_keyshare;
        let _: &bool = &it.tcp_fast_open;
        let _: &Option<Tracer> = &it.tracer;
        let _: &Option<Arc<dyn L4Connect + Send + Sync>> = &it.custom_l4;
        let _: &Option<Arc<dyn Fn(&TcpSocket) -> Result<()> + Send + Sync + 'static>> =
            &it.upstream_tcp_sock_tweak_hook;
        let _: &Option<ProxyDigestUserDataHook> = &it.proxy_digest_user_data_hook;
        let _: &Option<HandshakeCompleteHook> = &it.upstream_tls_handshake_complete_hook;
        let _: PeerOptions = PeerOptions::new();
        it.set_http_version(1, 1);
        is_display::<PeerOptions>();
    }

    fn the_http_peer(it: &mut HttpPeer) {
        let _ = HttpPeer {
            _address: any::<SocketAddr>(),
            scheme: any::<Scheme>(),
            sni: any::<String>(),
            proxy: any::<Option<Proxy>>(),
            client_cert_key: any::<Option<Arc<CertKey>>>(),
            group_key: any::<u64>(),
            options: any::<PeerOptions>(),
        };
        let _: &SocketAddr = &it._address;
        let _: &Scheme = &it.scheme;
        let _: &String = &it.sni;
        let _: &Option<Proxy> = &it.proxy;
        let _: &Option<Arc<CertKey>> = &it.client_cert_key;
        let _: &u64 = &it.group_key;
        let _: &PeerOptions = &it.options;
        let _: bool = it.is_tls();
        let _: HttpPeer = HttpPeer::new(("127.0.0.1", 80), true, String::new());
        let _: Result<HttpPeer> = HttpPeer::new_uds("a", true, String::new());
        let _: HttpPeer = HttpPeer::new_proxy(
            "a",
            any::<IpAddr>(),
            502,
            true,
            "a",
            any::<BTreeMap<String, Vec<u8>>>(),
        );
        let _: HttpPeer =
            HttpPeer::new_mtls(("127.0.0.1", 80), String::new(), any::<Arc<CertKey>>());
        is_display::<HttpPeer>();
        is_hash::<HttpPeer>();
        is_peer::<HttpPeer>();
    }

    fn the_proxy(it: &mut Proxy) {
        let _ = Proxy {
            next_hop: any::<Box<Path>>(),
            host: any::<String>(),
            port: any::<u16>(),
            headers: any::<BTreeMap<String, Vec<u8>>>(),
        };
        let _: &Box<Path> = &it.next_hop;
        let _: &String = &it.host;
        let _: &u16 = &it.port;
        let _: &BTreeMap<String, Vec<u8>> = &it.headers;
        is_display::<Proxy>();
        is_hash::<Proxy>();
    }

    fn is_display<T: std::fmt::Display>() {}
    fn is_peer<T: Peer>() {}
    fn is_hash<T: std::hash::Hash>() {}
    fn is_partial_eq<T: PartialEq>() {}
    fn is_default<T: Default>() {}
    fn is_eq<T: Eq>() {}
}

mod connectors {
    use crate::any;
    use pingora_core::connectors::*;
    use pingora_core::protocols::Stream;
    use pingora_core::server::configuration::ServerConf;
    use pingora_core::upstreams::peer::HttpPeer;
    use pingora_error::Result;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    #[derive(Debug)]
    struct Elsewhere;
    #[async_trait::async_trait]
    impl L4Connect for Elsewhere {
        async fn connect(
            &self,
            _addr: &pingora_core::protocols::l4::socket::SocketAddr,
        ) -> Result<pingora_core::protocols::l4::stream::Stream> {
            any()
        }
    }

    fn the_connector_options(it: &mut ConnectorOptions) {
        let _ = ConnectorOptions {
            ca_file: any::<Option<String>>(),
            cert_key_file: any::<Option<(String, String)>>(),
            debug_ssl_keylog: any::<bool>(),
            keepalive_pool_size: any::<usize>(),
            offload_threadpool: any::<Option<(usize, usize)>>(),
            bind_to_v4: any::<Vec<SocketAddr>>(),
            bind_to_v6: any::<Vec<SocketAddr>>(),
            keepalive_pool_callback: any::<Option<PoolCallback>>(),
        };
        let _: &Option<String> = &it.ca_file;
        let _: &Option<(String, String)> = &it.cert_key_file;
        let _: &bool = &it.debug_ssl_keylog;
        let _: &usize = &it.keepalive_pool_size;
        let _: &Option<(usize, usize)> = &it.offload_threadpool;
        let _: &Vec<SocketAddr> = &it.bind_to_v4;
        let _: &Vec<SocketAddr> = &it.bind_to_v6;
        let _: &Option<PoolCallback> = &it.keepalive_pool_callback;
        let _: ConnectorOptions = ConnectorOptions::from_server_conf(any::<&ServerConf>());
        let _: ConnectorOptions = ConnectorOptions::new(1);
    }

    async fn the_transport_connector(it: &mut TransportConnector) {
        let _: TransportConnector = TransportConnector::new(any::<Option<ConnectorOptions>>());
        let _: Result<Stream> = it.new_stream(any::<&HttpPeer>()).await;
        let _: Option<Stream> = it.reused_stream(any::<&HttpPeer>()).await;
        it.release_stream(any::<Stream>(), 1, any::<Option<Duration>>());
        let _: Result<(Stream, bool)> = it.get_stream(any::<&HttpPeer>()).await;
        it.prefer_h1(any::<&HttpPeer>());
        let _: u64 = it.unexpected_data_connection_count();
        let _: Arc<AtomicU64> = it.unexpected_data_connection_counter();
    }

    fn functions_and_constants() {
        let _: PoolCallback = any::<Arc<dyn Fn(Duration) + Send + Sync>>();
    }
}

mod http {
    use crate::any;
    use pingora_core::connectors::ConnectorOptions;
    use pingora_core::connectors::http::*;
    use pingora_core::protocols::http::client::HttpSession;
    use pingora_core::upstreams::peer::HttpPeer;
    use pingora_error::Result;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    async fn the_connector(it: &mut Connector<()>) {
        let _: Connector = Connector::new(any::<Option<ConnectorOptions>>());
        let _: Result<(HttpSession<()>, bool)> = it.get_http_session(any::<&HttpPeer>()).await;
        it.release_http_session(any::<HttpSession>(), any::<&HttpPeer>(), None)
            .await;
        it.prefer_h1(any::<&HttpPeer>());
        let _: u64 = it.unexpected_data_connection_count();
        let _: Arc<AtomicU64> = it.unexpected_data_connection_counter();
    }
}

mod v1 {
    use crate::any;
    use pingora_core::connectors::ConnectorOptions;
    use pingora_core::connectors::http::v1::*;
    use pingora_core::protocols::http::v1::client::HttpSession;
    use pingora_core::upstreams::peer::HttpPeer;
    use pingora_error::Result;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    async fn the_connector(it: &mut Connector) {
        let _: Connector = Connector::new(any::<Option<ConnectorOptions>>());
        let _: Result<(HttpSession, bool)> = it.get_http_session(any::<&HttpPeer>()).await;
        let _: Option<HttpSession> = it.reused_http_session(any::<&HttpPeer>()).await;
        it.release_http_session(
            any::<HttpSession>(),
            any::<&HttpPeer>(),
            any::<Option<Duration>>(),
        )
        .await;
        let _: u64 = it.unexpected_data_connection_count();
        let _: Arc<AtomicU64> = it.unexpected_data_connection_counter();
    }
}

mod v2 {
    use crate::any;
    use pingora_core::connectors::http::v2::*;
    use pingora_core::connectors::{ConnectorOptions, TransportConnector};
    use pingora_core::protocols::http::client::HttpSession;
    use pingora_core::protocols::http::v2::client::Http2Session;
    use pingora_core::protocols::{Digest, Stream, UniqueIDType};
    use pingora_core::upstreams::peer::HttpPeer;
    use pingora_error::Result;
    use std::time::Duration;

    async fn the_connection_ref(it: &mut ConnectionRef) {
        let _: bool = it.more_streams_allowed();
        let _: usize = it.free_stream_slots();
        let _: bool = it.can_accept_streams(1);
        let _: bool = it.is_idle();
        it.release_stream();
        let _: UniqueIDType = it.id();
        let _: &Digest = it.digest();
        let _: Option<&mut Digest> = it.digest_mut();
        let _: bool = it.ping_timedout();
        let _: bool = it.is_closed();
        let _: bool = it.is_shutting_down();
        it.mark_shutdown();
        let _: Result<Option<Http2Session>> = it.spawn_stream().await;
    }

    fn the_in_use_pool(it: &mut InUsePool) {
        it.insert(1, any::<ConnectionRef>());
        let _: Option<ConnectionRef> = it.get(1);
        let _: Option<ConnectionRef> = it.release(1, any::<UniqueIDType>());
    }

    async fn the_connector(it: &mut Connector) {
        let _: Connector = Connector::new(any::<Option<ConnectorOptions>>());
        let _: &TransportConnector = it.transport();
        let _: &InUsePool = it.in_use_pool();
        let _: Result<HttpSession<()>> = it.new_http_session(any::<&HttpPeer>()).await;
        let _: Result<Option<Http2Session>> = it.reused_http_session(any::<&HttpPeer>()).await;
        it.release_http_session(
            any::<Http2Session>(),
            any::<&HttpPeer>(),
            any::<Option<Duration>>(),
        );
        it.prefer_h1(any::<&HttpPeer>());
    }

    fn the_h2_handshake_settings(it: &mut H2HandshakeSettings) {
        let _ = H2HandshakeSettings {
            max_streams: any::<usize>(),
            ping_interval: any::<Option<Duration>>(),
            stream_window_size: any::<Option<u32>>(),
            connection_window_size: any::<Option<u32>>(),
        };
        let _: &usize = &it.max_streams;
        let _: &Option<Duration> = &it.ping_interval;
        let _: &Option<u32> = &it.stream_window_size;
        let _: &Option<u32> = &it.connection_window_size;
        let _: H2HandshakeSettings = H2HandshakeSettings::new();
        is_default::<H2HandshakeSettings>();
    }

    async fn functions_and_constants() {
        let _: Result<ConnectionRef> =
            handshake(any::<Stream>(), any::<H2HandshakeSettings>()).await;
    }

    fn is_default<T: Default>() {}
}

mod l4 {
    use crate::any;
    use pingora_core::connectors::l4::*;
    use pingora_error::Result;
    use std::net::SocketAddr;

    fn of_an_error(error: &pingora_error::Error) {
        let _: Option<SocketAddr> = error.connect_local_addr();
    }

    fn the_bind_to(it: &mut BindTo) {
        let _: &Option<SocketAddr> = &it.addr;
        let _: Result<()> = it.set_port_range(any::<Option<(u16, u16)>>());
        it.set_fallback(true);
        let _: Option<(u16, u16)> = it.port_range();
        let _: bool = it.will_fallback();
        is_default::<BindTo>();
    }

    fn is_default<T: Default>() {}
}
