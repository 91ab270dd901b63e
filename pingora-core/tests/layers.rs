//! Holds the walls of the house: a module uses only those below it, a room of `protocols` only the rooms
//! that it is open to, and no two modules of a folder use each other.
#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

#[path = "layers/modules.rs"]
mod modules;

use modules::{Modules, code_of, is_within, tree};
use std::collections::{BTreeMap, BTreeSet};

/// From the bottom to the top. Each may use those before it, and itself.
const LAYERS: [&str; 15] = [
    "sys",
    "metrics",
    "timeout",
    "runtime",
    "process",
    "protocols",
    "tls",
    "utils",
    "upstreams",
    "connectors",
    "listeners",
    "modules",
    "apps",
    "services",
    "server",
];

/// A room of `protocols`: what is in it, and which other rooms it may use.
struct Room {
    name: &'static str,
    holds: &'static [&'static str],
    uses: &'static [&'static str],
}

/// From the bottom to the top. The longest path decides where a module belongs.
const ROOMS: [Room; 11] = [
    Room {
        name: "facts",
        holds: &[
            "l4::socket",
            "proxy_protocol",
            "tls::alpn",
            "tls::client_hello",
            "tls::digest",
            "tls::facts",
            "tls::library",
            "tls::x509",
            "http::date",
        ],
        uses: &[],
    },
    Room {
        name: "transport",
        holds: &["digest", "io", "l4", "memory"],
        uses: &["facts"],
    },
    Room {
        name: "tls",
        holds: &["tls"],
        uses: &["facts", "transport"],
    },
    Room {
        name: "http rules",
        holds: &[
            "http::aliases",
            "http::authority",
            "http::bridge",
            "http::conditional_filter",
            "http::error_resp",
            "http::h1",
            "http::changed_body",
            "http::hop_by_hop",
            "http::v2::message",
            "http::websocket",
        ],
        uses: &["facts"],
    },
    Room {
        name: "http exchange",
        holds: &[
            "http::body_buffer",
            "http::custom",
            "http::exchange",
            "http::faults",
            "http::grace",
            "http::linger",
            "http::recycled",
            "http::session_options",
            "http::spool",
            "http::task",
            "http::timed",
        ],
        uses: &["facts", "transport", "http rules"],
    },
    Room {
        name: "http compression",
        holds: &["http::compression"],
        uses: &["http rules", "http exchange"],
    },
    // The three do not know of each other.
    Room {
        name: "http 1",
        holds: &["http::v1"],
        uses: &["facts", "transport", "http rules", "http exchange"],
    },
    Room {
        name: "http 2",
        holds: &["http::v2"],
        uses: &["facts", "transport", "http rules", "http exchange"],
    },
    Room {
        name: "sub-requests",
        holds: &["http::subrequest"],
        uses: &["facts", "transport", "http rules", "http exchange"],
    },
    Room {
        name: "tunnel",
        holds: &["raw_connect"],
        uses: &["facts", "transport", "http rules"],
    },
    Room {
        name: "http session",
        holds: &["http::client", "http::server"],
        uses: &[
            "facts",
            "transport",
            "http rules",
            "http exchange",
            "http 1",
            "http 2",
            "sub-requests",
        ],
    },
];

/// Words that a pure rule must not contain: input, output, time.
const NOT_PURE: [&str; 9] = [
    "tokio::",
    ".await",
    "async ",
    "poll_fn",
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
];

/// Where rooms decide who uses whom, instead of folders.
const IN_ROOMS: &str = "protocols";

#[test]
fn every_module_uses_only_those_below_it() {
    let modules = Modules::read();
    let mut edges = 0;
    let mut upwards = BTreeSet::new();
    for (path, module) in modules.all().filter(|(path, _)| !path.is_empty()) {
        let from = rank(path);
        for used in &module.uses {
            edges += 1;
            if !used.is_empty() && rank(used) > from {
                upwards.insert((path, used));
            }
        }
    }
    assert!(edges > 1000, "only {edges} edges: were the sources read?");
    assert!(
        upwards.is_empty(),
        "these use a layer above their own: {upwards:#?}"
    );
}

fn rank(path: &str) -> usize {
    let layer = path.split("::").next().unwrap_or_default();
    let found = LAYERS.iter().position(|known| *known == layer);
    found.unwrap_or_else(|| panic!("{path}: `{layer}` has no place in the order of layers"))
}

