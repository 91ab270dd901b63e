//! `pingora_core::protocols::http`: sessions of one version.

mod http1_client {
    use crate::any;
    use bytes::{Bytes, BytesMut};
    use http::StatusCode;
    use http::header::HeaderValue;
    use pingora_core::protocols::UniqueID;
    use pingora_core::protocols::http::HttpTask;
    use pingora_core::protocols::http::v1::client::*;
    use pingora_core::protocols::l4::socket::SocketAddr;
    use pingora_core::protocols::{Digest, Stream};
    use pingora_error::Result;
    use pingora_http::{RequestHeader, ResponseHeader};

    use std::time::Duration;

    async fn the_http_session(it: &mut HttpSession) {
        let _: &Option<Duration> = &it.read_timeout;
        let _: &Option<Duration> = &it.write_timeout;
        let _: HttpSession = HttpSession::new(any::<Stream>());
        let _: HttpSession = HttpSession::new_with_options(
            any::<Stream>(),
            any::<&pingora_core::upstreams::peer::HttpPeer>(),
        );
        let _: Result<usize> = it.write_request_header(any::<Box<RequestHeader>>()).await;
        let _: Result<Option<usize>> = it.write_body(b"a").await;
        let _: Result<Option<usize>> = it.finish_body().await;
        let _: Result<usize> = it.read_response().await;
        let _: Result<Box<ResponseHeader>> = it.read_resp_header_parts().await;
        let _: Option<&ResponseHeader> = it.resp_header();
        let _: Option<&HeaderValue> = it.get_header("a");
        let _: &[u8] = it.get_header_bytes("a");
        let _: Option<StatusCode> = it.get_status();
        let _: Result<Option<Bytes>> = it.read_body_bytes().await;
        let _: usize = it.body_bytes_received();
        let _: usize = it.body_bytes_sent();
        let _: bool = it.is_body_done();
        it.set_allow_h1_response_invalid_content_length(true);
        let _: Bytes = it.get_headers_raw_bytes();
        it.respect_keepalive();
        let _: bool = it.will_keepalive();
        it.shutdown().await;
        let _: Option<Stream> = any::<HttpSession>().reuse().await;
        let _: bool = it.is_upgrade_req();
        let _: bool = it.was_upgraded();
        it.maybe_upgrade_body_writer();
        let _: Result<HttpTask> = it.read_response_task().await;
        let _: &Digest = it.digest();
        let _: &mut Digest = it.digest_mut();
        let _: Option<&SocketAddr> = it.server_addr();
        let _: Option<&SocketAddr> = it.client_addr();
        let _: &Stream = it.stream();
        let _: Stream = any::<HttpSession>().into_inner();
        is_uniqueid::<HttpSession>();
    }

    fn functions_and_constants() {
        let _: Option<BytesMut> = http_req_header_to_wire(any::<&RequestHeader>());
    }

    fn is_uniqueid<T: UniqueID>() {}
}

mod http1_common {
    use crate::any;

    use http::header::HeaderValue;
    use pingora_core::protocols::http::v1::common::*;

    use pingora_http::{RequestHeader, ResponseHeader};

    fn functions_and_constants() {
        let _: &&[u8; 2] = &CRLF;
        let _: &&[u8; 2] = &HEADER_KV_DELIMITER;
        let _: bool = is_upgrade_req(any::<&RequestHeader>());
        let _: bool = is_expect_continue_req(any::<&RequestHeader>());
        let _: bool = is_upgrade_resp(any::<&ResponseHeader>());
        let _: Option<usize> = header_value_content_length(any::<Option<&HeaderValue>>());
    }
}

mod http1_server {
    use crate::any;
    use bytes::{Bytes, BytesMut};
    use http::header::HeaderValue;
    use pingora_core::protocols::http::v1::server::*;
    use pingora_core::protocols::http::{HttpTask, ReusableHttpStream};
    use pingora_core::protocols::l4::socket::SocketAddr;
    use pingora_core::protocols::{Digest, Stream};
    use pingora_error::Result;
    use pingora_http::{RequestHeader, ResponseHeader};
    use std::any::Any;
    use std::time::Duration;

