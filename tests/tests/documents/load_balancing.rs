//! The code of `docs/load_balancing.md` that is not a program of its own.

use pingora::lb::discovery::Static;
use pingora::lb::selection::{PeakEwma, Priority, Tiered, TieredConfig, Zone};
use pingora::lb::{Backend, Backends};
use pingora::prelude::*;
use std::collections::BTreeSet;

fn tiers() -> Result<()> {
    let mut backup = Backend::new("10.9.0.1:80")?;
    backup.ext.insert(Priority(1));
    let mut near = Backend::new("10.0.0.1:80")?;
    near.ext.insert(Zone::new("berlin"));

    let backends = BTreeSet::from([backup, near]);
    let backends = Backends::new(Static::new(backends));
    let config = TieredConfig::new().zone(Zone::new("berlin")).enough(0.7);
    let balancer =
        LoadBalancer::<Tiered<PeakEwma>>::from_backends_with_config(backends, Some(config));
    drop(balancer);
    Ok(())
}