#[test]
fn every_room_of_the_protocols_uses_only_those_it_is_open_to() {
    let modules = Modules::read();
    let mut through_walls = vec![];
    for (path, module) in modules.iter() {
        let Some(room) = room_of(path) else {
            continue;
        };
        for used in &module.uses {
            let Some(other) = room_of(used) else {
                assert!(!is_door(used), "{path} uses what `{used}` itself defines");
                continue;
            };
            if other.name != room.name && !room.uses.contains(&other.name) {
                through_walls.push(format!("{path} ({}) -> {used} ({})", room.name, other.name));
            }
        }
    }
    assert!(through_walls.is_empty(), "{through_walls:#?}");
}

#[test]
fn the_rooms_are_in_order_and_hold_what_there_is() {
    for (position, room) in ROOMS.iter().enumerate() {
        let below = |name: &&str| ROOMS[..position].iter().any(|room| room.name == *name);
        assert!(
            room.uses.iter().all(below),
            "{} uses one above it",
            room.name
        );
    }
    let modules = Modules::read();
    let paths: BTreeSet<_> = modules.iter().map(|(path, _)| path.to_string()).collect();
    for path in paths.iter().filter(|path| is_within(path, IN_ROOMS)) {
        assert!(
            is_door(path) || room_of(path).is_some(),
            "`{path}` is in no room"
        );
    }
    for held in ROOMS.iter().flat_map(|room| room.holds) {
        let held = format!("{IN_ROOMS}::{held}");
        assert!(paths.contains(&held), "`{held}` is not there any more");
    }
}

/// Where modules of several rooms are re-exported. They define nothing of their own.
fn is_door(path: &str) -> bool {
    matches!(path, "protocols" | "protocols::http")
}

fn room_of(path: &str) -> Option<&'static Room> {
    let held = ROOMS
        .iter()
        .flat_map(|room| room.holds.iter().map(move |held| (held, room)));
    let fitting = held.filter(|(held, _)| is_within(path, &format!("{IN_ROOMS}::{held}")));
    fitting
        .max_by_key(|(held, _)| held.len())
        .map(|(_, room)| room)
}

#[test]
fn what_is_a_rule_does_no_io_and_reads_no_clock() {
    let modules = Modules::read();
    let mut rules = 0;
    for (path, module) in modules.iter() {
        if room_of(path).is_none_or(|room| room.name != "http rules") {
            continue;
        }
        rules += 1;
        for word in NOT_PURE {
            assert!(!module.code.contains(word), "{path}: `{word}`");
        }
        let outside = module.uses.iter().filter(|used| !is_within(used, IN_ROOMS));
        let unknown: Vec<_> = outside.filter(|used| !is_within(used, "sys")).collect();
        assert!(unknown.is_empty(), "{path} uses {unknown:?}");
    }
    assert!(rules > 20, "only {rules} modules of rules");
}

