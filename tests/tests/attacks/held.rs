//! The number of bytes held for each byte that is sent: by one connection, by a hundred, by five
//! hundred.
//!
//! The memory that one connection can make the proxy hold is bounded, and so is the memory that any
//! number of them can; the process's account knows about it; and it is released afterwards.

use crate::measured::{LIMIT, Measured, Report};
use crate::patient::Patient;
use crate::victim::{get, post, stream};
use pingora_tests::http2::frames::{self, Frame, kind};
use pingora_tests::http2::{Http2Client, RawHttp2};
use pingora_tests::{Ask, Running, Version, pattern};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

const KB: usize = 1024;
const MB: usize = 1024 * KB;
/// SETTINGS_HEADER_TABLE_SIZE, SETTINGS_INITIAL_WINDOW_SIZE.
const TABLE: u16 = 1;
const WINDOW: u16 = 4;
/// The amount that one connection may hold: 1 MiB of responses, a little for each of a hundred
/// streams, and the streams and exchanges themselves.
const ONE: usize = 5 * MB;
/// The amount that all may hold: the account's limit, and memory that the account does not track
/// (short-lived framing buffers, exchanges, pools).
const ALL: usize = LIMIT + LIMIT / 2;
/// The numbers of connections that attack at once.
const CROWDS: [usize; 3] = [1, 100, 500];
/// A field that each request has once, from the table.
const NO_FIELD: (&str, &str, usize) = ("x", "y", 1);
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// How long an attacker waits for room to send more.
const SHORT: Duration = Duration::from_millis(300);

/// An attacker that has sent everything it wanted; dropping it ends it.
#[allow(dead_code, reason = "it is there to be there")]
enum Attacker {
    Http1(TcpStream),
    Http2(RawHttp2),
}

/// Sends frames as far as the proxy reads them; returns the number of bytes.
async fn send(address: SocketAddr, settings: &[(u16, u32)], frames: Vec<Frame>) -> Sent {
    // A client that is turned away has done no harm.
    let connecting = RawHttp2::silent(address).await;
    let mut attacker = connecting;
    let mut bytes = frames::PREFACE.to_vec();
    bytes.extend(Frame::settings(&[&[(TABLE, 4096)], settings].concat()).encode());
    bytes.extend(Frame::settings_ack().encode());
    bytes.extend(frames.iter().flat_map(Frame::encode));
    let _ = timeout(SHORT, attacker.try_send_bytes(&bytes)).await;
    (bytes.len(), Attacker::Http2(attacker))
}

/// The number of bytes, and the attacker that sent them.
type Sent = (usize, Attacker);

async fn send_http1(address: SocketAddr, bytes: Vec<u8>) -> Sent {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = timeout(SHORT, stream.write_all(&bytes)).await;
    (bytes.len(), Attacker::Http1(stream))
}

/// Requests; the first one puts everything into the field table. Each contains `more` the given
/// number of times.
fn indexed_gets(count: usize, path: &str, more: (&str, &str, usize)) -> Vec<Frame> {
    // GET, http, and the first table entry: the later an entry, the lower its number.
    let begin = [frames::indexed(2), frames::indexed(6)].concat();
    let first = [
        &begin[..],
        &frames::literal_to_index(":authority", "a"),
        &frames::literal_to_index(":path", path),
        &frames::literal_to_index(more.0, more.1),
        &frames::indexed(62).repeat(more.2),
    ];
    let later = [
        &begin[..],
        &frames::indexed(64),
        &frames::indexed(63),
        &frames::indexed(62).repeat(more.2),
    ];
    let (first, later) = (first.concat(), later.concat());
    let first = Frame::headers(stream(0), first, true);
    let later = (1..count).map(|n| Frame::headers(stream(n), later.clone(), true));
    std::iter::once(first).chain(later).collect()
}

