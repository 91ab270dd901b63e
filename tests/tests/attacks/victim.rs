//! A proxy under attack, and the clients that are served meanwhile.

use pingora_tests::http2::frames::{self, Frame};
use pingora_tests::http2::{Http2Client, RawHttp2};
use pingora_tests::{Ask, Origin, PATIENCE, Program, Version};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The memory that an attack may cost at any moment.
const BUDGET: usize = 64 * 1024 * 1024;

/// The name of an attack, and its function.
pub(crate) type Row<F> = (&'static str, F);
/// The frames of one stream.
pub(crate) type OnStream = fn(u32) -> Vec<Frame>;

/// How a connection's part in an attack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The proxy ended it.
    Ended,
    /// It sent everything that it wanted to.
    Finished,
    /// Its data was no longer read.
    Blocked,
}

/// A proxy as a separate process, in front of an HTTP/1.1 origin.
pub(crate) struct Victim {
    program: Program,
    pub(crate) address: SocketAddr,
    pub(crate) origin: Origin,
    /// How many times longer an attack is than in its quick form.
    pub(crate) scale: usize,
    base: usize,
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.program.has_not_panicked();
    }
}

impl Victim {
    pub(crate) async fn new() -> Self {
        let origin = Origin::well_behaved().await;
        Self::before(origin, &[]).await
    }

    /// With this HTTP/2 origin.
    pub(crate) async fn of(origin: Origin) -> Self {
        Self::before(origin, &["--upstream-http2"]).await
    }

    async fn before(origin: Origin, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fixed_proxy"));
        command
            .args(["--h2c", "--upstream", &origin.address().to_string()])
            .args(arguments)
            .env("RUST_LOG", "off");
        let mut program = Program::start(&mut command);
        let address = program.addresses()[0];
        let mut victim = Self {
            program,
            address,
            origin,
            scale: 1,
            base: 0,
        };
        if arguments.is_empty() {
            // One-time allocations are made now.
            let warm_up = (0..50).map(|_| victim.bystander());
            futures::future::join_all(warm_up).await;
        }
        victim.base = victim.program.memory();
        victim
    }

    /// A client that requests a page over each version, on connections of its own.
    async fn bystander(&self) {
        for version in [Version::H2, Version::H1] {
            let answer = Ask::get("/bystander")
                .answered_over(version, self.address)
                .await;
            assert_eq!(answer.text(), "/bystander", "over {version:?}");
        }
    }

    pub(crate) fn over_base(&self) -> usize {
        self.program.peak_memory().saturating_sub(self.base)
    }

    /// Runs an attack while others request pages, one after the other, and get each of them; at
    /// least three pages during the attack or after it.
    pub(crate) async fn suffers<T>(&self, what: &str, attack: impl Future<Output = T>) -> T {
        self.program.forget_peak();
        let (done, mut over) = watch::channel(false);
        let others = async {
            let client = Http2Client::to(self.address).await;
            let mut served = 0;
            while served < 3 || !*over.borrow_and_update() {
                assert_eq!(
                    client.get("/bystander").await.text(),
                    "/bystander",
                    "{what}"
                );
                self.bystander().await;
                served += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            served
        };
        let attack = async {
            let begun = Instant::now();
            let outcome = attack.await;
            done.send_replace(true);
            (outcome, begun.elapsed())
        };
        let ((outcome, took), served) = tokio::join!(attack, others);
        let cost = self.over_base();
        println!("{what}: {cost} bytes over the base, {took:?}, {served} times served");
        assert!(cost < BUDGET, "{what} costs {cost} bytes");
        outcome
    }

    /// A connection that is about to attack.
    pub(crate) async fn attacker(&self, settings: &[(u16, u32)]) -> RawHttp2 {
        RawHttp2::client(self.address, settings).await
    }

    /// Sends batches of frames until the connection ends, is no longer read, or all were sent.
    pub(crate) async fn flood<F, I>(
        &self,
        attacker: &mut RawHttp2,
        count: usize,
        batch: F,
    ) -> Outcome
    where
        F: Fn(usize) -> I,
        I: IntoIterator<Item = Frame>,
    {
        for number in 0..count * self.scale {
            match attacker.flood(batch(number), Duration::from_secs(2)).await {
                Some(true) => {}
                Some(false) => return Outcome::Ended,
                None => return Outcome::Blocked,
            }
        }
        // The proxy may have ended it without the attacker noticing yet.
        if attacker.ended_within(Duration::from_millis(300)).await {
            Outcome::Ended
        } else {
            Outcome::Finished
        }
    }

    /// An attack by one connection with batches of frames, after which the connection is over.
    pub(crate) async fn ends<F, I>(&self, what: &str, count: usize, batch: F)
    where
        F: Fn(usize) -> I,
        I: IntoIterator<Item = Frame>,
    {
        let outcome = self.one_floods(what, count, batch).await;
        assert_eq!(outcome, Outcome::Ended, "{what}");
    }

    /// An attack by one connection with batches of frames, after which the connection may survive.
    pub(crate) async fn one_floods<F, I>(&self, what: &str, count: usize, batch: F) -> Outcome
    where
        F: Fn(usize) -> I,
        I: IntoIterator<Item = Frame>,
    {
        self.suffers(what, async {
            let mut attacker = self.attacker(&[]).await;
            self.flood(&mut attacker, count, batch).await
        })
        .await
    }

    /// The requests for this path that reached the origin, apart from the bystanders' pages.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let requests = self.origin.requests();
        requests
            .iter()
            .filter(|request| request.target() == path)
            .count()
    }

    /// Waits until only the bystanders' requests still reach the origin.
    pub(crate) async fn settles(&self) {
        let end = Instant::now() + PATIENCE;
        let mut before = usize::MAX;
        loop {
            let now = self.origin.open_connections();
            if now == before || Instant::now() > end {
                return;
            }
            before = now;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// HEADERS of a GET without a body.
pub(crate) fn get(stream: u32, path: &str) -> Frame {
    Frame::headers(stream, frames::request("GET", path), true)
}

/// HEADERS of a POST whose body follows.
pub(crate) fn post(stream: u32, path: &str) -> Frame {
    Frame::headers(stream, frames::request("POST", path), false)
}

/// The stream with this number, from 0.
pub(crate) fn stream(number: usize) -> u32 {
    u32::try_from(number * 2 + 1).unwrap()
}