    async fn the_http_session_1(it: &mut HttpSession) {
        let _: HttpSession = HttpSession::new(any::<Stream>());
        let _: Result<Option<usize>> = it.read_request().await;
        let _: Result<()> = it.validate_request();
        let _: &RequestHeader = it.req_header();
        let _: &mut RequestHeader = it.req_header_mut();
        let _: Option<&HeaderValue> = it.get_header("a");
        let _: String = it.request_summary();
        let _: bool = it.is_upgrade_req();
        let _: &[u8] = it.get_header_bytes("a");
        let _: Result<Option<Bytes>> = it.read_body_bytes().await;
        let _: Result<()> = it.drain_request_body().await;
        let _: bool = it.is_body_done();
        let _: bool = it.is_body_empty();
        let _: Result<()> = it.write_response_header(any::<Box<ResponseHeader>>()).await;
        let _: Option<&ResponseHeader> = it.response_written();
        let _: Option<bool> = it.is_upgrade(any::<&ResponseHeader>());
        let _: bool = it.was_upgraded();
        let _: Option<u64> = it.get_keepalive_timeout();
        it.set_keepalive_reuses_remaining(any::<Option<u32>>());
        let _: Option<u32> = it.get_keepalive_reuses_remaining();
        it.set_connection_user_context(any::<Option<Box<dyn Any + Send + Sync>>>());
        let _: Option<Box<dyn Any + Send + Sync>> = it.take_connection_user_context();
        let _: bool = it.will_keepalive();
        it.respect_keepalive();
        let _: Result<()> = it.write_response_header_ref(any::<&ResponseHeader>()).await;
        let _: Result<Option<usize>> = it.write_body(b"a").await;
        let _: bool = it.proxy_tasks_enabled();
        it.set_proxy_tasks_enabled(true);
        let _: bool = it.pipelining_enabled();
        it.set_pipelining_enabled(true);
        it.set_pipelined_prefix(any::<BytesMut>());
        let _: Result<Option<usize>> = it.finish_body().await;
        let _: usize = it.body_bytes_sent();
        let _: usize = it.body_bytes_read();
        let _: bool = it.retry_buffer_truncated();
        it.enable_retry_buffering();
        let _: Option<Bytes> = it.get_retry_buffer();
        let _: Result<usize> = it.idle().await;
        let _: Result<Option<Bytes>> = it.read_body_or_idle(true).await;
        let _: bool = it.is_half_closed();
    }

    async fn the_http_session_2(it: &mut HttpSession) {
        let _: Bytes = it.get_headers_raw_bytes();
        it.shutdown().await;
        it.set_server_keepalive(any::<Option<u64>>());
        it.set_read_timeout(any::<Option<Duration>>());
        let _: Option<Duration> = it.get_read_timeout();
        it.set_write_timeout(any::<Option<Duration>>());
        let _: Option<Duration> = it.get_write_timeout();
        it.set_total_drain_timeout(any::<Option<Duration>>());
        let _: Option<Duration> = it.get_total_drain_timeout();
        it.set_min_send_rate(any::<Option<usize>>());
        it.set_ignore_info_resp(true);
        it.set_close_on_response_before_downstream_finish(true);
        it.set_abort_on_close(true);
        let _: &Digest = it.digest();
        let _: &mut Digest = it.digest_mut();
        let _: Option<&SocketAddr> = it.client_addr();
        let _: Option<&SocketAddr> = it.server_addr();
        let _: Result<Option<ReusableHttpStream>> = any::<HttpSession>().reuse().await;
        let _: Result<()> = it.write_continue_response().await;
        let _: Result<bool> = it.response_duplex_vec(any::<Vec<HttpTask>>()).await;
        it.send_proxy_task(any::<HttpTask>());
        let _: bool = it.has_pending_proxy_tasks();
        let _: Result<bool> = it.write_proxy_tasks().await;
        let _: &Stream = it.stream();
        let _: Stream = any::<HttpSession>().into_inner();
    }
}

mod http2_client {
    use crate::any;
    use bytes::Bytes;
    use http::header::HeaderMap;
    use pingora_core::connectors::http::v2::ConnectionRef;
    use pingora_core::protocols::Digest;
    use pingora_core::protocols::UniqueIDType;
    use pingora_core::protocols::http::v2::client::*;
    use pingora_core::protocols::l4::socket::SocketAddr;
    use pingora_error::ErrorType;
    use pingora_error::Result;
    use pingora_http::{RequestHeader, ResponseHeader};

