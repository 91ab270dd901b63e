use super::*;
use http::Extensions;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

fn key() -> CacheKey {
    CacheKey::new("https://one.example/", "")
}

fn write(table: &CacheLock) -> WritePermit {
    match table.lock(&key(), false) {
        Locked::Write(permit) => permit,
        Locked::Read(_) => panic!("somebody holds it"),
    }
}

fn read(table: &CacheLock) -> ReadLock {
    match table.lock(&key(), false) {
        Locked::Read(lock) => lock,
        Locked::Write(_) => panic!("nobody holds it"),
    }
}

#[test]
fn a_permit_that_is_dropped_leaves_the_lock_dangling() {
    let (permit, stub) = WritePermit::new(LONG, false, Extensions::new());
    let waiting = stub.read_lock();
    assert!(waiting.locked());
    drop(permit);
    assert_eq!(waiting.lock_status(), LockStatus::Dangling);
}

#[test]
fn the_first_end_stands() {
    let (mut permit, stub) = WritePermit::new(LONG, true, Extensions::new());
    assert!(permit.stale_writer());
    permit.unlock(LockStatus::Done);
    permit.unlock(LockStatus::GiveUp);
    drop(permit);
    assert_eq!(stub.read_lock().lock_status(), LockStatus::Done);
}

#[test]
fn a_lock_that_is_too_old_waits_for_nobody() {
    let (_permit, stub) = WritePermit::new(Duration::ZERO, false, Extensions::new());
    assert!(!stub.read_lock().locked());
    assert_eq!(stub.read_lock().lock_status(), LockStatus::AgeTimeout);
}

#[test]
fn statuses_and_numbers_are_the_same() {
    for number in 0..=6 {
        assert_eq!(u8::from(LockStatus::from_repr(number).unwrap()), number);
        assert_eq!(u8::from(LockStatus::from(number)), number);
    }
    assert_eq!(LockStatus::from_repr(7), None);
    assert_eq!(<&str>::from(LockStatus::AgeTimeout), "age_timeout");
}

#[tokio::test]
async fn one_fetches_and_the_others_hear_how_it_ended() {
    for status in [
        LockStatus::Done,
        LockStatus::GiveUp,
        LockStatus::TransientError,
    ] {
        let table: &'static CacheLock = Box::leak(Box::new(CacheLock::new(LONG)));
        let permit = write(table);
        assert!(!permit.is_awaited());
        let waiting: Vec<_> = (0..9)
            .map(|_| {
                let lock = read(table);
                tokio::spawn(async move {
                    lock.wait().await;
                    lock.lock_status()
                })
            })
            .collect();
        assert!(permit.is_awaited());
        tokio::task::yield_now().await;
        table.release(&key(), permit, status);
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), status);
        }
        assert_eq!(table.len(), 0);
    }
}

#[tokio::test]
async fn of_those_who_wait_for_one_that_left_one_is_next() {
    let table = CacheLock::new(LONG);
    let permit = write(&table);
    let (one, two) = (read(&table), read(&table));
    drop(permit);
    tokio::join!(one.wait(), two.wait());
    assert_eq!(one.lock_status(), LockStatus::Dangling);
    let next = write(&table);
    assert!(read(&table).locked());
    table.release(&key(), next, LockStatus::Done);
}

#[tokio::test]
async fn a_late_release_does_not_end_the_successors_lock() {
    let table = CacheLock::new(Duration::ZERO);
    let late = write(&table);
    let successor = write(&table);
    table.release(&key(), late, LockStatus::Done);
    assert_eq!(successor.lock_status(), LockStatus::Waiting);
    assert_eq!(table.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_waited_for_as_long_as_its_age_allows() {
    let table = CacheLock::new(LONG);
    let _permit = write(&table);
    let nothing = UnusableFills::new([]);
    let outcome = read(&table).wait_unless_published(&nothing).await;
    assert_eq!(outcome, WaitOutcome::AgeTimeout);
}

#[tokio::test]
async fn a_fill_that_a_request_cannot_use_is_not_waited_for() {
    let table = CacheLock::new(LONG);
    let permit = write(&table);
    let fill = |token, reason| UnusableFill { token, reason };
    let unusable = UnusableFills::new([fill(1, "one"), fill(7, "seven")]);
    assert_eq!(unusable.fills().len(), 2);
    permit.publish(&[3]);
    let lock = read(&table);
    let waits = lock.wait_unless_published(&unusable);
    let publishes = async {
        tokio::task::yield_now().await;
        permit.publish(&[9, 7]);
    };
    let (outcome, ()) = tokio::join!(waits, publishes);
    assert_eq!(outcome, WaitOutcome::Abandoned(fill(7, "seven")));
    // One that comes later hears of what was published before.
    let later = read(&table).wait_unless_published(&unusable).await;
    assert_eq!(later, WaitOutcome::Abandoned(fill(7, "seven")));
    assert!(lock.locked());
}

#[test]
fn outcomes_tell_the_status() {
    let abandoned = LockWaitOutcome::Abandoned {
        reason: NoCacheReason::Custom("seven"),
        token: 7,
    };
    assert_eq!(abandoned.lock_status(), LockStatus::Waiting);
    assert_eq!(LockWaitOutcome::GiveUp.lock_status(), LockStatus::GiveUp);
}
