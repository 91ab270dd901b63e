//! The state that the handles of a connection share.

use super::failure::Failure;
use crate::machine::{Key, Machine, Woken};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

/// The time according to tokio.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Slots that are kept when no stream is held.
const KEPT: usize = 4;

/// The wakers that wait for a stream, and the number of its handles.
#[derive(Debug, Default)]
pub(super) struct StreamWakers {
    pub(super) owners: u8,
    pub(super) receiver: Option<Waker>,
    pub(super) sender: Option<Waker>,
    pub(super) reset: Option<Waker>,
}

/// The machine, and the wakers that wait for it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) machine: Machine,
    /// Indexed by the stream's slot in the machine's slab.
    places: Vec<StreamWakers>,
    /// Stands in for a missing place.
    spare: StreamWakers,
    driver: Option<Waker>,
    /// The driver is about to be polled, and does not have to be woken.
    is_muted: bool,
    pub(super) pong: Option<Waker>,
    /// Handles that may begin streams.
    pub(super) requesters: usize,
    /// Streams that are held.
    pub(super) held: usize,
    /// Bytes that were read from the connection.
    pub(super) received: u64,
}

impl State {
    pub(super) fn place(&mut self, key: Key) -> &mut StreamWakers {
        let at = key.slot();
        if self.places.len() <= at {
            self.places.resize_with(at + 1, StreamWakers::default);
        }
        // The place exists by now.
        self.places.get_mut(at).unwrap_or(&mut self.spare)
    }

    /// Adds a handle of a stream.
    pub(super) fn hold(&mut self, key: Key) {
        let place = self.place(key);
        place.owners += 1;
        if place.owners == 1 {
            self.held += 1;
        }
    }

    /// Registers the driver, which is woken once.
    pub(super) fn register(&mut self, cx: &Context<'_>) {
        self.is_muted = false;
        match &self.driver {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => self.driver = Some(cx.waker().clone()),
        }
    }

    /// Moves the wakers of all streams with news to `wakers`.
    pub(super) fn take_woken(&mut self, wakers: &mut Vec<Waker>) {
        while let Some((key, woken)) = self.machine.poll_woken() {
            let Woken {
                receiver,
                sender,
                reset,
            } = woken;
            let place = self.place(key);
            if receiver {
                wakers.extend(place.receiver.take());
            }
            if sender {
                wakers.extend(place.sender.take());
            }
            if reset {
                wakers.extend(place.reset.take());
            }
        }
    }

    /// Until the next poll of the driver, nothing wakes it.
    pub(super) fn mute(&mut self) {
        self.is_muted = true;
    }

    /// Takes the driver's waker if there is something to do.
    fn driver_due(&mut self) -> Option<Waker> {
        if self.is_muted {
            return None;
        }
        let machine = &self.machine;
        if machine.wants_output() || machine.has_woken() || machine.is_over() {
            self.driver.take()
        } else {
            None
        }
    }

    /// A client connection without remaining handles ends in an orderly way.
    fn close_if_unused(&mut self) {
        if self.requesters == 0 && self.held == 0 {
            self.machine.shut_down(now());
        }
    }
}

/// A connection, shared by all of its handles.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Whether the connection ends when no handle is left that can begin a stream.
    is_client: bool,
}

impl Shared {
    pub(super) fn new(machine: Machine, is_client: bool) -> Arc<Self> {
        let state = Mutex::new(State {
            machine,
            places: Vec::new(),
            spare: StreamWakers::default(),
            driver: None,
            is_muted: false,
            pong: None,
            requesters: 0,
            held: 0,
            received: 0,
        });
        Arc::new(Shared { state, is_client })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a step on the machine, and has the driver handle the result.
    pub(super) fn with<R>(&self, step: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = step(&mut state);
        let driver = state.driver_due();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
        result
    }

    /// A handle that could begin streams was dropped.
    pub(super) fn drop_requester(&self) {
        self.with(|state| {
            state.requesters = state.requesters.saturating_sub(1);
            state.close_if_unused();
        });
    }
}

/// One handle of a stream. The stream is abandoned with its last one.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) shared: Arc<Shared>,
    pub(super) key: Key,
}

impl Held {
    /// The caller has counted the handle with [`State::hold`].
    pub(super) fn new(shared: &Arc<Shared>, key: Key) -> Self {
        let shared = shared.clone();
        Held { shared, key }
    }

    pub(super) fn with<R>(&self, step: impl FnOnce(&mut State, Key) -> R) -> R {
        self.shared.with(|state| step(state, self.key))
    }

    pub(super) fn another(&self, state: &mut State) -> Self {
        state.hold(self.key);
        Held::new(&self.shared, self.key)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let is_client = self.shared.is_client;
        self.with(|state, key| {
            let place = state.place(key);
            place.owners = place.owners.saturating_sub(1);
            if place.owners > 0 {
                return;
            }
            *place = StreamWakers::default();
            state.held = state.held.saturating_sub(1);
            if state.held == 0 && state.places.capacity() > KEPT {
                state.places = Vec::new();
            }
            state.machine.abandon(key, Some(&now));
            if is_client {
                state.close_if_unused();
            }
        });
    }
}

impl State {
    /// The reason why a stream is not usable.
    pub(super) fn failure(&self, key: Key) -> Failure {
        match self.machine.reset_cause(key).or(self.machine.cause()) {
            Some(cause) => Failure::of(cause),
            None => Failure::user("the stream is over"),
        }
    }
}
