//! The peers of a request's tries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scripted;

use pingora_core::upstreams::outcome::{Attempt, BalancedRequest, Outcome};
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{BError, Error, ErrorSource, ErrorType, RetryType};
use pingora_load_balancing::selection::{Consistent, RoundRobin};
use pingora_load_balancing::{Backend, LoadBalancer, Queue, Tries, Upstreams};
use scripted::backend;
use std::collections::BTreeSet;
use std::time::Duration;

/// As a session does: an attempt that is replaced was cancelled.
struct Request {
    attempt: Option<Box<dyn Attempt>>,
    repeatable: bool,
}

impl BalancedRequest for Request {
    fn report_attempt(&mut self, attempt: Option<Box<dyn Attempt>>) {
        self.attempt = attempt;
    }

    fn may_be_repeated(&self) -> bool {
        self.repeatable
    }
}

fn request() -> Request {
    Request {
        attempt: None,
        repeatable: true,
    }
}

fn upstreams() -> Upstreams<RoundRobin> {
    let addresses = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"];
    Upstreams::new(LoadBalancer::try_from_iter(addresses).unwrap())
}

fn error(etype: ErrorType, source: ErrorSource) -> BError {
    Error::create(etype, source, None, None)
}

#[test]
fn each_try_goes_to_another_backend_and_is_reported() {
    let upstreams = upstreams().most_tries(9);
    let (mut request, mut tries) = (request(), Tries::default());
    for left in [true, true, false] {
        let peer = upstreams.peer(&mut request, b"", &mut tries).unwrap();
        let current = tries.current().unwrap();
        assert_eq!(peer.address().to_string(), current.addr.to_string());
        assert_eq!(upstreams.balancer().backends().in_flight(current), 1);
        request.attempt.take().unwrap().end(Outcome::ConnectFailed);
        let refused = error(ErrorType::ConnectRefused, ErrorSource::Upstream);
        assert_eq!(upstreams.fail_to_connect(&tries, refused).retry(), left);
    }
    let tried: BTreeSet<&Backend> = tries.backends().iter().collect();
    assert_eq!(tried.len(), 3);
    // Asked nevertheless, it begins again.
    assert!(upstreams.peer(&mut request, b"", &mut tries).is_ok());
    drop(request);
    for number in 1..=3 {
        assert_eq!(
            upstreams.balancer().backends().in_flight(&backend(number)),
            0
        );
    }
}

#[test]
fn of_two_tries_at_once_the_one_that_goes_on_is_the_current() {
    let upstreams = upstreams();
    let (mut request, mut tries) = (request(), Tries::default());
    let first = upstreams.peer(&mut request, b"", &mut tries).unwrap();
    let second = upstreams.peer(&mut request, b"", &mut tries).unwrap();
    for winner in [&second, &first, &first, &second] {
        upstreams.hedge_settled(&mut tries, winner);
        let current = tries.current().unwrap().addr.to_string();
        assert_eq!(current, winner.address().to_string());
    }
    let elsewhere = HttpPeer::new("127.0.0.1:9", false, String::new());
    upstreams.hedge_settled(&mut tries, &elsewhere);
    assert_eq!(
        tries.current().unwrap().addr.to_string(),
        second.address().to_string()
    );
}

#[test]
fn tries_are_bounded() {
    let upstreams = upstreams().most_tries(2);
    let (mut request, mut tries) = (request(), Tries::default());
    for left in [true, false] {
        upstreams.peer(&mut request, b"", &mut tries).unwrap();
        let refused = error(ErrorType::ConnectRefused, ErrorSource::Upstream);
        assert_eq!(upstreams.fail_to_connect(&tries, refused).retry(), left);
    }
}

#[test]
fn what_failed_underway_is_repeated_only_where_that_does_no_harm() {
    let peer = HttpPeer::new("127.0.0.1:1", false, String::new());
    let upstreams = upstreams();
    let mut tries = Tries::default();
    let mut first = request();
    upstreams.peer(&mut first, b"", &mut tries).unwrap();
    for (source, repeatable, expected) in [
        (ErrorSource::Upstream, true, true),
        (ErrorSource::Upstream, false, false),
        (ErrorSource::Downstream, true, false),
        (ErrorSource::Internal, true, false),
    ] {
        let request = Request {
            repeatable,
            ..request()
        };
        let failed = error(ErrorType::ConnectionClosed, source);
        let failed = upstreams.error_while_proxy(&request, &peer, &tries, failed, false);
        assert_eq!(failed.retry(), expected, "{failed}");
        assert!(failed.to_string().contains("Peer: "), "{failed}");
    }
}

