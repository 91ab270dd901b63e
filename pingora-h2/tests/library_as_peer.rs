//! The `h2` crate reads our output, and the other way round: random messages over in-memory
//! connections, on which table sizes differ.
#![allow(clippy::unwrap_used, reason = "it is a test")]

use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use pingora_h2::StreamId;
use pingora_h2::frame::{
    DEFAULT_MAX_FRAME_SIZE, Frame, PREFACE, Reader, ReaderLimits, Role, Settings, encode,
};
use pingora_h2::hpack::{Decoder, Encoder, FieldList, ListLimits, Pseudo, Section};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A side of a connection that understands frames and fields, but not streams.
struct Peer {
    io: DuplexStream,
    buffer: BytesMut,
    reader: Reader,
    section: Section,
    decoder: Decoder,
    encoder: Encoder,
    /// The table size that the next acknowledgement of SETTINGS is for.
    announced: Option<u32>,
}

impl Peer {
    async fn new(io: DuplexStream, role: Role, table: Option<u32>) -> Self {
        let mut peer = Self {
            io,
            buffer: BytesMut::new(),
            reader: Reader::new(role, ReaderLimits::default()),
            section: match role {
                Role::Client => Section::Response,
                Role::Server => Section::Request,
            },
            decoder: Decoder::new(4096),
            encoder: Encoder::new(),
            announced: table,
        };
        let mut out = vec![];
        if role == Role::Client {
            out.extend(PREFACE);
        }
        let settings = Settings {
            header_table_size: table,
            ..Settings::default()
        };
        encode::settings(&mut out, &settings);
        peer.io.write_all(&out).await.unwrap();
        peer
    }

    /// Processes the available frames, up to the end of a field block. Returns that block's stream,
    /// and whether SETTINGS have to be acknowledged.
    fn frames(&mut self, list: &mut FieldList) -> (Option<StreamId>, bool) {
        let mut acknowledge = false;
        while let Some(frame) = self.reader.next(&mut self.buffer).unwrap() {
            let (stream, fragment, end) = match frame {
                Frame::Headers(headers) => (headers.stream, headers.fragment, headers.end_headers),
                Frame::Continuation(more) => (more.stream, more.fragment, more.end_headers),
                Frame::Settings(settings) => {
                    for size in [settings.least_header_table_size, settings.header_table_size] {
                        size.into_iter()
                            .for_each(|size| self.encoder.set_max_size(size));
                    }
                    acknowledge = true;
                    continue;
                }
                Frame::SettingsAck => {
                    let size = self.announced.take();
                    size.into_iter()
                        .for_each(|size| self.decoder.set_max_size(size));
                    continue;
                }
                _ => continue,
            };
            self.decoder.decode(fragment, end, list).unwrap();
            if end {
                list.end();
                return (Some(stream), acknowledge);
            }
        }
        (None, acknowledge)
    }

    /// Reads up to the end of the next field block; acknowledges SETTINGS on the way.
    async fn block(&mut self) -> (StreamId, FieldList) {
        let mut list = FieldList::new(self.section, ListLimits::default());
        loop {
            let (done, acknowledge) = self.frames(&mut list);
            if acknowledge {
                let mut out = vec![];
                encode::settings_ack(&mut out);
                self.io.write_all(&out).await.unwrap();
            }
            if let Some(stream) = done {
                assert_eq!((list.malformed(), list.refused()), (None, None));
                return (stream, list);
            }
            let read = self.io.read_buf(&mut self.buffer).await.unwrap();
            assert_ne!(read, 0, "the connection ended");
        }
    }

    async fn send(&mut self, stream: StreamId, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let mut out = vec![];
        encode::block(&mut out, stream, true, DEFAULT_MAX_FRAME_SIZE, |out| {
            self.encoder.begin(out);
            write(&mut self.encoder, out);
        });
        self.io.write_all(&out).await.unwrap();
    }
}

const NAMES: [&str; 12] = [
    "accept",
    "accept-encoding",
    "authorization",
    "cache-control",
    "content-type",
    "cookie",
    "date",
    "server",
    "user-agent",
    "x-custom",
    "x-forwarded-proto",
    "x-long-name-that-no-table-has-an-entry-for",
];

fn fields(random: &mut fastrand::Rng) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for _ in 0..random.usize(..10) {
        let name = HeaderName::from_static(random.choice(NAMES).unwrap());
        let bytes: Vec<u8> = match random.u8(..4) {
            0 => b"the same each time".to_vec(),
            1 => vec![],
            2 => {
                let length = random.usize(..600);
                (0..length).map(|_| random.u8(0x21..0x7f)).collect()
            }
            _ => {
                let length = random.usize(..20);
                (0..length).map(|_| random.u8(0x80..)).collect()
            }
        };
        fields.append(name, HeaderValue::from_bytes(&bytes).unwrap());
    }
    if random.u8(..40) == 0 {
        // More than one frame, even Huffman-coded.
        for n in 0..12 {
            let name = HeaderName::from_bytes(format!("x-{n}").as_bytes()).unwrap();
            fields.append(name, HeaderValue::from_bytes(&[b'\\'; 2000]).unwrap());
        }
    }
    fields
}