/// One kind of attack.
trait Attack {
    const NAME: &'static str;
    /// The amount that one connection may hold.
    const ONE: usize = ONE;
    /// The number of bytes that one connection may hold for each byte that it sends.
    const RATIO: usize;
    /// The scale of each attacker in a crowd: the duration of a crowd's attack is not what is
    /// measured.
    const CROWD: usize = 100;
    /// Additional arguments of the proxy.
    const ARGUMENTS: &'static [&'static str] = &[];

    fn origin() -> impl Future<Output = Patient> {
        Patient::answering()
    }

    /// `scale`: the number of streams, or their size; a hundred for a single attacker.
    fn begin(address: SocketAddr, scale: usize) -> impl Future<Output = Sent>;
}

/// Attacks with crowds of every size, each on a separate proxy.
async fn measure<A: Attack>() {
    // Concurrent crowds would only slow each other down.
    let _alone = ALONE.lock().await;
    for count in CROWDS {
        let mut proxy = Measured::before(A::origin().await, A::ARGUMENTS, "").await;
        let mut crowd = Vec::with_capacity(count);
        let mut sent = 0;
        for _ in 0..count {
            let (bytes, attacker) =
                A::begin(proxy.address, if count == 1 { 100 } else { A::CROWD }).await;
            sent += bytes;
            crowd.push(attacker);
        }
        let report = proxy.settled().await;
        check::<A>(count, sent, report);
        assert!(!proxy.has_ended(), "{}: {:?}", A::NAME, proxy.lines());
        drop(crowd);
        let left = proxy.lets_go(LEFT, Duration::from_secs(30)).await;
        assert!(left.now < LEFT, "{}: {left:?} stay", A::NAME);
        if A::ARGUMENTS.is_empty() {
            for version in [Version::H2, Version::H1] {
                let answer = Ask::get("/x").answered_over(version, proxy.address).await;
                assert_eq!(answer.status(), 200, "{}", A::NAME);
            }
        }
    }
}

/// The amount that may remain after the crowd is gone: pools, tables that have grown, buffers of
/// the workers.
const LEFT: usize = 8 * MB;

fn check<A: Attack>(count: usize, sent: usize, report: Report) {
    let Report { now, peak, held } = report;
    println!(
        "{}, {count} connections: {sent} bytes sent; {now} held, {} for each; {peak} at the most; \
         the account knows of {held}",
        A::NAME,
        now / sent
    );
    let all = if count == 1 { A::ONE } else { ALL };
    assert!(peak < all, "{}, {count} connections: {report:?}", A::NAME);
    if count == 1 {
        assert!(now / sent <= A::RATIO, "{}: {report:?} of {sent}", A::NAME);
    }
    // The account must know about most of it, or it could not react. For uploads over HTTP/1 it only knows
    // about the connections.
    let known = if A::NAME == Upload::NAME {
        16 * held
    } else {
        2 * held
    };
    assert!(now < known + 24 * MB, "{}: {report:?}", A::NAME);
}

/// CVE-2026-49975, CVE-2026-47774.
struct Window0;

impl Attack for Window0 {
    const NAME: &'static str = "window 0";
    const RATIO: usize = 3000;

    async fn begin(address: SocketAddr, scale: usize) -> Sent {
        send(
            address,
            &[(WINDOW, 0)],
            indexed_gets(scale, "/length/65536", NO_FIELD),
        )
        .await
    }
}

/// The same, with responses in chunks.
struct Window0Chunked;

impl Attack for Window0Chunked {
    const NAME: &'static str = "window 0, chunked";
    const RATIO: usize = 4000;

    async fn begin(address: SocketAddr, scale: usize) -> Sent {
        send(
            address,
            &[(WINDOW, 0)],
            indexed_gets(scale, "/chunked/200000", NO_FIELD),
        )
        .await
    }
}

/// Thousands of one-byte references to a field in each of a hundred heads, just under the byte limit.
struct References;

impl Attack for References {
    const NAME: &'static str = "references";
    const CROWD: usize = 2;
    const ONE: usize = 40 * MB;
    const RATIO: usize = 10;

