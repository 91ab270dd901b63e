//! The program on one side: whenever a stream is woken, it does on it what the plan says.

use fastrand::Rng;
use http::{HeaderMap, StatusCode};
use pingora_h2::frame::Role;
use pingora_h2::machine::{Key, Machine, Received, Woken};
use pingora_h2::{Head, Reason};
use std::collections::HashMap;
use std::time::Instant;

use crate::plan::{Manner, Message, Plan, body};

/// The outcome of a stream for one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The peer's message was received to its end.
    Whole,
    /// The message is incomplete, and no more will come.
    Broken,
    /// This side lost interest.
    Left,
}

/// A stream that the program owns.
#[derive(Debug)]
struct Task {
    plan: Plan,
    /// Bytes of our message that were queued.
    given: usize,
    /// The end of our message was queued.
    finished: bool,
    /// Bytes of the peer's message that were read.
    taken: usize,
    informed: usize,
    head_taken: bool,
    trailers_taken: bool,
    received: Option<Outcome>,
}

/// The program of one side.
pub(crate) struct Program {
    role: Role,
    tasks: HashMap<Key, Task>,
    /// Streams to look at. No others are looked at.
    pub(crate) woken: Vec<(Key, Woken)>,
    /// Bytes that were read and not released.
    pub(crate) unreleased: Vec<(Key, usize)>,
    pub(crate) outcomes: HashMap<u32, Outcome>,
    pub(crate) bytes_taken: u64,
}

const RECEIVE: Woken = Woken {
    receiver: true,
    sender: false,
    reset: false,
};
const SEND: Woken = Woken {
    receiver: false,
    sender: true,
    reset: false,
};

impl Program {
    pub(crate) fn new(role: Role) -> Self {
        Program {
            role,
            tasks: HashMap::new(),
            woken: vec![],
            unreleased: vec![],
            outcomes: HashMap::new(),
            bytes_taken: 0,
        }
    }

    /// Streams that are not finished.
    pub(crate) fn owned(&self) -> usize {
        self.tasks.len()
    }

    pub(crate) fn begin(&mut self, key: Key, plan: Plan, finished: bool) {
        let task = Task {
            plan,
            given: 0,
            finished,
            taken: 0,
            informed: 0,
            head_taken: false,
            trailers_taken: false,
            received: None,
        };
        self.tasks.insert(key, task);
        self.woken.push((key, SEND));
        self.woken.push((key, RECEIVE));
    }

    /// Collects the wake-ups of the machine.
    pub(crate) fn collect(&mut self, machine: &mut Machine) {
        while let Some(woken) = machine.poll_woken() {
            self.woken.push(woken);
        }
    }

    /// Gives one of the woken streams a turn, in any order.
    pub(crate) fn turn(&mut self, machine: &mut Machine, random: &mut Rng, now: Instant) {
        let (key, woken) = self.woken.swap_remove(random.usize(..self.woken.len()));
        if woken.receiver {
            self.receive(key, machine, random, now);
        }
        if woken.sender {
            self.send(key, machine, random);
        }
        self.finish(key, machine, now);
    }

    /// Releases some of the bytes that were read.
    pub(crate) fn release(&mut self, machine: &mut Machine, random: &mut Rng) {
        let place = random.usize(..self.unreleased.len());
        let (key, held) = &mut self.unreleased[place];
        let some = if random.bool() {
            *held
        } else {
            random.usize(1..=*held)
        };
        machine.release(*key, some);
        *held -= some;
        if *held == 0 {
            self.unreleased.swap_remove(place);
        }
    }

    fn manner(&self, plan: &Plan) -> Manner {
        match self.role {
            Role::Client => plan.client,
            Role::Server => plan.server,
        }
    }

    fn receive(&mut self, key: Key, machine: &mut Machine, random: &mut Rng, now: Instant) {
        loop {
            let Some(task) = self.tasks.get(&key) else {
                return;
            };
            match self.manner(&task.plan) {
                Manner::ResetAfter(bytes) if task.taken >= bytes => {
                    machine.reset(key, Reason::CANCEL, &|| now);
                    return self.leave(key, machine, now);
                }
                Manner::LeaveAfter(bytes) if task.taken >= bytes => {
                    return self.leave(key, machine, now);
                }
                _ if task.received.is_some() => return,
                _ => {}
            }
            let outcome = match machine.receive(key) {
                Received::Pending => return,
                Received::End => Outcome::Whole,
                Received::Broken => Outcome::Broken,
                Received::Data(data) => {
                    self.take(key, &data, machine, random);
                    continue;
                }
                Received::Head(head) => {
                    self.take_head(key, &head);
                    continue;
                }
                Received::Trailers(trailers) => {
                    self.take_trailers(key, &trailers);
                    continue;
                }
            };
            let deaf = self.manner(&task.plan) == Manner::Deaf;
            let Some(task) = self.tasks.get_mut(&key) else {
                return;
            };
            if outcome == Outcome::Whole && !deaf {
                let message = incoming(self.role, &task.plan);
                assert_eq!(task.taken, message.bytes, "all bytes came");
                assert_eq!(task.trailers_taken, message.trailers.is_some());
                assert!(self.role == Role::Server || task.head_taken);
            }
            task.received = Some(outcome);
            return;
        }
    }

