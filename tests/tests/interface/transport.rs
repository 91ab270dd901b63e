//! `pingora_core::protocols`: digests, addresses, streams, HTTP building blocks; `utils`.

mod facts {
    use crate::any;
    use pingora_core::protocols::l4::ext::TCP_INFO;
    use pingora_core::protocols::l4::socket::SocketAddr;
    use pingora_core::protocols::raw_connect::ProxyDigest;
    use pingora_core::protocols::tls::SslDigest;
    use pingora_core::protocols::*;
    use std::os::fd::RawFd;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    fn of_a_stream(it: &mut Stream) {
        let _: Option<Arc<ProxyDigest>> = it.get_proxy_digest();
        it.set_proxy_digest(any::<ProxyDigest>());
        let _: Option<Arc<SocketDigest>> = it.get_socket_digest();
        it.set_socket_digest(any::<SocketDigest>());
        let _: Vec<Option<TimingDigest>> = it.get_timing_digest();
        let _: (Duration, Duration) = (it.get_read_pending_time(), it.get_write_pending_time());
        let _: Option<&pingora_core::protocols::tls::TlsRef> = it.get_ssl();
        let _: (Option<Arc<SslDigest>>, Option<ALPN>) =
            (it.get_ssl_digest(), it.selected_alpn_proto());
        let _: UniqueIDType = it.id();
        let _: Option<&pingora_core::protocols::l4::stream::Stream> = it.as_any().downcast_ref();
        let _: Box<dyn std::any::Any> = any::<Stream>().into_any();
    }

    async fn waiting_for_a_stream(it: &mut Stream) {
        let _: std::io::Result<bool> = it.try_peek(&mut [0; 4]).await;
        it.shutdown().await;
    }

    fn of_whatever_has_a_digest(it: &impl ProtoDigest) {
        let _: Option<&Digest> = it.get_digest();
    }

    fn the_digest(it: &mut Digest) {
        let _ = Digest {
            ssl_digest: any::<Option<Arc<SslDigest>>>(),
            timing_digest: any::<Vec<Option<TimingDigest>>>(),
            proxy_digest: any::<Option<Arc<ProxyDigest>>>(),
            socket_digest: any::<Option<Arc<SocketDigest>>>(),
        };
        let _: &Option<Arc<SslDigest>> = &it.ssl_digest;
        let _: &Vec<Option<TimingDigest>> = &it.timing_digest;
        let _: &Option<Arc<ProxyDigest>> = &it.proxy_digest;
        let _: &Option<Arc<SocketDigest>> = &it.socket_digest;
        is_default::<Digest>();
    }

    fn the_socket_digest(it: &mut SocketDigest) {
        let _: SocketDigest = SocketDigest::from_raw_fd(any::<RawFd>());
        let _: Option<&SocketAddr> = it.peer_addr();
        let _: Option<&SocketAddr> = it.local_addr();
        let _: Option<TCP_INFO> = it.tcp_info();
        let _: Option<usize> = it.get_recv_buf();
        let _: Option<usize> = it.get_snd_buf();
        let _: Option<&SocketAddr> = it.original_dst();
    }

    fn the_timing_digest(it: &mut TimingDigest) {
        let _ = TimingDigest {
            established_ts: any::<SystemTime>(),
            establishment_duration: any::<Option<Duration>>(),
            offload_wait_duration: any::<Option<Duration>>(),
        };
        let _: &SystemTime = &it.established_ts;
        let _: &Option<Duration> = &it.establishment_duration;
        let _: &Option<Duration> = &it.offload_wait_duration;
        is_default::<TimingDigest>();
    }

    fn the_tcp_keepalive(it: &mut TcpKeepalive) {
        let _ = TcpKeepalive {
            idle: any::<Duration>(),
            interval: any::<Duration>(),
            count: any::<usize>(),
            user_timeout: any::<Duration>(),
        };
        let _: &Duration = &it.idle;
        let _: &Duration = &it.interval;
        let _: &usize = &it.count;
        let _: &Duration = &it.user_timeout;
        is_display::<TcpKeepalive>();
    }

