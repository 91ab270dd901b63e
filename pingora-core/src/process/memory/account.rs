//! The total memory of all holders.

mod holders;

use super::available;
use crate::metrics::Process;
use crate::runtime::local::worker_id;
use holders::Holders;
pub(crate) use holders::{Held, Holder};
use log::{info, warn};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicIsize, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The number of workers with separate sums; further workers share them.
const STRIPES: usize = 64;
/// The number of bytes that are summed up for one worker before the total changes.
const BATCH: isize = 32 * 1024;
/// The time for which new work is turned away before the holders with the most memory are closed.
const PATIENCE: Duration = Duration::from_secs(1);
/// The minimum time between two log lines about it.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The account of this process.
pub(super) static PROCESS: Account = Account::new();

/// How scarce memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    /// There is enough.
    Plenty,
    /// Half of the limit is in use: nothing more is read for a peer before it has accepted its
    /// queued data.
    Short,
    /// Three quarters are in use: new work is turned away.
    Scarce,
    /// Seven eighths are in use: the holders with the most memory are closed.
    Exhausted,
}

impl Level {
    fn of(held: usize, limit: usize) -> Self {
        match held {
            _ if limit == usize::MAX => Level::Plenty,
            _ if held >= limit - limit / 8 => Level::Exhausted,
            _ if held >= scarce_from(limit) => Level::Scarce,
            _ if held >= limit / 2 => Level::Short,
            _ => Level::Plenty,
        }
    }

    fn from_u8(level: u8) -> Self {
        match level {
            0 => Level::Plenty,
            1 => Level::Short,
            2 => Level::Scarce,
            _ => Level::Exhausted,
        }
    }
}

fn scarce_from(limit: usize) -> usize {
    limit - limit / 4
}

/// The work that was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    Connection,
    Request,
    Stream,
}

/// The sums of some workers, on a cache line that no others write to.
#[repr(align(128))]
#[derive(Debug)]
struct Stripe(AtomicIsize);

/// The bytes that are held, compared with their limit.
#[derive(Debug)]
pub(super) struct Account {
    stripes: [Stripe; STRIPES],
    /// Everything except the amounts in the stripes.
    total: AtomicIsize,
    level: AtomicU8,
    /// In bytes; 0: not known yet, `usize::MAX`: none.
    limit: AtomicUsize,
    holders: Holders,
    shedding: Shedding,
}

/// Since when new work has been turned away, and how much.
#[derive(Debug)]
struct Shedding {
    /// In milliseconds of [`now`]; 0: it is not being turned away.
    since: AtomicU64,
    /// When the beginning, and the end, were last logged.
    logged: AtomicU64,
    told: AtomicU64,
    connections: AtomicUsize,
    requests: AtomicUsize,
    streams: AtomicUsize,
}

/// Milliseconds since the first call, from 1 on.
fn now() -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    let elapsed = EPOCH.get_or_init(Instant::now).elapsed().as_millis();
    u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

impl Account {
    pub(super) const fn new() -> Self {
        Account {
            stripes: [const { Stripe(AtomicIsize::new(0)) }; STRIPES],
            total: AtomicIsize::new(0),
            level: AtomicU8::new(0),
            limit: AtomicUsize::new(0),
            holders: Holders::new(),
            shedding: Shedding {
                since: AtomicU64::new(0),
                logged: AtomicU64::new(0),
                told: AtomicU64::new(0),
                connections: AtomicUsize::new(0),
                requests: AtomicUsize::new(0),
                streams: AtomicUsize::new(0),
            },
        }
    }

    pub(super) fn add(&self, bytes: usize) {
        self.change(signed(bytes));
    }

    pub(super) fn sub(&self, bytes: usize) {
        self.change(-signed(bytes));
    }

    pub(super) fn change(&self, bytes: isize) {
        let Some(stripe) = self.stripes.get(worker_id() % STRIPES) else {
            return;
        };
        let gathered = stripe.0.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if gathered.abs() >= BATCH {
            let moved = stripe.0.swap(0, Ordering::Relaxed);
            let total = self.total.fetch_add(moved, Ordering::Relaxed) + moved;
            // A holder that releases memory never causes a closure: that may happen while the list of holders
            // is locked.
            self.judge(usize::try_from(total).unwrap_or(0), bytes > 0);
        }
    }

