//! Stored bodies, sent from their files.

use super::*;
use crate::ReadyCache;
use pingora_cache::MemCache;
use pingora_cache::disk::{DiskOptions, DiskStore};
use pingora_core::protocols::http::exchange::FilePart;
use pingora_error::ErrorType;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Mutex;

/// A proxy with a cache in a directory.
struct Cached {
    to: Plain,
    cache: ReadyCache,
    looks: bool,
    write_limit: Option<Duration>,
    ended: Arc<Mutex<Vec<Ended>>>,
}

/// The bytes that a response's body had, and its error.
type Ended = (usize, Option<ErrorType>);

#[async_trait]
impl ProxyHttp for Cached {
    type CTX = ();
    fn new_ctx(&self) {}
    fn ready_cache(&self, _: &()) -> Option<&ReadyCache> {
        Some(&self.cache)
    }
    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        session.set_write_timeout(self.write_limit);
        Ok(false)
    }
    async fn upstream_peer(&self, s: &mut Session, c: &mut ()) -> Result<Box<HttpPeer>> {
        self.to.upstream_peer(s, c).await
    }
    fn body_filters(&self, _: &Session, _: &()) -> Option<bool> {
        Some(self.looks)
    }
    async fn logging(&self, session: &mut Session, error: Option<&Error>, _: &mut ()) {
        let ended = (session.body_bytes_sent(), error.map(|e| e.etype().clone()));
        self.ended.lock().unwrap().push(ended);
    }
    fn suppress_error_log(&self, _: &Session, _: &(), _: &Error) -> bool {
        true
    }
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("sent-files-{}-{name}", std::process::id());
        Directory(std::env::temp_dir().join(name))
    }

    /// Whether files here are sent unread: the kernel has to know what is in memory.
    fn is_able(&self) -> bool {
        let path = self.0.join("probe");
        std::fs::write(&path, b"probe").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let part = FilePart::new(file.as_fd(), 0, 5);
        part.is_in_memory(5) == Some(true)
    }

    /// A proxy whose store is here, in front of an origin that is to be asked once for each body.
    async fn proxy(&self) -> Cached {
        let (address, _) = origin(answer_to_be_stored).await;
        let store = DiskStore::open(&self.0, DiskOptions::bytes(1 << 30)).unwrap();
        while !store.is_scanned() {
            tokio::task::yield_now().await;
        }
        Cached {
            to: Plain::to(address),
            cache: ReadyCache::new(store),
            looks: false,
            write_limit: None,
            ended: Arc::default(),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Answers one request of each connection with a body that may be stored.
async fn answer_to_be_stored(mut stream: TcpStream) {
    let head = read_head(&mut stream).await.unwrap();
    let length: usize = head.split([' ', '/']).nth(2).unwrap().parse().unwrap();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    answer.extend_from_slice(&payload(length));
    stream.write_all(&answer).await.unwrap();
}

/// The answer to a request for these parts of a body.
async fn fetch_parts(client: &mut TcpStream, length: usize, parts: &str) -> (String, Vec<u8>) {
    let request = format!("GET /{length} HTTP/1.1\r\nHost: a\r\nRange: bytes={parts}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(client).await.expect("a response");
    assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
    let body = read_body(client, content_length(&head)).await;
    (head, body)
}

#[tokio::test]
async fn what_was_read_once_is_sent_from_its_file() {
    soon(async {
        let directory = Directory::new("whole");
        let proxy = directory.proxy().await;
        let is_able = directory.is_able();
        let ended = proxy.ended.clone();
        let mut client = TcpStream::connect(serve(proxy).await).await.unwrap();
        for length in [1000, 100_000, 3_000_007, 20_000_000] {
            // From the origin; then read and checked.
            for _ in 0..2 {
                SPLICED.set(0);
                fetch(&mut client, length).await;
                assert_eq!(SPLICED.get(), 0, "{length}");
            }
            fetch(&mut client, length).await;
            let expected = is_able && length > 1000;
            assert_eq!(SPLICED.get() > 0, expected, "{length}");
            // All but the piece that was read with the head.
            assert!(!expected || SPLICED.get() >= length - 64 * 1024);
        }
        // The last one is noted after its response has arrived.
        drop(client);
        while ended.lock().unwrap().len() < 12 {
            tokio::task::yield_now().await;
        }
        let ended = ended.lock().unwrap();
        assert_eq!(ended.first(), Some(&(1000, None)));
        assert_eq!(ended.last(), Some(&(20_000_000, None)));
    })
    .await;
}

#[tokio::test]
async fn what_is_in_a_file_in_memory_is_sent_from_there() {
    soon(async {
        let (address, _) = origin(answer_to_be_stored).await;
        let store = Box::leak(Box::new(MemCache::bounded(1 << 30)));
        let proxy = Cached {
            to: Plain::to(address),
            cache: ReadyCache::new(&*store),
            looks: false,
            write_limit: None,
            ended: Arc::default(),
        };
        let mut client = TcpStream::connect(serve(proxy).await).await.unwrap();
        for length in [1000, 100_000, 200_000, 1_000_007, 3_000_000] {
            fetch(&mut client, length).await;
            SPLICED.set(0);
            fetch(&mut client, length).await;
            let is_large = (128 * 1024..=1024 * 1024).contains(&length);
            // All but the piece that leaves with the head.
            let expected = if is_large { length - 16 * 1024 } else { 0 };
            assert_eq!(SPLICED.get(), expected, "{length}");
        }
        SPLICED.set(0);
        let (_, body) = fetch_parts(&mut client, 1_000_007, "100001-900000").await;
        assert!(body == payload(1_000_007)[100_001..=900_000]);
        assert_eq!(SPLICED.get(), 800_000 - 16 * 1024);
    })
    .await;
}

#[tokio::test]
async fn parts_are_sent_from_the_file() {
    const LENGTH: usize = 2_000_000;
    soon(async {
        let directory = Directory::new("parts");
        let proxy = directory.proxy().await;
        let is_able = directory.is_able();
        let mut client = TcpStream::connect(serve(proxy).await).await.unwrap();
        fetch(&mut client, LENGTH).await;
        let all = payload(LENGTH);
        for (first, last) in [(0, 1_999_999), (70_000, 1_900_000), (1_000_001, 1_000_009)] {
            SPLICED.set(0);
            let parts = format!("{first}-{last}");
            let (_, body) = fetch_parts(&mut client, LENGTH, &parts).await;
            assert!(body == all[first..=last], "{parts}");
            assert_eq!(SPLICED.get() > 0, is_able && last - first > 9, "{parts}");
        }
        SPLICED.set(0);
        let parts = "1500000-1900000,100000-900000,7-9";
        let (_, body) = fetch_parts(&mut client, LENGTH, parts).await;
        assert_eq!(SPLICED.get() > 0, is_able);
        let mut rest = &body[..];
        for part in [1_500_000..=1_900_000, 100_000..=900_000, 7..=9] {
            let at = rest
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .unwrap()
                + 4;
            let wanted = &all[part];
            assert!(rest[at..].starts_with(wanted), "{} bytes", wanted.len());
            rest = &rest[at + wanted.len()..];
        }
        assert!(rest.starts_with(b"\r\n--") && rest.ends_with(b"--\r\n"));
    })
    .await;
}

#[tokio::test]
async fn what_somebody_looks_at_is_read() {
    soon(async {
        let directory = Directory::new("seen");
        let mut proxy = directory.proxy().await;
        proxy.looks = true;
        let mut client = TcpStream::connect(serve(proxy).await).await.unwrap();
        for _ in 0..3 {
            fetch(&mut client, 1_000_000).await;
        }
        assert_eq!(SPLICED.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_late_and_not_the_store() {
    const LENGTH: usize = 24_000_000;
    soon(async {
        let directory = Directory::new("late");
        let mut proxy = directory.proxy().await;
        proxy.write_limit = Some(Duration::from_millis(300));
        let ended = proxy.ended.clone();
        let address = serve(proxy).await;
        for _ in 0..2 {
            let mut client = TcpStream::connect(address).await.unwrap();
            fetch(&mut client, LENGTH).await;
        }
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /{LENGTH} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        while ended.lock().unwrap().len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (sent, error) = ended.lock().unwrap().pop().unwrap();
        assert_eq!(error, Some(ErrorType::WriteTimedout));
        assert!(sent > 0 && sent < LENGTH, "{sent}");
    })
    .await;
}

#[tokio::test]
async fn a_file_that_became_shorter_ends_the_response_as_cut_short() {
    const LENGTH: usize = 24_000_000;
    soon(async {
        let directory = Directory::new("shorter");
        let proxy = directory.proxy().await;
        let mut client = TcpStream::connect(serve(proxy).await).await.unwrap();
        fetch(&mut client, LENGTH).await;
        fetch(&mut client, LENGTH).await;
        let request = format!("GET /{LENGTH} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await.unwrap();
        assert_eq!(content_length(&head), LENGTH);
        let entry = entries(&directory.0).pop().unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(entry).unwrap();
        file.set_len(LENGTH as u64 - 5_000_000).unwrap();
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest).await;
        assert!(rest.len() < LENGTH);
        assert!(payload(LENGTH).starts_with(&rest));
    })
    .await;
}

/// The files of all entries.
fn entries(directory: &std::path::Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(directory)
        .unwrap()
        .map(|f| f.unwrap().path());
    let folders = folders.filter(|path| path.is_dir() && !path.ends_with("beside"));
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}