    fn functions_and_constants() {
        let _: UniqueIDType = any::<i32>();
        let _: Stream = any::<Box<dyn IO>>();
    }

    fn is_default<T: Default>() {}
    fn is_display<T: std::fmt::Display>() {}
}

mod ext {
    use crate::any;
    use pingora_core::connectors::l4::BindTo;
    use pingora_core::protocols::TcpKeepalive;
    use pingora_core::protocols::l4::ext::*;
    use pingora_error::Result;
    use std::net::SocketAddr;
    use std::os::fd::RawFd;
    use std::path::Path;
    use tokio::net::{TcpStream, UnixStream};

    async fn functions_and_constants() {
        let _: std::io::Result<TCP_INFO> = get_tcp_info(any::<RawFd>());
        let _: Result<()> = set_recv_buf(any::<RawFd>(), 1);
        let _: Result<()> = set_snd_buf(any::<RawFd>(), 1);
        let _: std::io::Result<usize> = get_recv_buf(any::<RawFd>());
        let _: std::io::Result<usize> = get_snd_buf(any::<RawFd>());
        let _: Result<()> = set_tcp_fastopen_connect(any::<RawFd>());
        let _: Result<()> = set_tcp_fastopen_backlog(any::<RawFd>(), 1);
        let _: Result<()> = set_dscp(any::<RawFd>(), 1);
        let _: std::io::Result<u64> = get_socket_cookie(any::<RawFd>());
        let _: std::io::Result<Option<SocketAddr>> = get_original_dest(any::<RawFd>());
        let _: Result<TcpStream> = connect(any::<&SocketAddr>(), any::<Option<&BindTo>>()).await;
        let _: Result<UnixStream> = connect_uds(any::<&Path>()).await;
        let _: Result<()> = set_tcp_keepalive(any::<&TcpStream>(), any::<&TcpKeepalive>());
    }
}

mod socket {
    use crate::any;
    use pingora_core::protocols::l4::socket::*;
    use std::net::SocketAddr as StdSockAddr;
    use std::os::fd::RawFd;
    use std::os::unix::net::SocketAddr as StdUnixSockAddr;

    fn the_socket_addr(it: &mut SocketAddr) {
        let _: Option<&StdSockAddr> = it.as_inet();
        let _: Option<&StdUnixSockAddr> = it.as_unix();
        it.set_port(502);
        let _: Option<SocketAddr> = SocketAddr::from_raw_fd(any::<RawFd>(), true);
        is_display::<SocketAddr>();
        is_eq::<SocketAddr>();
        is_from_str::<SocketAddr>();
        is_hash::<SocketAddr>();
        is_ord::<SocketAddr>();
        is_partial_eq::<SocketAddr>();
        is_partial_ord::<SocketAddr>();
    }

    fn is_display<T: std::fmt::Display>() {}
    fn is_eq<T: Eq>() {}
    fn is_from_str<T: std::str::FromStr>() {}
    fn is_hash<T: std::hash::Hash>() {}
    fn is_ord<T: Ord>() {}
    fn is_partial_eq<T: PartialEq>() {}
    fn is_partial_ord<T: PartialOrd>() {}
}

mod stream {
    use crate::any;
    use pingora_core::protocols::l4::stream::Stream;

    use pingora_core::protocols::*;
    use pingora_core::upstreams::peer::Tracer;
    use pingora_error::Result;
    use std::time::SystemTime;
    use tokio::io::{AsyncRead, AsyncWrite};

    fn the_stream(it: &mut Stream) {
        let _: &SystemTime = &it.established_ts;
        let _: &Option<Tracer> = &it.tracer;
        let _: &Option<SystemTime> = &it.rx_ts;
        let _: Result<()> = it.set_nodelay();
        let _: Result<()> = it.set_keepalive(any::<&TcpKeepalive>());
        let _: Result<()> = it.set_rx_timestamp();
        it.rewind(b"a");
        is_as_raw_fd::<Stream>();
        is_async_read::<Stream>();
        is_async_write::<Stream>();
        is_get_proxy_digest::<Stream>();
        is_get_socket_digest::<Stream>();
        is_get_timing_digest::<Stream>();
        is_peek::<Stream>();
        is_shutdown::<Stream>();
        is_ssl::<Stream>();
        is_uniqueid::<Stream>();
    }