    use std::time::Duration;

    async fn the_http2_session(it: &mut Http2Session) {
        let _: &Option<Duration> = &it.read_timeout;
        let _: &Option<Duration> = &it.write_timeout;
        let _: &ConnectionRef = &it.conn;
        let _: Result<()> = it.write_request_header(any::<Box<RequestHeader>>(), true);
        let _: Result<()> = it.write_request_body(Bytes::new(), true).await;
        let _: Result<()> = it.finish_request_body();
        let _: Result<()> = it.read_response_header().await;
        let _: Result<Option<Bytes>> = it.read_response_body().await;
        let _: bool = it.response_finished();
        let _: Result<bool> = it.check_response_end_or_error();
        let _: Result<Option<HeaderMap>> = it.read_trailers().await;
        let _: Option<&RequestHeader> = it.request_header();
        let _: Option<&ResponseHeader> = it.response_header();
        it.shutdown();
        let _: Option<&Digest> = it.digest();
        let _: Option<&mut Digest> = it.digest_mut();
        let _: Option<&SocketAddr> = it.server_addr();
        let _: Option<&SocketAddr> = it.client_addr();
        let _: UniqueIDType = it.fd();
        let _: usize = it.body_bytes_received();
    }

    fn functions_and_constants() {
        let _: &ErrorType = &PING_TIMEDOUT;
    }
}

mod http2_server {
    use crate::any;
    use bytes::Bytes;
    use http::header::HeaderMap;
    use pingora_core::protocols::Digest;
    use pingora_core::protocols::http::HttpTask;
    use pingora_core::protocols::http::v2::Reason;
    use pingora_core::protocols::http::v2::server::*;
    use pingora_core::protocols::l4::socket::SocketAddr;
    use pingora_error::Result;
    use pingora_http::{RequestHeader, ResponseHeader};

    use std::time::Duration;

    async fn the_http_session(it: &mut HttpSession) {
        let _: &Option<Duration> = &it.write_timeout;
        let _: &RequestHeader = it.req_header();
        let _: &mut RequestHeader = it.req_header_mut();
        let _: Result<Option<Bytes>> = it.read_body_bytes().await;
        let _: Result<()> = it.drain_request_body().await;
        it.set_write_timeout(any::<Option<Duration>>());
        let _: Option<Duration> = it.get_write_timeout();
        it.set_total_drain_timeout(any::<Option<Duration>>());
        let _: Option<Duration> = it.get_total_drain_timeout();
        let _: Result<()> = it.write_response_header(any::<Box<ResponseHeader>>(), true);
        let _: Result<()> = it.write_body(Bytes::new(), true).await;
        let _: Result<()> = it.write_trailers(any::<HeaderMap>());
        let _: Result<()> = it.write_response_header_ref(any::<&ResponseHeader>(), true);
        let _: Result<()> = it.finish();
        let _: Result<bool> = it.response_duplex_vec(any::<Vec<HttpTask>>()).await;
        let _: String = it.request_summary();
        let _: Option<&ResponseHeader> = it.response_written();
        it.shutdown();
        it.shutdown_with_reason(any::<Reason>());
        let _: Bytes = it.pseudo_raw_h1_request_header();
        let _: bool = it.is_body_done();
        let _: bool = it.is_body_empty();
        let _: bool = it.retry_buffer_truncated();
        it.enable_retry_buffering();
        let _: Option<Bytes> = it.get_retry_buffer();
        let _: Idle<'_> = it.idle();
        let _: Result<Option<Bytes>> = it.read_body_or_idle(true).await;
        let _: usize = it.body_bytes_sent();
        let _: usize = it.body_bytes_read();
        let _: Option<&Digest> = it.digest();
        let _: Option<&mut Digest> = it.digest_mut();
        let _: Option<&SocketAddr> = it.server_addr();
        let _: Option<&SocketAddr> = it.client_addr();
    }

    fn the_h2_accept(it: &mut H2Accept) {
        match it {
            H2Accept::Session(a) => {
                let _: &mut HttpSession = a;
            }
            H2Accept::Rejected => {}
        }
    }

