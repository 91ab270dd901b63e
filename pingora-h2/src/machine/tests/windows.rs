//! RFC 9113 sections 5.2 and 6.9.

use super::*;

fn server_with(stream: u32, connection: u32) -> Subject {
    let mut config = Config::new(Role::Server);
    config.settings.initial_window_size = Some(stream);
    config.connection_window = connection;
    Subject::begin(config)
}

#[test]
fn data_for_streams_that_are_gone_gives_the_connection_s_window_back() {
    let mut subject = server_with(100_000, 70_000);
    for round in 0..40_u32 {
        let id = 2 * round + 1;
        subject.feed(&request(id, &[], false));
        let key = subject.accept();
        subject.feed(&frame(DATA, 0, id, &[0; 5000]));
        subject.reset(key, Reason::CANCEL);
        // Still in flight.
        subject.feed(&frame(DATA, 0, id, &[0; 10_000]));
        subject.abandon(key);
        subject.feed(&frame(DATA, END_STREAM, id, &[0; 10_000]));
        let written = subject.written();
        let resets = [format!("RST {id} CANCEL")];
        assert_eq!(written.ends(), resets, "round {round}");
    }
    assert_eq!(subject.machine.held(), 0);
    assert!(subject.machine.receive_window.left() > 40_000);
}

/// RFC 9113 section 6.9.1.
#[test]
fn more_than_a_window_is_refused() {
    let mut subject = server_with(1000, 65_535);
    subject.feed(&request(1, &[], false));
    subject.feed(&frame(DATA, 0, 1, &[0; 1001]));
    assert_eq!(subject.written().ends(), ["RST 1 FLOW_CONTROL_ERROR"]);

    let mut subject = server_with(200_000, 65_535);
    subject.feed(&request(1, &[], false));
    for _ in 0..4 {
        subject.feed(&frame(DATA, 0, 1, &[0; 16_384]));
    }
    assert_eq!(subject.written().ends(), ["GOAWAY 1 FLOW_CONTROL_ERROR"]);
}

#[test]
fn what_was_taken_is_given_back_on_both_levels() {
    let mut subject = server_with(30_000, 65_535);
    subject.feed(&request(1, &[], false));
    let key = subject.accept();
    let mut updates = (0, 0);
    for _ in 0..100 {
        subject.feed(&frame(DATA, 0, 1, &[0; 10_000]));
        while let Received::Data(data) = subject.machine.receive(key) {
            subject.machine.release(key, data.len());
        }
        for line in subject.written().0 {
            match line.as_str() {
                "WINDOW 0 30000" | "WINDOW 1 10000" => updates.0 += 1,
                line => assert!(line.starts_with("WINDOW"), "{line}"),
            }
            updates.1 += 1;
        }
    }
    assert!(updates.1 > 100 && updates.1 < 200, "{updates:?}");
    assert_eq!(subject.machine.held(), 0);
}

/// RFC 9113 section 6.1: padding counts.
#[test]
fn padding_is_given_back() {
    let mut subject = server_with(65_535, 65_535);
    subject.feed(&request(1, &[], false));
    for _ in 0..1000 {
        let mut payload = vec![250];
        payload.extend([0; 251]);
        subject.feed(&frame(DATA, 8, 1, &payload));
        assert!(subject.written().ends().is_empty());
    }
    assert_eq!(subject.machine.held(), 1000);
}

/// RFC 9113 section 6.9.2: signed windows.
#[test]
fn a_lower_initial_window_makes_windows_negative() {
    let mut subject = Subject::server();
    subject.feed(&request(1, &[], true));
    let key = subject.accept();
    subject.respond(key, false);
    subject
        .machine
        .send_data(key, Bytes::from(vec![0; 10_000]), false);
    assert!(subject.written().contains("DATA 1 10000"));
    let initial = |bytes: u16| {
        let [high, low] = bytes.to_be_bytes();
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, high, low])
    };
    subject.feed(&initial(4_000));
    subject
        .machine
        .send_data(key, Bytes::from(vec![0; 100]), true);
    assert_eq!(subject.written().0, ["SETTINGS ack"]);
    assert_eq!(subject.machine.capacity(key), Some(0));
    subject.feed(&frame(WINDOW_UPDATE, 0, 1, &6_000_u32.to_be_bytes()));
    assert_eq!(subject.written().0, Vec::<String>::new());
    subject.feed(&frame(WINDOW_UPDATE, 0, 1, &60_u32.to_be_bytes()));
    assert_eq!(subject.written().0, ["DATA 1 60"]);
    subject.feed(&initial(4_040));
    assert_eq!(subject.written().0, ["SETTINGS ack", "DATA 1 40 end"]);
}

