//! The dependencies between services.

use log::error;
use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The services of one server and their dependencies: a graph without cycles.
#[derive(Debug, Default)]
pub(crate) struct Dependencies {
    nodes: Mutex<Vec<Node>>,
}

#[derive(Debug)]
struct Node {
    name: Arc<str>,
    /// The positions of the nodes that this one waits for.
    waits_for: Vec<usize>,
}

impl Dependencies {
    /// Adds a service. Its position is the number of services added before.
    pub(crate) fn enter(self: &Arc<Self>, name: &str) -> ServiceHandle {
        let name: Arc<str> = name.into();
        let mut nodes = self.lock();
        let position = nodes.len();
        nodes.push(Node {
            name: name.clone(),
            waits_for: vec![],
        });
        ServiceHandle {
            position,
            name,
            graph: self.clone(),
        }
    }

    /// The positions of the services that this one waits for.
    pub(crate) fn of(&self, position: usize) -> Vec<usize> {
        let nodes = self.lock();
        nodes.get(position).map_or(vec![], |n| n.waits_for.clone())
    }

    /// # Errors
    /// The path, by name, that would become a cycle.
    fn add(&self, from: usize, to: usize) -> Result<(), String> {
        let mut nodes = self.lock();
        if let Some(mut path) = path(&nodes, to, from) {
            path.push(from);
            let names: Vec<&str> = path.iter().rev().map(|p| &*nodes[*p].name).collect();
            return Err(names.join(" -> "));
        }
        let waits_for = &mut nodes[from].waits_for;
        if !waits_for.contains(&to) {
            waits_for.push(to);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The path from one node to another along their dependencies, last node first.
fn path(nodes: &[Node], from: usize, to: usize) -> Option<Vec<usize>> {
    if from == to {
        return Some(vec![to]);
    }
    // There are no cycles, so it ends.
    nodes[from].waits_for.iter().find_map(|next| {
        let mut rest = path(nodes, *next, to)?;
        rest.push(from);
        Some(rest)
    })
}

/// A service that was added to a server; for declaring which other services it waits for.
#[derive(Clone)]
pub struct ServiceHandle {
    position: usize,
    name: Arc<str>,
    graph: Arc<Dependencies>,
}

impl ServiceHandle {
    /// The service's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts this service only when the other one is ready. If that would create a cycle, or if the
    /// other one belongs to another server, the dependency is refused and logged as an error.
    pub fn add_dependency(&self, dependency: impl Borrow<ServiceHandle>) {
        let dependency = dependency.borrow();
        let name = &self.name;
        if !Arc::ptr_eq(&self.graph, &dependency.graph) {
            let other = &dependency.name;
            error!("{name} can't depend on {other}, a service of another server");
        } else if let Err(cycle) = self.graph.add(self.position, dependency.position) {
            let other = &dependency.name;
            error!("{name} can't depend on {other}: they would wait for each other ({cycle})");
        }
    }

    /// [`ServiceHandle::add_dependency`] for several.
    pub fn add_dependencies<'a, D>(&self, dependencies: impl IntoIterator<Item = D>)
    where
        D: Borrow<ServiceHandle> + 'a,
    {
        for dependency in dependencies {
            self.add_dependency(dependency);
        }
    }
}

impl fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceHandle")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_refused_and_named() {
        let graph = Arc::new(Dependencies::default());
        let [a, b, c] = ["a", "b", "c"].map(|name| graph.enter(name));
        a.add_dependency(&b);
        a.add_dependency(b.clone());
        b.add_dependencies([&c]);
        assert_eq!(graph.of(0), [1]);
        assert_eq!(graph.of(1), [2]);

        assert_eq!(graph.add(2, 0).unwrap_err(), "c -> a -> b -> c");
        assert_eq!(graph.add(0, 0).unwrap_err(), "a -> a");
        c.add_dependency(&a);
        c.add_dependency(&c);
        assert!(graph.of(2).is_empty());
        a.add_dependencies(vec![c]);
        assert_eq!(graph.of(0), [1, 2]);
    }

    #[test]
    fn services_of_other_servers_are_refused() {
        let graph = Arc::new(Dependencies::default());
        let here = graph.enter("here");
        let elsewhere = Arc::new(Dependencies::default()).enter("elsewhere");
        here.add_dependency(elsewhere);
        assert!(graph.of(0).is_empty());
        assert_eq!(here.name(), "here");
    }
}
