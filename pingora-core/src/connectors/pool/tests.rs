//! The pool of idle connections: capacity, connections that die while they wait, runtimes that end.

use super::*;
use crate::protocols::l4::stream::Stream as L4Stream;
use std::sync::Mutex;
use std::task::Waker;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// A connection that the test controls.
struct Fake {
    name: u32,
    state: Arc<Mutex<FakeState>>,
}

#[derive(Default)]
struct FakeState {
    event: Option<IdleEvent>,
    waker: Option<Waker>,
    dropped: bool,
}

impl Poolable for Fake {
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<IdleEvent> {
        let mut state = self.state.lock().unwrap();
        state.waker = Some(cx.waker().clone());
        state.event.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.state.lock().unwrap().dropped = true;
    }
}

/// A connection, and the test's handle on it.
fn fake(name: u32) -> (Fake, Arc<Mutex<FakeState>>) {
    let state = Arc::new(Mutex::new(FakeState::default()));
    (
        Fake {
            name,
            state: state.clone(),
        },
        state,
    )
}

/// Makes something happen on an idle connection.
fn happen(state: &Mutex<FakeState>, event: IdleEvent) {
    let waker = {
        let mut state = state.lock().unwrap();
        state.event = Some(event);
        state.waker.take()
    };
    waker.unwrap().wake();
}

fn is_dropped(state: &Mutex<FakeState>) -> bool {
    state.lock().unwrap().dropped
}

/// Lets the other tasks of this runtime run until `condition` holds.
async fn eventually(condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("did not happen");
}

#[tokio::test]
async fn the_youngest_of_a_key_comes_first() {
    let pool = Pool::new(8, None);
    for name in 0..3 {
        pool.put(1, fake(name).0, None);
    }
    pool.put(2, fake(9).0, None);
    assert_eq!(pool.len(), 4);
    let names: Vec<u32> = std::iter::from_fn(|| pool.take(1))
        .map(|f| f.name)
        .collect();
    assert_eq!(names, [2, 1, 0]);
    assert_eq!(pool.take(2).unwrap().name, 9);
    assert!(pool.take(2).is_none() && pool.is_empty());
}

#[tokio::test]
async fn the_oldest_goes_when_the_pool_is_full() {
    let pool = Pool::new(2, None);
    let mut states = Vec::new();
    for name in 0..4 {
        let (item, state) = fake(name);
        states.push(state);
        pool.put(u64::from(name), item, None);
        assert!(pool.len() <= 2);
    }
    assert!(is_dropped(&states[0]) && is_dropped(&states[1]));
    assert!(!is_dropped(&states[2]) && !is_dropped(&states[3]));
    assert!(pool.take(0).is_none());
    assert_eq!(pool.take(3).unwrap().name, 3);
}

#[test]
fn another_workers_oldest_goes_where_this_worker_has_none() {
    let pool = Pool::with_stripes(1, None, 64);
    std::thread::scope(|threads| {
        threads
            .spawn(|| pool.put(1, fake(1).0, None))
            .join()
            .unwrap();
    });
    pool.put(2, fake(2).0, None);
    assert_eq!(pool.len(), 1);
    assert_eq!(pool.take(2).unwrap().name, 2);
}