    /// In bytes, as far as it is globally known: within two megabytes of the exact value.
    fn known(&self) -> usize {
        usize::try_from(self.total.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The exact value in bytes.
    pub(super) fn held(&self) -> usize {
        let stripes = self.stripes.iter().map(|s| s.0.load(Ordering::Relaxed));
        let held = self.total.load(Ordering::Relaxed) + stripes.sum::<isize>();
        usize::try_from(held).unwrap_or(0)
    }

    fn limit(&self) -> usize {
        match self.limit.load(Ordering::Relaxed) {
            0 => self.set_limit(available::default_limit()),
            limit => limit,
        }
    }

    /// `usize::MAX`: no limit.
    pub(super) fn set_limit(&self, limit: usize) -> usize {
        let limit = limit.max(1);
        self.limit.store(limit, Ordering::Relaxed);
        self.judge(self.known(), false);
        limit
    }

    pub(super) fn level(&self) -> Level {
        Level::from_u8(self.level.load(Ordering::Relaxed))
    }

    /// Reacts to the amount of held memory; `grown`: it has increased.
    fn judge(&self, held: usize, grown: bool) {
        let limit = self.limit();
        let level = Level::of(held, limit);
        if level as u8 != self.level.load(Ordering::Relaxed) {
            let before = Level::from_u8(self.level.swap(level as u8, Ordering::Relaxed));
            match (before >= Level::Scarce, level >= Level::Scarce) {
                (false, true) => self.begin_shedding(held, limit),
                (true, false) => self.end_shedding(),
                _ => {}
            }
        }
        if level == Level::Exhausted && grown {
            self.close_greediest(limit);
        }
    }

    #[cold]
    fn begin_shedding(&self, held: usize, limit: usize) {
        let now = now();
        self.shedding.since.store(now, Ordering::Relaxed);
        let logged = self.shedding.logged.load(Ordering::Relaxed);
        if logged == 0 || now.saturating_sub(logged) >= millis(LOG_INTERVAL) {
            self.shedding.logged.store(now, Ordering::Relaxed);
            warn!(
                "peers make this process hold {} KiB, of {} KiB that it may (memory_limit_bytes): \
                 new work is turned away until it is less",
                held / 1024,
                limit / 1024
            );
        }
    }

    #[cold]
    fn end_shedding(&self) {
        self.shedding.since.store(0, Ordering::Relaxed);
        let now = now();
        let told = self.shedding.told.load(Ordering::Relaxed);
        if told > 0 && now.saturating_sub(told) < millis(LOG_INTERVAL) {
            return;
        }
        let counters = [
            &self.shedding.connections,
            &self.shedding.requests,
            &self.shedding.streams,
        ];
        let [connections, requests, streams] = counters.map(|n| n.swap(0, Ordering::Relaxed));
        if connections + requests + streams > 0 {
            self.shedding.told.store(now, Ordering::Relaxed);
            info!(
                "new work is taken again; {connections} connections, {requests} requests and \
                 {streams} streams were turned away"
            );
        }
    }

    /// Counts work that is turned away. Once that has gone on for a while, makes room.
    #[cold]
    pub(super) fn turn_away(&self, what: Turned) {
        let counter = match what {
            Turned::Connection => &self.shedding.connections,
            Turned::Request => &self.shedding.requests,
            Turned::Stream => &self.shedding.streams,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let since = self.shedding.since.load(Ordering::Relaxed);
        if since > 0 && now().saturating_sub(since) >= millis(PATIENCE) {
            self.close_greediest(self.limit());
        }
    }

    /// Closes the holders with the most memory, until new work can be accepted again.
    #[cold]
    fn close_greediest(&self, limit: usize) {
        let excess = (self.known() + 1).saturating_sub(scarce_from(limit));
        let closed = self.holders.close_greediest(excess);
        if closed > 0 {
            warn!("what holds most memory is closed: {closed} connections or exchanges");
        }
    }
}

/// How scarce memory is. A single load of a number that rarely changes.
#[inline]
pub(crate) fn level() -> Level {
    PROCESS.level()
}

/// Whether a peer has to accept its queued data before more is read for it.
#[inline]
pub(crate) fn is_short() -> bool {
    level() != Level::Plenty
}

/// The number of bytes held, including those below the batch size.
pub(crate) fn held() -> usize {
    PROCESS.held()
}

/// How many bytes may be held; `None`: any number.
pub(crate) fn limit() -> Option<usize> {
    Some(PROCESS.limit()).filter(|limit| *limit != usize::MAX)
}

/// Sets the number of bytes that may be held; `None`: any number.
pub(crate) fn set_limit(limit: Option<usize>) {
    PROCESS.set_limit(limit.unwrap_or(usize::MAX));
}

/// Counts a piece of new work that is turned away because memory is scarce.
pub(crate) fn turn_away(what: Turned) {
    Process::turned_away(what as usize);
    PROCESS.turn_away(what);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::memory::{Held, Holder};
    use std::sync::Arc;

    const MB: usize = 1024 * 1024;

    /// An account for one test, with 64 MiB.
    fn account() -> &'static Account {
        let account: &'static Account = Box::leak(Box::new(Account::new()));
        account.set_limit(64 * MB);
        account
    }

    #[test]
    fn levels_are_parts_of_the_limit() {
        let rows = [
            (0, Level::Plenty),
            (32 * MB - 1, Level::Plenty),
            (32 * MB, Level::Short),
            (48 * MB - 1, Level::Short),
            (48 * MB, Level::Scarce),
            (56 * MB, Level::Exhausted),
            (usize::MAX, Level::Exhausted),
        ];
        for (held, level) in rows {
            assert_eq!(Level::of(held, 64 * MB), level, "{held}");
            assert_eq!(Level::of(held, usize::MAX), Level::Plenty, "no limit");
        }
    }

    #[test]
    fn entries_of_all_threads_add_up_and_cancel_out() {
        let account = account();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| account.add(5000)));
            }
        });
        assert_eq!(account.held(), 4 * 1000 * 5000);
        assert!(account.held() - account.known() < 4 * BATCH as usize);
        (0..4000).for_each(|_| account.sub(5000));
        assert_eq!(account.held(), 0);
        assert_eq!(account.level(), Level::Plenty);
    }

    #[test]
    fn the_level_follows_what_is_held_and_the_limit() {
        let account = account();
        account.add(50 * MB);
        assert_eq!(account.level(), Level::Scarce);
        account.set_limit(1024 * MB);
        assert_eq!(account.level(), Level::Plenty);
        account.set_limit(usize::MAX);
        assert_eq!(account.level(), Level::Plenty);
        account.set_limit(100 * MB);
        assert_eq!(account.level(), Level::Short);
        account.sub(50 * MB);
        assert_eq!(account.level(), Level::Plenty);
    }

    fn holders(account: &'static Account, megabytes: &[usize]) -> Vec<Arc<Holder>> {
        let hold = |bytes: &usize| {
            let holder = Arc::new(Holder::of(account));
            holder.set(bytes * MB);
            holder
        };
        megabytes.iter().map(hold).collect()
    }

    fn closed(holders: &[Arc<Holder>]) -> Vec<bool> {
        holders.iter().map(|holder| holder.is_given_up()).collect()
    }

    /// Sorting by a changing key makes the standard library panic.
    #[test]
    fn the_greediest_are_found_while_what_they_hold_changes() {
        let account = account();
        account.set_limit(usize::MAX);
        let holders = holders(account, &[1; 500]);
        let over = std::sync::atomic::AtomicBool::new(false);
        let change = || {
            for number in 0_usize.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let holder = holders.get(number % holders.len());
                let bytes = MB + number.wrapping_mul(0x9e37_79b9) % (8 * MB);
                holder.into_iter().for_each(|holder| holder.set(bytes));
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(change);
            let closing = || {
                (0..500).for_each(|_| {
                    account.holders.close_greediest(0);
                })
            };
            let outcome = std::panic::catch_unwind(closing);
            over.store(true, Ordering::Relaxed);
            assert!(outcome.is_ok());
        });
        assert_eq!(closed(&holders), vec![false; 500], "there is no need");
    }

    #[test]
    fn the_greediest_are_closed_when_memory_is_exhausted_and_no_more_of_them_than_needed() {
        let account = account();
        let holders = holders(account, &[1, 20, 2, 18, 10]);
        assert_eq!(
            (account.level(), closed(&holders)),
            (Level::Scarce, vec![false; 5])
        );
        account.add(6 * MB);
        assert_eq!(account.level(), Level::Exhausted);
        assert_eq!(closed(&holders), [false, true, false, false, false]);
        account.add(MB);
        assert_eq!(
            closed(&holders),
            [false, true, false, false, false],
            "it is about to go"
        );
        drop(holders);
        assert_eq!(account.held(), 7 * MB);
        assert_eq!(account.level(), Level::Plenty);
    }

    #[test]
    fn who_makes_others_be_turned_away_for_long_is_closed() {
        let account = account();
        let holders = holders(account, &[30, 19]);
        account.turn_away(Turned::Request);
        assert_eq!(closed(&holders), [false, false], "it may pass");
        let earlier = now().saturating_sub(millis(PATIENCE));
        account
            .shedding
            .since
            .store(earlier.max(1), Ordering::Relaxed);
        if now() < 1 + millis(PATIENCE) {
            std::thread::sleep(PATIENCE);
        }
        account.turn_away(Turned::Stream);
        assert_eq!(closed(&holders), [true, false]);
    }

    #[test]
    fn a_ticket_is_entered_from_four_kilobytes_on_and_leaves_nothing() {
        let account = account();
        let mut held = Held::default();
        held.set_in(account, 4000);
        assert_eq!((account.held(), held.bytes()), (0, 0));
        held.set_in(account, 70_000);
        held.set_in(account, 70_100);
        assert_eq!(account.held(), 70_000, "a little more or less is not told");
        held.set_in(account, 0);
        assert_eq!(account.held(), 0);
        held.set_in(account, 9000);
        drop(held);
        assert_eq!(account.held(), 0);
    }
}
