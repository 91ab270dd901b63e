//! The output of the load generators.

use crate::Failure;
use crate::process::CpuTime;
use crate::results::Sample;

/// Streams that h2load keeps open on each connection.
pub(crate) const STREAMS: &str = "32";

/// The counts of a load generator.
#[derive(Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    pub(crate) errors: u64,
}

impl Load {
    pub(crate) fn from_wrk(text: &str) -> Result<Self, Failure> {
        let mut load = Self {
            requests: 0.0,
            seconds: 0.0,
            errors: 0,
        };
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line
                .split([' ', ','])
                .filter(|word| !word.is_empty())
                .collect();
            match words.as_slice() {
                [count, "requests", "in", time, ..] => {
                    load.requests = count.parse()?;
                    load.seconds = time.trim_end_matches('s').parse()?;
                }
                ["Socket", "errors:", counts @ ..] => {
                    load.errors += counts
                        .iter()
                        .filter_map(|c| c.parse::<u64>().ok())
                        .sum::<u64>();
                }
                ["Non-2xx", .., count] => load.errors += count.parse::<u64>()?,
                _ => {}
            }
        }
        Ok(load)
    }

    /// # Errors
    /// Where the connections did not agree on HTTP/2: h2load would measure HTTP/1.1 instead.
    pub(crate) fn from_h2load(text: &str) -> Result<Self, Failure> {
        let line = |start| {
            text.lines()
                .find_map(|line| line.strip_prefix(start))
                .ok_or_else(|| format!("h2load does not say \"{start}\""))
        };
        let protocol = line("Application protocol: ").unwrap_or("nothing");
        if !protocol.starts_with("h2") {
            return Err(format!("the proxy speaks {protocol} instead of HTTP/2").into());
        }
        let seconds = line("finished in ")?.split(',').next().unwrap_or_default();
        let seconds = match seconds.strip_suffix("ms") {
            Some(milliseconds) => milliseconds.parse::<f64>()? / 1e3,
            None => seconds.trim_end_matches('s').parse()?,
        };
        let count = |line: &str, name: &str| -> f64 {
            let counts = line.split(", ").filter_map(|count| count.split_once(' '));
            counts
                .filter(|(_, word)| *word == name)
                .filter_map(|(count, _)| count.parse::<f64>().ok())
                .sum()
        };
        let (requests, statuses) = (line("requests: ")?, line("status codes: ")?);
        let succeeded = count(statuses, "2xx");
        Ok(Self {
            requests: succeeded,
            seconds,
            errors: (count(requests, "done") - succeeded) as u64,
        })
    }

    pub(crate) fn from_pairs(text: &str) -> Result<Self, Failure> {
        let value = |name| pair(text, name).ok_or_else(|| format!("no {name} in: {text}"));
        Ok(Self {
            requests: value("requests")?,
            seconds: value("seconds")?,
            errors: value("errors")? as u64,
        })
    }

    /// CPU time per request.
    pub(crate) fn sample(&self, used: CpuTime) -> Result<Sample, Failure> {
        if self.requests < 1.0 {
            return Err(format!("no request was answered, {} errors", self.errors).into());
        }
        Ok(Sample {
            value: used.total() * 1e6 / self.requests,
            user: Some(used.user * 1e6 / self.requests),
            rate: Some(self.requests / self.seconds),
            errors: self.errors,
        })
    }
}

/// The value of `name=value` among words.
pub(crate) fn pair(text: &str, name: &str) -> Option<f64> {
    let mut pairs = text
        .split_whitespace()
        .filter_map(|word| word.split_once('='));
    pairs
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_understood() {
        let text = "Running 1s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  57341 requests in 1.10s, 11.05MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
  Non-2xx or 3xx responses: 5
Requests/sec:  52141.91
";
        let load = Load::from_wrk(text).expect("well formed");
        assert_eq!(
            load,
            Load {
                requests: 57341.0,
                seconds: 1.1,
                errors: 9
            }
        );
    }

    #[test]
    fn what_h2load_prints_is_understood() {
        let text = "starting benchmark...
TLS Protocol: TLSv1.3
Application protocol: h2

finished in 1.05s, 60000.00 req/s, 8.11MB/s
requests: 63000 total, 63256 started, 63000 done, 62996 succeeded, 4 failed, 4 errored, 0 timeout
status codes: 62995 2xx, 0 3xx, 0 4xx, 1 5xx
";
        let load = Load::from_h2load(text).expect("well formed");
        assert_eq!(
            load,
            Load {
                requests: 62995.0,
                seconds: 1.05,
                errors: 5
            }
        );
        let other = text.replace("protocol: h2", "protocol: http/1.1");
        assert!(Load::from_h2load(&other).is_err());
    }

    #[test]
    fn pairs_are_found_by_their_whole_name() {
        let text = "requests=10 errors=1 seconds=0.5 p99=12.5 p999=20";
        assert_eq!(pair(text, "p99"), Some(12.5));
        let load = Load::from_pairs(text).expect("well formed");
        assert_eq!(
            load,
            Load {
                requests: 10.0,
                seconds: 0.5,
                errors: 1
            }
        );
    }
}