#[tokio::test]
async fn a_pool_without_room_keeps_nothing() {
    let pool = Pool::new(0, None);
    let (item, state) = fake(1);
    pool.put(1, item, None);
    assert!(is_dropped(&state) && pool.is_empty());
    let pool = Pool::new(8, None);
    pool.put(1, fake(1).0, Some(Duration::ZERO));
    assert!(pool.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_waited_too_long_is_dropped_without_anybody_asking() {
    let pool = Pool::new(8, None);
    let (long, long_state) = fake(1);
    let (short, short_state) = fake(2);
    let (forever, forever_state) = fake(3);
    pool.put(1, long, Some(Duration::from_secs(60)));
    pool.put(1, forever, None);
    tokio::task::yield_now().await;
    pool.put(1, short, Some(Duration::from_secs(5)));
    tokio::time::sleep(Duration::from_millis(4900)).await;
    assert!(!is_dropped(&short_state));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(is_dropped(&short_state) && !is_dropped(&long_state));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(is_dropped(&long_state) && !is_dropped(&forever_state));
    assert_eq!(pool.take(1).unwrap().name, 3);
}

#[tokio::test(start_paused = true)]
async fn what_waited_too_long_is_not_handed_out() {
    let pool = Pool::new(8, None);
    pool.put(1, fake(1).0, Some(Duration::from_secs(5)));
    // No other task runs meanwhile.
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(pool.take(1).is_none() && pool.is_empty());
    // Beyond the clock's range: no limit.
    pool.put(1, fake(2).0, Some(Duration::MAX));
    assert_eq!(pool.take(1).unwrap().name, 2);
}

#[tokio::test(start_paused = true)]
async fn the_callback_hears_how_long_a_connection_was_idle() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let write = heard.clone();
    let pool = Pool::new(
        8,
        Some(Arc::new(move |idle| write.lock().unwrap().push(idle))),
    );
    pool.put(1, fake(1).0, None);
    tokio::time::advance(Duration::from_secs(3)).await;
    assert!(pool.take(1).is_some() && pool.take(1).is_none());
    assert_eq!(*heard.lock().unwrap(), [Duration::from_secs(3)]);
}

#[tokio::test]
async fn a_wake_up_without_an_event_changes_nothing() {
    let pool = Pool::new(8, None);
    let (item, state) = fake(1);
    pool.put(1, item, None);
    let waker = state.lock().unwrap().waker.take().unwrap();
    waker.wake_by_ref();
    eventually(|| state.lock().unwrap().waker.is_some()).await;
    assert_eq!(pool.len(), 1);
    // Even if the slot has another connection by now, or none.
    let taken = pool.take(1).unwrap();
    waker.wake_by_ref();
    tokio::task::yield_now().await;
    pool.put(2, taken, None);
    waker.wake();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.take(2).unwrap().name, 1);
}

#[tokio::test]
async fn events_are_told_apart() {
    let pool = Pool::new(8, None);
    for (event, count) in [(IdleEvent::Closed, 0), (IdleEvent::UnexpectedData, 1)] {
        let (item, state) = fake(1);
        pool.put(1, item, None);
        happen(&state, event);
        // Before the janitor's turn: noticed when it is taken.
        assert!(pool.take(1).is_none());
        assert!(is_dropped(&state));
        assert_eq!(
            pool.unexpected_data_counter().load(Ordering::Relaxed),
            count
        );
    }
    let (item, state) = fake(1);
    state.lock().unwrap().event = Some(IdleEvent::UnexpectedData);
    pool.put(1, item, None);
    assert!(is_dropped(&state) && pool.is_empty());
    assert_eq!(pool.unexpected_data_counter().load(Ordering::Relaxed), 2);
}

async fn tcp_pair() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (far, _) = listener.accept().await.unwrap();
    (Box::new(L4Stream::from(near)), far)
}

/// Like [`eventually`], with time for the kernel.
async fn soon(condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not happen");
}

