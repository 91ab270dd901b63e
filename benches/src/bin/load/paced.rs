//! Requests that arrive when they arrive (a Poisson process), whatever the answers do.
//!
//! A closed loop waits with its next request for a slow answer and so hides it; here a request
//! that finds every connection busy waits in a queue, and its latency counts from the time at
//! which it was due. One thread, epoll, and a timer that is exact: a millisecond's grain would
//! make bursts of what should be single arrivals.

use crate::response::{Head, REQUEST};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The timer's token; connections have their index.
const TIMER: u64 = u64::MAX;
/// Answers are small here; a larger one is an error of the run's setup.
const ANSWER: usize = 4096;
/// How long the answer on a fresh connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(
    target: SocketAddr,
    connections: usize,
    rate: Option<f64>,
    duration: Duration,
) -> io::Result<()> {
    let mut generator = Generator::new(target, connections, rate)?;
    let started = Instant::now();
    generator.run(started, started + duration)?;
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
    /// When the request under way was due.
    due: Instant,
    answer: Vec<u8>,
}

struct Generator {
    target: SocketAddr,
    /// Mean time between two arrivals; `None`: a closed loop.
    gap: Option<Duration>,
    epoll: Epoll,
    timer: TimerFd,
    connections: Vec<Connection>,
    free: Vec<usize>,
    due: VecDeque<Instant>,
    /// Nanoseconds.
    latencies: Vec<u64>,
    errors: u64,
}

impl Generator {
    fn new(target: SocketAddr, connections: usize, rate: Option<f64>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let mut generator = Self {
            target,
            gap: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            epoll,
            timer,
            connections: Vec::with_capacity(connections),
            free: (0..connections).collect(),
            due: VecDeque::new(),
            latencies: Vec::new(),
            errors: 0,
        };
        for index in 0..connections {
            let connection = generator.open(index)?;
            generator.connections.push(connection);
        }
        Ok(generator)
    }

    /// A connection that has made one request already: opening is not part of the figures.
    fn open(&self, index: usize) -> io::Result<Connection> {
        let mut stream = TcpStream::connect(self.target)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(REQUEST)?;
        let mut answer = vec![0; ANSWER];
        let mut filled = 0;
        loop {
            let read = stream.read(answer.get_mut(filled..).unwrap_or_default())?;
            filled += read;
            match complete(answer.get(..filled).unwrap_or_default()) {
                Some(true) => break,
                Some(false) => return Err(io::Error::other("the answer is not a 200")),
                None if read == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                None => {}
            }
        }
        answer.clear();
        stream.set_nonblocking(true)?;
        self.epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        Ok(Connection {
            stream,
            due: Instant::now(),
            answer,
        })
    }

    fn run(&mut self, started: Instant, end: Instant) -> io::Result<()> {
        let mut next = started;
        let mut events = [EpollEvent::empty(); 256];
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
            let count = self.epoll.wait(&mut events, EpollTimeout::from(100u8))?;
            for event in events.iter().take(count) {
                match event.data() {
                    TIMER => {
                        // The count of expirations says nothing that the clock doesn't.
                        let _ = self.timer.wait();
                    }
                    index => self.receive(index as usize)?,
                }
            }
        }
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
            connection.due = due;
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
                let latency = connection.due.elapsed().as_nanos();
                self.latencies
                    .push(u64::try_from(latency).unwrap_or(u64::MAX));
            }
            Some(false) => self.errors += 1,
        }
        connection.answer.clear();
        self.free.push(index);
        Ok(())
    }

    fn reopen(&mut self, index: usize) -> io::Result<()> {
        self.errors += 1;
        let connection = self.open(index)?;
        if let Some(place) = self.connections.get_mut(index) {
            *place = connection;
        }
        if !self.free.contains(&index) {
            self.free.push(index);
        }
        Ok(())
    }
}

/// `Some(is a 200)` once the whole answer is there.
fn complete(answer: &[u8]) -> Option<bool> {
    let head = Head::parse(answer)?;
    (answer.len() as u64 >= head.len as u64 + head.body).then_some(head.ok)
}
