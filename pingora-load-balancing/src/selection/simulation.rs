//! A simulation of requests in virtual time: how each algorithm handles backends of different speed, a
//! failing one, and one that comes back. `docs/load_balancing.md` quotes the figures.

use super::*;
use crate::circuit::{Breaker, Pass};
use crate::outcome::{Outcome, Report};
use fastrand::Rng;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// The number of requests that a backend processes concurrently; further ones wait.
const WORKERS: usize = 4;
/// Requests per second.
const RATE: f64 = 600.0;

struct Simulated {
    /// The mean duration of a request.
    mean: Duration,
    fails: bool,
    working: usize,
    waiting: VecDeque<Request>,
    served: Vec<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    began: Duration,
    number: usize,
}

struct World<'a> {
    candidates: &'a Candidates,
    breaker: Option<Breaker>,
    backends: Vec<Simulated>,
    /// The requests in progress: when each ends, and at which backend.
    ends: BinaryHeap<Reverse<(Duration, usize, Request)>>,
    passes: Vec<Option<Pass>>,
    random: Rng,
    latencies: Vec<Duration>,
    failures: usize,
}

impl World<'_> {
    fn exponential(&mut self, mean: f64) -> Duration {
        Duration::from_secs_f64(-mean * (1.0 - self.random.f64()).ln())
    }

    fn load(&self, index: usize) -> &crate::load::Load {
        self.candidates.0.all()[index].load()
    }

    fn begin(&mut self, now: Duration, index: usize) {
        let request = Request {
            began: now,
            number: self.passes.len(),
        };
        let begun = |breaker| self.load(index).circuit.begin(breaker, now);
        let pass = self.breaker.as_ref().and_then(begun);
        self.passes.push(pass.map(|(pass, _)| pass));
        self.load(index).begin();
        self.backends[index].served.push(now);
        if self.backends[index].working < WORKERS {
            self.work(now, index, request);
        } else {
            self.backends[index].waiting.push_back(request);
        }
    }

    fn work(&mut self, now: Duration, index: usize, request: Request) {
        let mean = if self.backends[index].fails {
            Duration::from_millis(1)
        } else {
            self.backends[index].mean
        };
        let takes = self.exponential(mean.as_secs_f64());
        self.backends[index].working += 1;
        self.ends.push(Reverse((now + takes, index, request)));
    }

    fn end(&mut self, now: Duration, index: usize, request: Request) {
        let (failed, time) = (self.backends[index].fails, now - request.began);
        self.load(index).end();
        self.load(index).observe(now, time, failed);
        self.latencies.push(time);
        self.failures += usize::from(failed);
        if let (Some(breaker), Some(pass)) = (&self.breaker, self.passes[request.number]) {
            let circuit = &self.load(index).circuit;
            circuit.end(breaker, now, pass, Some(failed), |eject| {
                eject();
                true
            });
        }
        self.backends[index].working -= 1;
        if let Some(next) = self.backends[index].waiting.pop_front() {
            self.work(now, index, next);
        }
    }
}

struct Figures {
    p99: Duration,
    failed: f64,
    served: Vec<Vec<Duration>>,
}

/// Runs 60 s of requests to ten backends: eight of 10 ms, two of `slow`.
fn simulate(
    slow: Duration,
    failing: Option<usize>,
    breaker: Option<Breaker>,
    warming: Option<Duration>,
    pick: impl Fn(&Candidates) -> Box<dyn Fn(Duration) -> Option<usize>>,
) -> Figures {
    fastrand::seed(11);
    let set = (0..10).map(|n| Backend::new(&format!("10.0.0.{n}:80")).unwrap());
    let candidates = Candidates::detached(&set.collect());
    let pick = pick(&candidates);
    let fast = Duration::from_millis(10);
    let backend = |index| Simulated {
        mean: if index < 8 { fast } else { slow },
        fails: failing == Some(index),
        working: 0,
        waiting: VecDeque::new(),
        served: Vec::new(),
    };
    let mut world = World {
        candidates: &candidates,
        breaker,
        backends: (0..10).map(backend).collect(),
        ends: BinaryHeap::new(),
        passes: Vec::new(),
        random: Rng::with_seed(12),
        latencies: Vec::new(),
        failures: 0,
    };
    if let Some(time) = warming {
        world.load(0).warm_up(Duration::ZERO, time);
    }
    let mut next = Duration::ZERO;
    while next < Duration::from_secs(60) {
        while let Some(Reverse((now, index, request))) = world.ends.peek().copied()
            && now <= next
        {
            world.ends.pop();
            world.end(now, index, request);
        }
        if let Some(index) = pick(next) {
            world.begin(next, index);
        }
        next += world.exponential(1.0 / RATE);
    }
    world.latencies.sort_unstable();
    let all = world.latencies.len();
    Figures {
        p99: world.latencies[all * 99 / 100],
        failed: world.failures as f64 / all as f64,
        served: world.backends.into_iter().map(|b| b.served).collect(),
    }
}