    async fn begin(address: SocketAddr, scale: usize) -> Sent {
        let frames = indexed_gets(scale, "/length/65536", ("x", "", 1_900));
        send(address, &[(WINDOW, 0)], frames).await
    }
}

/// As many one-byte references as a head may have fields, in each of a hundred heads: just under the field
/// limit.
struct ReferencesUnderTheCount;

impl Attack for ReferencesUnderTheCount {
    const NAME: &'static str = "references under the count";
    const RATIO: usize = 400;

    async fn begin(address: SocketAddr, scale: usize) -> Sent {
        let frames = indexed_gets(scale, "/length/65536", ("x", "", 120));
        send(address, &[(WINDOW, 0)], frames).await
    }
}

/// A few references to a value that fills the field table, in each of a hundred heads: just under the
/// byte limit, with twenty bytes each.
struct LongReferences;

impl Attack for LongReferences {
    const NAME: &'static str = "references to a long value";
    const ONE: usize = 12 * MB;
    const RATIO: usize = 3000;
    const CROWD: usize = 20;

    async fn begin(address: SocketAddr, scale: usize) -> Sent {
        let value = "v".repeat(3_750);
        let frames = indexed_gets(scale, "/length/65536", ("x", &value, 15));
        send(address, &[(WINDOW, 0)], frames).await
    }
}

/// As many cookie crumbs as allowed in each of a hundred heads, to an origin that does not answer.
struct Crumbs;

impl Attack for Crumbs {
    const NAME: &'static str = "crumbs";
    const RATIO: usize = 150;

    async fn begin(address: SocketAddr, scale: usize) -> Sent {
        let frames = indexed_gets(scale, "/stall", ("cookie", "a=b", 250));
        send(address, &[(WINDOW, 0)], frames).await
    }
}

/// Unlimited windows, and a socket that is not read.
struct UnreadSocket;

impl Attack for UnreadSocket {
    const NAME: &'static str = "a socket that nobody reads";
    const ONE: usize = 8 * MB;
    const RATIO: usize = 6000;

    async fn begin(address: SocketAddr, scale: usize) -> Sent {
        let mut frames = vec![Frame::window_update(0, 0x7fff_0000)];
        frames.extend(indexed_gets(scale, "/length/1000000", NO_FIELD));
        let mut attacker = RawHttp2::silent(address).await;
        let mut bytes = frames::PREFACE.to_vec();
        bytes.extend(Frame::settings(&[(TABLE, 4096), (WINDOW, 0x7fff_ffff)]).encode());
        bytes.extend(frames.iter().flat_map(Frame::encode));
        let _ = attacker.send_unread_bytes(&bytes, SHORT).await;
        (bytes.len(), Attacker::Http2(attacker))
    }
}

/// Pipelined HTTP/1 requests whose responses are not read.
struct Pipelining;

impl Attack for Pipelining {
    const NAME: &'static str = "pipelining";
    const RATIO: usize = 100;

    async fn begin(address: SocketAddr, scale: usize) -> Sent {
        let request = b"GET /chunked/65536 HTTP/1.1\r\nHost: a\r\n\r\n";
        send_http1(address, request.repeat(10 * scale)).await
    }
}

/// A long HTTP/1 response that is not read.
struct SlowReader;

impl Attack for SlowReader {
    const NAME: &'static str = "a slow reader";
    const RATIO: usize = 20_000;

    async fn begin(address: SocketAddr, _scale: usize) -> Sent {
        let request = b"GET /chunked/10000000 HTTP/1.1\r\nHost: a\r\n\r\n";
        send_http1(address, request.to_vec()).await
    }
}

/// A body that its origin does not read.
struct Upload;