    fn is_as_raw_fd<T: std::os::fd::AsRawFd>() {}
    fn is_async_read<T: AsyncRead>() {}
    fn is_async_write<T: AsyncWrite>() {}
    fn is_get_proxy_digest<T: GetProxyDigest>() {}
    fn is_get_socket_digest<T: GetSocketDigest>() {}
    fn is_get_timing_digest<T: GetTimingDigest>() {}
    fn is_peek<T: Peek>() {}
    fn is_shutdown<T: Shutdown>() {}
    fn is_ssl<T: Ssl>() {}
    fn is_uniqueid<T: UniqueID>() {}
}

mod tls {
    use crate::any;
    use pingora_core::protocols::tls::*;
    use std::any::Any;
    use std::sync::Arc;

    fn the_customalpn(it: &mut CustomALPN) {
        let _: CustomALPN = CustomALPN::new(any::<Vec<u8>>());
        let _: &[u8] = it.protocol();
        let _: &[u8] = it.as_wire();
        is_hash::<CustomALPN>();
        is_partial_eq::<CustomALPN>();
        is_partial_ord::<CustomALPN>();
    }

    fn functions_and_constants() {
        let _: HandshakeCompleteHook =
            any::<Arc<dyn Fn(&TlsRef) -> Option<Arc<dyn Any + Send + Sync>> + Send + Sync>>();
    }

    fn is_hash<T: std::hash::Hash>() {}
    fn is_partial_eq<T: PartialEq>() {}
    fn is_partial_ord<T: PartialOrd>() {}
}

mod tls_digest {
    use crate::any;
    use pingora_core::protocols::tls::*;
    use std::borrow::Cow;

    fn the_ssl_digest(it: &mut SslDigest) {
        let _ = SslDigest {
            cipher: any::<Cow<'static, str>>(),
            version: any::<Cow<'static, str>>(),
            organization: any::<Option<String>>(),
            serial_number: any::<Option<String>>(),
            cert_digest: any::<Vec<u8>>(),
            extension: any::<SslDigestExtension>(),
        };
        let _: &Cow<'static, str> = &it.cipher;
        let _: &Cow<'static, str> = &it.version;
        let _: &Option<String> = &it.organization;
        let _: &Option<String> = &it.serial_number;
        let _: &Vec<u8> = &it.cert_digest;
        let _: &SslDigestExtension = &it.extension;
        let _: SslDigest = SslDigest::new(
            "a",
            "a",
            any::<Option<String>>(),
            any::<Option<String>>(),
            any::<Vec<u8>>(),
        );
        let _: SslDigest = SslDigest::from_ssl(any::<&TlsRef>());
    }

    fn the_ssl_digest_extension(it: &mut SslDigestExtension) {
        let _: Option<&u8> = it.get::<u8>();
        is_default::<SslDigestExtension>();
    }

    fn is_default<T: Default>() {}
}

mod compression {
    use crate::any;
    use bytes::Bytes;
    use pingora_core::protocols::http::HttpTask;
    use pingora_core::protocols::http::compression::*;
    use pingora_error::ErrorType;
    use pingora_http::{RequestHeader, ResponseHeader};
    use std::time::Duration;

