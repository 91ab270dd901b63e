//! The traits through which lower layers query a peer, implemented for every peer.

use super::Peer;
use crate::protocols::http::v1::client::{ClientOptions, HasClientOptions};
use crate::protocols::raw_connect::{HasTunnelOptions, TunnelOptions};

impl<P: Peer> HasClientOptions for P {
    fn client_options(&self) -> ClientOptions {
        let options = self.get_peer_options();
        ClientOptions {
            read_timeout: self.read_limit(),
            write_timeout: options.and_then(|o| o.write_timeout),
            allow_invalid_content_length: options
                .is_some_and(|o| o.allow_h1_response_invalid_content_length),
        }
    }
}

impl<P: Peer> HasTunnelOptions for P {
    fn tunnel_options(&self) -> TunnelOptions<'_> {
        TunnelOptions {
            answer_timeout: self.connection_timeout(),
            user_data_hook: self.proxy_digest_user_data_hook(),
        }
    }
}