#[test]
fn a_kept_connection_that_broke_is_tried_again_even_with_one_backend() {
    let balancer = LoadBalancer::<RoundRobin>::try_from_iter(["127.0.0.1:1"]).unwrap();
    let upstreams = Upstreams::new(balancer);
    let peer = HttpPeer::new("127.0.0.1:1", false, String::new());
    let (mut request, mut tries) = (request(), Tries::default());
    upstreams.peer(&mut request, b"", &mut tries).unwrap();
    for (reused, repeatable) in [(true, true), (true, false), (false, true)] {
        request.repeatable = repeatable;
        let mut broken = error(ErrorType::ConnectionClosed, ErrorSource::Upstream);
        broken.retry = RetryType::ReusedOnly;
        let broken = upstreams.error_while_proxy(&request, &peer, &tries, broken, reused);
        assert_eq!(broken.retry(), reused && repeatable);
    }
    assert!(upstreams.peer(&mut request, b"", &mut tries).is_ok());
    assert_eq!(tries.backends().len(), 2);
}

#[test]
fn a_key_goes_to_its_backend_and_a_second_try_to_the_next() {
    let addresses = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"];
    let balancer = LoadBalancer::<Consistent>::try_from_iter(addresses).unwrap();
    let upstreams = Upstreams::new(balancer);
    for key in [b"a", b"b", b"c"] {
        let order = [(); 2].map(|()| {
            let (mut request, mut tries) = (request(), Tries::default());
            for _ in 0..2 {
                upstreams.peer(&mut request, key, &mut tries).unwrap();
            }
            tries.backends().to_vec()
        });
        assert_eq!(order[0], order[1]);
        assert_ne!(order[0][0], order[0][1]);
    }
}

#[test]
fn a_full_or_empty_set_is_a_503() {
    let upstreams = upstreams();
    upstreams.balancer().backends().set_max_in_flight(Some(1));
    let mut held: Vec<Request> = (0..3).map(|_| request()).collect();
    for request in &mut held {
        let mut tries = Tries::default();
        upstreams.peer(request, b"", &mut tries).unwrap();
    }
    let (mut last, mut tries) = (request(), Tries::default());
    let full = upstreams.peer(&mut last, b"", &mut tries).unwrap_err();
    assert_eq!(full.etype(), &ErrorType::HTTPStatus(503));
    held.pop();
    assert!(upstreams.peer(&mut last, b"", &mut tries).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_bounded_number_of_requests_waits_for_room() {
    let balancer = LoadBalancer::<RoundRobin>::try_from_iter(["127.0.0.1:1"]).unwrap();
    balancer.backends().set_max_in_flight(Some(1));
    let queue = Queue::new(1, Duration::from_secs(5));
    let upstreams = Upstreams::new(balancer).queue(queue);
    let (mut one, mut two, mut three) = (request(), request(), request());
    let mut tries = [(); 3].map(|()| Tries::default());
    let [of_one, of_two, of_three] = &mut tries;
    upstreams.peer_or_wait(&mut one, b"", of_one).await.unwrap();
    {
        let mut waiting = std::pin::pin!(upstreams.peer_or_wait(&mut two, b"", of_two));
        assert!(futures::poll!(&mut waiting).is_pending());
        let full = upstreams.peer_or_wait(&mut three, b"", of_three).await;
        assert_eq!(full.unwrap_err().etype(), &ErrorType::HTTPStatus(503));
        one.attempt.take().unwrap().end(Outcome::Completed);
        assert!(waiting.await.is_ok());
    }
    // One that left frees its place; one that waits too long is told so.
    let begun = tokio::time::Instant::now();
    let late = upstreams.peer_or_wait(&mut three, b"", of_three).await;
    assert_eq!(late.unwrap_err().etype(), &ErrorType::HTTPStatus(503));
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    // Where none is ready at all, there is nothing to wait for.
    two.attempt.take().unwrap().end(Outcome::Completed);
    upstreams
        .balancer()
        .backends()
        .set_enable(&backend(1), false);
    let begun = tokio::time::Instant::now();
    assert!(
        upstreams
            .peer_or_wait(&mut three, b"", of_three)
            .await
            .is_err()
    );
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[test]
fn peers_are_made_as_they_are_wanted() {
    let upstreams = upstreams()
        .tls("one.one.one.one")
        .adjust_peer(|backend, peer| {
            assert_eq!(backend.addr.to_string(), peer.address().to_string());
            peer.options.verify_hostname = false;
        });
    let (mut request, mut tries) = (request(), Tries::default());
    let peer = upstreams.peer(&mut request, b"", &mut tries).unwrap();
    assert_eq!(
        (peer.sni(), peer.verify_hostname()),
        ("one.one.one.one", false)
    );
    assert!(peer.is_tls());
}
