//! A TLS backend that another crate could have: its "encryption" is an XOR, its handshake two messages. It
//! has what a real one has: names, protocols, certificates, resumption, close_notify, threads of its own.

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::ready;
use pingora::prelude::*;
use pingora::protocols::digest::{ProxyDigest, SocketDigest, TimingDigest};
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::tls::backend::{
    Accepted, ClientBackend, FailedHandshake, ServerBackend, ServerSettings, TlsAcceptor,
    TlsConnector,
};
use pingora::protocols::tls::{
    ALPN, ClientHandshake, ClientSettings, HandshakeFailure, Offload, SslDigest, TlsFacts,
};
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, Ssl, Stream, UniqueID,
    UniqueIDType,
};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const KEY: u8 = 0x5a;
const CLIENT: &[u8; 4] = b"XOR>";
const SERVER: &[u8; 4] = b"XOR<";
/// Most payload of a frame.
const FRAME: usize = 16 * 1024;

/// Both sides of the backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Xor;

fn failed(failure: HandshakeFailure, what: &'static str) -> FailedHandshake {
    let error = Error::explain(ErrorType::TLSHandshakeFailure, what);
    FailedHandshake::new(failure, error)
}

fn broken(e: io::Error) -> Box<Error> {
    Error::because(ErrorType::TLSHandshakeFailure, "XOR handshake", e)
}

/// A connection with what has arrived and what is to leave.
struct XorStream {
    io: L4Stream,
    /// As it came.
    raw: Vec<u8>,
    /// Decrypted, not yet taken.
    plain: Vec<u8>,
    /// Encrypted, not yet sent.
    out: Vec<u8>,
    peer_said_goodbye: bool,
    said_goodbye: bool,
    digest: Option<Arc<SslDigest>>,
    waited: Option<Duration>,
}

impl XorStream {
    fn new(io: L4Stream) -> Self {
        XorStream {
            io,
            raw: vec![],
            plain: vec![],
            out: vec![],
            peer_said_goodbye: false,
            said_goodbye: false,
            digest: None,
            waited: None,
        }
    }

