//! Reports about requests: how each ended, exactly once, and how many are under way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scripted;

use pingora_load_balancing::outcome::{Outcome, OutcomeObserver, Report, Ticket};
use pingora_load_balancing::{Backend, Backends, HealthRegistry};
use scripted::{Found, backend, three};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Writes down what it hears.
#[derive(Default)]
struct Recorder {
    begun: Mutex<Vec<Backend>>,
    ended: Mutex<Vec<(Backend, Report)>>,
}

impl Recorder {
    fn outcomes(&self) -> Vec<Outcome> {
        let ended = self.ended.lock().unwrap();
        ended.iter().map(|(_, report)| report.outcome).collect()
    }
}

impl OutcomeObserver for Recorder {
    fn begun(&self, backend: &Backend) {
        self.begun.lock().unwrap().push(backend.clone());
    }

    fn ended(&self, backend: &Backend, report: &Report) {
        self.ended.lock().unwrap().push((backend.clone(), *report));
    }
}

async fn three_backends() -> (Found, Arc<HealthRegistry>, Backends) {
    let (found, registry) = (Found::default(), Arc::new(HealthRegistry::new()));
    found.set(three(), &[]);
    let backends = Backends::new_with_health_registry(found.discovery(), registry.clone());
    backends.update(|_| ()).await.unwrap();
    (found, registry, backends)
}

async fn recorded() -> (Found, Arc<HealthRegistry>, Backends, Arc<Recorder>) {
    let (found, registry, backends) = three_backends().await;
    let recorder = Arc::new(Recorder::default());
    registry.add_observer(recorder.clone());
    (found, registry, backends, recorder)
}

#[tokio::test]
async fn every_request_is_heard_of_once_however_it_ends() {
    let (_, _, backends, recorder) = recorded().await;
    let ends = [
        Outcome::Completed,
        Outcome::ConnectFailed,
        Outcome::TimedOut,
        Outcome::Failed,
        Outcome::Cancelled,
    ];
    for end in ends {
        backends.begin(&backend(1)).end(end);
    }
    drop(backends.begin(&backend(2)));
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _ticket = backends.begin(&backend(3));
        panic!("as asked for");
    }));
    assert!(unwound.is_err());
    let task = tokio::spawn({
        let ticket = backends.begin(&backend(3));
        async move {
            std::future::pending::<()>().await;
            ticket.end(Outcome::Completed);
        }
    });
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let expected = [&ends[..], &[Outcome::Cancelled; 3]].concat();
    assert_eq!(recorder.outcomes(), expected);
    assert_eq!(recorder.begun.lock().unwrap().len(), expected.len());
    let failures: Vec<bool> = ends.iter().map(|end| end.is_failure()).collect();
    assert_eq!(failures, [false, true, true, true, false]);
}

#[tokio::test]
async fn a_report_tells_status_and_times() {
    let (_, _, backends, recorder) = recorded().await;
    let mut ticket = backends.begin(&backend(1));
    std::thread::sleep(Duration::from_millis(5));
    ticket.responded(503);
    ticket.responded(200);
    std::thread::sleep(Duration::from_millis(5));
    ticket.end(Outcome::Completed);
    backends.begin(&backend(2)).end(Outcome::ConnectFailed);
    let ended = recorder.ended.lock().unwrap();
    let (target, report) = &ended[0];
    assert_eq!((target, report.status), (&backend(1), Some(503)));
    let to_head = report.time_to_head.unwrap();
    assert!(to_head >= Duration::from_millis(5), "{to_head:?}");
    assert!(report.duration >= to_head + Duration::from_millis(5));
    assert_eq!((ended[1].1.status, ended[1].1.time_to_head), (None, None));
}

