//! A machine against the `h2` crate, in both roles.

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use pingora_h2::frame::Role;
use pingora_h2::machine::{Config, Machine};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Instant;

use crate::executor::{Connection, Executor, Spawner};
use crate::observer::Observer;
use crate::plan::{LONGEST, Manner, Message, Plan, body};
use crate::program::{Outcome, Program};

type Outcomes = Rc<RefCell<HashMap<u32, Outcome>>>;

#[derive(Debug, Clone, Copy)]
enum Event {
    Write,
    Arrive,
    Turn,
    Release,
    Linger,
    Open,
    Accept,
    Poll(usize),
    Take,
    Deliver,
}

pub(crate) struct Match {
    random: Rng,
    now: Instant,
    role: Role,
    machine: Machine,
    program: Program,
    observer: Observer,
    input: BytesMut,
    /// In flight to us, and to the library.
    wires: [Vec<u8>; 2],
    executor: Executor,
    connection: Connection,
    outcomes: Outcomes,
    plans: Vec<Plan>,
    opened: usize,
    requests: bool,
}

fn plans(random: &mut Rng, role: Role, most: usize) -> Vec<Plan> {
    let count = random.usize(1..10);
    let mut plan = || {
        let mut plan = Plan::new(random, most);
        // The library plays its usual part.
        match role {
            Role::Client => {
                plan.informational = 0;
                if !matches!(plan.server, Manner::ResetAfter(_)) {
                    plan.server = Manner::Patient;
                }
            }
            Role::Server => plan.client = Manner::Patient,
        }
        plan
    };
    (0..count).map(|_| plan()).collect()
}

impl Match {
    /// We have this role.
    pub(crate) fn new(seed: u64, role: Role) -> Self {
        let mut random = Rng::with_seed(seed);
        let now = Instant::now();
        let mut config = Config::new(role);
        let window = random.u32(300..100_000);
        config.settings.initial_window_size = (random.u8(..4) > 0).then_some(window);
        config.connection_window = random.u32(1_000..200_000);
        // More streams might be refused before the limit is known.
        config.initial_peer_streams = 1;
        config.send_buffer = random.usize(100..100_000);
        if random.bool() {
            config.settings.header_table_size = Some(random.u32(..5_000));
        }
        // With a smaller window the library forgets, once it is acknowledged, to give back bytes that
        // were read before.
        let theirs = random.u32(65_535..200_000);
        let most = theirs.min(window).min(config.connection_window) as usize * 20;
        let plans = plans(&mut random, role, most.min(LONGEST));
        let executor = Executor::default();
        let connection = Connection::default();
        let outcomes = Outcomes::default();
        let (spawner, io) = (executor.spawner.clone(), connection.clone());
        let (shared, seen) = (plans.clone(), outcomes.clone());
        match role {
            Role::Client => executor
                .spawner
                .spawn(serve(io, spawner, shared, seen, theirs)),
            Role::Server => executor
                .spawner
                .spawn(ask(io, spawner, shared, seen, theirs)),
        }
        Match {
            role,
            observer: Observer::new(role, config.initial_peer_streams),
            machine: Machine::new(config, now),
            program: Program::new(role),
            input: BytesMut::new(),
            wires: [vec![], vec![]],
            executor,
            connection,
            outcomes,
            plans,
            opened: 0,
            requests: false,
            random,
            now,
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
            self.program.collect(&mut self.machine);
        }
        self.judge();
    }

    fn events(&mut self) -> Vec<Event> {
        let mut events: Vec<_> = self.executor.woken().into_iter().map(Event::Poll).collect();
        let mut may = |possible: bool, event| {
            if possible {
                events.push(event);
            }
        };
        may(self.machine.wants_output(), Event::Write);
        may(
            !self.wires[0].is_empty() && self.machine.wants_input(),
            Event::Arrive,
        );
        may(!self.program.woken.is_empty(), Event::Turn);
        may(!self.program.unreleased.is_empty(), Event::Release);
        may(
            self.program.lingering(&self.machine).is_some(),
            Event::Linger,
        );
        let left = self.role == Role::Client && self.opened < self.plans.len();
        may(left && self.machine.may_open(), Event::Open);
        may(self.requests, Event::Accept);
        may(self.connection.has_output(), Event::Take);
        may(!self.wires[1].is_empty(), Event::Deliver);
        events
    }