fn round_robin(candidates: &Candidates) -> Box<dyn Fn(Duration) -> Option<usize>> {
    let (candidates, turn) = (candidates.clone(), std::cell::Cell::new(0));
    Box::new(move |now| {
        (0..candidates.len()).find_map(|_| {
            turn.set((turn.get() + 1) % candidates.len());
            let member = &candidates.0.all()[turn.get()];
            member.is_ready(|| now).then(|| turn.get())
        })
    })
}

fn least_connections(candidates: &Candidates) -> Box<dyn Fn(Duration) -> Option<usize>> {
    let selector = LeastConnections::build_over(candidates, None);
    Box::new(move |now| selector.pick(|| now))
}

fn least_time(candidates: &Candidates) -> Box<dyn Fn(Duration) -> Option<usize>> {
    let selector = LeastTime::build_over(candidates, None);
    Box::new(move |now| selector.pick(|| now))
}

fn peak_ewma(candidates: &Candidates) -> Box<dyn Fn(Duration) -> Option<usize>> {
    let selector = PeakEwma::build_over(candidates, None);
    Box::new(move |now| selector.pick(|| now))
}

#[test]
fn the_slow_delay_fewer_requests_than_by_round_robin() {
    let slow = Duration::from_millis(60);
    let turns = simulate(slow, None, None, None, round_robin).p99;
    let connections = simulate(slow, None, None, None, least_connections).p99;
    let ewma = simulate(slow, None, None, None, peak_ewma).p99;
    let time = simulate(slow, None, None, None, least_time).p99;
    println!("p99: {turns:?}, {connections:?}, {ewma:?}, {time:?}");
    assert!(connections * 2 < turns, "{connections:?}, {turns:?}");
    assert!(ewma * 3 < turns, "{ewma:?}, {turns:?}");
    assert!(time * 3 < turns, "{time:?}, {turns:?}");
}

#[test]
fn one_that_fails_quickly_is_avoided() {
    let slow = Duration::from_millis(10);
    let failed =
        |breaker, pick: fn(&Candidates) -> _| simulate(slow, Some(3), breaker, None, pick).failed;
    let turns = failed(None, round_robin);
    let connections = failed(None, least_connections);
    let ewma = failed(None, peak_ewma);
    let ejected = [
        failed(Some(Breaker::new()), round_robin),
        failed(Some(Breaker::new()), least_connections),
        failed(Some(Breaker::new()), peak_ewma),
    ];
    println!("failed: {turns}, {connections}, {ewma}; with a breaker {ejected:?}");
    assert!((0.09..0.11).contains(&turns), "{turns}");
    assert!(connections > turns, "it has the least to do: {connections}");
    assert!(ewma < 0.01, "{ewma}");
    assert!(ejected.iter().all(|share| *share < 0.001), "{ejected:?}");
}

#[test]
fn one_that_comes_back_is_not_flooded() {
    let even = Duration::from_millis(10);
    let warming = Some(Duration::from_secs(20));
    for pick in [least_connections, least_time, peak_ewma] {
        let served = simulate(even, None, None, warming, pick).served;
        let within = |served: &[Duration], from: u64, to: u64| {
            let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
            served.iter().filter(|at| (from..to).contains(at)).count()
        };
        let (back, other) = (&served[0], &served[1]);
        let (early, fair) = (within(back, 0, 2), within(other, 0, 2));
        assert!(early * 2 < fair, "{early} of {fair}");
        let (late, fair) = (within(back, 30, 60), within(other, 30, 60));
        assert!(late * 4 > fair * 3, "{late} of {fair}");
    }
}

/// The breaker for real requests also judges those of the simulation.
#[test]
fn a_breaker_judges_as_the_simulation_does() {
    let report = |outcome| Report {
        outcome,
        status: None,
        time_to_head: None,
        duration: Duration::ZERO,
    };
    assert_eq!(Breaker::new().judges(&report(Outcome::Failed)), Some(true));
    assert_eq!(
        Breaker::new().judges(&report(Outcome::Completed)),
        Some(false)
    );
}