fn write_fields(encoder: &mut Encoder, out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        encoder.field(out, name, value);
    }
}

/// Our server, their client.
#[tokio::test]
async fn a_client_of_the_library_is_understood_and_understands() {
    for (seed, table) in [(1, None), (2, Some(0)), (3, Some(100)), (4, Some(1 << 16))] {
        let mut random = fastrand::Rng::with_seed(seed);
        let (near, far) = tokio::io::duplex(1 << 18);
        let mut peer = Peer::new(near, Role::Server, table).await;
        let their_table = random.choice([0, 50, 4096]).unwrap();
        let (sender, connection) = h2::client::Builder::new()
            .header_table_size(their_table)
            .handshake::<_, Bytes>(far)
            .await
            .unwrap();
        let mut preface = [0; PREFACE.len()];
        peer.io.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, PREFACE);
        let driving = tokio::spawn(connection);
        for round in 0..150 {
            let sent = fields(&mut random);
            let path = format!("/{}", random.u8(..3));
            let method = random.choice([Method::GET, Method::DELETE]).unwrap();
            let mut request = Request::builder()
                .method(method.clone())
                .uri(format!("https://www.example.com{path}"))
                .body(())
                .unwrap();
            *request.headers_mut() = sent.clone();
            let mut ready = sender.clone().ready().await.unwrap();
            let (response, _) = ready.send_request(request, true).unwrap();
            let (stream, list) = peer.block().await;
            assert_eq!(list.fields, sent, "round {round}");
            assert_eq!(list.pseudo.method, Some(method));
            assert_eq!(list.pseudo.path.as_deref(), Some(path.as_bytes()));
            assert_eq!(list.pseudo.scheme.as_deref(), Some(&b"https"[..]));
            let answer = fields(&mut random);
            let status = StatusCode::from_u16(random.u16(200..600)).unwrap();
            peer.send(stream, |encoder, out| {
                encoder.status(out, status);
                write_fields(encoder, out, &answer);
            })
            .await;
            let response = response.await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(*response.headers(), answer, "round {round}");
        }
        driving.abort();
    }
}

/// Our client, their server.
#[tokio::test]
async fn a_server_of_the_library_is_understood_and_understands() {
    for (seed, table) in [(5, None), (6, Some(0)), (7, Some(100)), (8, Some(1 << 16))] {
        let mut random = fastrand::Rng::with_seed(seed);
        let (near, far) = tokio::io::duplex(1 << 18);
        let (requests, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let mut answers = fastrand::Rng::with_seed(seed + 100);
        let serving = tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            let their_table = answers.choice([0, 50, 4096]).unwrap();
            builder.header_table_size(their_table);
            let mut connection = builder.handshake::<_, Bytes>(far).await.unwrap();
            while let Some(accepted) = connection.accept().await {
                let (request, mut respond) = accepted.unwrap();
                let answer = fields(&mut answers);
                let mut response = Response::builder().status(203).body(()).unwrap();
                *response.headers_mut() = answer.clone();
                requests.send((request, answer)).unwrap();
                respond.send_response(response, true).unwrap();
            }
        });
        let mut peer = Peer::new(near, Role::Client, table).await;
        let mut stream = StreamId::new(1);
        for round in 0..150 {
            let sent = fields(&mut random);
            let path = format!("/{}", random.u8(..3));
            peer.send(stream, |encoder, out| {
                encoder.method(out, &Method::PUT);
                encoder.pseudo(out, Pseudo::Scheme, b"http");
                encoder.pseudo(out, Pseudo::Path, path.as_bytes());
                encoder.pseudo(out, Pseudo::Authority, b"www.example.com");
                write_fields(encoder, out, &sent);
            })
            .await;
            let (answered, list) = peer.block().await;
            assert_eq!(answered, stream);
            let (request, answer) = seen.recv().await.unwrap();
            assert_eq!(*request.headers(), sent, "round {round}");
            assert_eq!(request.uri(), &*format!("http://www.example.com{path}"));
            let status = StatusCode::NON_AUTHORITATIVE_INFORMATION;
            assert_eq!(list.pseudo.status, Some(status));
            assert_eq!(list.fields, answer, "round {round}");
            stream = stream.next().unwrap();
        }
        serving.abort();
    }
}