#[tokio::test]
async fn what_is_under_way_is_counted_over_updates() {
    let (found, registry, backends, recorder) = recorded().await;
    let tickets = [(); 3].map(|()| backends.begin(&backend(1)));
    assert_eq!(backends.in_flight(&backend(1)), 3);
    assert_eq!(backends.in_flight(&backend(2)), 0);
    // The same server with another weight, then gone, then back again.
    let heavy = Backend::new_with_weight("127.0.0.1:1", 9).unwrap();
    found.set([heavy.clone()], &[]);
    backends.update(|_| ()).await.unwrap();
    assert_eq!(backends.in_flight(&heavy), 3);
    found.set([backend(2)], &[]);
    backends.update(|_| ()).await.unwrap();
    assert_eq!(registry.target_count(), 1, "what has left is not checked");
    assert_eq!(backends.in_flight(&backend(1)), 3);
    let late = backends.begin(&backend(1));
    assert_eq!(
        backends.in_flight(&backend(1)),
        4,
        "selected before it left"
    );
    found.set(three(), &[]);
    backends.update(|_| ()).await.unwrap();
    assert_eq!(backends.in_flight(&backend(1)), 4);
    drop(tickets);
    late.end(Outcome::Completed);
    assert_eq!(backends.in_flight(&backend(1)), 0);
    assert_eq!(recorder.outcomes().len(), 4);
}

#[tokio::test]
async fn sets_that_share_a_registry_share_what_is_under_way() {
    let (_, registry, backends, _) = recorded().await;
    let (found, others) = (Found::default(), registry.clone());
    found.set([backend(1)], &[]);
    let others = Backends::new_with_health_registry(found.discovery(), others);
    others.update(|_| ()).await.unwrap();
    let ticket = others.begin(&backend(1));
    assert_eq!(backends.in_flight(&backend(1)), 1);
    drop(ticket);
    assert_eq!(backends.in_flight(&backend(1)), 0);
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_counted() {
    let (_, registry, backends) = three_backends().await;
    assert_eq!(size_of::<Ticket>(), size_of::<usize>());
    let mut early = backends.begin(&backend(1));
    early.responded(200);
    assert_eq!(format!("{early:?}"), format!("{:?}", Ticket::unheard()));
    assert_eq!(backends.in_flight(&backend(1)), 0);
    registry.count_requests();
    let counted = backends.begin(&backend(1));
    // One that began before is no debt.
    early.end(Outcome::Completed);
    assert_eq!(backends.in_flight(&backend(1)), 1);
    let recorder = Arc::new(Recorder::default());
    registry.add_observer(recorder.clone());
    counted.end(Outcome::Completed);
    assert!(
        recorder.outcomes().is_empty(),
        "it was not there when that began"
    );
    assert_eq!(backends.in_flight(&backend(1)), 0);
}

/// Panics whatever it is told.
struct Hysteric;

impl OutcomeObserver for Hysteric {
    fn begun(&self, _: &Backend) {
        panic!("it begins");
    }

    fn ended(&self, _: &Backend, _: &Report) {
        panic!("it has ended");
    }
}

#[tokio::test]
async fn an_observer_that_panics_harms_nobody() {
    let (_, registry, backends) = three_backends().await;
    let recorder = Arc::new(Recorder::default());
    registry.add_observer(Arc::new(Hysteric));
    registry.add_observer(recorder.clone());
    backends.begin(&backend(1)).end(Outcome::Completed);
    // Dropped while another panic unwinds: a second one would end the process.
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _ticket = backends.begin(&backend(1));
        panic!("as asked for");
    }));
    assert!(unwound.is_err());
    assert_eq!(
        recorder.outcomes(),
        [Outcome::Completed, Outcome::Cancelled]
    );
    assert_eq!(backends.in_flight(&backend(1)), 0);
}

#[tokio::test]
async fn threads_and_updates_lose_no_request() {
    const EACH: usize = 2000;
    let (found, _, backends, recorder) = recorded().await;
    let backends = Arc::new(backends);
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let backends = backends.clone();
            std::thread::spawn(move || {
                for turn in 0..EACH {
                    let ticket = backends.begin(&backend(1 + (turn + number) % 3));
                    if turn % 2 == 0 {
                        ticket.end(Outcome::Completed);
                    }
                }
            })
        })
        .collect();
    for round in 0..50 {
        found.set([backend(1 + round % 3)], &[]);
        backends.update(|_| ()).await.unwrap();
    }
    threads.into_iter().for_each(|t| t.join().unwrap());
    let outcomes = recorder.outcomes();
    let completed = outcomes.iter().filter(|o| **o == Outcome::Completed);
    assert_eq!((outcomes.len(), completed.count()), (4 * EACH, 2 * EACH));
    for number in 1..=3 {
        assert_eq!(backends.in_flight(&backend(number)), 0);
    }
}
