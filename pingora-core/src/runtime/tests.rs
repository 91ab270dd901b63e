//! Runtimes: workers, names, shutting down.

use super::*;
use std::collections::HashSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};

fn options(work_stealing: bool) -> RuntimeOpts {
    RuntimeOpts {
        work_stealing,
        ..RuntimeOpts::default()
    }
}

fn thread_name() -> String {
    std::thread::current().name().unwrap_or("").to_string()
}

#[test]
fn threads_bear_the_name_of_the_service() {
    for work_stealing in [true, false] {
        let runtime = Runtime::new("cats", 2, &options(work_stealing)).unwrap();
        let (tx, rx) = mpsc::channel();
        runtime
            .handle()
            .spawn(async move { tx.send(thread_name()) });
        assert_eq!(rx.recv().unwrap(), "cats");
        runtime.shutdown(Duration::from_secs(5));
    }
}

#[test]
fn a_thread_knows_the_runtime_that_it_works_for() {
    let current = || {
        let handle = tokio::runtime::Handle::try_current().ok();
        handle.map(|handle| handle.id())
    };
    assert_eq!((local::runtime_id(), current()), (None, None));
    for work_stealing in [true, false] {
        let runtime = Runtime::new("knows", 2, &options(work_stealing)).unwrap();
        let (tx, rx) = mpsc::channel();
        for _ in 0..8 {
            let tx = tx.clone();
            runtime.handle().spawn(async move {
                let ids = move || (local::runtime_id(), current());
                tx.send(ids()).unwrap();
                tx.send(tokio::task::spawn_blocking(ids).await.unwrap())
            });
        }
        drop(tx);
        let ids: Vec<_> = rx.iter().collect();
        assert_eq!(ids.len(), 16);
        assert!(
            ids.iter()
                .all(|(known, current)| known.is_some() && known == current)
        );
    }
    // On a foreign thread, in any runtime.
    let other = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _inside = other.enter();
    assert_eq!(local::runtime_id(), Some(other.handle().id()));
}

#[test]
fn pinned_workers_are_used_in_turn_and_know_each_other() {
    let runtime = Runtime::new("turns", 3, &options(false)).unwrap();
    let (tx, rx) = mpsc::channel();
    runtime.handle().spawn(async move {
        let handle = Handle::current().unwrap();
        assert!(!handle.steals_work());
        for _ in 0..6 {
            let tx = tx.clone();
            handle.spawn(async move { tx.send(std::thread::current().id()) });
        }
    });
    let seen: Vec<_> = rx.iter().collect();
    assert_eq!(seen.len(), 6);
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 3);
}

#[test]
fn a_task_of_a_pinned_worker_stays_there() {
    let runtime = Runtime::new("stays", 4, &options(false)).unwrap();
    let (tx, rx) = mpsc::channel();
    runtime.handle().spawn(async move {
        let home = std::thread::current().id();
        for _ in 0..100 {
            tokio::task::yield_now().await;
            tx.send(std::thread::current().id() == home).unwrap();
        }
    });
    assert!(rx.iter().all(|same| same));
}

#[test]
fn outside_of_runtimes_there_is_no_current_one() {
    assert!(Handle::current().is_none());
    let foreign = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert!(foreign.block_on(async { Handle::current().unwrap().steals_work() }));
}

#[test]
fn shutting_down_drops_what_awaits_and_does_not_wait_for_what_never_ends() {
    for work_stealing in [true, false] {
        let runtime = Runtime::new("stuck", 1, &options(work_stealing)).unwrap();
        let (tx, rx) = mpsc::channel::<()>();
        let (release, released) = mpsc::channel::<()>();
        runtime.handle().spawn(async move {
            let _tx = tx;
            std::future::pending::<()>().await;
        });
        runtime
            .handle()
            .spawn(async move { tokio::task::spawn_blocking(move || released.recv()).await });
        let begin = Instant::now();
        runtime.shutdown(Duration::from_millis(100));
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert!(
            rx.recv_timeout(Duration::from_secs(5)).is_err(),
            "the task is dropped"
        );
        drop(release);
    }
}

#[test]
fn a_runtime_may_be_dropped_inside_of_another() {
    let outer = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    outer.block_on(async {
        for work_stealing in [true, false] {
            drop(Runtime::new("inner", 1, &options(work_stealing)).unwrap());
        }
    });
}
