//! HTTP towards an authority, over the framework's own connector.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST};
use http::{Request, Response};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error as AcmeError, HttpClient};
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The longest answer, in bytes; chains of certificates have some thousands.
const LONGEST_ANSWER: usize = 1 << 20;
/// How long a request may take, all together.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// Cheap to clone; clones share their connections.
#[derive(Clone)]
pub(crate) struct Client(Arc<Connector>);

impl Client {
    pub(crate) fn new(options: Option<ConnectorOptions>) -> Self {
        let options = options.unwrap_or_else(|| ConnectorOptions::new(8));
        Client(Arc::new(Connector::new(Some(options))))
    }

    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>> {
        let (parts, body) = request.into_parts();
        let collected = body.collect().await;
        let body = match collected {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let peer = peer(&parts.uri).await?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut head = RequestHeader::build(parts.method, path.as_bytes(), None)?;
        let host = parts
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        head.insert_header(HOST, host)?;
        for (name, value) in &parts.headers {
            head.append_header(name.clone(), value.clone())?;
        }
        if !body.is_empty() {
            head.insert_header(CONTENT_LENGTH, body.len())?;
        }
        let (mut session, _) = self.0.get_http_session(&peer).await?;
        let answer = converse(&mut session, head, body).await?;
        self.0.release_session(session, &peer, Some(IDLE));
        Ok(answer)
    }
}

/// The peer that answers for a URL. Its authority has no user part: directories don't use one.
async fn peer(uri: &http::Uri) -> Result<HttpPeer> {
    let refused =
        |reason: &str| Error::e_explain(ErrorType::InvalidHTTPHeader, format!("{uri}: {reason}"));
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return refused("no URL with https or http"),
    };
    let Some(host) = uri.host() else {
        return refused("a URL without a host");
    };
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let name = host.trim_matches(['[', ']']).to_string();
    let mut peer = HttpPeer::resolve(&format!("{host}:{port}"), tls, name).await?;
    peer.options.total_connection_timeout = Some(Duration::from_secs(20));
    peer.options.read_timeout = Some(Duration::from_secs(30));
    peer.options.write_timeout = Some(Duration::from_secs(30));
    if tls {
        peer.options.alpn = ALPN::H2H1;
    }
    Ok(peer)
}

async fn converse(
    session: &mut HttpSession,
    head: RequestHeader,
    body: Bytes,
) -> Result<Response<Bytes>> {
    session.write_request_header(Box::new(head)).await?;
    if !body.is_empty() {
        session.write_request_body(body, true).await?;
    }
    session.finish_request_body().await?;
    let head = loop {
        session.read_response_header().await?;
        match session.response_header() {
            Some(head) if head.status.is_informational() => {}
            Some(head) => break head.clone(),
            None => return Error::e_explain(ErrorType::ReadError, "no response"),
        }
    };
    let mut body = BytesMut::new();
    while let Some(part) = session.read_response_body().await? {
        if body.len() + part.len() > LONGEST_ANSWER {
            return Error::e_explain(ErrorType::ReadError, "an answer of more than a mebibyte");
        }
        body.extend_from_slice(&part);
    }
    let mut response = Response::builder().status(head.status);
    for (name, value) in &head.headers {
        response = response.header(name, value);
    }
    response
        .body(body.freeze())
        .or_err(ErrorType::InternalError, "taking over a response")
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, AcmeError>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let exchanged = tokio::time::timeout(PATIENCE, client.exchange(request)).await;
            let response = match exchanged {
                Ok(Ok(response)) => response,
                Ok(Err(e)) => return Err(AcmeError::Other(e)),
                Err(_) => return Err(AcmeError::Str("an answer within a minute")),
            };
            let (parts, body) = response.into_parts();
            let body = Box::new(body);
            Ok(BytesResponse { parts, body })
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}
