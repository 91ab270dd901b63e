//! The contender `ours-rustls`: the same proxy with TLS by rustls, at its defaults.

#[allow(dead_code, reason = "the other binary's `main`")]
#[path = "main.rs"]
mod contender;

use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::protocols::tls::rustls::RustlsServer;
use pingora::server::configuration::ServerConf;
use std::process::ExitCode;

fn main() -> ExitCode {
    contender::run_with_tls(ServerConf::default(), speak_rustls)
}

fn speak_rustls(tls: &mut TlsSettings, cipher: Option<&str>) -> Result<()> {
    let mut server = RustlsServer::new();
    if let Some(cipher) = cipher {
        server = server.cipher_suites([cipher])?;
    }
    tls.set_backend(server);
    Ok(())
}