#[tokio::test]
async fn a_connection_that_the_peer_closes_is_gone_at_once() {
    let pool = Pool::new(8, None);
    let (near, far) = tcp_pair().await;
    pool.put(1, near, None);
    assert_eq!(pool.len(), 1);
    drop(far);
    soon(|| pool.is_empty()).await;
    assert!(pool.take(1).is_none());
    assert_eq!(pool.unexpected_data_counter().load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_connection_is_watched_only_if_it_stays() {
    let pool = Pool::new(8, None);
    let unwatched = || pool.own_and_others().0.unwatched();
    let (near, far) = tcp_pair().await;
    pool.put(1, near, None);
    assert_eq!((pool.len(), unwatched()), (1, 1));
    soon(|| unwatched() == 0).await;
    assert_eq!(pool.len(), 1);
    // Taken out and put back, its idle time starts again.
    let near = pool.take(1).unwrap();
    pool.put(1, near, None);
    assert_eq!((pool.len(), unwatched()), (1, 1));
    soon(|| unwatched() == 0).await;
    drop(far);
    soon(|| pool.is_empty()).await;
}

#[tokio::test]
async fn a_closed_connection_is_not_handed_out_before_it_is_watched_either() {
    for unexpected in [false, true] {
        let pool = Pool::new(8, None);
        let (near, mut far) = tcp_pair().await;
        pool.put(1, near, None);
        if unexpected {
            far.write_all(b"x").await.unwrap();
        }
        drop(far);
        // Time for the reactor; the janitor usually takes longer.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(pool.take(1).is_none() && pool.is_empty());
        let counted = pool.unexpected_data_counter().load(Ordering::Relaxed);
        assert_eq!(counted, u64::from(unexpected));
    }
}

#[tokio::test]
async fn a_connection_with_unexpected_data_is_counted_and_dropped() {
    let pool = Pool::new(8, None);
    let (near, mut far) = tcp_pair().await;
    pool.put(1, near, None);
    far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        .await
        .unwrap();
    soon(|| pool.is_empty()).await;
    assert_eq!(pool.unexpected_data_counter().load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_that_was_used_again_may_be_pooled_again() {
    let pool = Pool::new(8, None);
    let (mut near, mut far) = tcp_pair().await;
    for _ in 0..3 {
        pool.put(1, near, None);
        near = pool.take(1).unwrap();
        near.write_all(b"x").await.unwrap();
        tokio::io::AsyncReadExt::read_u8(&mut far).await.unwrap();
    }
    pool.put(1, near, None);
    drop(far);
    soon(|| pool.is_empty()).await;
}

#[test]
fn a_connection_stays_on_its_runtime() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (one, two) = (runtime(), runtime());
    let pool = Pool::new(8, None);
    let (state, far) = one.block_on(async {
        let (near, far) = tcp_pair().await;
        pool.put(1, near, None);
        (Arc::new(()), far)
    });
    two.block_on(async { assert!(pool.take(1).is_none()) });
    assert_eq!(pool.len(), 1);
    one.block_on(async {
        let near = pool.take(1).unwrap();
        pool.put(1, near, None);
    });
    // The runtime ends, and its janitor with it; the connection is dead, which is noticed as soon
    // as there is another janitor.
    drop(one);
    two.block_on(async {
        let (near, far) = tcp_pair().await;
        pool.put(2, near, None);
        soon(|| pool.len() == 1).await;
        assert!(pool.take(1).is_none() && pool.take(2).is_some());
        drop(far);
    });
    drop((state, far));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_share_without_losing_or_doubling() {
    let pool = Arc::new(Pool::new(64, None));
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..8u32 {
        let pool = pool.clone();
        tasks.spawn(async move {
            for round in 0..500u32 {
                let key = u64::from(round % 3);
                let item = pool.take(key).unwrap_or_else(|| fake(worker).0);
                assert!(!is_dropped(&item.state));
                if round % 7 == 0 {
                    tokio::task::yield_now().await;
                }
                let waker = item.state.lock().unwrap().waker.clone();
                pool.put(key, item, Some(Duration::from_secs(60)));
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    let idle = pool.len();
    assert!((1..=64).contains(&idle), "{idle}");
    let found: usize = (0..3)
        .map(|key| std::iter::from_fn(|| pool.take(key)).count())
        .sum();
    assert_eq!((found, pool.len()), (idle, 0));
}

#[tokio::test]
async fn the_janitor_goes_with_the_pool() {
    let pool = Pool::new(8, None);
    let (item, state) = fake(1);
    pool.put(1, item, None);
    let metrics = tokio::runtime::Handle::current().metrics();
    assert_eq!(metrics.num_alive_tasks(), 1);
    drop(pool);
    assert!(is_dropped(&state));
    eventually(|| metrics.num_alive_tasks() == 0).await;
}

#[test]
fn a_connection_of_another_runtime_is_not_taken_for_one_of_ours() {
    let ours = crate::runtime::Runtime::new("ours", 1, &Default::default()).unwrap();
    let (reply, taken) = std::sync::mpsc::channel();
    ours.handle().spawn(async move {
        let blocking = tokio::task::spawn_blocking(|| {
            let mut inner = tokio::runtime::Builder::new_current_thread();
            let inner = inner.enable_all().build().unwrap();
            let pool: Pool<Stream> = Pool::new(8, None);
            let far = inner.block_on(async {
                let (near, far) = tcp_pair().await;
                pool.put(1, near, None);
                far
            });
            // On a thread of ours, outside of the other runtime, which is no longer driven.
            let taken = pool.take(1).is_some();
            drop((far, inner));
            taken
        });
        reply.send(blocking.await.unwrap()).unwrap();
    });
    assert!(!taken.recv().unwrap());
}
