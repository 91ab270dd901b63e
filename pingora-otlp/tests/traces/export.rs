//! From a request to the collector.

use super::Traced;
use super::collector::{self, Collector};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use pingora::proxy::trace::Tracing;
use pingora::services::background::BackgroundService;
use pingora_otlp::{Otlp, OtlpBuilder, OtlpCounts};
use pingora_tests::{Ask, Origin, Refusing, Version, eventually, proxy};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Sends until it is told to stop.
struct Running {
    otlp: Arc<Otlp>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    fn of(builder: OtlpBuilder) -> Self {
        let otlp = Arc::new(builder.interval(Duration::from_millis(10)).build().unwrap());
        let (stop, stopping) = watch::channel(false);
        let running = otlp.clone();
        let task = tokio::spawn(async move { running.start(stopping).await });
        Running { otlp, stop, task }
    }

    fn tracing(&self) -> Tracing {
        Tracing::new(self.otlp.sink()).sample(1.0)
    }

    async fn stop(self) -> OtlpCounts {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
        self.otlp.counts()
    }
}

fn spans(messages: &[ExportTraceServiceRequest]) -> Vec<Span> {
    let resources = messages.iter().flat_map(|message| &message.resource_spans);
    let scopes = resources.flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| scope.spans.clone()).collect()
}

fn fact(span: &Span, key: &str) -> Option<Value> {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key)?;
    found.value.clone()?.value
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_arrive_over_http_and_over_grpc() {
    let (origin, refusing) = (Origin::well_behaved().await, Refusing::new());
    for over_grpc in [false, true] {
        let collector = Collector::default();
        let http = collector::http(collector.clone()).await;
        let running = Running::of(
            if over_grpc {
                Otlp::grpc(format!("http://{}", collector::grpc(collector.clone())))
            } else {
                Otlp::http(format!("http://{}", http.address())).field("api-key", "secret")
            }
            .service_name("front"),
        );
        let peers = [refusing.address(), origin.address()];
        let server = proxy(Traced::new(running.tracing(), &peers)).await;
        let ask = Ask::get("/status/503");
        let answer = ask.answered_over(Version::H1, server.address()).await;
        assert_eq!(answer.status(), 503);
        let received = || collector.received.lock().unwrap().clone();
        eventually("a message arrives", || !received().is_empty()).await;

        let resource = received()[0].resource_spans[0].resource.clone().unwrap();
        let name = resource.attributes[0].clone();
        assert_eq!(name.key, "service.name");
        assert_eq!(
            name.value.unwrap().value,
            Some(Value::StringValue("front".into()))
        );
        let spans = spans(&received());
        let request = &spans[0];
        assert_eq!((request.trace_id.len(), request.span_id.len()), (16, 8));
        assert_eq!(request.kind(), SpanKind::Server);
        assert_eq!((&*request.name, request.flags), ("GET", 1));
        assert_eq!(request.parent_span_id, [0; 0]);
        let status = request.status.clone().unwrap();
        assert_eq!(
            (status.code(), &*status.message),
            (StatusCode::Error, "503")
        );
        assert_eq!(
            fact(request, "http.response.status_code"),
            Some(Value::IntValue(503))
        );
        assert!(request.start_time_unix_nano < request.end_time_unix_nano);
        let tries: Vec<&Span> = spans.iter().filter(|span| span.name == "try").collect();
        assert_eq!(tries.len(), 2);
        for one in &tries {
            assert_eq!(one.kind(), SpanKind::Client);
            assert_eq!(one.parent_span_id, request.span_id);
            assert_eq!(one.trace_id, request.trace_id);
            assert_eq!(
                fact(one, "pingora.connection.reused"),
                Some(Value::BoolValue(false))
            );
        }
        if !over_grpc {
            let asked = collector.asked.lock().unwrap().clone();
            assert_eq!(asked, ["/v1/traces application/x-protobuf secret"]);
        }
        let counts = running.stop().await;
        assert_eq!(counts.exported, spans.len() as u64);
        assert_eq!((counts.dropped, counts.failed), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_again_where_that_makes_sense() {
    let origin = Origin::well_behaved().await;
    for (over_grpc, refusals, arrives) in [
        (false, &[503][..], true),
        (true, &[503], true),
        (false, &[400], false),
    ] {
        let collector = Collector::default();
        *collector.refusals.lock().unwrap() = refusals.to_vec();
        let http = collector::http(collector.clone()).await;
        let running = Running::of(if over_grpc {
            Otlp::grpc(format!("http://{}", collector::grpc(collector.clone())))
        } else {
            Otlp::http(format!("http://{}", http.address()))
        });
        let server = proxy(Traced::new(running.tracing(), &[origin.address()])).await;
        Ask::get("/x")
            .answered_over(Version::H1, server.address())
            .await;
        let settled = |counts: OtlpCounts| counts.exported + counts.failed > 0;
        eventually("it is settled", || settled(running.otlp.counts())).await;
        let counts = running.stop().await;
        assert_eq!(counts.exported > 0, arrives, "{refusals:?}");
        assert_eq!(counts.failed > 0, !arrives, "{refusals:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_or_silent_holds_nothing_up() {
    let origin = Origin::well_behaved().await;
    let (refusing, silent) = (
        Refusing::new(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    for address in [refusing.address(), silent.local_addr().unwrap()] {
        let running = Running::of(Otlp::http(format!("http://{address}")).queue(20));
        let server = proxy(Traced::new(running.tracing(), &[origin.address()])).await;
        for _ in 0..100 {
            let answer = Ask::get("/x")
                .answered_over(Version::H1, server.address())
                .await;
            assert_eq!(answer.status(), 200);
        }
        drop(server);
        let counts = running.otlp.counts();
        assert_eq!(counts.exported, 0);
        assert!(counts.dropped >= 180, "{counts:?}");
        running.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_sent_when_the_server_stops() {
    let (origin, collector) = (Origin::well_behaved().await, Collector::default());
    let http = collector::http(collector.clone()).await;
    let otlp = Otlp::http(format!("http://{}", http.address())).interval(Duration::from_secs(3600));
    let otlp = Arc::new(otlp.build().unwrap());
    let (stop, stopping) = watch::channel(false);
    let started = otlp.clone();
    let task = tokio::spawn(async move { started.start(stopping).await });
    let tracing = Tracing::new(otlp.sink()).sample(1.0);
    let server = proxy(Traced::new(tracing, &[origin.address()])).await;
    for _ in 0..3 {
        Ask::get("/x")
            .answered_over(Version::H1, server.address())
            .await;
    }
    drop(server);
    assert!(collector.received.lock().unwrap().is_empty());
    stop.send(true).unwrap();
    task.await.unwrap();
    let spans = spans(&collector.received.lock().unwrap());
    let requests = spans.iter().filter(|span| span.kind() == SpanKind::Server);
    assert_eq!(requests.count(), 3);
    assert_eq!(otlp.counts().exported, spans.len() as u64);
}

#[test]
fn endpoints_and_fields_that_are_none_are_refused() {
    for endpoint in ["", "collector:4317", "ftp://collector", "http://"] {
        assert!(Otlp::http(endpoint).build().is_err(), "{endpoint}");
    }
    let builder = || Otlp::http("http://collector:4318");
    assert!(builder().build().is_ok());
    assert!(builder().field("a b", "c").build().is_err());
    assert!(builder().field("a", "c\r\nd: e").build().is_err());
    let shown = format!("{:?}", builder().field("authorization", "secret"));
    assert!(!shown.contains("secret"), "{shown}");
}
