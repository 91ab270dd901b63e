//! The run itself.

mod generate;

use crate::Failure;
use crate::certificate::Certificate;
use crate::contender::{Kind, Running, Shape, check_hits};
use crate::environment::{self, Environment};
use crate::options::Options;
use crate::origin::Origins;
use crate::process::{CpuTime, WorkDir};
use crate::results::{Cell, Results, RowResult, Sample};
use crate::rows::{ROWS, Row, Work};
use nix::sys::resource::{UsageWho, getrusage};
use std::path::Path;
use std::time::Instant;

/// Load before the first round, so that no contender pays for its first connections.
const WARM_UP: f64 = 1.0;

pub(crate) fn run(options: &Options) -> Result<Results, Failure> {
    let (dir, memory) = (WorkDir::new()?, WorkDir::in_memory()?);
    let origins = Origins::start(dir.path(), &options.load_cores)?;
    let certificate = Certificate::make(dir.path())?;
    let kinds = environment::contenders(options);
    let mut found = Vec::new();
    let rows = ROWS.iter().filter(|row| row.is_chosen(&options.rows));
    for row in rows.filter(|row| environment::can_generate(row)) {
        let bench = Bench {
            options,
            dir: dir.path(),
            memory: memory.path(),
            origins: &origins,
            certificate: &certificate,
            row,
        };
        let kinds: Vec<Kind> = kinds
            .iter()
            .copied()
            .filter(|kind| row.suits(*kind))
            .collect();
        found.push(bench.run(&kinds));
    }
    let takes_part = |kind: &&Kind| {
        let mut cells = found.iter().flat_map(|row: &RowResult| &row.cells);
        cells.any(|cell| cell.contender == kind.name())
    };
    let contenders = kinds.iter().filter(takes_part);
    Ok(Results {
        environment: Environment::new(),
        rounds: options.rounds(),
        seconds: options.seconds(),
        contenders: contenders.map(|kind| kind.name().to_string()).collect(),
        rows: found,
    })
}

/// A contender on its way through the rounds of a row.
struct Entrant {
    kind: Kind,
    /// `None` for a row that wants a fresh process in each round.
    running: Option<Running>,
    samples: Vec<Sample>,
    failure: Option<String>,
}

/// One row.
struct Bench<'a> {
    options: &'a Options,
    dir: &'a Path,
    memory: &'a Path,
    origins: &'a Origins,
    certificate: &'a Certificate,
    row: &'static Row,
}

impl Bench<'_> {
    fn run(&self, kinds: &[Kind]) -> RowResult {
        let mut entrants: Vec<Entrant> = kinds.iter().map(|kind| self.enter(*kind)).collect();
        let (began, before) = (Instant::now(), self.foreign(&entrants));
        for round in 0..self.options.rounds() {
            eprintln!(
                "{}: round {} of {}",
                self.row.name,
                round + 1,
                self.options.rounds()
            );
            // The first of a round is another one each time.
            let middle = round % entrants.len().max(1);
            entrants.rotate_left(middle);
            for entrant in entrants
                .iter_mut()
                .filter(|entrant| entrant.failure.is_none())
            {
                match self.sample(entrant) {
                    Ok(sample) => entrant.samples.push(sample),
                    Err(e) => {
                        eprintln!("{}, {}: {e}", self.row.name, entrant.kind.name());
                        entrant.failure = Some(e.to_string());
                    }
                }
            }
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let capacity = began.elapsed().as_secs_f64() * cores as f64;
        RowResult {
            name: self.row.name.to_string(),
            title: self.row.title.to_string(),
            unit: self.row.unit().to_string(),
            foreign_share: ((self.foreign(&entrants) - before) / capacity).clamp(0.0, 1.0),
            cells: kinds
                .iter()
                .filter_map(|kind| take_cell(&mut entrants, *kind))
                .collect(),
        }
    }

    /// CPU time of the machine that went to none of the run's processes, in seconds.
    fn foreign(&self, entrants: &[Entrant]) -> f64 {
        let running = entrants
            .iter()
            .filter_map(|entrant| entrant.running.as_ref());
        let alive = running.map(|running| running.process.id()).chain([
            self.origins.nginx.id(),
            self.origins.sink.id(),
            self.origins.echo.id(),
            std::process::id(),
        ]);
        let alive: f64 = alive.map(|process| CpuTime::of(process).total()).sum();
        let ended = getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0.0, |usage| {
            let seconds =
                |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
            seconds(usage.user_time()) + seconds(usage.system_time())
        });
        CpuTime::of_machine() - alive - ended
    }

    fn shape(&self) -> Shape<'_> {
        let (workers, all_cores, upstream_h2c) = match self.row.work {
            Work::Requests(r) => (r.workers, r.all_cores, r.upstream_h2c),
            _ => (1, false, false),
        };
        let upstream_port = match self.row.work {
            Work::Requests(r) if r.upstream_h2c => self.origins.h2c_port,
            Work::Uploads { .. } => self.origins.sink_port,
            Work::Echo { .. } => self.origins.echo_port,
            Work::Latency { .. } => self.origins.generator_port,
            _ => self.origins.nginx_port,
        };
        let silent = matches!(self.row.work, Work::Latency { .. } | Work::Echo { .. });
        let cores = if all_cores {
            self.options.all_cores()
        } else {
            self.options.proxy_cores.clone()
        };
        Shape {
            dir: self.dir,
            memory: self.memory,
            upstream_port,
            workers,
            cores,
            task: self.row.task(),
            upstream_answers: !silent,
            clients: self.row.clients(),
            upstream_h2c,
            deferred: self.row.deferred(),
            alike: self.row.alike(),
            certificate: self.certificate,
        }
    }

    fn enter(&self, kind: Kind) -> Entrant {
        let mut entrant = Entrant {
            kind,
            running: None,
            samples: Vec::new(),
            failure: None,
        };
        if matches!(self.row.work, Work::Idle { .. }) {
            return entrant;
        }
        let started = Running::start(kind, &self.shape()).and_then(|running| {
            if let Work::Requests(requests) = self.row.work {
                if requests.task.is_cached() {
                    check_hits(running.port, requests.path, requests.headers)?;
                }
                self.closed_loop(&running, requests, WARM_UP)?;
            }
            Ok(running)
        });
        match started {
            Ok(running) => entrant.running = Some(running),
            Err(e) => {
                eprintln!("{}, {}: {e}", self.row.name, kind.name());
                entrant.failure = Some(e.to_string());
            }
        }
        entrant
    }

    fn sample(&self, entrant: &mut Entrant) -> Result<Sample, Failure> {
        if let Work::Idle { connections, .. } = self.row.work {
            return self.idle(entrant.kind, connections);
        }
        let running = entrant.running.as_mut().ok_or("is not running")?;
        running.process.check_alive()?;
        match self.row.work {
            Work::Requests(requests) => self.requests(running, requests),
            Work::Uploads { connections, bytes } => self.uploads(running, connections, bytes),
            Work::Echo { connections } => self.echo(running, connections),
            Work::Handshakes {
                connections,
                resumed,
                ..
            } => self.handshakes(running, connections, resumed),
            Work::Latency { connections, rate } => self.latency(running, connections, rate),
            Work::Idle { connections, .. } => self.idle(entrant.kind, connections),
        }
    }
}

fn take_cell(entrants: &mut Vec<Entrant>, kind: Kind) -> Option<Cell> {
    let index = entrants.iter().position(|entrant| entrant.kind == kind)?;
    let entrant = entrants.swap_remove(index);
    Some(Cell::new(kind.name(), entrant.samples, entrant.failure))
}
