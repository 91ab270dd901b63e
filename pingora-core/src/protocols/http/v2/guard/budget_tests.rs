use super::*;

const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

const SMALL: Allowance = Allowance {
    resets: 40,
    overhead: 60,
};

fn head(kind: u8, length: u32, flags: u8) -> FrameHead {
    FrameHead {
        length,
        kind,
        flags,
        stream: 1,
    }
}

/// How many of these frames in a row a fresh connection takes, up to a thousand, and what comes
/// then.
fn taken(frame: FrameHead, sent: bool) -> (usize, Option<Offence>) {
    let now = Instant::now();
    let mut budget = Budget::new(SMALL, now);
    for count in 0..1000 {
        let judged = match sent {
            true => budget.sent(frame, || now),
            false => budget.received(frame, || now),
        };
        if let Err(offence) = judged {
            return (count, Some(offence));
        }
    }
    (1000, None)
}

#[test]
fn what_is_no_work_is_bounded() {
    let resets = (40, Some(Offence::Resets));
    let overhead = (60, Some(Offence::Overhead));
    let free = (1000, None);
    let rows = [
        ("HEADERS", head(kind::HEADERS, 50, 5), false, free),
        ("DATA", head(kind::DATA, 1, 0), false, free),
        (
            "the end of a body",
            head(kind::DATA, 0, END_OR_ACK),
            false,
            free,
        ),
        ("empty DATA", head(kind::DATA, 0, 0), false, overhead),
        ("PRIORITY", head(2, 5, 0), false, overhead),
        ("RST_STREAM", head(kind::RST_STREAM, 4, 0), false, resets),
        ("SETTINGS", head(4, 6, 0), false, overhead),
        ("PUSH_PROMISE", head(5, 6, 0), false, overhead),
        ("PING", head(PING, 8, 0), false, overhead),
        ("GOAWAY", head(7, 8, 0), false, overhead),
        ("WINDOW_UPDATE", head(WINDOW_UPDATE, 4, 0), false, overhead),
        ("CONTINUATION", head(9, 1, 0), false, overhead),
        ("unknown", head(0x99, 0, 0), false, overhead),
        (
            "RST_STREAM of ours",
            head(kind::RST_STREAM, 4, 0),
            true,
            resets,
        ),
        ("PING of ours", head(PING, 8, 1), true, free),
        ("HEADERS of ours", head(kind::HEADERS, 9, 4), true, free),
    ];
    for (name, frame, sent, expected) in rows {
        assert_eq!(taken(frame, sent), expected, "{name}");
    }
}

#[test]
fn useful_work_makes_up_for_the_rest() {
    let now = Instant::now();
    let mut budget = Budget::new(SMALL, now);
    for _ in 0..10_000 {
        // Answered, and given up by the client afterwards.
        assert_eq!(budget.sent(head(kind::HEADERS, 50, 4), || now), Ok(()));
        assert_eq!(
            budget.received(head(kind::RST_STREAM, 4, 0), || now),
            Ok(())
        );
        // A window for the stream and one for the connection.
        assert_eq!(budget.sent(head(kind::DATA, 9000, 0), || now), Ok(()));
        for _ in 0..2 {
            assert_eq!(budget.received(head(WINDOW_UPDATE, 4, 0), || now), Ok(()));
        }
    }
}

#[test]
fn work_does_not_pile_up_an_allowance() {
    let now = Instant::now();
    let mut budget = Budget::new(SMALL, now);
    for _ in 0..10_000 {
        assert_eq!(budget.sent(head(kind::HEADERS, 50, 5), || now), Ok(()));
    }
    let reset = head(kind::RST_STREAM, 4, 0);
    let taken = (0..100).take_while(|_| budget.received(reset, || now).is_ok());
    assert_eq!(taken.count(), 40);
}

#[test]
fn time_forgives_a_twentieth_per_second() {
    let begin = Instant::now();
    let mut budget = Budget::new(SMALL, begin);
    let ping = head(PING, 8, 0);
    // Far less often than it is forgiven, for hours.
    for second in 0..20_000 {
        let now = begin + Duration::from_secs(second);
        assert_eq!(budget.received(ping, || now), Ok(()), "second {second}");
    }
    let now = begin + Duration::from_secs(20_000);
    let mut burst = || {
        (0..1000)
            .take_while(|_| budget.received(ping, || now).is_ok())
            .count()
    };
    assert!(burst() > 0);
    assert_eq!(burst(), 0);
    let later = now + Duration::from_secs(2);
    let again = (0..1000).take_while(|_| budget.received(ping, || later).is_ok());
    assert_eq!(again.count(), 6);
}
