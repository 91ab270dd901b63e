//! Collectors that are made of others' code, as far as there is such.

use async_trait::async_trait;
use http::Response;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use pingora::apps::http_app::ServeHttp;
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;
use pingora_tests::TestServer;
use prost::Message;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};

type Received = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// What a collector has got; it answers the first messages with these statuses.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    pub(crate) received: Received,
    pub(crate) refusals: Arc<Mutex<Vec<u16>>>,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    fn refusal(&self) -> Option<u16> {
        self.refusals.lock().unwrap().pop()
    }
}

#[async_trait]
impl ServeHttp for Collector {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut body = vec![];
        while let Ok(Some(part)) = session.read_request_body().await {
            body.extend_from_slice(&part);
        }
        let request = session.req_header();
        let kind = request
            .headers
            .get("content-type")
            .unwrap()
            .to_str()
            .unwrap();
        let key = request
            .headers
            .get("api-key")
            .map(|key| key.to_str().unwrap());
        let asked = format!("{} {kind} {}", request.uri.path(), key.unwrap_or("-"));
        self.asked.lock().unwrap().push(asked);
        if let Some(status) = self.refusal() {
            return Response::builder().status(status).body(vec![]).unwrap();
        }
        let message = ExportTraceServiceRequest::decode(&*body).unwrap();
        self.received.lock().unwrap().push(message);
        Response::new(ExportTraceServiceResponse::default().encode_to_vec())
    }
}

/// Over HTTP.
pub(crate) async fn http(collector: Collector) -> TestServer {
    let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
    server.bootstrap();
    let mut service = Service::new("collector".to_string(), collector);
    service.add_tcp("127.0.0.1:0");
    let bound = service.bound_addresses();
    server.add_service(service);
    TestServer::start(server, bound).await
}

#[async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        if self.refusal().is_some() {
            return Err(Status::unavailable("not now"));
        }
        self.received.lock().unwrap().push(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Over gRPC, by tonic.
pub(crate) fn grpc(collector: Collector) -> SocketAddr {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = incoming.local_addr().unwrap();
    let service = TraceServiceServer::new(collector);
    let server = tonic::transport::Server::builder();
    tokio::spawn(async move { server.serve_with_incoming(service, incoming).await });
    address
}
