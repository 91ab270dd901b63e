//! Requests of one client that go to one backend, and what becomes of them when that can't be had.
#![cfg(feature = "openssl")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod scripted;

use http::HeaderName;
use http::header::{COOKIE, SET_COOKIE};
use pingora_core::upstreams::outcome::{Attempt, BalancedRequest};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::sticky::{Sticky, StickyCookie};
use pingora_load_balancing::{Backend, Backends, LoadBalancer, Tries, Upstreams};
use scripted::{Found, backend};
use std::collections::BTreeMap;
use std::net::IpAddr;

const KEY: &str = "a key of sixteen bytes or more";

struct Request {
    head: RequestHeader,
    ip: Option<IpAddr>,
    attempt: Option<Box<dyn Attempt>>,
}

impl BalancedRequest for Request {
    fn report_attempt(&mut self, attempt: Option<Box<dyn Attempt>>) {
        self.attempt = attempt;
    }

    fn may_be_repeated(&self) -> bool {
        true
    }

    fn request_head(&self) -> Option<&RequestHeader> {
        Some(&self.head)
    }

    fn client_ip(&self) -> Option<IpAddr> {
        self.ip
    }
}

fn request(fields: &[(HeaderName, &str)]) -> Request {
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    for (name, value) in fields {
        head.append_header(name.clone(), *value).unwrap();
    }
    Request {
        head,
        ip: None,
        attempt: None,
    }
}

/// Five backends, whose set can be changed.
async fn upstreams(sticky: Sticky) -> (Upstreams<RoundRobin>, Found) {
    let found = Found::default();
    found.set((1..=5).map(backend), &[]);
    let balancer = LoadBalancer::from_backends(Backends::new(found.discovery()));
    balancer.update().await.unwrap();
    (Upstreams::new(balancer).sticky(sticky), found)
}

fn cookie() -> Sticky {
    Sticky::by_cookie(StickyCookie::new("b", [KEY]).unwrap())
}

/// Sends a request with this cookie; returns where it goes, and the cookie of the answer.
fn send(upstreams: &Upstreams<RoundRobin>, cookie: Option<&str>) -> (Backend, Option<String>) {
    let (_held, backend, issued) = hold(upstreams, cookie);
    (backend, issued)
}

fn hold(
    upstreams: &Upstreams<RoundRobin>,
    cookie: Option<&str>,
) -> (Request, Backend, Option<String>) {
    let fields: Vec<_> = cookie.iter().map(|cookie| (COOKIE, *cookie)).collect();
    let (mut request, mut tries) = (request(&fields), Tries::default());
    upstreams.peer(&mut request, b"", &mut tries).unwrap();
    let mut response = ResponseHeader::build(200, None).unwrap();
    upstreams.stick(&tries, &mut response).unwrap();
    let issued = response.headers.get(SET_COOKIE);
    let issued = issued.map(|field| {
        field
            .to_str()
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_string()
    });
    (request, tries.current().unwrap().clone(), issued)
}

#[tokio::test]
async fn a_client_with_a_cookie_stays_where_it_got_to() {
    let (upstreams, _found) = upstreams(cookie()).await;
    let (first, issued) = send(&upstreams, None);
    let issued = issued.unwrap();
    for _ in 0..10 {
        assert_eq!(send(&upstreams, Some(&issued)), (first.clone(), None));
    }
    let (other, another) = send(&upstreams, Some("b=forged"));
    assert_ne!(other, first);
    assert!(another.is_some_and(|another| another != issued));
}

#[tokio::test]
async fn a_client_whose_backend_is_lost_stays_with_the_next() {
    let (upstreams, found) = upstreams(cookie()).await;
    let (first, issued) = send(&upstreams, None);
    let issued = issued.unwrap();
    upstreams.balancer().backends().set_enable(&first, false);
    let (second, renewed) = send(&upstreams, Some(&issued));
    assert_ne!(second, first);
    assert_eq!(send(&upstreams, renewed.as_deref()), (second.clone(), None));
    upstreams.balancer().backends().set_enable(&first, true);
    assert_eq!(send(&upstreams, renewed.as_deref()).0, second);

    found.set((1..=5).map(backend).filter(|b| *b != second), &[]);
    upstreams.balancer().update().await.unwrap();
    let (third, again) = send(&upstreams, renewed.as_deref());
    assert!(third != second && again.is_some());
}

#[tokio::test]
async fn a_client_whose_backend_is_full_comes_back_to_it() {
    let (upstreams, _found) = upstreams(cookie()).await;
    upstreams.balancer().backends().set_max_in_flight(Some(1));
    let (held, first, issued) = hold(&upstreams, None);
    let (other, replaced) = send(&upstreams, issued.as_deref());
    assert_ne!(other, first);
    assert_eq!(replaced, None);
    drop(held);
    assert_eq!(send(&upstreams, issued.as_deref()), (first, None));
}