/// Our smaller window is in force once it was acknowledged, and not before.
#[test]
fn settings_in_flight_apply_from_their_acknowledgement() {
    let mut config = Config::new(Role::Server);
    config.settings.initial_window_size = Some(1000);
    let mut subject = Subject::new(config);
    subject.feed(PREFACE);
    subject.feed(&frame(SETTINGS, 0, 0, &[]));
    subject.feed(&request(1, &[], false));
    subject.feed(&frame(DATA, 0, 1, &[0; 5000]));
    assert!(subject.written().ends().is_empty());
    subject.feed(&frame(SETTINGS, ACK, 0, &[]));
    subject.feed(&frame(DATA, 0, 1, &[0; 1]));
    assert_eq!(subject.written().ends(), ["RST 1 FLOW_CONTROL_ERROR"]);
}

#[test]
fn the_connection_s_window_is_shared_in_turn() {
    let mut subject = Subject::server();
    for id in [1, 3] {
        subject.feed(&request(id, &[], true));
        let key = subject.accept();
        subject.respond(key, false);
        let data = Bytes::from(vec![0; 60_000]);
        subject.machine.send_data(key, data, true);
    }
    let written = subject.written();
    let sent = |written: &Written, id: u32| -> usize {
        let prefix = format!("DATA {id} ");
        let lengths = written
            .0
            .iter()
            .filter_map(|line| line.strip_prefix(&prefix));
        lengths
            .map(|line| line.split(' ').next().unwrap().parse::<usize>().unwrap())
            .sum()
    };
    assert_eq!(sent(&written, 1) + sent(&written, 3), 65_535);
    assert!(sent(&written, 3) > 30_000);
    subject.feed(&frame(WINDOW_UPDATE, 0, 0, &100_000_u32.to_be_bytes()));
    let rest = subject.written();
    assert_eq!(sent(&rest, 1) + sent(&rest, 3), 120_000 - 65_535);
    assert_eq!(subject.machine.held(), 0);
}

#[test]
fn what_is_given_to_be_sent_is_bounded() {
    let mut config = Config::new(Role::Server);
    config.send_buffer = 1000;
    config.connection_send_buffer = 1500;
    let mut subject = Subject::begin(config);
    let mut keys = vec![];
    for id in [1, 3] {
        subject.feed(&request(id, &[], true));
        keys.push(subject.accept());
        subject.respond(keys[keys.len() - 1], false);
    }
    assert_eq!(subject.machine.capacity(keys[0]), Some(1000));
    subject
        .machine
        .send_data(keys[0], Bytes::from(vec![0; 1000]), false);
    assert_eq!(subject.machine.capacity(keys[0]), Some(0));
    assert_eq!(subject.machine.capacity(keys[1]), Some(500));
    subject
        .machine
        .send_data(keys[1], Bytes::from(vec![0; 500]), false);
    subject.machine.want_capacity(keys[0]);
    subject.machine.want_capacity(keys[1]);
    assert!(subject.machine.poll_woken().is_none());
    subject.written();
    let mut woken = vec![];
    while let Some((key, woke)) = subject.machine.poll_woken() {
        woken.push((key.id(), woke.sender));
    }
    woken.sort_unstable();
    assert_eq!(woken, [(1, true), (3, true)]);
}

#[test]
fn a_stream_that_nobody_reads_any_more_holds_nothing() {
    let mut subject = Subject::server();
    subject.feed(&request(1, &[], false));
    let key = subject.accept();
    subject.feed(&frame(DATA, 0, 1, &[0; 10_000]));
    assert_eq!(subject.machine.held(), 10_000);
    subject.machine.ignore(key);
    subject.feed(&frame(DATA, 0, 1, &[0; 10_000]));
    assert_eq!(subject.machine.held(), 0);
    // The rest of the request is refused after the answer (RFC 9113 section 8.1).
    subject.respond(key, true);
    subject.abandon(key);
    let written = subject.written();
    assert_eq!(written.ends(), ["RST 1 NO_ERROR"]);
}