    /// Reads once; how much there was.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [0; 4096];
        let mut buf = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
        self.raw.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Waits for a message that begins with `magic` and has so many lists behind it, each with its length in
    /// one byte. `None` where something else came.
    fn poll_lists(
        &mut self,
        cx: &mut Context<'_>,
        magic: &[u8; 4],
        count: usize,
    ) -> Poll<io::Result<Option<Vec<Vec<u8>>>>> {
        loop {
            let begun = self.raw.len().min(4);
            if self.raw[..begun] != magic[..begun] {
                return Poll::Ready(Ok(None));
            }
            if let Some((lists, end)) = lists(&self.raw, count) {
                self.raw.drain(..end);
                return Poll::Ready(Ok(Some(lists)));
            }
            if ready!(self.poll_more(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn push_lists(&mut self, magic: &[u8; 4], lists: &[&[u8]]) {
        self.out.extend_from_slice(magic);
        for list in lists {
            self.out.push(list.len() as u8);
            self.out.extend_from_slice(list);
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            self.out.drain(..n);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Decrypts the frames that are complete.
    fn open_frames(&mut self) {
        while let Some((head, rest)) = self.raw.split_first_chunk::<2>() {
            let len = usize::from(u16::from_be_bytes(*head));
            let Some(frame) = rest.get(..len) else {
                return;
            };
            self.peer_said_goodbye |= len == 0;
            self.plain.extend(frame.iter().map(|byte| byte ^ KEY));
            self.raw.drain(..2 + len);
        }
    }
}

fn lists(raw: &[u8], count: usize) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = 4;
    let mut found = vec![];
    for _ in 0..count {
        let len = usize::from(*raw.get(at)?);
        found.push(raw.get(at + 1..at + 1 + len)?.to_vec());
        at += 1 + len;
    }
    Some((found, at))
}

fn digest(facts: TlsFacts) -> Arc<SslDigest> {
    let mut digest = SslDigest::new("XOR", "XORv1", None, None, vec![]);
    digest.set_facts(facts);
    Arc::new(digest)
}

impl ServerBackend for Xor {
    fn name(&self) -> &'static str {
        "xor"
    }

    fn build(self: Box<Self>, settings: ServerSettings) -> Result<Box<dyn TlsAcceptor>> {
        let offload = settings.offload();
        Ok(Box::new(XorAcceptor { settings, offload }))
    }
}

#[derive(Debug)]
struct XorAcceptor {
    settings: ServerSettings,
    offload: Option<Offload>,
}

impl XorAcceptor {
    async fn shake_hands(&self, io: L4Stream) -> Result<Accepted, FailedHandshake> {
        let mut stream = XorStream::new(io);
        let poll = |stream: &mut XorStream, cx: &mut Context<'_>| stream.poll_lists(cx, CLIENT, 3);
        let read = match &self.offload {
            None => poll_fn(|cx| poll(&mut stream, cx)).await,
            Some(offload) => {
                let (returned, read, waited) = offload.run(stream, poll).await?;
                stream = returned;
                stream.waited = Some(waited);
                read
            }
        };
        let Some(hello) = read.map_err(broken)? else {
            let failed = failed(HandshakeFailure::NotTls, "no XOR");
            return Err(failed.began_with(&stream.raw, stream.io));
        };
        // As a database would be asked.
        tokio::task::yield_now().await;
        let name = String::from_utf8_lossy(&hello[0]).into_owned();
        let Some(certificate) = self.settings.certificate_for(Some(&name), None) else {
            return Err(failed(HandshakeFailure::NoCertificate, "no certificate"));
        };
        let offered: Vec<&[u8]> = hello[1]
            .split(|b| *b == b',')
            .filter(|p| !p.is_empty())
            .collect();
        let chosen = match self.settings.alpn() {
            Some(alpn) if !offered.is_empty() => {
                let nothing = || failed(HandshakeFailure::NothingInCommon, "no protocol");
                Some(alpn.select_from(offered).ok_or_else(nothing)?)
            }
            _ => None,
        };
        assert!(!certificate.key_der()?.is_empty());
        let resumed = hello[2] == b"ticket";
        stream.push_lists(
            SERVER,
            &[chosen.unwrap_or_default(), certificate.fingerprint()],
        );
        poll_fn(|cx| stream.poll_out(cx)).await.map_err(broken)?;
        let mut facts = TlsFacts::default();
        facts.server_name = Some(name.into());
        facts.alpn = chosen.map(ALPN::from_selected);
        facts.group = Some("none".into());
        facts.resumed = resumed;
        stream.digest = Some(digest(facts));
        Ok(Accepted::new(stream, resumed))
    }
}

impl TlsAcceptor for XorAcceptor {
    fn accept(&self, stream: L4Stream) -> BoxFuture<'_, Result<Accepted, FailedHandshake>> {
        Box::pin(self.shake_hands(stream))
    }
}

impl ClientBackend for Xor {
    fn name(&self) -> &'static str {
        "xor"
    }

    fn build(&self, settings: &ClientSettings) -> Result<Box<dyn TlsConnector>> {
        Ok(Box::new(XorConnector(settings.clone())))
    }
}

#[derive(Debug)]
struct XorConnector(ClientSettings);

impl XorConnector {
    async fn shake_hands(&self, io: L4Stream, wanted: &ClientHandshake<'_>) -> Result<Stream> {
        let (sessions, key) = (self.0.sessions(), wanted.session_key());
        let ticket = sessions.take(&key);
        let ticket = ticket.and_then(|ticket| ticket.downcast::<&'static str>().ok());
        let offered: Vec<&[u8]> = wanted
            .alpn()
            .map_or(vec![], |alpn| alpn.protocols().collect());
        let offered = offered.join(&b',');
        let mut stream = XorStream::new(io);
        let name = wanted.server_name().unwrap_or_default();
        let ticket = ticket.map_or("", |ticket| *ticket);
        stream.push_lists(CLIENT, &[name.as_bytes(), &offered, ticket.as_bytes()]);
        poll_fn(|cx| stream.poll_out(cx)).await.map_err(broken)?;
        let answer = poll_fn(|cx| stream.poll_lists(cx, SERVER, 2)).await;
        let Some(answer) = answer.map_err(broken)? else {
            return Error::e_explain(ErrorType::TLSHandshakeFailure, "no XOR");
        };
        let resumed = !ticket.is_empty();
        sessions.note(resumed);
        let until = Instant::now() + Duration::from_secs(60);
        sessions.put(key, Arc::new("ticket"), true, until);
        let mut facts = TlsFacts::default();
        facts.alpn = (!answer[0].is_empty()).then(|| ALPN::from_selected(&answer[0]));
        facts.server_name = wanted.server_name().map(Into::into);
        facts.resumed = resumed;
        facts.set_peer_chain_der([answer[1].clone()]);
        stream.digest = Some(digest(facts));
        Ok(Box::new(stream))
    }
}

impl TlsConnector for XorConnector {
    fn connect<'a>(
        &'a self,
        stream: L4Stream,
        wanted: &'a ClientHandshake<'a>,
    ) -> BoxFuture<'a, Result<Stream>> {
        Box::pin(self.shake_hands(stream, wanted))
    }
}

impl fmt::Debug for XorStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XorStream").finish_non_exhaustive()
    }
}

impl AsyncRead for XorStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            this.open_frames();
            if !this.plain.is_empty() || this.peer_said_goodbye {
                let n = this.plain.len().min(buf.remaining());
                buf.put_slice(&this.plain[..n]);
                this.plain.drain(..n);
                return Poll::Ready(Ok(()));
            }
            if ready!(this.poll_more(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl AsyncWrite for XorStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_out(cx))?;
        let piece = &buf[..buf.len().min(FRAME)];
        if !piece.is_empty() {
            this.out
                .extend_from_slice(&(piece.len() as u16).to_be_bytes());
            this.out.extend(piece.iter().map(|byte| byte ^ KEY));
            let _ = this.poll_out(cx)?;
        }
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.said_goodbye, true) {
            this.out.extend_from_slice(&[0, 0]);
        }
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for XorStream {
    async fn shutdown(&mut self) {
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for XorStream {
    fn id(&self) -> UniqueIDType {
        self.io.id()
    }
}

impl Ssl for XorStream {
    fn is_encrypted(&self) -> bool {
        true
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.digest.clone()
    }
}

impl GetTimingDigest for XorStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        let mut layers = self.io.get_timing_digest();
        layers.push(Some(TimingDigest {
            offload_wait_duration: self.waited,
            ..TimingDigest::default()
        }));
        layers
    }
}

impl GetProxyDigest for XorStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.io.get_proxy_digest()
    }
}

impl GetSocketDigest for XorStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.io.get_socket_digest()
    }
}

impl Peek for XorStream {}
