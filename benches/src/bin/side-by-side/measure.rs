//! The run itself.

use crate::Failure;
use crate::contender::{Kind, Running, Shape};
use crate::environment::{self, Environment};
use crate::load::{Load, pair};
use crate::options::Options;
use crate::origin::Origins;
use crate::process::{CpuTime, Process, WorkDir, line, resident_kib};
use crate::results::{Cell, Results, RowResult, Sample};
use crate::rows::{ROWS, Requests, Row, Work};
use nix::sys::resource::{UsageWho, getrusage};
use std::path::Path;
use std::time::{Duration, Instant};

/// Load before the first round, so that no contender pays for its first connections.
const WARM_UP: f64 = 1.0;
/// Time for a process's memory to settle.
const SETTLE: Duration = Duration::from_millis(300);

pub(crate) fn run(options: &Options) -> Result<Results, Failure> {
    let dir = WorkDir::new()?;
    let origins = Origins::start(dir.path(), &options.load_cores)?;
    let kinds = environment::contenders(options);
    let mut found = Vec::new();
    for row in ROWS.iter().filter(|row| row.is_chosen(&options.rows)) {
        let bench = Bench {
            options,
            dir: dir.path(),
            origins: &origins,
            row,
        };
        let kinds: Vec<Kind> = kinds
            .iter()
            .copied()
            .filter(|kind| row.suits(*kind))
            .collect();
        found.push(bench.run(&kinds));
    }
    Ok(Results {
        environment: Environment::new(),
        rounds: options.rounds(),
        seconds: options.seconds(),
        contenders: kinds.iter().map(|kind| kind.name().to_string()).collect(),
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
    origins: &'a Origins,
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
        let (workers, all_cores, realistic) = match self.row.work {
            Work::Requests(r) => (r.workers, r.all_cores, r.realistic),
            _ => (1, false, false),
        };
        let upstream_port = match self.row.work {
            Work::Uploads { .. } => self.origins.sink_port,
            Work::Latency { .. } => self.origins.generator_port,
            _ => self.origins.nginx_port,
        };
        let upstream_answers = !matches!(self.row.work, Work::Latency { .. });
        let cores = if all_cores {
            self.options.all_cores()
        } else {
            self.options.proxy_cores.clone()
        };
        Shape {
            dir: self.dir,
            upstream_port,
            workers,
            cores,
            realistic,
            upstream_answers,
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
                self.wrk(&running, requests, WARM_UP)?;
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
        if let Work::Idle { connections } = self.row.work {
            return self.idle(entrant.kind, connections);
        }
        let running = entrant.running.as_mut().ok_or("is not running")?;
        running.process.check_alive()?;
        match self.row.work {
            Work::Requests(requests) => self.requests(running, requests),
            Work::Uploads { connections } => self.uploads(running, connections),
            Work::Latency { connections } => self.latency(running, connections),
            Work::Idle { connections } => self.idle(entrant.kind, connections),
        }
    }

    fn requests(&self, running: &Running, requests: Requests) -> Result<Sample, Failure> {
        let held = match requests.held {
            0 => None,
            count => Some(self.hold(running, count)?),
        };
        let before = CpuTime::of(running.process.id());
        let load = self.wrk(running, requests, self.options.seconds())?;
        let used = CpuTime::of(running.process.id()) - before;
        let mut sample = load.sample(used)?;
        if let Some(held) = held {
            sample.errors += held.release()?;
        }
        Ok(sample)
    }

    fn wrk(&self, running: &Running, requests: Requests, seconds: f64) -> Result<Load, Failure> {
        // wrk takes whole seconds only.
        let duration = format!("{}s", seconds.ceil());
        let connections = requests.connections.to_string();
        let url = format!("http://{}{}", running.address(), requests.path);
        let mut args = vec![
            "-t1",
            "-c",
            &connections,
            "-d",
            &duration,
            "--timeout",
            "10s",
        ];
        for header in requests.headers {
            args.extend(["-H", header]);
        }
        args.push(&url);
        let text = self.load_output("wrk", Path::new("wrk"), &args)?;
        Load::from_wrk(&text)
    }

    fn uploads(&self, running: &Running, connections: usize) -> Result<Sample, Failure> {
        let before = CpuTime::of(running.process.id());
        let text = self.load("upload", running, connections, &[])?;
        let used = CpuTime::of(running.process.id()) - before;
        Load::from_pairs(&text)?.sample(used)
    }

    fn latency(&self, running: &Running, connections: usize) -> Result<Sample, Failure> {
        let origin = format!("127.0.0.1:{}", self.origins.generator_port);
        let text = self.load("paced", running, connections, &["--origin", &origin])?;
        let saturated = Load::from_pairs(&text)?;
        let rate = (0.8 * saturated.requests / saturated.seconds).to_string();
        let more = ["--origin", &origin, "--rate", &rate];
        let text = self.load("paced", running, connections, &more)?;
        let load = Load::from_pairs(&text)?;
        let value = pair(&text, "p99").ok_or("no p99 in the generator's answer")?;
        Ok(Sample {
            value,
            user: None,
            rate: Some(load.requests / load.seconds),
            errors: load.errors,
        })
    }

    fn idle(&self, kind: Kind, connections: usize) -> Result<Sample, Failure> {
        let running = Running::start(kind, &self.shape())?;
        std::thread::sleep(SETTLE);
        let before = resident_kib(running.process.id());
        let held = self.hold(&running, connections)?;
        std::thread::sleep(SETTLE);
        let grown = resident_kib(running.process.id()) - before;
        let errors = held.release()?;
        Ok(Sample {
            value: grown / connections as f64,
            user: None,
            rate: None,
            errors,
        })
    }

    /// Opens connections that make one request each and stay.
    fn hold(&self, running: &Running, connections: usize) -> Result<Held, Failure> {
        let target = running.address().to_string();
        let connections = connections.to_string();
        let args = ["idle", "--target", &target, "--connections", &connections];
        let program = environment::binary("load")?;
        let log = self.dir.join("idle.log");
        let mut process = Process::start(&program, &args, &self.options.load_cores, &log)?;
        let (stdin, mut stdout) = process.pipes().ok_or("the load program has no pipes")?;
        line(&mut stdout, "load idle").map_err(|e| with_log(&e, &log))?;
        Ok(Held {
            stdin,
            stdout,
            _process: process,
        })
    }

    fn load(
        &self,
        mode: &str,
        running: &Running,
        connections: usize,
        more: &[&str],
    ) -> Result<String, Failure> {
        let target = running.address().to_string();
        let (connections, seconds) = (connections.to_string(), self.options.seconds().to_string());
        let mut args = vec![mode, "--target", &target, "--connections", &connections];
        args.extend(["--seconds", &seconds]);
        args.extend(more);
        self.load_output(mode, &environment::binary("load")?, &args)
    }

    fn load_output(&self, name: &str, program: &Path, args: &[&str]) -> Result<String, Failure> {
        let log = self.dir.join(format!("{name}.log"));
        let limit = Duration::from_secs_f64(self.options.seconds() * 2.0 + 30.0);
        let process = Process::start(program, args, &self.options.load_cores, &log)?;
        process.output(limit).map_err(|e| with_log(&e, &log))
    }
}

fn with_log(e: &Failure, log: &Path) -> Failure {
    let said = std::fs::read_to_string(log).unwrap_or_default();
    format!("{e} {}", said.trim()).into()
}

fn take_cell(entrants: &mut Vec<Entrant>, kind: Kind) -> Option<Cell> {
    let index = entrants.iter().position(|entrant| entrant.kind == kind)?;
    let entrant = entrants.swap_remove(index);
    Some(Cell::new(kind.name(), entrant.samples, entrant.failure))
}

/// Connections that another process keeps open.
struct Held {
    stdin: std::process::ChildStdin,
    stdout: std::io::BufReader<std::process::ChildStdout>,
    _process: Process,
}

impl Held {
    /// Lets them go, and says how many the proxy had closed in the meantime.
    fn release(mut self) -> Result<u64, Failure> {
        drop(self.stdin);
        let text = line(&mut self.stdout, "load idle")?;
        Ok(pair(&text, "closed").ok_or("no count in the load program's answer")? as u64)
    }
}
