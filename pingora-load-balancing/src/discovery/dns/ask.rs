//! A single DNS query: the only place that uses the resolver.

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long to wait for an answer, and how often to retry. With both, a silent name server takes less
/// than half of the time that an update may take.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// The maximum number of answers to a query that are examined.
const MOST: usize = 1_000;

/// The result of a query.
pub(super) enum Asked<T> {
    /// A non-empty answer, and its time to live.
    Known(T, Duration),
    /// There is no such name, or it has no records of this kind.
    Empty,
    /// The reason why there is no answer.
    Failed(String),
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Service {
    pub(super) priority: u16,
    pub(super) target: String,
    pub(super) port: u16,
    pub(super) weight: u16,
}

pub(super) struct Resolver(TokioResolver);

impl Resolver {
    pub(super) fn of_the_system() -> Result<Self> {
        let context = "the system's configuration of the DNS";
        let builder = TokioResolver::builder_tokio().or_err(ErrorType::FileReadError, context)?;
        Resolver::built(builder)
    }

    pub(super) fn of_servers(servers: &[SocketAddr]) -> Result<Self> {
        if servers.is_empty() {
            return Error::e_explain(ErrorType::InternalError, "no name server");
        }
        let server = |address: &SocketAddr| {
            let mut ways = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            ways.iter_mut().for_each(|way| way.port = address.port());
            NameServerConfig::new(address.ip(), true, ways)
        };
        let servers = servers.iter().map(server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        Resolver::built(builder)
    }

    fn built(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<Self> {
        let options = builder.options_mut();
        options.timeout = PATIENCE;
        options.attempts = ATTEMPTS;
        // Discovery caches the answers itself, for exactly their time to live.
        options.cache_size = 0;
        let resolver = builder.build();
        let resolver = resolver.or_err(ErrorType::InternalError, "the resolver of names")?;
        Ok(Resolver(resolver))
    }

    /// The addresses of A records, and those of AAAA records.
    pub(super) async fn addresses(&self, name: &str) -> [Asked<Vec<IpAddr>>; 2] {
        if let Ok(ip) = name.parse::<IpAddr>() {
            return [Asked::Known(vec![ip], Duration::MAX), Asked::Empty];
        }
        let ip = |data: &RData| data.ip_addr().filter(is_of_a_host);
        let (v4, v6) = futures::join!(
            self.ask(name, RecordType::A, ip),
            self.ask(name, RecordType::AAAA, ip),
        );
        [v4, v6]
    }

    /// The best first.
    pub(super) async fn services(&self, name: &str) -> Asked<Vec<Service>> {
        let service = |data: &RData| match data {
            // The target "." means that there is no such service (RFC 2782).
            RData::SRV(srv) if !srv.target.is_root() => Some(Service {
                priority: srv.priority,
                target: srv.target.to_ascii(),
                port: srv.port,
                weight: srv.weight,
            }),
            _ => None,
        };
        self.ask(name, RecordType::SRV, service).await
    }

    async fn ask<T: Ord>(
        &self,
        name: &str,
        kind: RecordType,
        wanted: impl Fn(&RData) -> Option<T>,
    ) -> Asked<Vec<T>> {
        let answer = match self.0.lookup(name, kind).await {
            Ok(answer) => answer,
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => return Asked::Empty,
            Err(e) => return Asked::Failed(e.to_string()),
        };
        // Aliases count: their targets may change as soon as they may.
        let records = answer.answers().iter();
        let ttl = records.clone().map(|record| record.ttl).min().unwrap_or(0);
        let mut found: Vec<T> = records
            .filter(|record| record.record_type() == kind)
            .filter_map(|record| wanted(&record.data))
            .collect();
        found.sort();
        found.dedup();
        found.truncate(MOST);
        if found.is_empty() {
            return Asked::Empty;
        }
        Asked::Known(found, Duration::from_secs(ttl.into()))
    }
}

/// Whether it can be connected to. The unspecified address would be this machine.
fn is_of_a_host(ip: &IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}