    fn the_response_compression_ctx(it: &mut ResponseCompressionCtx) {
        let _: ResponseCompressionCtx = ResponseCompressionCtx::new(1, true, true);
        let _: bool = it.is_enabled();
        let _: bool = it.is_header_phase();
        let _: Option<(&'static str, usize, usize, Duration)> = it.get_info();
        it.adjust_level(1);
        it.adjust_algorithm_level(any::<Algorithm>(), 1);
        it.adjust_decompression(true);
        it.adjust_algorithm_decompression(any::<Algorithm>(), true);
        it.adjust_preserve_etag(true);
        it.adjust_algorithm_preserve_etag(any::<Algorithm>(), true);
        it.request_filter(any::<&RequestHeader>());
        let _: bool = it.will_decompress(any::<&ResponseHeader>());
        it.response_header_filter(any::<&mut ResponseHeader>(), true);
        let _: Option<Bytes> = it.response_body_filter(any::<Option<&Bytes>>(), true);
        it.response_filter(any::<&mut HttpTask>());
    }

    fn the_algorithm(it: &mut Algorithm) {
        match it {
            Algorithm::Any => {}
            Algorithm::Gzip => {}
            Algorithm::Brotli => {}
            Algorithm::Zstd => {}
            Algorithm::Dcb => {}
            Algorithm::Dcz => {}
            Algorithm::Other => {}
        }
        let _: &'static str = it.as_str();
        let _: Option<Box<dyn Encode + Send + Sync>> = it.compressor(1);
        let _: Option<Box<dyn Encode + Send + Sync>> = it.decompressor(true);
        let _: bool = it.can_decompress();
        let _: usize = it.index();
        is_eq::<Algorithm>();
        is_partial_eq::<Algorithm>();
    }

    fn functions_and_constants() {
        let _: &ErrorType = &COMPRESSION_ERROR;
    }

    fn is_eq<T: Eq>() {}
    fn is_partial_eq<T: PartialEq>() {}
}

mod conditional_filter {
    use crate::any;
    use httpdate::HttpDate;
    use pingora_core::protocols::http::conditional_filter::*;
    use pingora_error::Result;
    use pingora_http::{RequestHeader, ResponseHeader};

    fn functions_and_constants() {
        let _: bool = not_modified_filter(any::<&RequestHeader>(), any::<&ResponseHeader>());
        let _: bool = weak_validate_etag(b"a", b"a");
        let _: Result<Option<HttpDate>> =
            req_header_as_http_date(any::<&RequestHeader>(), http::header::DATE);
        let _: Result<Option<HttpDate>> =
            resp_header_as_http_date(any::<&ResponseHeader>(), http::header::DATE);
        to_304(any::<&mut ResponseHeader>());
    }
}

mod grpc_web {
    use crate::any;
    use bytes::Bytes;
    use http::HeaderMap;
    use pingora_core::protocols::http::bridge::grpc_web::*;
    use pingora_error::Result;
    use pingora_http::{RequestHeader, ResponseHeader};

    fn the_grpc_web_ctx(it: &mut GrpcWebCtx) {
        match it {
            GrpcWebCtx::Disabled => {}
            GrpcWebCtx::Init => {}
            GrpcWebCtx::Upgrade => {}
            GrpcWebCtx::Trailers => {}
            GrpcWebCtx::Done => {}
        }
        it.init();
        it.request_header_filter(any::<&mut RequestHeader>());
        it.response_header_filter(any::<&mut ResponseHeader>());
        let _: Result<Option<Bytes>> = it.response_trailer_filter(any::<&mut HeaderMap>());
        is_default::<GrpcWebCtx>();
        is_partial_eq::<GrpcWebCtx>();
    }

    fn is_default<T: Default>() {}
    fn is_partial_eq<T: PartialEq>() {}
}

mod error_resp {

    use pingora_core::protocols::http::error_resp::*;
    use pingora_http::ResponseHeader;

    fn ready_made() -> [&'static ResponseHeader; 2] {
        [&HTTP_502_RESPONSE, &HTTP_400_RESPONSE]
    }

    fn functions_and_constants() {
        let _: ResponseHeader = gen_error_response(502);
    }
}

mod body_buffer {
    use crate::any;
    use bytes::Bytes;
    use pingora_core::protocols::http::body_buffer::*;

    fn the_fixed_buffer(it: &mut FixedBuffer) {
        let _: FixedBuffer = FixedBuffer::new(1);
        it.write_to_buffer(any::<&Bytes>());
        it.clear();
        let _: bool = it.is_empty();
        let _: bool = it.is_truncated();
        let _: Option<Bytes> = it.get_buffer();
    }
}

mod date {

    use http::HeaderValue;
    use pingora_core::protocols::http::date::*;

    fn functions_and_constants() {
        let _: HeaderValue = get_cached_date();
    }
}

mod http_authority {
    use crate::any;
    use pingora_core::protocols::http::authority::*;
    use pingora_error::Result;
    use pingora_http::RequestHeader;

