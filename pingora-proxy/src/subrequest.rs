//! Requests that a request spawns. Not built yet: no value of these types can exist. They are named
//! because [`Session`](crate::Session) holds places for them.

/// What a spawned request knows of its origin.
#[derive(Debug)]
pub enum Ctx {}

/// Spawns requests.
#[derive(Debug)]
pub enum SubrequestSpawner {}
