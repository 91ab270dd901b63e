//! The fields of requests, towards upstreams.

use super::{Sink, Traced, sampled};
use pingora::protocols::l4::Networks;
use pingora::proxy::trace::{Span, TraceContext};
use pingora_tests::{Ask, Message, Origin, TestServer, Version, h2c_proxy, proxy};
use std::sync::Arc;

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

type Fields<'a> = &'a [(&'a str, &'a str)];

struct Setup {
    origin: Origin,
    proxy: TestServer,
    sink: Arc<Sink>,
}

impl Setup {
    async fn new(trusted: bool) -> Self {
        let (origin, sink) = (Origin::well_behaved().await, Arc::new(Sink::default()));
        let trusted = if trusted {
            Networks::private()
        } else {
            Networks::none()
        };
        let traced = Traced::new(sampled(&sink).trusting(trusted), &[origin.address()]);
        Setup {
            proxy: h2c_proxy(traced).await,
            origin,
            sink,
        }
    }

    /// What the upstream got, and the spans.
    async fn ask(&self, version: Version, fields: &[(&str, &str)]) -> (Message, Vec<Span>) {
        let ask = fields
            .iter()
            .fold(Ask::get("/x"), |ask, (name, value)| ask.with(name, value));
        let answer = ask.answered_over(version, self.proxy.address()).await;
        assert_eq!(answer.status(), 200);
        (self.origin.last_request(), self.sink.next().await)
    }
}

fn context(request: &Message) -> TraceContext {
    let values = request.headers("traceparent");
    assert_eq!(values.len(), 1, "{values:?}");
    TraceContext::parse(values[0].as_bytes()).unwrap()
}

#[tokio::test]
async fn a_trace_is_taken_over_from_those_who_are_trusted() {
    let setup = Setup::new(true).await;
    let given = TraceContext::parse(GIVEN.as_bytes()).unwrap();
    for version in [Version::H1, Version::H2] {
        let fields = [
            ("traceparent", GIVEN),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
            ("baggage", "user=alice;p"),
        ];
        let (request, spans) = setup.ask(version, &fields).await;
        let told = context(&request);
        assert_eq!(told.trace_id(), given.trace_id());
        assert!(told.is_sampled());
        assert_eq!(request.headers("tracestate"), ["a=1,b=2"]);
        assert_eq!(request.headers("baggage"), ["user=alice;p"]);
        assert_eq!(spans[0].parent, Some(given.span_id()));
        assert_eq!(spans[0].trace_state, "a=1,b=2");
        let one = spans.iter().find(|span| span.name == "try").unwrap();
        assert_eq!(
            told.span_id(),
            one.span_id,
            "the upstream's spans are children of the try"
        );
        assert_eq!(one.parent, Some(spans[0].span_id));
    }
}

#[tokio::test]
async fn strangers_and_broken_fields_are_not_heeded() {
    let given = TraceContext::parse(GIVEN.as_bytes()).unwrap();
    let upper = GIVEN.to_uppercase();
    let cases: [(bool, Fields<'_>, Option<&str>); 6] = [
        (
            false,
            &[
                ("traceparent", GIVEN),
                ("tracestate", "a=1"),
                ("baggage", "a=1"),
            ],
            None,
        ),
        (
            true,
            &[
                ("traceparent", &upper),
                ("tracestate", "a=1"),
                ("baggage", "a=1"),
            ],
            Some("a=1"),
        ),
        (
            true,
            &[
                ("traceparent", GIVEN),
                ("traceparent", GIVEN),
                ("tracestate", "a=1"),
            ],
            None,
        ),
        (true, &[("tracestate", "a=1"), ("baggage", "a b=1")], None),
        (
            true,
            &[("baggage", "a=1"), ("baggage", "b=2")],
            Some("a=1,b=2"),
        ),
        (true, &[], None),
    ];
    for (trusted, fields, baggage) in cases {
        let setup = Setup::new(trusted).await;
        let (request, spans) = setup.ask(Version::H1, fields).await;
        let told = context(&request);
        assert_ne!(told.trace_id(), given.trace_id(), "{fields:?}");
        assert_eq!(request.header("tracestate"), None, "{fields:?}");
        assert_eq!(request.header("baggage"), baggage, "{fields:?}");
        assert_eq!(spans[0].parent, None, "{fields:?}");
        assert_eq!(spans[0].trace_id, told.trace_id(), "{fields:?}");
    }
    // A state that breaks a rule costs the state alone.
    let setup = Setup::new(true).await;
    let fields = [("traceparent", GIVEN), ("tracestate", "a=1,a=2")];
    let (request, _) = setup.ask(Version::H1, &fields).await;
    assert_eq!(context(&request).trace_id(), given.trace_id());
    assert_eq!(request.header("tracestate"), None);
}

#[tokio::test]
async fn a_sub_request_is_a_part_of_its_parent() {
    let (origin, sink) = (Origin::well_behaved().await, Arc::new(Sink::default()));
    let mut traced = Traced::new(sampled(&sink), &[origin.address()]);
    traced.asks_itself = true;
    let proxy = proxy(traced).await;
    let answer = Ask::get("/x")
        .answered_over(Version::H1, proxy.address())
        .await;
    assert_eq!(answer.status(), 200);
    let (sub, parent) = (sink.next().await, sink.next().await);
    assert_eq!(sub[0].trace_id, parent[0].trace_id);
    assert_eq!(sub[0].parent, Some(parent[0].span_id));
    assert_eq!(parent[0].parent, None);
}