/// Siblings have an order too, though it is not written down. `protocols` itself is divided into rooms
/// instead.
#[test]
fn no_modules_of_one_folder_use_each_other_in_a_circle() {
    let modules = Modules::read();
    let folders: BTreeSet<String> = modules
        .iter()
        .filter_map(|(path, _)| Some(path.rsplit_once("::")?.0.to_string()))
        .chain([String::new()])
        .filter(|folder| folder != IN_ROOMS)
        .collect();
    assert!(folders.len() > 20, "only {folders:?}");
    let circles: BTreeMap<_, _> = folders
        .iter()
        .map(|folder| (folder, modules.circle_in(folder)))
        .filter(|(_, circle)| !circle.is_empty())
        .collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

/// The table at the top of `lib.rs` names every module of the crate, in the order of the layers.
#[test]
fn the_table_of_modules_tells_the_truth() {
    let lib = include_str!("../src/lib.rs");
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | "));
    let cells = rows.filter_map(|row| Some(row.split_once(" | ")?.0));
    let named: Vec<String> = cells
        .flat_map(|cell| cell.split(','))
        .filter_map(|name| Some(name.split('`').nth(1)?.to_string()))
        .collect();
    let declared: BTreeSet<String> = lib
        .lines()
        .filter_map(|line| {
            line.strip_prefix("pub ")
                .unwrap_or(line)
                .strip_prefix("mod ")
        })
        .filter_map(|line| Some(line.strip_suffix(';')?.to_string()))
        .collect();
    let known: BTreeSet<String> = named.iter().cloned().collect();
    assert_eq!(known, declared, "the table and the declarations");
    let ranks: Vec<_> = named.iter().map(|name| rank(name)).collect();
    assert!(
        ranks.is_sorted(),
        "{named:?} is not the order of {LAYERS:?}"
    );
    let architecture = include_str!("../../docs/architecture.md");
    let house = architecture.split("```").nth(1).unwrap();
    let house = house.split("pingora-core").nth(1).unwrap();
    for name in &declared {
        assert!(house.contains(name.as_str()), "the house lacks `{name}`");
    }
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let modules = Modules::read();
    let mute: Vec<_> = modules
        .all()
        .filter(|(_, module)| !module.is_introduced)
        .map(|(path, _)| path)
        .collect();
    assert!(mute.is_empty(), "no `//!` at the top: {mute:#?}");
}

/// A crate of these files: each with its module's path and its text.
fn of(files: &[(&str, &str)]) -> Modules {
    let file = |(path, text): &(&str, &str)| {
        let name = format!("{}.rs", path.replace("::", "/"));
        (path.to_string(), (name, text.to_string()))
    };
    Modules::of(files.iter().map(file).collect())
}

/// The modules that one of these modules uses.
fn used(modules: &Modules, path: &str) -> Vec<String> {
    let (_, module) = modules.all().find(|(known, _)| *known == path).unwrap();
    module.uses.iter().cloned().collect()
}

#[test]
fn modules_are_found_wherever_and_however_they_are_named() {
    let rows: [(&str, &[&str]); 9] = [
        (
            "use crate::a::B;\n// crate::c::D\nfn f() -> crate::c::d::E",
            &["a", "c::d"],
        ),
        (
            "use crate::{\n    a::{self, C}, c::d::E,\n    F};",
            &["", "a", "c::d"],
        ),
        ("use super::a; use super::c::d::X as Y;", &["a", "c::d"]),
        (
            "use super::a;\n#[cfg(test)]\nmod tests {\nuse crate::c::d;\n}",
            &["a"],
        ),
        ("use crate::c::Shown;", &["c::d"]),
        ("use crate::c::Renamed;", &["a"]),
        ("fn f() { crate::c::Shown::new() }", &["c::d"]),
        (
            "mod inner { use super::x::Y; use super::super::a::Z; }",
            &["a", "here::x"],
        ),
        ("let macro_crate::a = 1; $crate::a::B", &[]),
    ];
    for (text, expected) in rows {
        let modules = of(&[
            ("a", ""),
            (
                "c",
                "mod d; pub use d::Shown; pub use crate::a::B as Renamed;",
            ),
            ("c::d", "struct Shown;"),
            ("here", text),
            ("here::x", ""),
        ]);
        assert_eq!(used(&modules, "here"), expected, "{text}");
    }
}

#[test]
fn circles_are_found_and_lines_are_none() {
    let line = of(&[
        ("f", ""),
        ("f::a", "use super::b::X;"),
        ("f::b", "use super::c::X;"),
        ("f::c", ""),
    ]);
    assert!(line.circle_in("f").is_empty());
    let circle = of(&[
        ("f", ""),
        ("f::a", "use super::b::X;"),
        ("f::b", "use super::c::inner::X;"),
        ("f::c", ""),
        ("f::c::inner", "use crate::f::b::X;"),
    ]);
    assert_eq!(circle.circle_in("f"), ["b", "c"]);
    assert!(circle.circle_in("").is_empty());
    // Uses by tests alone make no circle.
    let tests = of(&[
        ("f", ""),
        ("f::a", "use super::b::X;"),
        ("f::b::tests", "use crate::f::a;"),
    ]);
    assert!(tests.circle_in("f").is_empty());
}

#[test]
fn trees_of_use_are_read() {
    let read = |text: &str| {
        let found = tree(text).into_iter();
        Vec::from_iter(found.map(|(path, name)| (path.join("::"), name)))
    };
    let pair = |path: &str, name: &str| (path.to_string(), name.to_string());
    assert_eq!(read("a::b;"), [pair("a::b", "b")]);
    assert_eq!(read("a::B as C;"), [pair("a::B", "C")]);
    assert_eq!(
        read("a::{self, b::{C, D}, e as F};"),
        [
            pair("a", "a"),
            pair("a::b::C", "C"),
            pair("a::b::D", "D"),
            pair("a::e", "F")
        ]
    );
    assert_eq!(code_of("a // b\nc\nmod tests { d }"), "a c ");
}
