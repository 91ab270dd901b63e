//! Which backend a request goes to: discovery, health, selection.
//!
//! ```text
//!   ServiceDiscovery ──► Backends ──► BackendSelection ──► select(key) ──► Backend
//!                           ▲              (built anew when the set changes)
//!   HealthCheck ──► HealthRegistry (who is healthy)
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`discovery`] | where the set of backends comes from |
//! | [`health_check`] | how a backend is found to be well |
//! | [`outcome`] | what became of the requests to a backend, for whoever wants to know |
//! | [`selection`] | how one of the set is chosen: round robin, random, by hash, by consistent hash |
//!
//! A [`LoadBalancer`] puts the three together. It is known what it chooses from as soon as it
//! exists, if its discovery knows without asking anyone (as [`discovery::Static`] does). Run as a
//! background service it discovers and checks again and again.
//!
//! Selecting takes no lock: a selector and the set that it was built of are replaced together, as a whole;
//! the health of each backend is flipped in place.
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
#![forbid(unsafe_code)]

mod backend;
mod backends;
mod balancer;
mod choice;
mod floor;
mod group;
mod registry;
mod rounds;

pub mod discovery;
pub mod health_check;
pub mod outcome;
pub mod selection;

pub use backend::Backend;
pub use backends::{BackendView, Backends};
pub use balancer::{LoadBalancer, UpdateTimings};
pub use group::{LoadBalancerGroup, SelectorRebuildGate, SelectorUpdateTimings};
pub use http::Extensions;
pub use registry::{HealthCheckService, HealthRegistry};

/// What nearly every program that balances needs.
pub mod prelude {
    pub use crate::BackendView;
    pub use crate::HealthCheckService;
    pub use crate::HealthRegistry;
    pub use crate::LoadBalancer;
    pub use crate::health_check::TcpHealthCheck;
    pub use crate::selection::RoundRobin;
}
