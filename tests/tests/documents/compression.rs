//! The code of `docs/compression.md`.

use async_trait::async_trait;
use bytes::Bytes;
use pingora::modules::http::HttpModules;
use pingora::modules::http::compression::{ResponseCompression, ResponseCompressionBuilder};
use pingora::modules::http::decompression::RequestDecompressionBuilder;
use pingora::prelude::*;
use pingora::protocols::http::compression::{Algorithm, CompressionSettings, DecompressionLimits};

struct ByPhases;

#[async_trait]
impl ProxyHttp for ByPhases {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new("10.0.0.1:80", false, String::new())))
    }

    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        // Plain for the filter, whatever the client accepts ...
        session.upstream_compression.adjust_decompression(true);
        // ... and compressed again for those who accept it.
        if let Some(module) = session
            .downstream_modules_ctx
            .get_mut::<ResponseCompression>()
        {
            module.adjust_level(6);
        }
        Ok(())
    }
}

struct BySettings;

#[async_trait]
impl ProxyHttp for BySettings {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new("10.0.0.1:80", false, String::new())))
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        let settings = CompressionSettings::new(6)
            .level_of(Algorithm::Brotli, 4)
            .min_size(1024)
            .types(["text/*", "application/json"]);
        modules.add_module(ResponseCompressionBuilder::with(settings));
    }
}

struct WithDictionary {
    content: Bytes,
    sha256: [u8; 32],
}

#[async_trait]
impl ProxyHttp for WithDictionary {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new("10.0.0.1:80", false, String::new())))
    }

    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        if let Some(module) = session
            .downstream_modules_ctx
            .get_mut::<ResponseCompression>()
        {
            module.set_dictionary(self.content.clone(), self.sha256);
        }
        Ok(())
    }
}

struct OfRequests;

#[async_trait]
impl ProxyHttp for OfRequests {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new("10.0.0.1:80", false, String::new())))
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        // At most 1 MiB, and fifty times the bytes that were sent.
        let limits = DecompressionLimits::new(1024 * 1024, 50);
        modules.add_module(RequestDecompressionBuilder::enable(limits));
    }
}
