//! `pingora_core::protocols::http`: sessions of any version.

mod server {
    use crate::any;
    use bytes::{Bytes, BytesMut};
    use http::header::{HeaderMap, HeaderValue};
    use pingora_core::protocols::http::ServerSession as Session;
    use pingora_core::protocols::http::custom::SessionCustom;
    use pingora_core::protocols::http::subrequest::server::HttpSession as SessionSubrequest;
    use pingora_core::protocols::http::v1::server::HttpSession as SessionV1;
    use pingora_core::protocols::http::v2::Reason;
    use pingora_core::protocols::http::v2::server::{HttpSession as SessionV2, Idle};
    use pingora_core::protocols::http::*;
    use pingora_core::protocols::l4::socket::SocketAddr;
    use pingora_core::protocols::{Digest, Stream};
    use pingora_error::{BError, Error, Result};
    use pingora_http::{RequestHeader, ResponseHeader};
    use std::any::Any;
    use std::time::Duration;

    fn the_reusable_http_stream() {
        let _: (Stream, Option<BytesMut>) = any::<ReusableHttpStream>().into_parts();
    }

    async fn the_session_1(it: &mut Session) {
        let _: Session = Session::new_http1(any::<Stream>());
        let _: Session = Session::new_http2(any::<SessionV2>());
        let _: Session = Session::new_subrequest(any::<SessionSubrequest>());
        let _: Session = Session::new_custom(any::<Box<dyn SessionCustom>>());
        let _: bool = it.is_http2();
        let _: bool = it.is_subrequest();
        let _: bool = it.is_custom();
        let _: &'static str = it.session_type();
        let _: Result<bool> = it.read_request().await;
        let _: &RequestHeader = it.req_header();
        let _: &mut RequestHeader = it.req_header_mut();
        let _: Option<&HeaderValue> = it.get_header("a");
        let _: &[u8] = it.get_header_bytes("a");
        let _: Result<Option<Bytes>> = it.read_request_body().await;
        let _: Result<()> = it.drain_request_body().await;
        let _: Result<()> = it.write_response_header(any::<Box<ResponseHeader>>()).await;
        let _: Result<()> = it.write_response_header_ref(any::<&ResponseHeader>()).await;
        let _: Result<()> = it.write_response_body(Bytes::new(), true).await;
        let _: Result<()> = it.write_response_trailers(any::<HeaderMap>()).await;
        let _: Result<Option<ReusableHttpStream>> = any::<Session>().finish().await;
        it.on_proxy_failure(any::<Box<Error>>());
        let _: Result<bool> = it.response_duplex_vec(any::<Vec<HttpTask>>()).await;
        it.set_keepalive(any::<Option<u64>>());
        let _: Option<u64> = it.get_keepalive();
        it.set_keepalive_reuses_remaining(any::<Option<u32>>());
        let _: Option<u32> = it.get_keepalive_reuses_remaining();
        it.set_connection_user_context(any::<Option<Box<dyn Any + Send + Sync>>>());
        let _: Option<Box<dyn Any + Send + Sync>> = it.take_connection_user_context();
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
        let _: String = it.request_summary();
        let _: Option<&ResponseHeader> = it.response_written();
    }

    async fn the_session_2(it: &mut Session) {
        it.shutdown().await;
        it.shutdown_with_reason(any::<Reason>());
        let _: Bytes = it.to_h1_raw();
        let _: bool = it.is_body_done();
        let _: Result<()> = it.finish_body().await;
        let _: ResponseHeader = Session::generate_error(502);
        let _: Result<()> = it.respond_error(502).await;
        let _: Result<()> = it.respond_error_with_body(502, Bytes::new()).await;
        let _: Result<()> = it
            .write_error_response(any::<ResponseHeader>(), Bytes::new())
            .await;
        let _: bool = it.is_body_empty();
        let _: bool = it.retry_buffer_truncated();
        it.enable_retry_buffering();
        let _: Option<Bytes> = it.get_retry_buffer();
        let _: Result<Option<Bytes>> = it.read_body_or_idle(true).await;
        let _: Option<Idle<'_>> = it.watch_h2_stream_close();
        let _: Option<&SessionV1> = it.as_http1();
        let _: Option<&SessionV2> = it.as_http2();
        let _: Option<&SessionSubrequest> = it.as_subrequest();
        let _: Option<&mut SessionSubrequest> = it.as_subrequest_mut();
        let _: Option<&dyn SessionCustom> = it.as_custom();
        let _: Option<&mut Box<dyn SessionCustom>> = it.as_custom_mut();
        let _: Result<()> = it.write_continue_response().await;
        let _: bool = it.is_upgrade_req();
        let _: Option<bool> = it.is_upgrade(any::<&ResponseHeader>());
        let _: bool = it.was_upgraded();
        let _: usize = it.body_bytes_sent();
        let _: usize = it.body_bytes_read();
        let _: Option<&Digest> = it.digest();
        let _: Option<&mut Digest> = it.digest_mut();
        let _: Option<&SocketAddr> = it.client_addr();
        let _: Option<&SocketAddr> = it.server_addr();
        let _: Option<&Stream> = it.stream();
        let _: bool = it.supports_proxy_task_api();
        it.set_proxy_tasks_enabled(true);
        let _: bool = it.pipelining_enabled();
        it.set_pipelining_enabled(true);
        it.set_pipelined_prefix(any::<BytesMut>());
        it.send_downstream_proxy_task(any::<HttpTask>());
        let _: bool = it.has_pending_downstream_proxy_tasks();
        let _: Result<bool> = it.write_downstream_proxy_tasks().await;
    }

