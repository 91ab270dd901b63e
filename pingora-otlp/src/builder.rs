//! Settings.

use crate::client::{Client, Protocol};
use crate::queue::Queue;
use crate::service::{Batching, Otlp};
use http::{HeaderName, HeaderValue, Uri};
use pingora_core::connectors::ConnectorOptions;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The type of errors in settings.
const CONF_ERR: ErrorType = ErrorType::Custom("OTLPConfigError");

/// Settings of [`Otlp`]. From [`Otlp::http`] and [`Otlp::grpc`].
pub struct OtlpBuilder {
    endpoint: String,
    protocol: Protocol,
    resource: Vec<(String, String)>,
    fields: Vec<(String, String)>,
    connector: Option<ConnectorOptions>,
    queue: usize,
    batching: Batching,
}

impl OtlpBuilder {
    pub(crate) fn new(endpoint: String, protocol: Protocol) -> Self {
        OtlpBuilder {
            endpoint,
            protocol,
            resource: vec![("service.name".into(), "unknown_service".into())],
            fields: vec![],
            connector: None,
            queue: 8192,
            batching: Batching::default(),
        }
    }

    /// The name of this program for those who look at traces.
    pub fn service_name(self, name: impl Into<String>) -> Self {
        self.resource("service.name", name)
    }

    /// A fact about this program, such as `deployment.environment.name`.
    pub fn resource(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let key = key.into();
        self.resource.retain(|(known, _)| *known != key);
        self.resource.push((key, value.into()));
        self
    }

    /// A field of the requests to the collector, such as `authorization`.
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// The options for connections to the collector: [`ca_file`](ConnectorOptions::ca_file) sets the trusted authorities.
    pub fn connector(mut self, options: ConnectorOptions) -> Self {
        self.connector = Some(options);
        self
    }

    /// The most spans that wait to be sent; further ones are dropped. A span of a request takes about a kilobyte, those of its
    /// parts less. Default: 8192.
    pub fn queue(mut self, spans: usize) -> Self {
        self.queue = spans;
        self
    }

    /// Most spans in one message, up to those of a last request. Default: 512.
    pub fn batch(mut self, spans: usize) -> Self {
        self.batching.most = spans.max(1);
        self
    }

    /// How long a span waits for others, at most. Default: 1 s.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.batching.interval = interval;
        self
    }

    /// How long the collector may take for a message. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.batching.timeout = timeout;
        self
    }

    /// Ends the settings. Nothing is sent yet.
    ///
    /// # Errors
    /// For an endpoint that is not an `http` or `https` URL, and for an invalid field.
    pub fn build(self) -> Result<Otlp> {
        let uri = self.endpoint.parse::<Uri>();
        let uri = uri.or_err_with(CONF_ERR, || format!("the endpoint {:?}", self.endpoint))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            let reason =
                format!("the endpoint {uri} is no URL that begins with http:// or https://");
            return Error::e_explain(CONF_ERR, reason);
        }
        let mut fields = vec![];
        for (name, value) in &self.fields {
            let refused = || format!("the field {name:?}");
            let mut value = HeaderValue::from_str(value).or_err_with(CONF_ERR, refused)?;
            value.set_sensitive(true);
            fields.push((
                HeaderName::try_from(name).or_err_with(CONF_ERR, refused)?,
                value,
            ));
        }
        let (queue, spans) = Queue::new(self.queue);
        let client = Client::new(uri, self.protocol, fields, self.connector);
        Ok(Otlp::new(
            client,
            self.resource,
            self.batching,
            Arc::new(queue),
            spans,
        ))
    }
}

impl fmt::Debug for OtlpBuilder {
    /// Omits the values of fields, because they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpBuilder")
            .field("endpoint", &self.endpoint)
            .field("resource", &self.resource)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