    /// The first bytes on a wire.
    fn piece(&mut self, place: usize) -> Vec<u8> {
        let wire = &mut self.wires[place];
        let most = if self.random.bool() { 50 } else { 40_000 };
        let size = self.random.usize(1..=most.min(wire.len()));
        wire.drain(..size).collect()
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Write => {
                let mut out = vec![];
                let most = if self.random.bool() { 40_000 } else { 100 };
                let limit = self.random.usize(1..most);
                self.machine.poll_output(&mut out, limit, &|| now);
                self.observer.sent(&out);
                self.wires[1].append(&mut out);
            }
            Event::Arrive => {
                let piece = self.piece(0);
                self.observer.received(&piece);
                self.input.extend_from_slice(&piece);
                self.machine.handle_input(&mut self.input, &|| now);
                self.requests |= self.role == Role::Server;
            }
            Event::Turn => self.program.turn(&mut self.machine, &mut self.random, now),
            Event::Release => self.program.release(&mut self.machine, &mut self.random),
            Event::Linger => {
                if let Some(key) = self.program.lingering(&self.machine) {
                    self.program
                        .end(key, Outcome::Whole, &mut self.machine, now);
                }
            }
            Event::Open => self.open(),
            Event::Accept => {
                self.requests = false;
                while let Some((key, head)) = self.machine.poll_request() {
                    let plan = self.plans[key.id() as usize / 2].clone();
                    self.program.answer(key, &head, plan, &mut self.machine);
                }
            }
            Event::Poll(place) => self.executor.poll(place),
            Event::Take => {
                let room = self.random.usize(1..50_000);
                self.wires[0].append(&mut self.connection.take(room));
            }
            Event::Deliver => {
                let piece = self.piece(1);
                self.connection.deliver(&piece);
            }
        }
    }

    fn open(&mut self) {
        let id = self.opened as u32 * 2 + 1;
        let plan = self.plans[self.opened].clone();
        let end = plan.request.bytes == 0 && plan.request.trailers.is_none();
        if let Some(key) = self.machine.open(plan.request_head(id), end) {
            self.opened += 1;
            self.program.begin(key, plan, end);
        }
    }

    fn judge(&self) {
        assert!(!self.machine.is_over(), "the connection ended");
        assert_eq!(self.program.owned(), 0, "a stream is stuck");
        assert_eq!(self.machine.held(), 0, "bytes are held");
        assert_eq!(self.machine.open_streams(), 0, "a stream is open");
        assert_eq!(self.observer.open(), 0, "a stream is open on the wire");
        assert!(self.observer.owes_nothing());
        // The library gives window space back once it amounts to half a window.
        let credit = self.observer.credit;
        assert!(credit > 65_535 / 3, "a window leaks: {credit} are left");
        let theirs = self.outcomes.borrow();
        for (place, plan) in self.plans.iter().enumerate() {
            let id = place as u32 * 2 + 1;
            let ours = self.program.outcomes.get(&id).copied();
            let theirs = theirs.get(&id).copied();
            if (plan.client, plan.server) == (Manner::Patient, Manner::Patient) {
                assert_eq!((ours, theirs), (Some(Outcome::Whole), Some(Outcome::Whole)));
            }
        }
    }
}