    fn take(&mut self, key: Key, data: &[u8], machine: &mut Machine, random: &mut Rng) {
        let task = self.tasks.get_mut(&key).unwrap();
        assert!(!task.trailers_taken && (self.role == Role::Server || task.head_taken));
        let right = body(key.id(), self.role == Role::Server, task.taken, data.len());
        assert!(data == right, "other bytes than were sent");
        task.taken += data.len();
        self.bytes_taken += data.len() as u64;
        if random.u8(..3) == 0 {
            machine.release(key, data.len());
        } else if !data.is_empty() {
            self.unreleased.push((key, data.len()));
        }
    }

    fn take_head(&mut self, key: Key, head: &Head) {
        let task = self.tasks.get_mut(&key).unwrap();
        assert!(!task.head_taken);
        if head.is_informational() {
            task.informed += 1;
            return;
        }
        task.head_taken = true;
        assert_eq!(head.fields, task.plan.response.fields);
        assert_eq!(task.informed, task.plan.informational);
    }

    fn take_trailers(&mut self, key: Key, trailers: &HeaderMap) {
        let task = self.tasks.get_mut(&key).unwrap();
        assert!(!task.trailers_taken);
        task.trailers_taken = true;
        let message = incoming(self.role, &task.plan);
        assert_eq!(Some(trailers), message.trailers.as_ref());
    }

    fn send(&mut self, key: Key, machine: &mut Machine, random: &mut Rng) {
        loop {
            let Some(task) = self.tasks.get_mut(&key) else {
                return;
            };
            if task.finished {
                return;
            }
            let message = match self.role {
                Role::Client => &task.plan.request,
                Role::Server => &task.plan.response,
            };
            let left = message.bytes - task.given;
            if left == 0 {
                match &message.trailers {
                    Some(trailers) => machine.send_trailers(key, trailers.clone()),
                    None => machine.send_data(key, Default::default(), true),
                }
                task.finished = true;
                return;
            }
            let Some(room) = machine.capacity(key) else {
                task.finished = true;
                return;
            };
            if room == 0 {
                machine.want_capacity(key);
                return;
            }
            let most = room.min(left);
            let some = if random.bool() {
                most
            } else {
                random.usize(1..=most)
            };
            let data = body(key.id(), self.role == Role::Client, task.given, some);
            task.given += some;
            let last = some == left && message.trailers.is_none() && random.bool();
            machine.send_data(key, data, last);
            task.finished = last;
            if random.u8(..3) == 0 {
                // Queues more at another time.
                self.woken.push((key, SEND));
                return;
            }
        }
    }

    /// Drops a stream on which everything was sent.
    fn finish(&mut self, key: Key, machine: &mut Machine, now: Instant) {
        if self.is_done(key, machine) {
            let received = self.tasks.get(&key).and_then(|task| task.received);
            self.end(key, received.unwrap_or(Outcome::Left), machine, now);
        }
    }

    fn is_done(&self, key: Key, machine: &Machine) -> bool {
        let Some(task) = self.tasks.get(&key) else {
            return false;
        };
        let early = matches!(self.manner(&task.plan), Manner::Early | Manner::Deaf);
        let received = task.received.is_some() || early;
        // The machine still sends what a server has queued; a client's queue would be lost.
        let sent = task.finished && (self.role == Role::Server || machine.capacity(key).is_none());
        received && sent
    }

    /// Streams whose last bytes have been sent in the meantime.
    pub(crate) fn lingering(&self, machine: &Machine) -> Option<Key> {
        let done = |key: &&Key| self.is_done(**key, machine);
        self.tasks.keys().find(done).copied()
    }

    pub(crate) fn leave(&mut self, key: Key, machine: &mut Machine, now: Instant) {
        self.end(key, Outcome::Left, machine, now);
    }

    pub(crate) fn end(&mut self, key: Key, how: Outcome, machine: &mut Machine, now: Instant) {
        self.tasks.remove(&key);
        self.outcomes.insert(key.id(), how);
        machine.abandon(key, Some(&|| now));
    }

    /// Answers a request; the body follows.
    pub(crate) fn answer(&mut self, key: Key, head: &Head, plan: Plan, machine: &mut Machine) {
        assert!(head.fault.is_none(), "{:?}", head.fault);
        assert_eq!(head.fields, plan.request.fields);
        for _ in 0..plan.informational {
            let head = Head::response(StatusCode::EARLY_HINTS, HeaderMap::new());
            machine.inform(key, head);
        }
        let end = plan.response.bytes == 0 && plan.response.trailers.is_none();
        machine.respond(key, plan.response_head(), end);
        if plan.server == Manner::Deaf {
            machine.ignore(key);
        }
        self.begin(key, plan, end);
    }
}

fn incoming(role: Role, plan: &Plan) -> &Message {
    match role {
        Role::Client => &plan.response,
        Role::Server => &plan.request,
    }
}
