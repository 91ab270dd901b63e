use super::*;
use async_trait::async_trait;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;

const SECOND: Duration = Duration::from_secs(1);
const TTL: Option<Duration> = Some(SECOND);

#[tokio::test(start_paused = true)]
async fn a_value_lives_for_its_time() {
    let cache: MemoryCache<i32, &str> = MemoryCache::new(10);
    cache.put(&1, "a", TTL);
    cache.put(&2, "b", None);
    assert_eq!(cache.get(&1), (Some("a"), CacheStatus::Hit));
    tokio::time::advance(2 * SECOND).await;
    assert_eq!(cache.get(&1), (None, CacheStatus::Expired));
    assert_eq!(cache.get_stale(&1), (Some("a"), CacheStatus::Stale(SECOND)));
    assert_eq!(cache.get_stale(&2), (Some("b"), CacheStatus::Hit));
    cache.put(&2, "c", Some(Duration::ZERO));
    assert_eq!(cache.get(&2), (None, CacheStatus::Miss));
    cache.force_put(&3, "d", Some(Duration::MAX));
    cache.remove(&1);
    let (found, missing) = cache.multi_get_with_miss([1, 3].iter());
    let expected = [(None, CacheStatus::Miss), (Some("d"), CacheStatus::Hit)];
    assert_eq!((&found[..], missing), (&expected[..], vec![&1]));
    assert_eq!(cache.multi_get([1, 3].iter()), expected);
}

#[test]
fn it_holds_as_many_as_it_was_made_for_and_always_the_newest() {
    for size in [1, 2, 100] {
        let cache: MemoryCache<usize, usize> = MemoryCache::new(size);
        for key in 0..10 * size {
            cache.put(&key, key, None);
            assert_eq!(cache.get(&key).0, Some(key), "of {size}");
        }
        let there = (0..10 * size).filter(|key| cache.get(key).0.is_some());
        assert_eq!(there.count(), size);
    }
}

/// Waits for a permit, counts, and fails for negative keys. One for each test: look-ups have no `self`.
#[derive(Clone, Default)]
struct Source(Arc<(AtomicUsize, Notify)>, Arc<Gate>);

struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Gate(Semaphore::new(0))
    }
}

impl Source {
    fn open() -> Self {
        let source = Source::default();
        source.let_in(1000);
        source
    }

    fn let_in(&self, count: usize) {
        self.1.0.add_permits(count);
    }

    fn asked(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Waits until so many have begun.
    async fn begun(&self, count: usize) {
        while self.asked() < count {
            self.0.1.notified().await;
        }
    }
}

#[async_trait]
impl Lookup<i32, i32, Source> for Source {
    async fn lookup(
        key: &i32,
        extra: Option<&Source>,
    ) -> Result<(i32, Option<Duration>), Box<dyn Error + Send + Sync>> {
        let source = extra.ok_or("no source")?;
        source.0.0.fetch_add(1, Ordering::SeqCst);
        source.0.1.notify_one();
        source.1.0.acquire().await?.forget();
        if *key < 0 {
            return Err("it is negative".into());
        }
        // 7 lives for a second, whatever was asked for.
        Ok((key * 10, (*key == 7).then_some(SECOND)))
    }
}

#[async_trait]
impl MultiLookup<i32, i32, Source> for Source {
    async fn multi_lookup(
        keys: &[&i32],
        extra: Option<&Source>,
    ) -> Result<Vec<(i32, Option<Duration>)>, Box<dyn Error + Send + Sync>> {
        let source = extra.ok_or("no source")?;
        source.0.0.fetch_add(1, Ordering::SeqCst);
        // One is forgotten.
        let keys = keys.iter().filter(|key| ***key != 13);
        Ok(keys.map(|key| (**key * 10, None)).collect())
    }
}

type Cache = RTCache<i32, i32, Source, Source>;

/// A cache that tasks can share.
fn shared(age: Option<Duration>, timeout: Option<Duration>) -> &'static Cache {
    Box::leak(Box::new(RTCache::new(10, age, timeout)))
}

fn ask(
    cache: &'static Cache,
    source: &Source,
    key: i32,
) -> tokio::task::JoinHandle<(Result<i32, String>, CacheStatus)> {
    let source = source.clone();
    tokio::spawn(async move {
        let (value, status) = cache.get(&key, TTL, Some(&source)).await;
        (value.map_err(|error| error.to_string()), status)
    })
}

