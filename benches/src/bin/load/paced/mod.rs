//! Requests that arrive when they arrive (a Poisson process), whatever the answers do.
//!
//! A closed loop waits with its next request for a slow answer and so hides it; here a request
//! that finds every connection busy waits in a queue, and its latency counts from the time at
//! which it was due. One thread, epoll, and a timer that is exact: a millisecond's grain would
//! make bursts of what should be single arrivals.

mod origin;

use crate::response::{Head, REQUEST};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use origin::Origin;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The timer's token; connections have their index.
const TIMER: u64 = u64::MAX;
/// Answers are small here; a larger one takes more than one read.
const ANSWER: usize = 4096;
/// How long the first answers may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The load to generate.
pub(crate) struct Plan {
    pub(crate) target: SocketAddr,
    pub(crate) connections: usize,
    /// Requests per second; `None`: a closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) duration: Duration,
    /// Where to be the origin as well.
    pub(crate) origin: Option<SocketAddr>,
}

pub(crate) fn run(plan: &Plan) -> io::Result<()> {
    let mut generator = Generator::new(plan)?;
    generator.settle()?;
    let started = Instant::now();
    generator.run(started, started + plan.duration)?;
    let seconds = started.elapsed().as_secs_f64();
    let mut latencies = generator.latencies;
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies
            .get(index)
            .or(latencies.last())
            .copied()
            .unwrap_or(0) as f64
            / 1000.0
    };
    println!(
        "requests={} errors={} seconds={seconds:.3} p50={:.1} p90={:.1} p99={:.1} p999={:.1} unsent={}",
        latencies.len(),
        generator.errors,
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        generator.due.len(),
    );
    Ok(())
}

struct Connection {
    stream: TcpStream,
    /// When the request under way was due; `None` for the first one, which is not counted:
    /// opening connections is no part of the figures.
    due: Option<Instant>,
    answer: Vec<u8>,
}

struct Generator {
    target: SocketAddr,
    /// Mean time between two arrivals; `None`: a closed loop.
    gap: Option<Duration>,
    epoll: Epoll,
    timer: TimerFd,
    origin: Option<Origin>,
    connections: Vec<Connection>,
    free: Vec<usize>,
    due: VecDeque<Instant>,
    /// Nanoseconds.
    latencies: Vec<u64>,
    errors: u64,
}

impl Generator {
    fn new(plan: &Plan) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let origin = plan
            .origin
            .map(|address| Origin::new(address, &epoll))
            .transpose()?;
        let mut generator = Self {
            target: plan.target,
            gap: plan.rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            epoll,
            timer,
            origin,
            connections: Vec::with_capacity(plan.connections),
            free: Vec::with_capacity(plan.connections),
            due: VecDeque::new(),
            latencies: Vec::new(),
            errors: 0,
        };
        for index in 0..plan.connections {
            let connection = generator.open(index)?;
            generator.connections.push(connection);
        }
        Ok(generator)
    }

    /// A connection with its first request sent.
    fn open(&self, index: usize) -> io::Result<Connection> {
        let mut stream = TcpStream::connect(self.target)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        stream.write_all(REQUEST)?;
        self.epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        Ok(Connection {
            stream,
            due: None,
            answer: Vec::with_capacity(ANSWER),
        })
    }

    /// Waits for the first answer on each connection.
    fn settle(&mut self) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.free.len() < self.connections.len() {
            self.turn()?;
            if self.errors > 0 {
                return Err(io::Error::other("the first answers are not all 200"));
            }
            if Instant::now() > end {
                return Err(io::Error::other("the first answers don't arrive"));
            }
        }
        Ok(())
    }

    fn run(&mut self, started: Instant, end: Instant) -> io::Result<()> {
        let mut next = started;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            self.arrivals(&mut next, now);
            self.send()?;
            if self.gap.is_some() && !self.free.is_empty() {
                let wait = next.saturating_duration_since(Instant::now());
                let wait = TimeSpec::from_duration(wait.max(Duration::from_nanos(1)));
                self.timer
                    .set(Expiration::OneShot(wait), TimerSetTimeFlags::empty())?;
            }
            self.turn()?;
        }
    }

    /// Waits for events and handles them.
    fn turn(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let count = self.epoll.wait(&mut events, EpollTimeout::from(100u8))?;
        for event in events.iter().take(count) {
            match event.data() {
                TIMER => {
                    // The count of expirations says nothing that the clock doesn't.
                    let _ = self.timer.wait();
                }
                token if token >= origin::TOKENS => {
                    if let Some(origin) = &mut self.origin {
                        origin.handle(token, &self.epoll)?;
                    }
                }
                index => self.receive(index as usize)?,
            }
        }
        Ok(())
    }

    /// Notes what became due, or in a closed loop one request per free connection.
    fn arrivals(&mut self, next: &mut Instant, now: Instant) {
        let Some(gap) = self.gap else {
            self.due.extend(std::iter::repeat_n(now, self.free.len()));
            return;
        };
        while *next <= now {
            self.due.push_back(*next);
            *next += gap.mul_f64(-(1.0 - fastrand::f64()).ln());
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while let Some(due) = self.due.front().copied() {
            let Some(index) = self.free.pop() else {
                return Ok(());
            };
            self.due.pop_front();
            let Some(connection) = self.connections.get_mut(index) else {
                continue;
            };
            connection.due = Some(due);
            if connection
                .stream
                .write(REQUEST)
                .is_ok_and(|written| written == REQUEST.len())
            {
                continue;
            }
            self.reopen(index)?;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(index) else {
            return Ok(());
        };
        let mut part = [0; ANSWER];
        let read = match connection.stream.read(&mut part) {
            Ok(0) => return self.reopen(index),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return self.reopen(index),
        };
        connection
            .answer
            .extend_from_slice(part.get(..read).unwrap_or_default());
        match complete(&connection.answer) {
            None => return Ok(()),
            Some(true) => {
                let latency = connection.due.take().map(|due| due.elapsed().as_nanos());
                self.latencies
                    .extend(latency.map(|l| u64::try_from(l).unwrap_or(u64::MAX)));
            }
            Some(false) => self.errors += 1,
        }
        connection.answer.clear();
        self.free.push(index);
        Ok(())
    }

    /// Replaces a connection that the proxy closed, with the request that was on it.
    fn reopen(&mut self, index: usize) -> io::Result<()> {
        self.errors += 1;
        self.free.retain(|free| *free != index);
        let connection = self.open(index)?;
        if let Some(place) = self.connections.get_mut(index) {
            *place = connection;
        }
        Ok(())
    }
}

/// `Some(is a 200)` once the whole answer is there.
fn complete(answer: &[u8]) -> Option<bool> {
    let head = Head::parse(answer)?;
    (answer.len() as u64 >= head.len as u64 + head.body).then_some(head.ok)
}