#[tokio::test]
async fn a_drained_backend_keeps_its_clients_only_if_it_may() {
    for stay in [false, true] {
        let (upstreams, found) = upstreams(cookie().while_draining(stay)).await;
        let (first, issued) = send(&upstreams, None);
        let mut drained = first.clone();
        drained.weight = 0;
        let others = (1..=5).map(backend).filter(|b| *b != first);
        found.set(others.chain([drained.clone()]), &[]);
        upstreams.balancer().update().await.unwrap();
        let (now, replaced) = send(&upstreams, issued.as_deref());
        assert_eq!(now == drained, stay);
        assert_eq!(replaced.is_none(), stay);
        for _ in 0..10 {
            assert_ne!(send(&upstreams, None).0, drained);
        }
    }
}

#[tokio::test]
async fn a_client_whose_try_failed_stays_with_the_backend_that_answered() {
    let (upstreams, _found) = upstreams(cookie()).await;
    let (first, issued) = send(&upstreams, None);
    let issued = issued.unwrap();
    let (mut request, mut tries) = (request(&[(COOKIE, &issued)]), Tries::default());
    upstreams.peer(&mut request, b"", &mut tries).unwrap();
    assert_eq!(tries.current(), Some(&first));
    upstreams.peer(&mut request, b"", &mut tries).unwrap();
    assert_ne!(tries.current(), Some(&first));
    let mut response = ResponseHeader::build(200, None).unwrap();
    upstreams.stick(&tries, &mut response).unwrap();
    assert!(response.headers.contains_key(SET_COOKIE));
}

/// Where requests with these values of a field go.
fn by_value(upstreams: &Upstreams<RoundRobin>, count: usize) -> BTreeMap<usize, Backend> {
    let name = HeaderName::from_static("x-user");
    let place = |user: usize| {
        let value = user.to_string();
        let mut tries = Tries::default();
        let mut request = request(&[(name.clone(), &value)]);
        upstreams.peer(&mut request, b"", &mut tries).unwrap();
        assert!(
            upstreams
                .stick(&tries, &mut ResponseHeader::build(200, None).unwrap())
                .is_ok()
        );
        (user, tries.current().unwrap().clone())
    };
    (0..count).map(place).collect()
}

#[tokio::test]
async fn values_of_a_field_keep_their_backend_and_move_only_if_it_leaves() {
    let by_user = Sticky::by_header(HeaderName::from_static("x-user"));
    let (upstreams, found) = upstreams(by_user).await;
    let before = by_value(&upstreams, 1_000);
    assert_eq!(before, by_value(&upstreams, 1_000));
    for number in 1..=5 {
        let share = before.values().filter(|b| **b == backend(number)).count();
        assert!((140..260).contains(&share), "{number}: {share}");
    }
    found.set((1..=4).map(backend), &[]);
    upstreams.balancer().update().await.unwrap();
    for (user, now) in by_value(&upstreams, 1_000) {
        assert!(
            now == before[&user] || before[&user] == backend(5),
            "{user}"
        );
    }
    // Without the field: by turns.
    let mut tries = Tries::default();
    upstreams.peer(&mut request(&[]), b"", &mut tries).unwrap();
    let mut again = Tries::default();
    upstreams.peer(&mut request(&[]), b"", &mut again).unwrap();
    assert_ne!(tries.current(), again.current());
}

#[tokio::test]
async fn shares_of_values_go_by_weight() {
    let by_user = Sticky::by_header(HeaderName::from_static("x-user"));
    let (upstreams, found) = upstreams(by_user).await;
    let heavy = Backend::new_with_weight("127.0.0.1:9", 3).unwrap();
    let drained = Backend::new_with_weight("127.0.0.1:8", 0).unwrap();
    found.set([backend(1), heavy.clone(), drained.clone()], &[]);
    upstreams.balancer().update().await.unwrap();
    let placed = by_value(&upstreams, 1_000);
    let share = placed.values().filter(|b| **b == heavy).count();
    assert!((690..810).contains(&share), "{share}");
    assert!(!placed.values().any(|b| *b == drained));
}

#[tokio::test]
async fn addresses_of_one_client_are_one() {
    let (upstreams, _found) = upstreams(Sticky::by_client_address()).await;
    let place = |ip: &str| {
        let mut tries = Tries::default();
        let mut request = request(&[]);
        request.ip = Some(ip.parse().unwrap());
        upstreams.peer(&mut request, b"", &mut tries).unwrap();
        tries.current().unwrap().clone()
    };
    assert_eq!(place("2001:db8::1"), place("2001:db8::ffff:0:2"));
    assert_eq!(place("10.0.0.1"), place("::ffff:10.0.0.1"));
    let places: std::collections::BTreeSet<_> =
        (0..100).map(|n| place(&format!("10.0.0.{n}"))).collect();
    assert_eq!(places.len(), 5);
}
