//! Two machines against each other over a network that delays and splits bytes and reorders turns:
//! every byte arrives, every window comes back, nothing stalls.

use super::*;
use std::collections::HashMap;

struct Side {
    machine: Machine,
    /// In flight to this side.
    wire: Vec<u8>,
    input: BytesMut,
    /// The bytes still to send, and whether the end was queued.
    sending: HashMap<Key, (usize, bool)>,
    received: HashMap<u32, usize>,
    ended: usize,
}

impl Side {
    fn new(role: Role, window: u32, connection: u32, now: Instant) -> Self {
        let mut config = Config::new(role);
        config.settings.initial_window_size = Some(window);
        config.connection_window = connection;
        if role == Role::Server {
            config.settings.max_concurrent_streams = Some(20);
        }
        // More streams would be refused, which is right but not tested here.
        config.initial_peer_streams = 20;
        Side {
            machine: Machine::new(config, now),
            wire: vec![],
            input: BytesMut::new(),
            sending: HashMap::new(),
            received: HashMap::new(),
            ended: 0,
        }
    }

    fn send(&mut self, random: &mut fastrand::Rng) {
        for (key, (left, ended)) in &mut self.sending {
            let Some(room) = self.machine.capacity(*key) else {
                continue;
            };
            let size = room.min(*left).min(random.usize(1..30_000));
            if *ended || size == 0 && *left > 0 {
                continue;
            }
            *left -= size;
            *ended = *left == 0;
            let data = Bytes::from(vec![0; size]);
            self.machine.send_data(*key, data, *ended);
        }
    }

    fn receive(&mut self, keys: &[Key]) {
        for key in keys {
            loop {
                match self.machine.receive(*key) {
                    Received::Head(_) => {}
                    Received::Data(data) => {
                        *self.received.entry(key.id()).or_default() += data.len();
                        self.machine.release(*key, data.len());
                    }
                    _ => break,
                }
            }
        }
    }
}

fn deliver(from: &mut Side, to: &mut Side, random: &mut fastrand::Rng, now: Instant) {
    if random.bool() && from.machine.wants_output() {
        let limit = from.wire.len() + random.usize(1..20_000);
        let mut out = std::mem::take(&mut from.wire);
        from.machine.poll_output(&mut out, limit, &|| now);
        from.wire = out;
    }
    let n = random.usize(0..=from.wire.len().min(20_000));
    to.input.extend_from_slice(&from.wire[..n]);
    from.wire.drain(..n);
    to.machine.handle_input(&mut to.input, &|| now);
}

fn run(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let now = Instant::now();
    let window = |random: &mut fastrand::Rng| random.u32(3000..100_000);
    let mut client = Side::new(Role::Client, window(&mut random), 70_000, now);
    let mut server = Side::new(Role::Server, window(&mut random), 70_000, now);
    let total = random.usize(1..30);
    let (mut ours, mut theirs) = (vec![], vec![]);
    let mut sizes = HashMap::new();
    for _ in 0..total {
        let head = Head {
            pseudo: PseudoFields {
                method: Some(Method::POST),
                scheme: Some(Bytes::from_static(b"https")),
                path: Some(Bytes::from_static(b"/")),
                ..PseudoFields::default()
            },
            ..Head::default()
        };
        let key = client.machine.open(head, false).unwrap();
        let size = random.usize(0..200_000);
        sizes.insert(key.id(), size);
        client.sending.insert(key, (size, false));
        ours.push(key);
    }
    for turn in 0.. {
        assert!(turn < 200_000, "seed {seed}: it stalls");
        match random.u8(0..5) {
            0 => deliver(&mut client, &mut server, &mut random, now),
            1 => deliver(&mut server, &mut client, &mut random, now),
            2 => client.send(&mut random),
            3 => {
                while let Some((key, head)) = server.machine.poll_request() {
                    assert!(head.fault.is_none());
                    let head = Head::response(StatusCode::OK, HeaderMap::new());
                    server.machine.respond(key, head, false);
                    server.sending.insert(key, (sizes[&key.id()], false));
                    theirs.push(key);
                }
                server.send(&mut random);
            }
            _ => {
                client.receive(&ours);
                server.receive(&theirs);
            }
        }
        let mut done = vec![];
        for key in &ours {
            if client.machine.is_received(*key) && !client.machine.is_open_to_send(*key) {
                done.push(*key);
            }
        }
        for key in done {
            let finished = client.machine.streams.get(key).is_some_and(|s| s.is_over());
            if finished {
                client.machine.abandon(key, Some(&|| now));
                ours.retain(|other| *other != key);
                client.ended += 1;
            }
        }
        if client.ended == total {
            break;
        }
    }
    for (id, size) in &sizes {
        assert_eq!(
            client.received.get(id).copied().unwrap_or(0),
            *size,
            "seed {seed}"
        );
    }
    // Everything that was written arrives, and all windows come back.
    let busy = |side: &Side| !side.wire.is_empty() || side.machine.wants_output();
    while busy(&client) || busy(&server) {
        deliver(&mut server, &mut client, &mut random, now);
        deliver(&mut client, &mut server, &mut random, now);
        server.receive(&theirs);
    }
    server.receive(&theirs);
    for side in [&client, &server] {
        assert_eq!(side.machine.held(), 0, "seed {seed}");
        assert_eq!(side.machine.open_streams(), 0, "seed {seed}");
        assert!(side.machine.cause().is_none(), "seed {seed}");
        assert!(side.machine.receive_window.left() > 40_000, "seed {seed}");
    }
}

#[test]
fn two_machines_get_along_however_the_network_delays() {
    for seed in 0..300 {
        run(seed);
    }
}
