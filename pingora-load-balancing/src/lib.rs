//! Chooses the backend of a request: discovery, health, selection.
//!
//! ```text
//!   ServiceDiscovery ──► Backends ──► BackendSelection ──► select(key) ──► Backend
//!                           ▲              (built anew when the set changes)
//!   HealthCheck ──► HealthRegistry (who is healthy)
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`circuit`] | which backends are ejected because of failed requests |
//! | [`discovery`] | the source of the set of backends |
//! | [`health_check`] | how to tell whether a backend is healthy |
//! | [`metrics`] | what a balancer tells of its backends |
//! | [`outcome`] | reports to observers how requests to a backend ended |
//! | [`selection`] | how one backend of the set is chosen: in turn, at random, by load, by speed, by hash |
//! | [`sticky`] | keeps the requests of one client at one backend |
//!
//! A [`LoadBalancer`] combines them, and [`Upstreams`] turns it into the peers of a proxy. If its discovery knows the
//! backends without asking (as [`discovery::Static`] does), the set is available as soon as the balancer exists. As a
//! background service it discovers and checks repeatedly.
//!
//! Selecting takes no lock: a selector and the set that it was built from are replaced together, as a
//! whole; the health of each backend is updated in place.
//!
//! # Example
//! ```
//! use pingora_load_balancing::prelude::*;
//! use pingora_load_balancing::health_check::TcpHealthCheck;
//! use std::time::Duration;
//!
//! let mut upstreams =
//!     LoadBalancer::<RoundRobin>::try_from_iter(["127.0.0.1:8001", "127.0.0.1:8002"]).unwrap();
//! upstreams.set_health_check(TcpHealthCheck::new());
//! upstreams.health_check_frequency = Some(Duration::from_secs(1));
//!
//! let backend = upstreams.select(b"", 256).unwrap();
//! assert_eq!(backend.addr.to_string(), "127.0.0.1:8001");
//! ```
//!
//! For more, see `docs/quick_start.md` in the repository.
#![forbid(unsafe_code)]

mod backend;
mod backends;
mod balancer;
mod candidates;
mod choice;
mod clock;
mod figures;
mod floor;
mod group;
mod latency;
mod lease;
mod load;
mod queue;
mod registry;
mod rounds;
mod targets;
mod upstreams;

pub mod circuit;
pub mod discovery;
pub mod health_check;
pub mod metrics;
pub mod outcome;
pub mod selection;
pub mod sticky;

pub use backend::{Backend, MaxInFlight};
pub use backends::{BackendView, Backends};
pub use balancer::{LoadBalancer, UpdateTimings};
pub use candidates::{Candidate, Candidates};
pub use figures::{BackendFigures, OutcomeCounts};
pub use group::{LoadBalancerGroup, SelectorRebuildGate, SelectorUpdateTimings};
pub use http::Extensions;
pub use lease::Lease;
pub use queue::Queue;
pub use registry::{HealthCheckService, HealthRegistry};
pub use upstreams::{Tries, Upstreams};

/// The items that most load balancing programs need.
pub mod prelude {
    pub use crate::BackendView;
    pub use crate::HealthCheckService;
    pub use crate::HealthRegistry;
    pub use crate::LoadBalancer;
    pub use crate::health_check::TcpHealthCheck;
    pub use crate::selection::RoundRobin;
}
