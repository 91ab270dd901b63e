//! A whole proxy between bytes of a client and bytes of upstreams, all over HTTP/1.1: what comes out on either side
//! is sound for the strictest reader, and is what the proxy meant.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "proxy_oracle/house.rs"]
mod house;
#[path = "proxy_oracle/strict.rs"]
mod strict;
#[allow(dead_code, reason = "HTTP/2 is for another target")]
#[path = "proxy_oracle/verdict.rs"]
mod verdict;

use house::Script;

/// A 0xff, which no text needs, ends a piece; two of them end a side.
fn sides(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut sides = vec![vec![vec![]]];
    let mut bytes = bytes.iter().peekable();
    while let Some(&byte) = bytes.next() {
        if byte != 0xff {
            sides.last_mut().unwrap().last_mut().unwrap().push(byte);
        } else if bytes.next_if_eq(&&0xff).is_some() {
            sides.push(vec![vec![]]);
        } else {
            sides.last_mut().unwrap().push(vec![]);
        }
    }
    sides
}

fuzz_target!(|data: &[u8]| {
    let Some((&flags, data)) = data.split_first() else { return };
    let mut scripts = sides(data).into_iter().map(|pieces| Script {
        pieces,
        waits_for_writes: true,
        stays: flags & 1 > 0,
        step: usize::from(flags >> 2),
    });
    let mut client = scripts.next().unwrap_or_default();
    client.waits_for_writes = false;
    client.stays = flags & 2 > 0;
    let seen = house::run(client, scripts.collect(), false);
    verdict::upstreams_got_what_was_sent(&seen);
    verdict::the_client_got_what_it_asked_for(&seen);
});
