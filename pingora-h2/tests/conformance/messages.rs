//! Section 8: malformed messages, which end their stream and nothing else.

use http::Method;
use pingora_h2::Reason;
use pingora_h2::frame::Role;
use pingora_h2::machine::Config;

use crate::subject::{Answer::*, *};

const P: Reason = Reason::PROTOCOL_ERROR;

#[test]
fn a_malformed_request_ends_its_stream_behind_the_answer() {
    let rows = [
        // 8.2.1
        format!("{GET} X-A=1"),
        format!("{GET} x(y=1"),
        format!("{GET} x_y=1"),
        format!("{GET} x:y=1"),
        format!("{GET} \u{e9}=1"),
        format!("{GET} x=_1"),
        format!("{GET} x=1_"),
        format!("{GET} x=a\0b"),
        format!("{GET} x=a\u{7f}"),
        // 8.2.2
        format!("{GET} connection=close"),
        format!("{GET} keep-alive=5"),
        format!("{GET} proxy-connection=close"),
        format!("{GET} transfer-encoding=chunked"),
        format!("{GET} upgrade=h2c"),
        format!("{GET} te=gzip"),
        // 8.3
        format!("{GET} :foo=1"),
        format!("{GET} :status=200"),
        format!("{GET} :path=/"),
        format!("x=1 {GET}"),
        // 8.3.1
        ":scheme=https :authority=a.test :path=/".to_owned(),
        ":method=GET :authority=a.test :path=/".to_owned(),
        ":method=GET :scheme=https :authority=a.test".to_owned(),
        ":method=GET :scheme=https :authority=a.test :path=".to_owned(),
        ":method=GET :scheme=https :authority=a.test :path=x".to_owned(),
        ":method=GET :scheme=https :authority=u@a.test :path=/".to_owned(),
        ":method=G_T :scheme=https :authority=a.test :path=/".to_owned(),
        // 8.5, and RFC 8441 section 4 where it was not announced
        ":method=CONNECT :authority=a:443 :path=/".to_owned(),
        ":method=CONNECT :scheme=https :authority=a:443".to_owned(),
        ":method=CONNECT".to_owned(),
        "=1 :method=GET".to_owned(),
        ":method=CONNECT :protocol=websocket :scheme=https :authority=a :path=/".to_owned(),
        // 8.1.1
        format!("{GET} content-length=1"),
        format!("{GET} content-length=x"),
        format!("{GET} content-length=0 content-length=1"),
        format!("{GET} content-length=-0"),
    ];
    for fields in rows {
        for answered in [true, false] {
            let mut subject = Subject::server();
            subject.feed(&headers(1, &format!("{fields} x-last=1"), true));
            let (key, head) = subject.machine.poll_request().expect("a request");
            assert!(head.fault.is_some(), "{fields}");
            assert_eq!(subject.take_answer(), Nothing, "{fields}");
            if answered {
                subject.respond(key, true);
                let lines = &subject.lines;
                assert_eq!(lines[..], ["HEADERS 1 end", "RST_STREAM 1 PROTOCOL_ERROR"]);
            }
            subject.abandon(key);
            assert_eq!(subject.take_answer(), Stream(1, P), "{fields}");
            subject.serves(3, Some("x-last=1"));
        }
    }
}

#[test]
fn a_sound_request_is_taken() {
    let rows = [
        format!("{GET} te=trailers x=a~b x=\u{e9}"),
        format!("{GET} content-length=0"),
        format!("{GET} content-length=0 content-length=0"),
        format!("{GET} cookie=a cookie=b"),
        format!("{GET} host=a.test"),
        ":method=OPTIONS :scheme=https :authority=a.test :path=*".to_owned(),
        ":path=/ :authority=a.test :scheme=http :method=PURGE".to_owned(),
        ":method=CONNECT :authority=a:443".to_owned(),
    ];
    for fields in rows {
        let mut subject = Subject::server();
        subject.feed(&headers(1, &format!("{fields} x-last=1"), true));
        let (key, head) = subject.machine.poll_request().expect("a request");
        assert_eq!(head.fault, None, "{fields}");
        assert_eq!(subject.received(key), "end", "{fields}");
        assert_eq!(subject.take_answer(), Nothing, "{fields}");
        subject.serves(3, Some("x-last=1"));
    }
}