    fn the_http_task(it: &mut HttpTask) {
        match it {
            HttpTask::Header(a, b) => {
                let _: (&mut Box<ResponseHeader>, &mut bool) = (a, b);
            }
            HttpTask::Body(a, b) => {
                let _: (&mut Option<Bytes>, &mut bool) = (a, b);
            }
            HttpTask::UpgradedBody(a, b) => {
                let _: (&mut Option<Bytes>, &mut bool) = (a, b);
            }
            HttpTask::Trailer(a) => {
                let _: &mut Option<Box<HeaderMap>> = a;
            }
            HttpTask::Done => {}
            HttpTask::Failed(a) => {
                let _: &mut BError = a;
            }
        }
        let _: bool = it.is_end();
        let _: &'static str = it.type_str();
    }

    fn functions_and_constants() {
        let _: &&[u8; 7] = &SERVER_NAME;
    }
}

mod client {
    use crate::any;
    use bytes::Bytes;

    use pingora_core::protocols::http::client::*;
    use pingora_core::protocols::http::v1::client::HttpSession as Http1Session;
    use pingora_core::protocols::http::v2::client::Http2Session;
    use pingora_core::protocols::l4::socket::SocketAddr;
    use pingora_core::protocols::{Digest, Stream};
    use pingora_error::Result;
    use pingora_http::{RequestHeader, ResponseHeader};

    use std::time::Duration;

    async fn the_http_session(it: &mut HttpSession<()>) {
        let _: Option<&Http1Session> = it.as_http1();
        let _: Option<&Http2Session> = it.as_http2();
        let _: Option<&()> = it.as_custom();
        let _: Option<&mut ()> = it.as_custom_mut();
        let _: Result<()> = it.write_request_header(any::<Box<RequestHeader>>()).await;
        let _: Result<()> = it.write_request_body(Bytes::new(), true).await;
        let _: Result<()> = it.finish_request_body().await;
        it.set_read_timeout(any::<Option<Duration>>());
        it.set_write_timeout(any::<Option<Duration>>());
        let _: Result<()> = it.read_response_header().await;
        let _: Result<Option<Bytes>> = it.read_response_body().await;
        let _: bool = it.response_done();
        it.shutdown().await;
        let _: Option<&ResponseHeader> = it.response_header();
        let _: Option<&Digest> = it.digest();
        let _: Option<&mut Digest> = it.digest_mut();
        let _: Option<&SocketAddr> = it.server_addr();
        let _: Option<&SocketAddr> = it.client_addr();
        let _: Option<&Stream> = it.stream();
    }
}

mod custom {
    use crate::any;
    use async_trait::async_trait;
    use bytes::Bytes;
    use futures::Stream;
    use pingora_core::custom_session;
    use pingora_core::protocols::http::ServerSession;
    use pingora_core::protocols::http::custom::{
        BodyWrite, CUSTOM_MESSAGE_QUEUE_SIZE, CustomMessageWrite, drain_custom_messages,
        is_informational_except_101,
    };
    use pingora_error::Result;
    use std::time::Duration;

    type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

    struct Own;

    #[async_trait]
    impl CustomMessageWrite for Own {
        fn set_write_timeout(&mut self, _: Option<Duration>) {}

        async fn write_custom_message(&mut self, _: Bytes) -> Result<()> {
            Ok(())
        }

        async fn finish_custom(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[async_trait]
    impl BodyWrite for Own {
        async fn write_all_buf(&mut self, _: &mut Bytes) -> Result<()> {
            Ok(())
        }

        async fn finish(&mut self) -> Result<()> {
            Ok(())
        }

        async fn cleanup(&mut self) -> Result<()> {
            Ok(())
        }

        fn upgrade_body_writer(&mut self) {}
    }

    async fn the_functions(session: &mut ServerSession) {
        let _: usize = CUSTOM_MESSAGE_QUEUE_SIZE;
        let _: bool = is_informational_except_101(103_u32);
        let _: Result<()> = drain_custom_messages(any::<Option<Messages>>()).await;
        let _: [Box<dyn CustomMessageWrite>; 0] = [];
        let _: [Box<dyn BodyWrite>; 0] = [];
        custom_session!(session.options_mut());
    }
}
