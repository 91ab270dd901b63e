//! Backends of several ranks: backups, and zones that are near or far.

use super::{BackendIter, BackendSelection};
use crate::clock::now;
use crate::{Backend, Candidates};
use fnv::FnvHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

/// The rank of a backend: an entry of its [extensions](Backend::ext). 0, the rank of those without an entry,
/// comes first; the others are backups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(pub u32);

/// The zone that a backend is in: an entry of its [extensions](Backend::ext).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(pub Arc<str>);

impl Zone {
    /// The zone with this name.
    pub fn new(name: &str) -> Self {
        Zone(name.into())
    }
}

/// How the groups of a [`Tiered`] selector take over from each other.
#[derive(Clone, Debug)]
pub struct TieredConfig<C = ()> {
    zone: Option<Zone>,
    enough: f64,
    inner: Option<C>,
}

impl<C> TieredConfig<C> {
    /// No zone; a group takes all requests while 70 % of it is ready.
    pub fn new() -> Self {
        TieredConfig {
            zone: None,
            enough: 0.7,
            inner: None,
        }
    }

    /// The zone of this proxy: among backends of the same priority, those in this zone come first.
    /// Those without a zone count as being elsewhere.
    pub fn zone(mut self, zone: Zone) -> Self {
        self.zone = Some(zone);
        self
    }

    /// The share of a group's weight (0.0 to 1.0) that has to be ready for the group to take all requests.
    /// Below that, it takes proportionally fewer, and the rest goes to the next group. 0.0: one ready
    /// backend is enough.
    pub fn enough(mut self, share: f64) -> Self {
        self.enough = share.clamp(0.0, 1.0);
        self
    }

    /// The configuration of the selector within each group.
    pub fn within(mut self, config: C) -> Self {
        self.inner = Some(config);
        self
    }
}

impl<C> Default for TieredConfig<C> {
    fn default() -> Self {
        TieredConfig::new()
    }
}

/// Groups of backends, each with its own selector `S`. A group is tried after another one if its [`Priority`]
/// is a larger number, or at the same priority if it is outside the proxy's [zone](TieredConfig::zone). If
/// less than [enough](TieredConfig::enough) of a group is ready, a part of the requests goes to the next
/// group: for the same key, always the same decision.
///
/// Extensions of a backend can't be compared, so each update of such a set counts as a change;
/// selectors start again, but the state of the backends is kept.
///
/// Don't use zones if the requests of each zone are not in proportion to its backends: the near ones would be
/// overloaded; bound them with [`MaxInFlight`](crate::MaxInFlight), so that the rest goes elsewhere.
///
/// Costs time in proportion to the number of backends: all of a group are examined for each request.
pub struct Tiered<S> {
    /// The best first.
    groups: Box<[Group<S>]>,
    enough: f64,
}

struct Group<S> {
    selector: Arc<S>,
    candidates: Candidates,
    weight: f64,
}

impl<S> Group<S> {
    /// The part of it that is ready, by weight.
    fn ready(&self) -> f64 {
        let ready = self.candidates.0.all().iter();
        let ready = ready.filter(|member| member.is_ready(now));
        let weight: f64 = ready.map(|member| member.backend().weight as f64).sum();
        if self.weight > 0.0 {
            weight / self.weight
        } else {
            0.0
        }
    }
}

impl<S: BackendSelection> Tiered<S> {
    /// The index of the group for `key`.
    fn group(&self, key: &[u8]) -> usize {
        let (mut left, mut shares) = (1.0, Vec::new());
        for group in &self.groups {
            let ready = group.ready();
            let takes = if ready > 0.0 && ready >= self.enough {
                1.0
            } else {
                ready / self.enough.max(f64::MIN_POSITIVE)
            };
            let share = left * takes.min(1.0);
            left -= share;
            if shares.is_empty() && left <= 0.0 {
                return 0;
            }
            shares.push(share);
            if left <= 0.0 {
                break;
            }
        }
        let total: f64 = shares.iter().sum();
        let mut drawn = total * unit(key);
        let last = shares.iter().rposition(|share| *share > 0.0);
        for (index, share) in shares.iter().enumerate() {
            drawn -= share;
            if drawn < 0.0 {
                return index;
            }
        }
        last.unwrap_or(0)
    }
}

