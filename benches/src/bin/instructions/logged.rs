//! A whole proxied request with a line in the access log.
//!
//! The log's own thread is not in the figure: it writes many lines at once, and what that costs is mostly the kernel's.

use crate::Failure;
use crate::proxied::{ToOrigin, browser_of, peer};
use async_trait::async_trait;
use pingora::prelude::*;
use pingora_access_log::{AccessLog, Format};
use std::sync::Arc;

/// The least a proxy with an access log can be.
struct Logged {
    to_origin: Arc<ToOrigin>,
    access_log: AccessLog,
}

#[async_trait]
impl ProxyHttp for Logged {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(peer(&self.to_origin))
    }

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<()> {
        self.access_log.begin(session);
        Ok(())
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, _ctx: &mut ()) {
        self.access_log.write(session, error);
    }
}

pub(crate) fn combined(times: u32) -> Result<(), Failure> {
    run(times, Format::combined())
}

pub(crate) fn json(times: u32) -> Result<(), Failure> {
    run(times, Format::json())
}

fn run(times: u32, format: Format) -> Result<(), Failure> {
    let access_log = AccessLog::to_file("/dev/null").format(format).open()?;
    let counted = access_log.clone();
    browser_of(times, |to_origin| Logged {
        to_origin,
        access_log,
    })?;
    match counted.counts().dropped {
        0 => Ok(()),
        dropped => Err(format!("{dropped} lines were dropped").into()),
    }
}