/// The library as a server.
async fn serve(
    io: Connection,
    spawner: Spawner,
    plans: Vec<Plan>,
    outcomes: Outcomes,
    window: u32,
) {
    let mut builder = h2::server::Builder::new();
    // More than are opened: the library counts a reset that it still has to write as a stream,
    // although the stream has ended. A stream that may be opened then would be refused.
    builder
        .initial_window_size(window)
        .max_concurrent_streams(20)
        .header_table_size(window % 5_000);
    let mut connection = builder.handshake::<_, Bytes>(io).await.unwrap();
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.unwrap();
        let id = respond.stream_id().as_u32();
        let plan = plans[id as usize / 2].clone();
        assert_eq!(*request.headers(), plan.request.fields);
        let mut response = Response::new(());
        *response.headers_mut() = plan.response.fields.clone();
        let end = plan.response.bytes == 0 && plan.response.trailers.is_none();
        let Ok(sender) = respond.send_response(response, end) else {
            continue;
        };
        let reset_after = match plan.server {
            Manner::ResetAfter(bytes) => bytes,
            _ => usize::MAX,
        };
        let outcomes = outcomes.clone();
        let message = plan.request.clone();
        spawner.spawn(async move {
            let outcome = read(request.into_body(), id, true, message, reset_after).await;
            if outcome == Outcome::Left {
                respond.send_reset(h2::Reason::CANCEL);
            }
            outcomes.borrow_mut().insert(id, outcome);
        });
        if !end {
            spawner.spawn(write(sender, id, false, plan.response));
        }
    }
}

/// The library as a client.
async fn ask(io: Connection, spawner: Spawner, plans: Vec<Plan>, outcomes: Outcomes, window: u32) {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(window)
        .header_table_size(window % 5_000)
        .initial_max_send_streams(5)
        .enable_push(false);
    let (mut sender, connection) = builder.handshake::<_, Bytes>(io).await.unwrap();
    spawner.spawn(async move {
        connection.await.unwrap();
    });
    for (place, plan) in plans.into_iter().enumerate() {
        let id = place as u32 * 2 + 1;
        let mut request = Request::new(());
        *request.uri_mut() = format!("https://a.test/{id}").parse().unwrap();
        *request.method_mut() = http::Method::POST;
        *request.headers_mut() = plan.request.fields.clone();
        let end = plan.request.bytes == 0 && plan.request.trailers.is_none();
        sender = sender.ready().await.unwrap();
        let (response, stream) = sender.send_request(request, end).unwrap();
        assert_eq!(stream.stream_id().as_u32(), id);
        let outcomes = outcomes.clone();
        let message = plan.response.clone();
        spawner.spawn(async move {
            let outcome = match response.await {
                Ok(response) => {
                    assert_eq!(*response.headers(), message.fields);
                    read(response.into_body(), id, false, message, usize::MAX).await
                }
                Err(_) => Outcome::Broken,
            };
            outcomes.borrow_mut().insert(id, outcome);
        });
        if !end {
            spawner.spawn(write(stream, id, true, plan.request));
        }
    }
    // Dropping its last handle would end the connection.
    std::future::pending::<()>().await;
}

async fn read(
    mut stream: RecvStream,
    id: u32,
    request: bool,
    message: Message,
    reset_after: usize,
) -> Outcome {
    let mut taken = 0;
    loop {
        if taken >= reset_after {
            return Outcome::Left;
        }
        let Some(data) = stream.data().await else {
            break;
        };
        let Ok(data) = data else {
            return Outcome::Broken;
        };
        assert!(
            data == body(id, request, taken, data.len()),
            "other bytes than were sent"
        );
        taken += data.len();
        let _ = stream.flow_control().release_capacity(data.len());
    }
    let Ok(trailers) = stream.trailers().await else {
        return Outcome::Broken;
    };
    assert_eq!(taken, message.bytes, "all bytes came");
    // An empty block of trailers may be none.
    let empty = HeaderMap::new();
    let expected = message.trailers.as_ref().unwrap_or(&empty);
    assert_eq!(trailers.as_ref().unwrap_or(&empty), expected);
    Outcome::Whole
}

/// Ends early if the peer does not want the rest.
async fn write(mut stream: SendStream<Bytes>, id: u32, request: bool, message: Message) {
    let mut given = 0;
    while given < message.bytes {
        stream.reserve_capacity(message.bytes - given);
        let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else {
            return;
        };
        let length = room.min(message.bytes - given);
        let end = given + length == message.bytes && message.trailers.is_none();
        let data = body(id, request, given, length);
        if stream.send_data(data, end).is_err() {
            return;
        }
        given += length;
    }
    let _ = match message.trailers {
        Some(trailers) => stream.send_trailers(trailers),
        None if message.bytes == 0 => stream.send_data(Bytes::new(), true),
        None => Ok(()),
    };
}
