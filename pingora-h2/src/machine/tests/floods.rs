//! RFC 9113 section 10.5: limits on work that a peer causes without doing anything useful. One test
//! for each published class.

use super::*;

/// Feeds the same bytes until the connection ends; returns how often that took.
fn until_calm(subject: &mut Subject, mut bytes: impl FnMut(u32) -> Vec<u8>) -> u32 {
    for n in 0..20_000 {
        let bytes = bytes(n);
        subject.feed(&bytes);
        let written = subject.written();
        if written
            .ends()
            .iter()
            .any(|line| line.ends_with("ENHANCE_YOUR_CALM"))
        {
            assert!(subject.machine.offence().is_some() && subject.machine.is_over());
            return n;
        }
        while subject.machine.poll_request().is_some() {}
    }
    panic!("it never ended");
}

/// CVE-2023-44487.
#[test]
fn rapid_reset() {
    let mut subject = Subject::server();
    let took = until_calm(&mut subject, |n| {
        let id = 2 * n + 1;
        let mut bytes = request(id, &[], true);
        bytes.extend(frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
        bytes
    });
    assert_eq!(
        (took, subject.machine.offence()),
        (200, Some(Offence::Resets))
    );
}

/// CVE-2025-8671: the client makes the server reset streams.
#[test]
fn made_you_reset() {
    let ways: [fn(u32) -> Vec<u8>; 3] = [
        |id| frame(WINDOW_UPDATE, 0, id, &[0; 4]),
        |id| frame(WINDOW_UPDATE, 0, id, &[0x7f, 255, 255, 255]),
        |id| frame(PRIORITY, 0, id, &[0; 4]),
    ];
    for way in ways {
        let mut subject = Subject::server();
        let took = until_calm(&mut subject, |n| {
            let id = 2 * n + 1;
            [request(id, &[], true), way(id)].concat()
        });
        assert_eq!(
            (took, subject.machine.offence()),
            (200, Some(Offence::Resets))
        );
    }
}

/// CVE-2019-9512, -9513, -9515, -9516, -9518.
#[test]
fn frames_that_carry_nothing() {
    let floods: [fn(u32) -> Vec<u8>; 7] = [
        |_| frame(PING, 0, 0, &[0; 8]),
        |_| frame(PING, ACK, 0, &[0; 8]),
        |_| frame(SETTINGS, 0, 0, &[]),
        |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        |_| frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        |_| frame(DATA, 0, 1, &[]),
        |_| frame(99, 0, 0, &[]),
    ];
    for (which, flood) in floods.into_iter().enumerate() {
        let mut subject = Subject::server();
        subject.feed(&request(1, &[], false));
        let _key = subject.accept();
        let took = until_calm(&mut subject, flood);
        assert!((1990..2010).contains(&took), "{which}: {took}");
        assert_eq!(subject.machine.offence(), Some(Offence::Overhead));
    }
}

/// CVE-2024-27316 and similar: a header block without end.
#[test]
fn a_block_without_end() {
    for payload in [0, 1, 16_000] {
        let mut subject = Subject::server();
        subject.feed(&frame(HEADERS, 0, 1, &block(&GET)));
        let field = block(&[("x", "y")]);
        let took = until_calm(&mut subject, |_| {
            let piece = field.repeat(payload / field.len());
            frame(CONTINUATION, 0, 1, &piece)
        });
        assert!(took <= 17, "{payload}: {took}");
        assert_eq!(subject.machine.offence(), Some(Offence::HeaderBlock));
    }
}

/// A client that sends requests without reading the answers is no longer read from.
#[test]
fn answers_that_nobody_reads_are_bounded() {
    let mut subject = Subject::server();
    for _ in 0..1900 {
        if !subject.machine.wants_input() {
            break;
        }
        subject.feed(&frame(PING, 0, 0, &[0; 8]));
    }
    assert!(!subject.machine.wants_input());
    assert!(subject.machine.control.len() < 17_000);
    subject.written();
    assert!(subject.machine.wants_input());
}

/// CVE-2026-49975: indexed references just under the limit of the list.
#[test]
fn references_to_one_field_are_counted() {
    let mut subject = Subject::server();
    // `x: y` goes into the table, as its first entry (62).
    let mut fields = block(&GET);
    fields.extend(vec![0x80 | 62; 1900]);
    subject.feed(&frame(
        HEADERS,
        5,
        1,
        &[block(&GET), vec![0x40, 1, b'x', 1, b'y']].concat(),
    ));
    subject.accept();
    subject.feed(&frame(HEADERS, 5, 3, &fields));
    let (_, head) = subject.machine.poll_request().unwrap();
    assert_eq!(head.fault.map(|fault| fault.status), Some(431));
    assert!(head.fields.is_empty() && head.fields.capacity() == 0);
}

#[test]
fn a_busy_connection_is_no_flood() {
    let mut subject = Subject::server();
    for round in 0..3000_u32 {
        let id = 2 * round + 1;
        subject.feed(&request(id, &[], true));
        let key = subject.accept();
        subject.feed(&frame(PING, 0, 0, &[0; 8]));
        if round % 2 == 0 {
            subject.respond(key, true);
        } else {
            subject.respond(key, false);
            subject.written();
            subject.feed(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
        }
        subject.abandon(key);
        subject.written();
        assert!(!subject.machine.is_over());
    }
}

/// Whoever counts resets is told of each, with what the peer has put into it.
#[test]
fn every_reset_is_told() {
    thread_local!(static TOLD: Cell<Vec<(bool, u32)>> = const { Cell::new(Vec::new()) });
    fn tell(frame: ResetFrame) {
        let mut told = TOLD.take();
        told.push((frame.received, frame.reason.into()));
        TOLD.set(told);
    }
    let mut config = Config::new(Role::Server);
    config.on_reset = Some(tell);
    let mut subject = Subject::begin(config);
    let told = |subject: &mut Subject, bytes: &[u8]| {
        subject.feed(bytes);
        subject.written();
        TOLD.take()
    };
    // Received, with a code that nobody knows; on a stream that is gone by then, too.
    let reset = |id, code: u32| frame(RST_STREAM, 0, id, &code.to_be_bytes());
    assert_eq!(told(&mut subject, &request(1, &[], true)), []);
    assert_eq!(told(&mut subject, &reset(1, 8)), [(true, 8)]);
    assert_eq!(told(&mut subject, &reset(1, 0xffff)), [(true, 0xffff)]);
    // Sent: for a fault of the peer's, for a stream that is gone, by the program, behind an early answer.
    let update = frame(WINDOW_UPDATE, 0, 3, &[0; 4]);
    let faulty = [request(3, &[], true), update].concat();
    assert_eq!(told(&mut subject, &faulty), [(false, 1)]);
    let late = [reset(5, 8), frame(DATA, 0, 5, b"x")].concat();
    told(&mut subject, &request(5, &[], false));
    assert_eq!(told(&mut subject, &late), [(true, 8), (false, 5)]);
    while subject.machine.poll_request().is_some() {}
    subject.feed(&request(7, &[], false));
    let key = subject.accept();
    subject.reset(key, Reason::REFUSED_STREAM);
    assert_eq!(told(&mut subject, &[]), [(false, 7)]);
    subject.feed(&request(9, &[], false));
    let key = subject.accept();
    subject.respond(key, true);
    subject.abandon(key);
    assert_eq!(told(&mut subject, &[]), [(false, 0)]);
}