/// A number from 0 to 1, the same for the same key; random without a key.
fn unit(key: &[u8]) -> f64 {
    if key.is_empty() {
        return fastrand::f64();
    }
    let mut hasher = FnvHasher::default();
    hasher.write(b"group");
    hasher.write(key);
    let mixed = hasher.finish().wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

impl<S: BackendSelection> BackendSelection for Tiered<S>
where
    S::Iter: BackendIter,
{
    type Iter = TieredIterator<S>;
    type Config = TieredConfig<S::Config>;

    fn build(backends: &BTreeSet<Backend>) -> Self {
        Tiered::build_over(&Candidates::detached(backends), None)
    }

    fn build_with_config(backends: &BTreeSet<Backend>, config: &Self::Config) -> Self {
        Tiered::build_over(&Candidates::detached(backends), Some(config))
    }

    fn build_over(candidates: &Candidates, config: Option<&Self::Config>) -> Self {
        let zone = config.and_then(|config| config.zone.as_ref());
        let rank = |backend: &Backend| {
            let priority = backend.ext.get().copied().unwrap_or(Priority(0));
            let far = zone.is_some() && backend.ext.get::<Zone>() != zone;
            (priority, far)
        };
        let all = candidates.iter().map(|c| c.backend());
        let ranks: BTreeMap<_, f64> = all.fold(BTreeMap::new(), |mut ranks, backend| {
            *ranks.entry(rank(backend)).or_default() += backend.weight as f64;
            ranks
        });
        let inner = config.and_then(|config| config.inner.as_ref());
        let groups = ranks.into_iter().map(|(of_group, weight)| {
            let candidates = candidates.filter(|backend| rank(backend) == of_group);
            Group {
                selector: Arc::new(S::build_over(&candidates, inner)),
                candidates,
                weight,
            }
        });
        Tiered {
            groups: groups.collect(),
            enough: config.map_or(0.7, |config| config.enough),
        }
    }

    fn counts_requests() -> bool {
        S::counts_requests()
    }

    fn thins(&self) -> bool {
        self.groups.iter().any(|group| group.selector.thins())
    }

    fn iter(self: &Arc<Self>, key: &[u8]) -> TieredIterator<S> {
        let first = self.group(key);
        let others = (0..self.groups.len()).filter(|index| *index != first);
        let mut order = vec![first];
        order.extend(others);
        TieredIterator {
            selector: self.clone(),
            key: key.into(),
            order: order.into_iter(),
            current: None,
            latest: None,
        }
    }

    fn first(&self, key: &[u8]) -> Option<&Backend> {
        self.groups.get(self.group(key))?.selector.first(key)
    }
}

impl<S> fmt::Debug for Tiered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.groups.iter().map(|group| &group.candidates);
        f.debug_list().entries(groups).finish()
    }
}

/// The backends of the group for a key, then those of the other groups, the best group first.
pub struct TieredIterator<S: BackendSelection> {
    selector: Arc<Tiered<S>>,
    key: Box<[u8]>,
    order: std::vec::IntoIter<usize>,
    current: Option<S::Iter>,
    latest: Option<Backend>,
}

impl<S: BackendSelection> BackendIter for TieredIterator<S>
where
    S::Iter: BackendIter,
{
    fn next(&mut self) -> Option<&Backend> {
        loop {
            if let Some(backend) = self.current.as_mut().and_then(|current| current.next()) {
                self.latest = Some(backend.clone());
                return self.latest.as_ref();
            }
            let group = self.selector.groups.get(self.order.next()?)?;
            self.current = Some(group.selector.iter(&self.key));
        }
    }
}

impl<S: BackendSelection> fmt::Debug for TieredIterator<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredIterator").finish_non_exhaustive()
    }
}
