//! RFC 9113 section 5.1: frames that arrive for streams that are over.

use super::*;

/// Frames that were in flight when we reset the stream.
#[test]
fn what_was_on_its_way_is_no_error() {
    let late = [
        frame(DATA, 0, 1, b"x"),
        frame(DATA, END_STREAM, 1, b""),
        response(1, &[("x", "1")], true),
        frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
        frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
    ];
    for owned in [true, false] {
        for bytes in &late {
            let mut subject = Subject::server();
            subject.feed(&request(1, &[], false));
            let key = subject.accept();
            subject.reset(key, Reason::CANCEL);
            if !owned {
                subject.abandon(key);
            }
            assert_eq!(subject.written().ends(), ["RST 1 CANCEL"]);
            subject.feed(bytes);
            assert!(subject.written().ends().is_empty(), "{bytes:?}");
            // Much later, the reset is sent again.
            subject.pass(Duration::from_secs(60));
            subject.feed(&frame(DATA, 0, 1, b"x"));
            assert_eq!(subject.written().ends(), ["RST 1 STREAM_CLOSED"]);
        }
    }
}

#[test]
fn a_stream_that_the_client_reset_is_over() {
    let mut subject = Subject::server();
    subject.feed(&request(1, &[], false));
    let key = subject.accept();
    subject.feed(&frame(DATA, 0, 1, b"abc"));
    subject.feed(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    subject.respond(key, true);
    subject
        .machine
        .send_data(key, Bytes::from_static(b"x"), true);
    assert!(subject.written().0.is_empty());
    assert_eq!(subject.machine.capacity(key), None);
    assert_eq!(subject.machine.open_streams(), 0);
    // The data received before may still be read.
    assert!(matches!(subject.machine.receive(key), Received::Data(_)));
    assert!(matches!(subject.machine.receive(key), Received::Broken));
    subject.feed(&frame(DATA, 0, 1, b"x"));
    assert_eq!(subject.written().ends(), ["RST 1 STREAM_CLOSED"]);
}

/// A request that was reset before the program saw it is not handed out.
#[test]
fn a_request_that_is_reset_at_once_is_nobody_s() {
    let mut subject = Subject::server();
    subject.feed(&request(1, &[], true));
    subject.feed(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    assert!(subject.machine.poll_request().is_none());
    assert_eq!(subject.machine.streams.len(), 0);
}

/// RFC 9113 section 8.1: the whole answer, then a reset without an error.
#[test]
fn an_answer_that_is_complete_survives_the_reset_behind_it() {
    let mut subject = Subject::client();
    let key = subject.open(false);
    subject.written();
    subject.feed(&response(1, &[(":status", "413")], false));
    subject.feed(&frame(DATA, END_STREAM, 1, b"too much"));
    subject.feed(&frame(RST_STREAM, 0, 1, &[0; 4]));
    assert!(matches!(subject.machine.receive(key), Received::Head(_)));
    assert!(matches!(subject.machine.receive(key), Received::Data(_)));
    assert!(matches!(subject.machine.receive(key), Received::End));
    assert!(!subject.machine.is_open_to_send(key));
    assert!(matches!(
        subject.machine.reset_cause(key),
        Some(Cause::Reset(Reason::NO_ERROR, Initiator::Remote, _))
    ));
}

#[test]
fn streams_that_are_over_leave_nothing_behind() {
    let mut subject = Subject::server();
    for round in 0..1000_u32 {
        let id = 2 * round + 1;
        subject.feed(&request(id, &[], true));
        let key = subject.accept();
        subject.respond(key, true);
        subject.written();
        subject.abandon(key);
        assert!(subject.machine.poll_woken().is_none());
    }
    assert_eq!(subject.machine.streams.len(), 0);
    assert_eq!(subject.machine.open_streams(), 0);
}

/// RFC 9113 section 5.1.1: a connection whose identifiers are exhausted accepts no more requests, and
/// reports it before a request is attempted.
#[test]
fn a_client_opens_no_stream_beyond_the_last_identifier() {
    let mut subject = Subject::client();
    subject.machine.next_id = StreamId::MAX.get();
    assert!(subject.machine.may_open());
    let last = subject.open(true);
    assert_eq!(subject.written().0, ["HEADERS 2147483647 end"]);
    assert!(!subject.machine.may_open());
    assert!(subject.machine.open(Head::default(), true).is_none());
    subject.feed(&response(last.id(), &[(":status", "200")], true));
    assert!(matches!(subject.machine.receive(last), Received::Head(_)));
    assert!(subject.written().ends().is_empty());
}
