//! RFC 9113 section 8: a malformed message ends its stream, never the connection.

use super::*;

/// Rows of fields that follow the pseudo-header fields of a request.
#[test]
fn a_malformed_request_is_handed_out_with_its_fault_and_reset_behind_the_answer() {
    let long = "x".repeat(100);
    let many = vec![("x", "1"); 300];
    let crumbs = vec![("cookie", "a=b"); 120];
    let large = vec![("y", long.as_str()); 600];
    let rows: Vec<(Vec<(&str, &str)>, u16)> = vec![
        (vec![("X-A", "1")], 400),
        (vec![("", "1")], 400),
        (vec![("x(y", "1")], 400),
        (vec![("x", "a\u{1}")], 400),
        (vec![("x", "\u{7f}")], 400),
        (vec![("x", "a\0b")], 400),
        (vec![("x", " a")], 400),
        (vec![(":foo", "1")], 400),
        (vec![(":path", "/")], 400),
        (vec![("x", "1"), (":path", "/")], 400),
        (vec![(":status", "200")], 400),
        (vec![("connection", "x")], 400),
        (vec![("transfer-encoding", "chunked")], 400),
        (vec![("te", "gzip")], 400),
        (vec![("content-length", "x")], 400),
        (vec![("content-length", "1")], 400),
        (many, 431),
        (crumbs, 431),
        (large, 431),
    ];
    for (fields, status) in rows {
        let mut subject = Subject::server();
        subject.feed(&request(1, &[], true));
        let neighbour = subject.accept();
        subject.feed_request(3, &fields);
        let (key, head) = subject.machine.poll_request().expect("handed out");
        let fault = head.fault.expect("with its fault");
        assert_eq!(fault.status, status, "{fields:?}");
        assert_eq!(head.pseudo.method, Some(Method::GET), "for the log");
        subject.respond(key, true);
        let written = subject.written();
        assert_eq!(written.0, ["HEADERS 3 end", "RST 3 PROTOCOL_ERROR"]);
        subject.abandon(key);
        // The table is correct, and the neighbouring stream continues.
        subject.feed(&request(5, &[("x", "1")], true));
        assert!(subject.accept().id() == 5);
        subject.respond(neighbour, true);
        assert_eq!(subject.written().0, ["HEADERS 1 end"]);
    }
}

impl Subject {
    /// A request in as many frames as it needs.
    fn feed_request(&mut self, stream: u32, more: &[(&str, &str)]) {
        let block = block(&[&GET, more].concat());
        let mut pieces = block.chunks(16_000).peekable();
        let mut kind = HEADERS;
        let mut flags = END_STREAM;
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                flags |= END_HEADERS;
            }
            self.feed(&frame(kind, flags, stream, piece));
            (kind, flags) = (CONTINUATION, 0);
        }
    }
}

#[test]
fn a_malformed_request_that_nobody_answers_is_reset_for_its_fault() {
    let mut subject = Subject::server();
    subject.feed(&request(1, &[("X", "1")], false));
    let key = subject.accept();
    subject.feed(&frame(DATA, 0, 1, &[0; 100]));
    assert!(matches!(subject.machine.receive(key), Received::Pending));
    subject.reset(key, Reason::INTERNAL_ERROR);
    assert_eq!(subject.written().ends(), ["RST 1 PROTOCOL_ERROR"]);
    let mut subject = Subject::server();
    subject.feed(&request(1, &[("X", "1")], false));
    let key = subject.accept();
    subject.abandon(key);
    assert_eq!(subject.written().ends(), ["RST 1 PROTOCOL_ERROR"]);
}

/// RFC 9113 section 8.1.1: frames after the head.
#[test]
fn a_body_is_as_long_as_declared() {
    let data = |length: usize, end: bool| frame(DATA, u8::from(end), 1, &vec![0; length]);
    let trailers = || response(1, &[("x", "1")], true);
    let rows: Vec<(&str, Vec<Vec<u8>>, bool)> = vec![
        ("5", vec![data(5, true)], true),
        (
            "5",
            vec![data(2, false), data(3, false), data(0, true)],
            true,
        ),
        ("5", vec![data(5, false), trailers()], true),
        ("5", vec![data(4, true)], false),
        ("5", vec![data(6, false)], false),
        ("5", vec![data(4, false), trailers()], false),
        ("0", vec![data(0, true)], true),
        ("0", vec![data(1, false)], false),
    ];
    for (length, frames, sound) in rows {
        let mut subject = Subject::server();
        subject.feed(&request(1, &[("content-length", length)], false));
        let key = subject.accept();
        for frame in &frames {
            subject.feed(frame);
        }
        let expected: &[&str] = if sound {
            &[]
        } else {
            &["RST 1 PROTOCOL_ERROR"]
        };
        assert_eq!(subject.written().ends(), expected, "{length} {frames:?}");
        let broken = loop {
            match subject.machine.receive(key) {
                Received::End => break false,
                Received::Broken => break true,
                Received::Pending => panic!("{length} {frames:?}"),
                _ => {}
            }
        };
        assert_eq!(broken, !sound, "{length} {frames:?}");
    }
}

