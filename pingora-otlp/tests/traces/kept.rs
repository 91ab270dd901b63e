//! Which requests get spans, and what stands in those.

use super::{Sink, Traced, sampled};
use pingora::metrics::{Series, Value};
use pingora::proxy::trace::{SpanKind, SpanValue, Tracing};
use pingora_tests::{Ask, Origin, Refusing, Version, proxy};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const DURATION: &str = "pingora_request_duration_seconds";
const FIRST_BYTE: &str = "pingora_request_first_byte_seconds";

/// The traces that are examples for what this listener has counted.
fn exemplars(family: &str, listener: SocketAddr) -> Vec<u128> {
    let listener = ("listener", listener.to_string());
    let families = pingora::metrics::gather();
    let family = families.iter().find(|one| one.name == family).unwrap();
    let of_listener = |one: &&Series| one.labels.contains(&listener);
    let series = family.series.iter().find(of_listener).unwrap();
    let Value::Histogram(histogram) = &series.value else {
        panic!("{series:?}");
    };
    let all = histogram.exemplars().iter().flatten();
    all.map(|one| one.trace_id).collect()
}

#[tokio::test]
async fn what_is_not_sampled_is_kept_where_it_failed_or_was_slow() {
    for (keep_errors, slow, path, kept) in [
        (true, None, "/x", false),
        (true, None, "/status/503", true),
        (true, None, "/status/404", false),
        (false, None, "/status/503", false),
        (false, Some(Duration::ZERO), "/x", true),
        (false, Some(Duration::from_secs(3600)), "/x", false),
    ] {
        let (origin, sink) = (Origin::well_behaved().await, Arc::new(Sink::default()));
        let mut tracing = Tracing::new(sink.clone())
            .sample(0.0)
            .keep_errors(keep_errors);
        if let Some(limit) = slow {
            tracing = tracing.keep_slower_than(limit);
        }
        let server = proxy(Traced::new(tracing, &[origin.address()])).await;
        Ask::get(path)
            .answered_over(Version::H1, server.address())
            .await;
        let told = origin.last_request();
        assert!(
            told.header("traceparent").unwrap().ends_with('2'),
            "not sampled, by chance"
        );
        if kept {
            let spans = sink.next().await;
            assert!(spans.iter().all(|span| !span.sampled));
            let trace = spans[0].trace_id;
            assert_eq!(exemplars(DURATION, server.address()), [trace]);
            assert_eq!(exemplars(FIRST_BYTE, server.address()), [trace]);
        } else {
            assert!(exemplars(DURATION, server.address()).is_empty());
        }
        // All phases are over when the server has stopped.
        drop(server);
        assert!(
            sink.0.lock().unwrap().is_empty(),
            "{path} {keep_errors} {slow:?}"
        );
    }
}

#[tokio::test]
async fn each_try_has_a_span() {
    let (origin, refusing) = (Origin::well_behaved().await, Refusing::new());
    let sink = Arc::new(Sink::default());
    let peers = [refusing.address(), origin.address()];
    let server = proxy(Traced::new(sampled(&sink), &peers)).await;
    let ask = Ask::by("BREW", "/x?secret=y").with("User-Agent", "curl");
    ask.answered_over(Version::H1, server.address()).await;
    let spans = sink.next().await;
    let request = &spans[0];
    assert_eq!((request.kind, &*request.name), (SpanKind::Server, "_OTHER"));
    assert_eq!(request.error, None);
    let fact = |key: &str| {
        let found = request.attributes.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(fact("url.path"), Some("/x".into()));
    assert_eq!(fact("user_agent.original"), Some("curl".into()));
    assert_eq!(
        fact("http.response.status_code"),
        Some(SpanValue::Number(200))
    );
    assert_eq!(fact("tenant"), Some("one".into()));
    let shown = format!("{spans:?}");
    assert!(!shown.contains("secret"), "{shown}");
    let tries: Vec<_> = spans.iter().filter(|span| span.name == "try").collect();
    let [failed, good] = &tries[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(failed.error.as_deref(), Some("ConnectRefused"));
    assert_eq!(good.error, None);
    assert_ne!(failed.span_id, good.span_id);
    for span in &spans {
        assert!(request.start <= span.start && span.start <= span.end && span.end <= request.end);
        assert_eq!(span.trace_id, request.trace_id);
    }
}

#[tokio::test]
async fn a_request_without_an_answer_says_why() {
    let (refusing, sink) = (Refusing::new(), Arc::new(Sink::default()));
    let server = proxy(Traced::new(sampled(&sink), &[refusing.address()])).await;
    let answer = Ask::get("/x")
        .answered_over(Version::H1, server.address())
        .await;
    assert_eq!(answer.status(), 502);
    let spans = sink.next().await;
    assert_eq!(spans[0].error.as_deref(), Some("ConnectRefused"));
}
