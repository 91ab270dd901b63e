//! Two sides, the wires between them, and the clock.

use bytes::BytesMut;
use fastrand::Rng;
use pingora_h2::frame::{Role, Settings, encode};
use pingora_h2::machine::{Config, Machine};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::observer::Observer;
use crate::plan::{LONGEST, Manner, Plan};
use crate::program::{Outcome, Program};

/// One end of the connection.
struct Side {
    machine: Machine,
    program: Program,
    observer: Observer,
    input: BytesMut,
    /// In flight to this side: the time of arrival, and the bytes.
    wire: VecDeque<(Instant, Vec<u8>)>,
    /// The number of bytes that the peer may send ahead on the connection.
    window: u32,
    settings: Settings,
}

/// The possible next events.
#[derive(Debug, Clone, Copy)]
enum Event {
    Write(usize),
    Arrive(usize),
    Turn(usize),
    Release(usize),
    Linger(usize),
    Timeout(usize),
    Open,
    Accept,
    Change,
    Window(usize),
    Ping(usize),
    ShutDown(usize),
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

pub(crate) struct World {
    random: Rng,
    now: Instant,
    sides: [Side; 2],
    /// Streams still to be opened.
    left: usize,
    plans: HashMap<u32, Plan>,
    most: usize,
    shut_down: bool,
    /// The server may have received requests.
    requests: bool,
    /// The server's own SETTINGS were written: the first acknowledgement belongs to them.
    announced: bool,
    /// The client has applied SETTINGS that differ from the server's own.
    changed: bool,
    changes: usize,
}

fn side(role: Role, random: &mut Rng, now: Instant) -> Side {
    let mut config = Config::new(role);
    let window = random.u32(300..100_000);
    config.settings.initial_window_size = (random.u8(..4) > 0).then_some(window);
    config.connection_window = random.u32(1_000..200_000);
    config.send_buffer = random.usize(100..100_000);
    config.connection_send_buffer = random.usize(1_000..200_000);
    config.initial_peer_streams = random.u32(1..20);
    if role == Role::Server {
        // At least the number that a client opens before it knows the limit: those would be
        // refused.
        config.settings.max_concurrent_streams = Some(random.u32(20..40));
    }
    if random.bool() {
        config.settings.max_frame_size = Some(random.u32(16_384..20_000));
    }
    if random.bool() {
        config.settings.header_table_size = Some(random.u32(..5_000));
    }
    Side {
        observer: Observer::new(role, config.initial_peer_streams),
        settings: config.settings,
        window: config.connection_window,
        machine: Machine::new(config, now),
        program: Program::new(role),
        input: BytesMut::new(),
        wire: VecDeque::new(),
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let now = Instant::now();
        let sides = [
            side(Role::Client, &mut random, now),
            side(Role::Server, &mut random, now),
        ];
        let smallest = sides.iter().map(|side| {
            let stream = side.settings.initial_window_size.unwrap_or(65_535);
            stream.min(side.window) as usize
        });
        // Ensures that no body needs more window updates than a peer may send.
        let most = smallest.min().unwrap_or(1) * 20;
        let streams = if random.u8(..10) == 0 { 40 } else { 8 };
        World {
            left: random.usize(1..streams),
            most: most.min(LONGEST),
            shut_down: false,
            requests: false,
            announced: false,
            changed: false,
            changes: random.usize(..6),
            plans: HashMap::new(),
            now,
            sides,
            random,
        }
    }

    pub(crate) fn run(mut self) {
        for step in 0.. {
            assert!(step < 100_000, "it does not come to an end");
            let events = self.events();
            let Some(event) = self.random.choice(events) else {
                break;
            };
            self.happen(event);
            for side in &mut self.sides {
                side.program.collect(&mut side.machine);
            }
        }
        self.judge();
    }

    /// All possible events. Empty: nothing more will happen.
    fn events(&self) -> Vec<Event> {
        let mut events = vec![];
        for (place, side) in self.sides.iter().enumerate() {
            if side.machine.wants_output() && !side.machine.is_over() {
                events.push(Event::Write(place));
            }
            if !side.wire.is_empty() && (side.machine.wants_input() || side.machine.is_over()) {
                events.push(Event::Arrive(place));
            }
            if !side.program.woken.is_empty() {
                events.push(Event::Turn(place));
            }
            if !side.program.unreleased.is_empty() {
                events.push(Event::Release(place));
            }
            if side.program.lingering(&side.machine).is_some() {
                events.push(Event::Linger(place));
            }
        }
        if self.left > 0 && self.sides[CLIENT].machine.may_open() {
            events.push(Event::Open);
        }
        if self.requests {
            events.push(Event::Accept);
        }
        let may_change = self.announced && self.changes > 0 && !events.is_empty();
        if self.changed || may_change {
            events.push(Event::Change);
        }
        if events.is_empty() {
            let due = |place: &usize| self.sides[*place].machine.poll_timeout().is_some();
            events.extend([CLIENT, SERVER].into_iter().filter(due).map(Event::Timeout));
            return events;
        }
        events
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Write(place) => self.write(place),
            Event::Arrive(place) => self.arrive(place),
            Event::Turn(place) => {
                let side = &mut self.sides[place];
                side.program.turn(&mut side.machine, &mut self.random, now);
                self.rarely();
            }
            Event::Release(place) => {
                let side = &mut self.sides[place];
                side.program.release(&mut side.machine, &mut self.random);
            }
            Event::Linger(place) => {
                let side = &mut self.sides[place];
                if let Some(key) = side.program.lingering(&side.machine) {
                    side.program
                        .end(key, Outcome::Whole, &mut side.machine, now);
                }
            }
            Event::Timeout(place) => {
                let side = &mut self.sides[place];
                if let Some(deadline) = side.machine.poll_timeout() {
                    self.now = self.now.max(deadline);
                    side.machine.handle_timeout(self.now);
                }
            }
            Event::Open => self.open(),
            Event::Accept => self.accept(),
            Event::Change => self.change(),
            Event::Window(place) => {
                let side = &mut self.sides[place];
                side.window = self.random.u32(1_000..200_000);
                side.machine.set_connection_window(side.window);
            }
            Event::Ping(place) => {
                self.sides[place].machine.ping(now);
            }
            Event::ShutDown(place) => {
                self.shut_down = true;
                self.sides[place].machine.shut_down(now);
            }
        }
    }