/// RFC 9113 section 8.3.2: responses, as a client sees them.
#[test]
fn a_malformed_response_ends_its_stream_alone() {
    type Fields = Vec<(&'static str, &'static str)>;
    let ok = (":status", "200");
    let rows: Vec<(Vec<(Fields, bool)>, bool)> = vec![
        (vec![(vec![ok], true)], true),
        (
            vec![(vec![(":status", "103")], false), (vec![ok], true)],
            true,
        ),
        (vec![(vec![ok, ("x", "a\u{1}")], true)], false),
        (vec![(vec![ok, ("X-Up", "1")], true)], false),
        (vec![(vec![ok, (":foo", "1")], true)], false),
        (vec![(vec![ok, (":path", "/")], true)], false),
        (vec![(vec![ok, ("connection", "close")], true)], false),
        (vec![(vec![("x", "1")], true)], false),
        (vec![(vec![(":status", "20")], true)], false),
        (vec![(vec![(":status", "101")], false)], false),
        (vec![(vec![(":status", "103")], true)], false),
        (vec![(vec![ok, ("content-length", "3")], true)], false),
        (vec![(vec![ok], false), (vec![("x", "1")], false)], false),
    ];
    for (heads, sound) in rows {
        let mut subject = Subject::client();
        let key = subject.open(true);
        let neighbour = subject.open(true);
        subject.written();
        for (fields, end) in &heads {
            subject.feed(&response(1, fields, *end));
        }
        let ends = subject.written();
        assert_eq!(ends.ends().is_empty(), sound, "{heads:?}");
        assert_eq!(subject.machine.reset_cause(key).is_none(), sound);
        if let Some(cause) = subject.machine.reset_cause(key) {
            let library = Initiator::Library;
            assert!(matches!(cause, Cause::Reset(Reason::PROTOCOL_ERROR, by, _) if *by == library));
        }
        subject.feed(&response(3, &[ok], true));
        assert!(matches!(
            subject.machine.receive(neighbour),
            Received::Head(_)
        ));
    }
}

#[test]
fn data_before_the_head_is_malformed() {
    let mut subject = Subject::client();
    subject.open(true);
    subject.written();
    subject.feed(&frame(DATA, 0, 1, b"x"));
    assert_eq!(subject.written().ends(), ["RST 1 PROTOCOL_ERROR"]);
}

/// RFC 9110 sections 6.4.1 and 9.3.2: a declared length may describe a body that is not sent.
#[test]
fn a_length_in_the_answer_to_head_announces_nothing() {
    let mut subject = Subject::client();
    let head = Head {
        pseudo: PseudoFields {
            method: Some(Method::HEAD),
            ..PseudoFields::default()
        },
        ..Head::default()
    };
    let key = subject.machine.open(head, true).unwrap();
    subject.written();
    let fields = [(":status", "200"), ("content-length", "5")];
    subject.feed(&response(1, &fields, true));
    assert!(subject.written().ends().is_empty());
    assert!(matches!(subject.machine.receive(key), Received::Head(_)));
    assert!(matches!(subject.machine.receive(key), Received::End));
}

/// As over HTTP/1, where the fault is found after data has been passed on.
#[test]
fn what_came_before_malformed_trailers_may_be_taken() {
    let mut subject = Subject::client();
    let key = subject.open(true);
    subject.written();
    subject.feed(&response(1, &[(":status", "200")], false));
    subject.feed(&frame(DATA, 0, 1, b"hi"));
    subject.feed(&response(1, &[("X-A", "1")], true));
    assert_eq!(subject.written().ends(), ["RST 1 PROTOCOL_ERROR"]);
    assert!(matches!(subject.machine.receive(key), Received::Head(_)));
    assert!(matches!(subject.machine.receive(key), Received::Data(_)));
    assert!(matches!(subject.machine.receive(key), Received::Broken));
    assert_eq!(subject.machine.held(), 0);
}