    fn functions_and_constants() {
        let _: H2Options = default_h2_options();
    }
}

mod subrequest {
    use crate::any;
    use bytes::Bytes;
    use http::header::{HeaderMap, HeaderValue};
    use pingora_core::protocols::Digest;
    use pingora_core::protocols::http::subrequest::server::*;
    use pingora_core::protocols::http::{HttpTask, ServerSession as GenericHttpSession};
    use pingora_core::protocols::l4::socket::SocketAddr;
    use pingora_error::{Error, Result};
    use pingora_http::{RequestHeader, ResponseHeader};

    use std::time::Duration;
    use tokio::sync::mpsc::{Receiver, Sender};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    fn the_parts_of_a_handle(it: SubrequestHandle) {
        let _: (&Sender<HttpTask>, &Receiver<HttpTask>) = (&it.tx, &it.rx);
        let _: &oneshot::Receiver<()> = &it.subreq_wants_body;
        let _: &oneshot::Receiver<Box<Error>> = &it.subreq_proxy_error;
        let _: JoinHandle<()> = it.drain_tasks();
    }

    async fn the_http_session_1(it: &mut HttpSession) {
        let _: (HttpSession, SubrequestHandle) =
            HttpSession::new_from_session(any::<&GenericHttpSession>());
        let _: Result<Option<usize>> = it.read_request().await;
        let _: Result<()> = it.validate_request();
        let _: &RequestHeader = it.req_header();
        let _: &mut RequestHeader = it.req_header_mut();
        let _: Option<&HeaderValue> = it.get_header("a");
        let _: String = it.request_summary();
        let _: bool = it.is_upgrade_req();
        let _: &[u8] = it.get_header_bytes("a");
        let _: Result<Option<Bytes>> = it.read_body_bytes().await;
        let _: Result<()> = it.drain_request_body().await;
        let _: bool = it.is_body_done();
        let _: bool = it.is_body_empty();
        let _: Result<()> = it.write_response_header(any::<Box<ResponseHeader>>()).await;
        let _: Option<&ResponseHeader> = it.response_written();
        let _: Option<bool> = it.is_upgrade(any::<&ResponseHeader>());
        let _: bool = it.was_upgraded();
        let _: Result<()> = it.write_response_header_ref(any::<&ResponseHeader>()).await;
        let _: Result<Option<usize>> = it.write_body(Bytes::new()).await;
        let _: Result<Option<usize>> = it.finish().await;
        it.on_proxy_failure(any::<Box<Error>>());
        let _: usize = it.body_bytes_sent();
        let _: usize = it.body_bytes_read();
        it.clear_request_body_headers();
        let _: bool = it.retry_buffer_truncated();
        it.enable_retry_buffering();
        let _: Option<Bytes> = it.get_retry_buffer();
        let _: Result<Option<Bytes>> = it.read_body_or_idle(true).await;
        let _: Bytes = it.get_headers_raw_bytes();
        it.shutdown();
        it.set_read_timeout(any::<Option<Duration>>());
        let _: Option<Duration> = it.get_read_timeout();
        it.set_write_timeout(any::<Option<Duration>>());
        let _: Option<Duration> = it.get_write_timeout();
        it.set_total_drain_timeout(any::<Option<Duration>>());
        let _: Option<Duration> = it.get_total_drain_timeout();
        let _: Option<&Digest> = it.digest();
        let _: Option<&mut Digest> = it.digest_mut();
        let _: Option<&SocketAddr> = it.client_addr();
        let _: Option<&SocketAddr> = it.server_addr();
    }

    async fn the_http_session_2(it: &mut HttpSession) {
        let _: Result<()> = it.write_continue_response().await;
        let _: Result<bool> = it.response_duplex_vec(any::<Vec<HttpTask>>()).await;
        let _: Result<()> = it.write_trailers(any::<Option<Box<HeaderMap>>>()).await;
        let _: bool = it.proxy_tasks_enabled();
        it.set_proxy_tasks_enabled(true);
        it.send_proxy_task(any::<HttpTask>());
        let _: bool = it.has_pending_proxy_tasks();
        let _: Result<bool> = it.write_proxy_tasks().await;
    }
}