    /// Rare events, in addition to another one.
    fn rarely(&mut self) {
        let place = self.random.usize(..2);
        match self.random.u16(..400) {
            0..3 => self.happen(Event::Window(place)),
            3..6 => self.happen(Event::Ping(place)),
            6 => self.happen(Event::ShutDown(place)),
            _ => {}
        }
    }

    fn write(&mut self, place: usize) {
        let now = self.now;
        let most = if self.random.bool() { 40_000 } else { 100 };
        let limit = self.random.usize(1..most);
        let mut out = vec![];
        let side = &mut self.sides[place];
        side.machine.poll_output(&mut out, limit, &|| now);
        side.observer.sent(&out);
        self.announced |= place == SERVER;
        self.send(1 - place, &out);
    }

    /// Puts bytes on the wire to a side, in order, in pieces of any size and with any delay.
    fn send(&mut self, to: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let most = match self.random.u8(..4) {
                0 => 10,
                1 => 1_000,
                _ => bytes.len(),
            };
            let size = self.random.usize(1..=most.min(bytes.len()));
            let (piece, rest) = bytes.split_at(size);
            bytes = rest;
            let delay = Duration::from_micros(self.random.u64(..50_000));
            let wire = &mut self.sides[to].wire;
            let behind = wire.back().map_or(self.now, |(when, _)| *when);
            wire.push_back((behind.max(self.now + delay), piece.to_vec()));
        }
    }

    fn arrive(&mut self, place: usize) {
        self.requests |= place == SERVER;
        let side = &mut self.sides[place];
        let Some((when, bytes)) = side.wire.pop_front() else {
            return;
        };
        self.now = self.now.max(when);
        let now = self.now;
        if side.machine.is_over() {
            return;
        }
        side.observer.received(&bytes);
        side.input.extend_from_slice(&bytes);
        side.machine.handle_input(&mut side.input, &|| now);
    }

    fn open(&mut self) {
        let plan = Plan::new(&mut self.random, self.most);
        // Streams have odd numbers in increasing order.
        let id = self.plans.len() as u32 * 2 + 1;
        let side = &mut self.sides[CLIENT];
        let end = plan.request.bytes == 0 && plan.request.trailers.is_none() && self.random.bool();
        let Some(key) = side.machine.open(plan.request_head(id), end) else {
            return;
        };
        assert_eq!(key.id(), id);
        self.left -= 1;
        side.program.begin(key, plan.clone(), end);
        self.plans.insert(id, plan);
    }

    fn accept(&mut self) {
        self.requests = false;
        let side = &mut self.sides[SERVER];
        while let Some((key, head)) = side.machine.poll_request() {
            let plan = self.plans[&key.id()].clone();
            side.program.answer(key, &head, plan, &mut side.machine);
        }
    }

    /// SETTINGS from the server that lower the client's limits, or restore them. The server itself
    /// does not know about them, and need not: it only ever receives less than it allows.
    fn change(&mut self) {
        let own = self.sides[SERVER].settings;
        let window = own.initial_window_size.unwrap_or(65_535);
        let streams = own.max_concurrent_streams.unwrap_or(100);
        let mut settings = Settings {
            initial_window_size: Some(window),
            max_concurrent_streams: Some(streams),
            ..Settings::default()
        };
        if !self.changed {
            self.changes -= 1;
            settings.initial_window_size = Some(self.random.u32(..=window));
            settings.max_concurrent_streams = Some(self.random.u32(..=streams));
            settings.header_table_size = Some(self.random.u32(..5_000));
        }
        self.changed = !self.changed;
        let mut out = vec![];
        encode::settings(&mut out, &settings);
        self.send(CLIENT, &out);
    }

    /// Checks the outcome once nothing more can happen.
    fn judge(&self) {
        let [client, server] = &self.sides;
        for side in &self.sides {
            assert_eq!(side.program.owned(), 0, "a stream is stuck");
            assert_eq!(side.machine.held(), 0, "bytes are held");
            assert_eq!(side.machine.open_streams(), 0, "a stream is open");
            assert_eq!(side.observer.open(), 0, "a stream is open on the wire");
        }
        if !self.shut_down {
            assert_eq!(self.left, 0, "not all streams were opened");
            assert!(client.observer.owes_nothing() && server.observer.owes_nothing());
            for (sender, receiver) in [(client, server), (server, client)] {
                let target = i64::from(receiver.window);
                let least = target - target / 3;
                let credit = sender.observer.credit;
                assert!(credit >= least, "a window leaks: {credit} of {target}");
                assert_eq!(sender.observer.data_sent, receiver.observer.data_received);
            }
        }
        for (id, plan) in &self.plans {
            self.judge_stream(*id, plan);
        }
    }

    fn judge_stream(&self, id: u32, plan: &Plan) {
        let [client, server] = &self.sides;
        let ours = client.program.outcomes.get(&id).copied();
        let theirs = server.program.outcomes.get(&id).copied();
        if plan.client != Manner::Patient {
            return;
        }
        match (plan.server, theirs) {
            // It never reached the server, which is only allowed if the connection was shut down.
            (_, None) => assert!(self.shut_down && ours == Some(Outcome::Broken), "{id}"),
            (Manner::Patient, _) => {
                assert_eq!(theirs, Some(Outcome::Whole), "{id}");
                assert_eq!(ours, Some(Outcome::Whole), "{id}");
            }
            // The answer is complete, whatever becomes of the request.
            (Manner::Early | Manner::Deaf, _) => assert_eq!(ours, Some(Outcome::Whole), "{id}"),
            (Manner::ResetAfter(_) | Manner::LeaveAfter(_), _) => {}
        }
    }
}
