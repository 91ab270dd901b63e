use async_trait::async_trait;
use pingora::Result;
use pingora::lb::discovery::ServiceDiscovery;
use pingora::lb::{Backend, Backends};
use pingora::listeners::BoundAddresses;
use std::collections::{BTreeSet, HashMap};

/// A set of backends: services of the same server, whose ports are known only once they listen, and other
/// addresses.
pub fn backends(services: Vec<BoundAddresses>, others: &[&str]) -> Backends {
    let others = others.iter().map(|other| other.to_string()).collect();
    Backends::new(Box::new(Listening { services, others }))
}

struct Listening {
    services: Vec<BoundAddresses>,
    others: Vec<String>,
}

#[async_trait]
impl ServiceDiscovery for Listening {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let mut backends = BTreeSet::new();
        for address in &self.others {
            backends.insert(Backend::new(address)?);
        }
        for service in &self.services {
            backends.extend(service.wait().await?.into_iter().map(Backend::from));
        }
        Ok((backends, HashMap::new()))
    }
}