    fn functions_and_constants() {
        let _: Result<()> = validate_request_authority(any::<&RequestHeader>());
    }
}

mod raw_connect {
    use crate::any;
    use http::request::Parts;
    use pingora_core::protocols::Stream;
    use pingora_core::protocols::raw_connect::*;
    use pingora_error::Result;
    use pingora_http::ResponseHeader;
    use std::any::Any;

    fn the_proxy_digest(it: &mut ProxyDigest) {
        let _ = ProxyDigest {
            response: any::<Box<ResponseHeader>>(),
            user_data: any::<Option<Box<dyn Any + Send + Sync>>>(),
        };
        let _: &Box<ResponseHeader> = &it.response;
        let _: &Option<Box<dyn Any + Send + Sync>> = &it.user_data;
        let _: ProxyDigest = ProxyDigest::new(
            any::<Box<ResponseHeader>>(),
            any::<Option<Box<dyn Any + Send + Sync>>>(),
        );
    }

    fn the_connect_proxy_error(it: &mut ConnectProxyError) {
        let _ = ConnectProxyError {
            response: any::<Box<ResponseHeader>>(),
        };
        let _: &Box<ResponseHeader> = &it.response;
        let _: Box<ConnectProxyError> = ConnectProxyError::boxed_new(any::<Box<ResponseHeader>>());
        is_display::<ConnectProxyError>();
        is_error::<ConnectProxyError>();
    }

    async fn functions_and_constants() {
        let _: Result<(Stream, ProxyDigest)> = connect(
            any::<Stream>(),
            any::<&Parts>(),
            any::<&pingora_core::upstreams::peer::HttpPeer>(),
        )
        .await;
        let _: Result<Box<Parts>> = generate_connect_header(
            "a",
            1,
            std::collections::BTreeMap::<String, Vec<u8>>::new().iter(),
        );
    }

    fn is_display<T: std::fmt::Display>() {}
    fn is_error<T: std::error::Error>() {}
}

mod utils {
    use crate::any;
    use bytes::Bytes;
    use pingora_core::utils::*;

    fn the_buf_ref(it: &mut BufRef) {
        let _: &[u8] = it.get(b"a");
        let _: Bytes = it.get_bytes(any::<&Bytes>());
        let _: usize = it.len();
        let _: bool = it.is_empty();
        let _: BufRef = BufRef::new(1, 1);
        is_eq::<BufRef>();
        is_partial_eq::<BufRef>();
    }

    fn the_kv_ref(it: &mut KVRef) {
        let _: &[u8] = it.get_name(b"a");
        let _: &[u8] = it.get_value(b"a");
        let _: Bytes = it.get_name_bytes(any::<&Bytes>());
        let _: Bytes = it.get_value_bytes(any::<&Bytes>());
        let _: KVRef = KVRef::new(1, 1, 1, 1);
        let _: &BufRef = it.value();
    }

    fn functions_and_constants() {
        let _: &KVRef = &EMPTY_KV_REF;
    }

    fn is_eq<T: Eq>() {}
    fn is_partial_eq<T: PartialEq>() {}
}

mod utils_tls {
    use crate::any;
    use pingora_core::tls::pkey::{PKey, Private};
    use pingora_core::tls::x509::X509;
    use pingora_core::utils::tls::*;
    use pingora_error::Result;

    fn the_cert_key(it: &mut CertKey) {
        let _: CertKey = CertKey::new(any::<Vec<X509>>(), any::<PKey<Private>>());
        let _: &X509 = it.leaf();
        let _: &PKey<Private> = it.key();
        let _: &[X509] = it.intermediates();
        let _: Option<String> = it.organization();
        let _: Result<String> = it.serial();
        is_display::<CertKey>();
        is_hash::<CertKey>();
    }

    fn functions_and_constants() {
        let _: Option<String> = get_organization(any::<&X509>());
        let _: Option<String> = get_common_name(any::<&X509>());
        let _: Option<String> = get_organization_unit(any::<&X509>());
        let _: Result<String> = get_serial(any::<&X509>());
    }

    fn is_display<T: std::fmt::Display>() {}
    fn is_hash<T: std::hash::Hash>() {}
}
