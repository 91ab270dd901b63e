#!/bin/sh
# Counts the instructions and allocations of a request under callgrind, and compares them with
# benches/instructions.json. Options: see benches/src/bin/instructions/main.rs. Needs valgrind.
set -eu
cd "$(dirname "$0")/.."
exec cargo run --quiet --release -p pingora-benches --bin instructions -- "$@"