impl Attack for Upload {
    const NAME: &'static str = "an upload that nobody reads, over HTTP/1";
    const CROWD: usize = 10;
    const RATIO: usize = 3;
    const ARGUMENTS: &'static [&'static str] = &["--write-timeout", "60000"];

    fn origin() -> impl Future<Output = Patient> {
        Patient::deaf()
    }

    async fn begin(address: SocketAddr, scale: usize) -> Sent {
        let mut bytes =
            b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 900000000\r\n\r\n".to_vec();
        bytes.extend(pattern(scale * 80 * KB));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut sent = 0;
        // In pieces that are much smaller than one read could take.
        for piece in bytes.chunks(5_000) {
            match timeout(SHORT, stream.write_all(piece)).await {
                Ok(Ok(())) => sent += piece.len(),
                _ => break,
            }
        }
        (sent, Attacker::Http1(stream))
    }
}

struct UploadHttp2;

impl Attack for UploadHttp2 {
    const NAME: &'static str = "uploads that nobody reads, over HTTP/2";
    const CROWD: usize = 50;
    const RATIO: usize = 3;
    const ARGUMENTS: &'static [&'static str] = &["--write-timeout", "60000"];

    fn origin() -> impl Future<Output = Patient> {
        Patient::deaf()
    }

    async fn begin(address: SocketAddr, scale: usize) -> Sent {
        let streams = 16 * scale / 100;
        let mut frames: Vec<_> = (0..streams).map(|n| post(stream(n), "/upload")).collect();
        let piece = pattern(16_000);
        for _ in 0..8 {
            frames.extend((0..streams).map(|n| Frame::data(stream(n), piece.clone(), false)));
        }
        send(address, &[], frames).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_of_0_hold_a_bounded_amount() {
    measure::<Window0>().await;
    measure::<Window0Chunked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_just_under_the_limit_hold_a_bounded_amount() {
    measure::<References>().await;
    measure::<ReferencesUnderTheCount>().await;
    measure::<LongReferences>().await;
    measure::<Crumbs>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_nobody_reads_hold_a_bounded_amount() {
    measure::<UnreadSocket>().await;
    measure::<SlowReader>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_hold_a_bounded_amount() {
    measure::<Pipelining>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_nobody_reads_hold_a_bounded_amount() {
    measure::<Upload>().await;
    measure::<UploadHttp2>().await;
}

/// CVE-2026-49975, CVE-2026-47774: memory held because of a window of 0 is freed within the stall
/// time, even if each window opens by a byte now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dripped_windows_do_not_keep_what_is_held() {
    drip::<Window0>().await;
    drip::<ReferencesUnderTheCount>().await;
    drip::<LongReferences>().await;
}

async fn drip<A: Attack>() {
    let _alone = ALONE.lock().await;
    let origin = Patient::answering().await;
    let mut proxy = Measured::before(origin, &["--write-timeout", "1500"], "").await;
    let (_, attacker) = A::begin(proxy.address, 100).await;
    let Attacker::Http2(mut attacker) = attacker else {
        return;
    };
    let before = proxy.settled().await;
    assert!(before.now > MB, "{before:?}");
    let begun = std::time::Instant::now();
    let mut ended = false;
    while begun.elapsed() < Duration::from_secs(5) && !ended {
        let drops = (0..100).map(|n| Frame::window_update(stream(n), 1));
        ended = attacker.flood(drops, Duration::from_secs(1)).await != Some(true);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let after = proxy.report().await;
    println!(
        "{}: {before:?} before, {after:?} after {:?}",
        A::NAME,
        begun.elapsed()
    );
    assert!(after.now < MB, "{}: {after:?} of {before:?}", A::NAME);
}

/// While memory is scarce, new work is turned away in the way of each protocol, and once it is not
/// scarce any more everything continues; the log reports it once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_work_is_turned_away_while_memory_is_scarce() {
    let origin = Patient::answering().await;
    let mut proxy = Measured::before(origin, &[], "").await;
    let client = Http2Client::to(proxy.address).await;
    assert_eq!(client.get("/x").await.status(), 200);
    // More than all system buffers can hold.
    let mut under_way = Vec::new();
    for version in [Version::H1, Version::H2] {
        let ask = Ask::get("/length/20000000");
        let mut download = Running::begin(version, proxy.address, &ask).await;
        let head = download.head().await;
        assert_eq!(head.status(), 200);
        under_way.push((download, head));
    }
    let mut crowd = Vec::new();
    let mut refused = false;
    for _ in 0..200 {
        crowd.push(Window0::begin(proxy.address, 100).await.1);
        let answer = Ask::get("/x")
            .answered_over(Version::H1, proxy.address)
            .await;
        refused |= answer.status() == 503;
        if refused {
            break;
        }
    }
    assert!(refused, "{:?}", proxy.settled().await);
    // What is under way goes on meanwhile.
    for (mut download, head) in under_way {
        let answer = download.rest_of(head).await;
        assert!(answer.is_complete(), "{:?}", answer.ending);
        assert_eq!(answer.body.len(), 20_000_000);
    }
    drop(crowd);
    proxy.lets_go(LEFT, Duration::from_secs(30)).await;
    for version in [Version::H1, Version::H2] {
        let answer = Ask::get("/x").answered_over(version, proxy.address).await;
        assert_eq!(answer.status(), 200, "over {version:?}");
    }
    let lines = proxy.lines();
    let said = lines
        .iter()
        .filter(|line| line.contains("memory_limit_bytes"));
    assert_eq!(said.count(), 1, "{lines:?}");
}

/// With 300 MB of address space, a hundred connections that hold as much as they can don't end the
/// process: unless a limit is set, it is derived from the address space.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_little_address_space_lives_through_a_hundred_attackers() {
    let mut proxy = Measured::in_address_space(300 * MB, Patient::answering().await).await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(Window0::begin(proxy.address, 100).await.1);
    }
    let report = proxy.settled().await;
    println!("{report:?}");
    assert!(!proxy.has_ended(), "{:?}", proxy.lines());
    assert!(report.held < 75 * MB, "{report:?}");
    drop(crowd);
    proxy.lets_go(LEFT, Duration::from_secs(30)).await;
    let answer = Ask::get("/x")
        .answered_over(Version::H2, proxy.address)
        .await;
    assert_eq!(answer.status(), 200);
}

/// The connections that hold most are closed if they keep others out; the others are then served
/// although no other connection has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_greediest_make_room_for_others() {
    let mut proxy = Measured::before(Patient::answering().await, &[], "").await;
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(Window0::begin(proxy.address, 100).await.1);
    }
    let held = proxy.settled().await;
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let answer = Ask::get("/x")
            .answered_over(Version::H1, proxy.address)
            .await;
        if answer.status() == 200 {
            break;
        }
        assert!(std::time::Instant::now() < end, "{held:?}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(crowd);
}

/// A full connection does not hold up streams whose client lets them continue: a client may pause any
/// number of streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_stand_still_do_not_stop_the_others_of_their_connection() {
    let proxy = Measured::before(Patient::answering().await, &[], "").await;
    let mut client = RawHttp2::client(proxy.address, &[(WINDOW, 0)]).await;
    let paused = (0..80).map(|n| get(stream(n), "/length/65536"));
    client.send(paused).await;
    for _ in 0..80 {
        client.frame_of(kind::HEADERS).await.expect("a head comes");
    }
    for (number, path) in [(80, "/length/300000"), (81, "/chunked/300000")] {
        let id = stream(number);
        client
            .send([
                Frame::window_update(0, 400_000),
                get(id, path),
                Frame::window_update(id, 400_000),
            ])
            .await;
        let answer = client.answer(id).await;
        assert_eq!((answer.statuses, answer.body.len()), (vec![200], 300_000));
    }
    // And those continue where they stopped.
    client
        .send([
            Frame::window_update(0, 70_000),
            Frame::window_update(stream(0), 70_000),
        ])
        .await;
    let mut body = 0;
    while body < 65_536 {
        let frame = client.frame_of(kind::DATA).await.expect("it goes on");
        assert_eq!(frame.stream, stream(0));
        body += frame.payload.len();
    }
}
