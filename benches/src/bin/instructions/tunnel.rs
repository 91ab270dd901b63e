//! Messages through a tunnel: what they cost once the connection has switched protocols.
//!
//! The connection's task is polled by hand, twice per message: when it has arrived from the client, and
//! when its echo has from the origin.

use crate::proxied::{Proxied, WARM_UP, with_proxy};
use crate::{Failure, warmed_up};

const UPGRADE: &[u8] = b"GET /chat HTTP/1.1\r\nHost: www.example.com\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A frame with 64 bytes of payload from a client: 2 bytes of head, 4 of mask.
const MESSAGE: [u8; 70] = [b'm'; 70];

pub(crate) fn message(times: u32) -> Result<(), Failure> {
    with_proxy(|proxied| {
        open(proxied)?;
        for round in 0..WARM_UP + times {
            if round == WARM_UP {
                warmed_up();
            }
            proxied.client.send(&MESSAGE);
            proxied.poll()?;
            if !proxied.origin.receive(|got| got == MESSAGE) {
                return Err("the origin got no message".into());
            }
            proxied.origin.send(&MESSAGE);
            proxied.poll()?;
            if !proxied.client.receive(|got| got == MESSAGE) {
                return Err("the client got no echo".into());
            }
        }
        Ok(())
    })
}

fn open(proxied: &mut Proxied<'_>) -> Result<(), Failure> {
    proxied.client.send(UPGRADE);
    proxied.poll()?;
    if !proxied.origin.receive(|got| got.ends_with(b"\r\n\r\n")) {
        return Err("the origin got no request".into());
    }
    proxied.origin.send(SWITCHED);
    proxied.poll()?;
    if !proxied.client.receive(|got| got.ends_with(b"\r\n\r\n")) {
        return Err("the client was not told of the switch".into());
    }
    Ok(())
}