/// Lets all tasks run until they wait.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_is_looked_up_once_for_all_who_ask() {
    let (cache, source) = (shared(None, None), Source::default());
    let first = ask(cache, &source, 1);
    source.begun(1).await;
    let others: Vec<_> = (0..5).map(|_| ask(cache, &source, 1)).collect();
    settle().await;
    source.let_in(1);
    assert_eq!(first.await.unwrap(), (Ok(10), CacheStatus::Miss));
    for other in others {
        assert_eq!(other.await.unwrap(), (Ok(10), CacheStatus::LockHit));
    }
    assert_eq!(source.asked(), 1);
    assert_eq!(
        ask(cache, &source, 1).await.unwrap(),
        (Ok(10), CacheStatus::Hit)
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_and_not_stored() {
    let (cache, source) = (shared(None, None), Source::default());
    let first = ask(cache, &source, -1);
    source.begun(1).await;
    let second = ask(cache, &source, -1);
    settle().await;
    source.let_in(1);
    for (asked, status) in [(first, CacheStatus::Miss), (second, CacheStatus::Miss)] {
        let (value, found) = asked.await.unwrap();
        assert!(value.unwrap_err().contains("it is negative"));
        assert_eq!(found, status);
    }
    source.let_in(1);
    assert!(ask(cache, &source, -1).await.unwrap().0.is_err());
    assert_eq!(source.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_takes_over_from_one_who_is_cancelled() {
    let (cache, source) = (shared(None, None), Source::default());
    let first = ask(cache, &source, 1);
    source.begun(1).await;
    let second = ask(cache, &source, 1);
    settle().await;
    first.abort();
    source.begun(2).await;
    source.let_in(1);
    assert_eq!(second.await.unwrap(), (Ok(10), CacheStatus::Miss));
}

#[tokio::test(start_paused = true)]
async fn waiting_has_two_limits() {
    // Each of the two ends while the look-up of the first one hangs.
    for (age, timeout) in [(None, Some(SECOND)), (Some(SECOND), None)] {
        let (cache, source) = (shared(age, timeout), Source::default());
        let first = ask(cache, &source, 1);
        source.begun(1).await;
        if age.is_some() {
            tokio::time::advance(SECOND).await;
        }
        let second = ask(cache, &source, 1);
        source.begun(2).await;
        source.let_in(2);
        assert_eq!(second.await.unwrap(), (Ok(10), CacheStatus::Miss));
        assert_eq!(first.await.unwrap(), (Ok(10), CacheStatus::Miss));
        assert_eq!(ask(cache, &source, 1).await.unwrap().1, CacheStatus::Hit);
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_up_may_say_how_long_its_value_lives() {
    let (cache, source) = (shared(None, None), Source::open());
    cache.get(&7, None, Some(&source)).await.0.unwrap();
    tokio::time::advance(SECOND).await;
    let (value, status) = cache.get(&7, None, Some(&source)).await;
    assert_eq!((value.unwrap(), status), (70, CacheStatus::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_bridges_a_look_up() {
    let (cache, source) = (shared(None, None), Source::default());
    let extra = Some(&source);
    source.let_in(1);
    cache.get(&1, TTL, extra).await.0.unwrap();
    tokio::time::advance(2 * SECOND).await;
    let stale = CacheStatus::Stale(SECOND);

    // At once, while a single task looks it up.
    for _ in 0..2 {
        let (value, status) = cache
            .get_stale_while_update(&1, TTL, extra, 2 * SECOND)
            .await;
        assert_eq!((value.unwrap(), status), (10, stale));
    }
    source.begun(2).await;
    let (value, status) = cache.get_stale(&1, TTL, extra, 2 * SECOND).await;
    assert_eq!((value.unwrap(), status), (10, stale));
    source.let_in(1);
    settle().await;
    assert_eq!(
        cache.get_stale(&1, TTL, extra, SECOND).await.1,
        CacheStatus::Hit
    );
    assert_eq!(source.asked(), 2);

    // The first one who asks looks it up; a value that is too old is none.
    tokio::time::advance(2 * SECOND).await;
    source.let_in(2);
    let (value, status) = cache.get_stale(&1, TTL, extra, 2 * SECOND).await;
    assert_eq!((value.unwrap(), status), (10, CacheStatus::Expired));
    tokio::time::advance(4 * SECOND).await;
    let (value, status) = cache.get_stale_while_update(&1, TTL, extra, SECOND).await;
    assert_eq!((value.unwrap(), status), (10, CacheStatus::Expired));
    assert_eq!(source.asked(), 4);

    // A failure does not take it away. (Without a source each look-up fails.)
    tokio::time::advance(2 * SECOND).await;
    let (value, status) = cache.get_stale(&1, TTL, None, 2 * SECOND).await;
    assert_eq!((value.unwrap(), status), (10, stale));
}

#[tokio::test(start_paused = true)]
async fn several_are_looked_up_together() {
    let (cache, source) = (shared(None, None), Source::open());
    cache.get(&2, TTL, Some(&source)).await.0.unwrap();
    let values = cache.multi_get([1, 2, 3].iter(), TTL, Some(&source)).await;
    let (miss, hit) = (CacheStatus::Miss, CacheStatus::Hit);
    assert_eq!(values.unwrap(), [(10, miss), (20, hit), (30, miss)]);
    let values = cache.multi_get([3, 1].iter(), TTL, None).await;
    assert_eq!(values.unwrap(), [(30, hit), (10, hit)]);
    let forgotten = cache.multi_get([13, 14].iter(), TTL, Some(&source)).await;
    assert!(
        forgotten
            .unwrap_err()
            .to_string()
            .contains("1 values for 2 keys")
    );
    assert_eq!(source.asked(), 3);
}
