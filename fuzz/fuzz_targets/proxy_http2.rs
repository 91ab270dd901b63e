//! A whole proxy between frames of a client and what upstreams say, over HTTP/2 on one side or on both: what comes
//! out on either side is sound for other readers, and is what the proxy meant.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../pingora-h2/tests/oracle/frames.rs"]
mod frames;
#[path = "proxy_oracle/house.rs"]
mod house;
#[path = "proxy_oracle/strict.rs"]
mod strict;
#[path = "proxy_oracle/verdict.rs"]
mod verdict;

use house::Script;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// `:status: 200`.
const OK: u8 = 0x88;

type Frame<'a> = (u8, u8, u8, &'a [u8]);

/// A request, the pieces of an upstream's answer, and which sides speak HTTP/2.
type Input<'a> = (u8, Vec<Frame<'a>>, &'a [u8], Vec<Vec<Frame<'a>>>);

fn frame((kind, flags, style, content): &Frame<'_>) -> Vec<u8> {
    frames::frame(*kind, *flags, *style, content)
}

/// An upstream's frame: where a client's would have a sound request, it has a sound status.
fn answer(frame: &Frame<'_>) -> Vec<u8> {
    let (kind, flags, style, content) = frame;
    if kind % 12 == 1 && *style < 0xc0 {
        let stream = u32::from(style % 4) * 2 + 1;
        let payload = [&[OK][..], *content].concat();
        let length = (payload.len() as u32).to_be_bytes();
        let head = [&length[1..], &[1, flags & 1 | 4][..], &stream.to_be_bytes()[..]].concat();
        return [head, payload].concat();
    }
    self::frame(frame)
}

fuzz_target!(|input: Input<'_>| {
    let (flags, requests, text, answers) = input;
    let (down, up) = (flags & 3 != 1, flags & 3 != 2);
    let script = |pieces| Script {
        pieces,
        waits_for_writes: true,
        stays: flags & 4 > 0,
        step: usize::from(flags >> 4),
    };
    let mut client = script(if down {
        let mut bytes = [PREFACE, SETTINGS].concat();
        bytes.extend(requests.iter().flat_map(frame));
        vec![bytes]
    } else {
        vec![text.to_vec()]
    });
    client.waits_for_writes = false;
    client.stays = flags & 8 > 0;
    let upstreams = if up {
        let pieces = |frames: &Vec<Frame<'_>>| {
            let frames = frames.iter().map(answer);
            [SETTINGS.to_vec()].into_iter().chain(frames).collect()
        };
        answers.iter().map(|frames| script(pieces(frames))).collect()
    } else {
        let pieces = text.split(|byte| *byte == 0xff).map(<[u8]>::to_vec);
        vec![script(pieces.collect())]
    };
    let seen = house::run(client, upstreams, up);
    if up {
        verdict::upstreams_got_what_was_sent_over_http2(&seen);
    } else {
        verdict::upstreams_got_what_was_sent(&seen);
    }
    // A connection that was refused before its preface was read ends in the words of HTTP/1.1.
    if down && !seen.client.starts_with(b"HTTP/1.1") {
        verdict::frames_are_in_order(&seen.client);
    } else if !down {
        verdict::the_client_got_what_it_asked_for(&seen);
    }
});
