//! The engine between two halves that are made up: what it waits for, how much it takes, how long.

mod fakes;
mod schedule;
mod tunnel;
mod turn;
