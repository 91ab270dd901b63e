//! The results of a run.

use crate::Failure;
use crate::environment::Environment;
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) environment: Environment,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) contenders: Vec<String>,
    pub(crate) rows: Vec<RowResult>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RowResult {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) unit: String,
    /// Share of the machine's CPU time that went to processes which are none of the run's.
    pub(crate) foreign_share: f64,
    pub(crate) cells: Vec<Cell>,
}

/// One contender in one row: medians over the rounds, and the rounds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) contender: String,
    pub(crate) value: f64,
    /// The part of it spent in user mode.
    pub(crate) user: Option<f64>,
    /// Requests per second, where requests were counted.
    pub(crate) rate: Option<f64>,
    pub(crate) errors: u64,
    /// Why a round, and with it the rest of the contender's row, is missing.
    pub(crate) failure: Option<String>,
    pub(crate) samples: Vec<Sample>,
}

/// One contender in one round.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) value: f64,
    pub(crate) user: Option<f64>,
    pub(crate) rate: Option<f64>,
    pub(crate) errors: u64,
}

impl Cell {
    pub(crate) fn new(contender: &str, samples: Vec<Sample>, failure: Option<String>) -> Self {
        let values = |pick: fn(&Sample) -> Option<f64>| median(samples.iter().filter_map(pick));
        Self {
            contender: contender.to_string(),
            value: values(|sample| Some(sample.value)).unwrap_or(f64::NAN),
            user: values(|sample| sample.user),
            rate: values(|sample| sample.rate),
            errors: samples.iter().map(|sample| sample.errors).sum(),
            failure,
            samples,
        }
    }
}

impl Cell {
    /// How many times the smallest figure of a round the largest one is.
    pub(crate) fn spread(&self) -> f64 {
        let values = || self.samples.iter().map(|sample| sample.value);
        let largest = values().fold(0.0, f64::max);
        let smallest = values().fold(f64::INFINITY, f64::min);
        if smallest > 0.0 {
            largest / smallest
        } else {
            1.0
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values.get(middle).copied(),
        _ => Some((values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0),
    }
}

impl RowResult {
    pub(crate) fn cell(&self, contender: &str) -> Option<&Cell> {
        self.cells
            .iter()
            .find(|cell| cell.contender == contender && !cell.value.is_nan())
    }

    /// The better one of nginx and HAProxy.
    pub(crate) fn best(&self) -> Option<f64> {
        let values = ["nginx", "haproxy"]
            .into_iter()
            .filter_map(|name| self.cell(name));
        values.map(|cell| cell.value).min_by(f64::total_cmp)
    }

    /// How many times `divisor` a contender's figure is.
    pub(crate) fn ratio(&self, contender: &str, divisor: Option<f64>) -> Option<f64> {
        Some(self.cell(contender)?.value / divisor.filter(|divisor| *divisor > 0.0)?)
    }
}

impl Results {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))?)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        std::fs::write(path, serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
    }
}
