//! Batches and retries.

use crate::builder::OtlpBuilder;
use crate::client::{Answer, Client, Protocol};
use crate::encode;
use crate::queue::{OtlpCounts, Queue};
use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use pingora_proxy::trace::{Span, SpanSink};
use std::fmt;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often a message is sent, at most, before its spans are given up.
const MOST_TRIES: u32 = 5;
/// The wait after a failure: at first; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How long spans are still taken as usual when the server stops.
const LAST_REQUESTS: Duration = Duration::from_millis(500);
/// How long the last spans may take when the server stops.
const AT_THE_END: Duration = Duration::from_secs(5);

/// From the workers; the queue bounds it.
type Spans = mpsc::UnboundedReceiver<Vec<Span>>;

/// When spans are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batching {
    pub(crate) most: usize,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        Batching {
            most: 512,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Sends spans to a collector. A background service.
///
/// While a message is on its way or waits to be sent again, further spans wait in the queue; if it is full, they
/// are dropped and counted. A message that the collector can't take at the moment is sent up to five times within about
/// 15 s, and then given up.
pub struct Otlp {
    client: Client,
    resource: Vec<(String, String)>,
    batching: Batching,
    queue: Arc<Queue>,
    spans: Mutex<Option<Spans>>,
}

impl Otlp {
    /// Over HTTP, to a collector such as `http://127.0.0.1:4318`; if the URL has no path, `/v1/traces` is used.
    pub fn http(endpoint: impl Into<String>) -> OtlpBuilder {
        OtlpBuilder::new(endpoint.into(), Protocol::Http)
    }

    /// Over gRPC, to a collector such as `http://127.0.0.1:4317`, which means HTTP/2 without TLS.
    pub fn grpc(endpoint: impl Into<String>) -> OtlpBuilder {
        OtlpBuilder::new(endpoint.into(), Protocol::Grpc)
    }

    pub(crate) fn new(
        client: Client,
        resource: Vec<(String, String)>,
        batching: Batching,
        queue: Arc<Queue>,
        spans: Spans,
    ) -> Self {
        Otlp {
            client,
            resource,
            batching,
            queue,
            spans: Mutex::new(Some(spans)),
        }
    }

    /// The sink of the spans, for [`Tracing::new`](pingora_proxy::trace::Tracing::new).
    pub fn sink(&self) -> Arc<dyn SpanSink> {
        self.queue.clone()
    }

    /// The numbers of spans by their fate.
    pub fn counts(&self) -> OtlpCounts {
        self.queue.counts()
    }

    /// Adds spans to an empty batch, until there are enough or the first one has waited for long enough; `false`: there
    /// will be no more. Cancel-safe: the taken spans are in the batch.
    async fn gather(&self, spans: &mut Spans, batch: &mut Vec<Span>) -> bool {
        let Some(first) = spans.recv().await else {
            return false;
        };
        batch.extend(first);
        let until = Instant::now() + self.batching.interval;
        while batch.len() < self.batching.most {
            match tokio::time::timeout_at(until, spans.recv()).await {
                Ok(Some(more)) => batch.extend(more),
                Ok(None) | Err(_) => break,
            }
        }
        true
    }

    async fn try_once(&self, message: Vec<u8>) -> Answer {
        let sent = tokio::time::timeout(self.batching.timeout, self.client.send(message)).await;
        sent.unwrap_or_else(|_| Answer::Later(None, "no answer in time".to_string()))
    }

    /// Sends a batch, several times if need be.
    async fn export(&self, batch: &[Span]) {
        let message = encode::request(&self.resource, batch);
        let count = batch.len() as u64;
        let mut wait = FIRST_WAIT;
        for number in 1..=MOST_TRIES {
            let (asked, reason) = match self.try_once(message.clone()).await {
                Answer::Accepted => {
                    self.queue.exported.fetch_add(count, Ordering::Relaxed);
                    return;
                }
                Answer::Refused(reason) => return self.give_up(count, &reason),
                Answer::Later(asked, reason) => (asked, reason),
            };
            if number == MOST_TRIES {
                return self.give_up(count, &reason);
            }
            tokio::time::sleep(asked.unwrap_or(wait)).await;
            wait *= 2;
        }
    }

    #[cold]
    fn give_up(&self, count: u64, reason: &str) {
        self.queue.failed.fetch_add(count, Ordering::Relaxed);
        let endpoint = self.client.endpoint();
        log::warn!("{count} spans are lost: {endpoint}: {reason}");
    }

    /// Sends until the channel is closed. `batch` holds the spans being sent.
    async fn run(&self, spans: &mut Spans, batch: &mut Vec<Span>) {
        while self.gather(spans, batch).await {
            self.export(batch).await;
            self.queue.arrived(batch.len());
            batch.clear();
        }
    }

    /// Sends the rest when the server stops: each batch once.
    async fn finish(&self, left: &[Span]) {
        for batch in left.chunks(self.batching.most) {
            let message = encode::request(&self.resource, batch);
            let count = batch.len() as u64;
            match self.try_once(message).await {
                Answer::Accepted => drop(self.queue.exported.fetch_add(count, Ordering::Relaxed)),
                Answer::Refused(reason) | Answer::Later(_, reason) => self.give_up(count, &reason),
            }
        }
    }

    /// The number of spans whose fate is known.
    fn settled(&self) -> u64 {
        let counts = self.counts();
        counts.exported + counts.failed
    }
}

#[async_trait]
impl BackgroundService for Otlp {
    /// When the server stops, it continues for half a second, because the last requests are about to end. After that, all
    /// waiting spans, including those of a message in transit, are sent once, within 5 s.
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let spans = self
            .spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut spans) = spans else {
            return;
        };
        let mut batch = vec![];
        {
            let mut run = pin!(self.run(&mut spans, &mut batch));
            tokio::select! {
                () = &mut run => return,
                _ = shutdown.changed() => {}
            }
            let _ = tokio::time::timeout(LAST_REQUESTS, &mut run).await;
        }
        spans.close();
        while let Ok(more) = spans.try_recv() {
            batch.extend(more);
        }
        let before = self.settled();
        let finished = tokio::time::timeout(AT_THE_END, self.finish(&batch)).await;
        if finished.is_err() {
            let settled = self.settled() - before;
            self.give_up(
                (batch.len() as u64).saturating_sub(settled),
                "there is no more time",
            );
        }
        self.queue.arrived(batch.len());
    }
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp")
            .field("endpoint", self.client.endpoint())
            .field("batching", &self.batching)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