/// Sections 8.1 and 8.1.1: frames after the head of a request.
#[test]
fn a_request_is_as_long_as_it_says_and_ends_once() {
    // The head's fields, the frames after it, the answer, and the data received until then.
    type Row = (&'static str, Vec<Vec<u8>>, Answer, &'static str);
    let trailers = |fields: &str, end| headers(1, fields, end);
    let bad = Stream(1, P);
    let rows: Vec<Row> = vec![
        (
            "x=1",
            vec![data(1, 3, false), data(1, 0, true)],
            Nothing,
            "3b end",
        ),
        (
            "content-length=3",
            vec![data(1, 3, true)],
            Nothing,
            "3b end",
        ),
        (
            "content-length=3",
            vec![data(1, 1, false), data(1, 2, true)],
            Nothing,
            "3b end",
        ),
        (
            "content-length=3",
            vec![data(1, 3, false), trailers("x=1", true)],
            Nothing,
            "3b trailers end",
        ),
        ("content-length=3", vec![data(1, 2, true)], bad, "broken"),
        ("content-length=3", vec![data(1, 4, false)], bad, "broken"),
        ("content-length=3", vec![data(1, 0, true)], bad, "broken"),
        (
            "content-length=3",
            vec![data(1, 2, false), trailers("x=1", true)],
            bad,
            "2b broken",
        ),
        ("content-length=0", vec![data(1, 1, false)], bad, "broken"),
        ("x=1", vec![trailers("x=1", false)], bad, "broken"),
        ("x=1", vec![trailers(":path=/", true)], bad, "broken"),
        ("x=1", vec![trailers("X=1", true)], bad, "broken"),
        (
            "x=1",
            vec![trailers("connection=close", true)],
            bad,
            "broken",
        ),
        ("x=1", vec![trailers(GET, true)], bad, "broken"),
    ];
    for (fields, frames, answer, received) in rows {
        let mut subject = Subject::server();
        subject.feed(&headers(1, &format!("{POST} {fields}"), false));
        let key = subject.accept();
        frames.iter().for_each(|frame| subject.feed(frame));
        assert_eq!(subject.take_answer(), answer, "{fields}");
        assert_eq!(subject.received(key), received, "{fields}");
        subject.serves(3, None);
    }
}

/// Sections 8.1 and 8.3.2.
#[test]
fn a_malformed_response_ends_its_stream_alone() {
    let bad = Stream(1, P);
    let head = |fields: &str, end| headers(1, fields, end);
    type Row = (Vec<Vec<u8>>, Answer);
    let ok = |end| headers(1, ":status=200", end);
    let mut rows: Vec<Row> = [
        "x=1",
        ":status=20",
        ":status=2000",
        ":status=abc",
        ":status=101",
        ":status=200 :status=200",
        ":status=200 :path=/",
        ":status=200 :method=GET",
        "x=1 :status=200",
        ":status=200 X=1",
        ":status=200 x=a\0",
        ":status=200 connection=close",
        ":status=200 transfer-encoding=chunked",
        ":status=200 te=gzip",
        ":status=200 content-length=1",
        ":status=200 content-length=1 content-length=2",
    ]
    .iter()
    .map(|fields| (vec![head(fields, true)], bad))
    .collect();
    rows.extend([
        (vec![head(":status=103", true)], bad),
        (vec![head(":status=103", false), ok(true)], Nothing),
        (vec![head(":status=100", false), data(1, 1, false)], bad),
        (vec![data(1, 1, false)], bad),
        (vec![ok(false), ok(false)], bad),
        (vec![ok(false), head("x=1", true)], Nothing),
        (vec![ok(false), head("x=1", false)], bad),
        (vec![ok(false), head(":status=200", true)], bad),
        (
            vec![
                head(":status=200 content-length=2", false),
                data(1, 2, true),
            ],
            Nothing,
        ),
        (
            vec![
                head(":status=200 content-length=2", false),
                data(1, 1, true),
            ],
            bad,
        ),
        (
            vec![
                head(":status=200 content-length=2", false),
                data(1, 3, true),
            ],
            bad,
        ),
        (vec![head(":status=204 content-length=2", true)], Nothing),
        (vec![head(":status=304 content-length=2", true)], Nothing),
    ]);
    for (place, (frames, answer)) in rows.into_iter().enumerate() {
        let mut subject = Subject::client();
        let key = subject.open(Method::POST, false);
        frames.iter().for_each(|frame| subject.feed(frame));
        assert_eq!(subject.take_answer(), answer, "row {place}");
        let received = subject.received(key);
        let last = if answer == Nothing { "end" } else { "broken" };
        assert!(received.ends_with(last), "row {place}: {received}");
        subject.serves(3, None);
    }
}

/// RFC 9110 section 9.3.2: the response to HEAD has no payload.
#[test]
fn a_length_in_the_answer_to_head_announces_nothing() {
    let mut subject = Subject::client();
    let key = subject.open(Method::HEAD, true);
    subject.feed(&headers(1, ":status=200 content-length=500", true));
    assert_eq!(subject.received(key), "200 end");
    assert_eq!(subject.take_answer(), Nothing);
}

/// Section 8.2: a list over a bound ends its stream with 431, up to twice the bound on the wire.
#[test]
fn a_list_over_a_bound_is_answered_and_not_kept() {
    let mut config = Config::new(Role::Server);
    config.settings.max_header_list_size = Some(1_000);
    config.fields = 20;
    config.crumbs = 5;
    let many = |field: &str, count| format!("{GET} {}", [field].repeat(count).join(" "));
    let long = "v".repeat(100);
    let rows = [
        (many("x=1", 16), true),
        (many("x=1", 17), false),
        (many("cookie=1", 5), true),
        (many("cookie=1", 6), false),
        (many(&format!("x={long}"), 5), true),
        (many(&format!("x={long}"), 7), false),
        (many(&format!("x={long}"), 60), false),
    ];
    for (fields, sound) in rows {
        let mut subject = Subject::new(config.clone());
        subject.feed(&headers(1, &fields, true));
        let (_, head) = subject.machine.poll_request().expect("a request");
        let fault = head.fault.map(|fault| fault.status);
        assert_eq!(fault, if sound { None } else { Some(431) });
        assert_eq!(head.fields.is_empty(), !sound);
        subject.feed(&headers(3, &format!("{GET} x-last=1"), true));
        subject.machine.poll_request().expect("the next request");
        subject.serves(5, Some("x-last=1"));
    }
}
