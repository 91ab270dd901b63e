//! The keys of a configuration file, and the checks on them.

use super::ServerConf;
use super::conf::{one_line, refused};
use pingora_error::Result;
use serde_yaml::{Mapping, Value};

impl ServerConf {
    /// Reads a configuration file over `defaults`: keys that are missing in the file keep their
    /// value. The file therefore takes precedence over the program's own choice, and the command line
    /// over both; see [`Server::with_defaults`](crate::server::Server::with_defaults).
    ///
    /// # Errors
    /// See [`ServerConf::load_from_yaml`].
    pub fn load_over(defaults: ServerConf, path: &str) -> Result<Self> {
        // For its errors, which contain the line.
        ServerConf::load_from_yaml(path)?;
        let failed = |e: &serde_yaml::Error| refused(&format!("{path}: {}", one_line(e)));
        let text = std::fs::read_to_string(path)
            .map_err(|e| refused(&format!("{path}: can't be read: {e}")))?;
        let file: Option<Mapping> = serde_yaml::from_str(&text).map_err(|e| failed(&e))?;
        let mut merged = defaults.keys();
        merged.extend(file.unwrap_or_default());
        serde_yaml::from_value(Value::Mapping(merged)).map_err(|e| failed(&e))
    }

    /// The keys in a YAML configuration that are not the server's, each with the key that may have been
    /// meant. They are ignored, because a program may keep its own settings in the same file; `-t` lists
    /// them.
    ///
    /// # Errors
    /// If the text is not a list of keys.
    pub fn unknown_keys(text: &str) -> Result<Vec<(String, Option<String>)>> {
        let read: Result<Option<Mapping>, _> = serde_yaml::from_str(text);
        let read = read.map_err(|e| refused(&format!("configuration: {}", one_line(&e))))?;
        let mut known = ServerConf::default().keys();
        known.extend(Self::BOUNDS.map(|key| (Value::from(key), Value::Null)));
        let unknown = read.unwrap_or_default().into_iter().filter_map(|(key, _)| {
            let name = key.as_str()?.to_string();
            (!known.contains_key(&key)).then_some(name)
        });
        let names = || known.keys().filter_map(Value::as_str);
        let with_guess = |name: String| {
            let distance = |other: &&str| distance(&name, other);
            let guess = names().min_by_key(distance);
            let near = guess.filter(|guess| distance(guess) <= 1 + name.len() / 5);
            let near = near.map(str::to_string);
            (name, near)
        };
        Ok(unknown.map(with_guess).collect())
    }

    /// The keys that are set without effect, each with its reason, on one line.
    pub fn without_effect(&self) -> Vec<String> {
        let mut notes = vec![];
        let mut note = |is_set: bool, key: &str, reason: &str| {
            if is_set {
                notes.push(format!("{key}: has no effect: {reason}"));
            }
        };
        note(
            self.upstream_connect_offload_threadpools.is_some()
                || self.upstream_connect_offload_thread_per_pool.is_some(),
            "upstream_connect_offload_*",
            "connecting blocks no thread",
        );
        note(
            self.downstream_tls_offload_threadpools.is_some()
                != self.downstream_tls_offload_thread_per_pool.is_some(),
            "downstream_tls_offload_*",
            "the number of pools and of threads in each are both needed",
        );
        note(
            self.runtime_enable_alt_timer,
            "runtime_enable_alt_timer",
            "there is one kind of timer",
        );
        note(
            self.fast_timeout_to_tokio_threshold_seconds.is_some(),
            "fast_timeout_to_tokio_threshold_seconds",
            "there is one kind of timer",
        );
        note(
            self.runtime_metrics_poll_time_histogram,
            "runtime_metrics_poll_time_histogram",
            "the runtime records it only when it is built with its unstable features",
        );
        note(
            self.daemon_notify_timeout_seconds.is_some(),
            "daemon_notify_timeout_seconds",
            "saying that the server is ready takes no time",
        );
        if !self.daemon {
            let foreground =
                "the server runs in the foreground; the process that starts it sees to this";
            note(self.error_log.is_some(), "error_log", foreground);
            let directory = self.working_directory.is_some();
            note(directory, "working_directory", foreground);
        }
        notes
    }

    /// The keys whose values are different in `next`.
    pub(crate) fn keys_that_differ(&self, next: &ServerConf) -> Vec<String> {
        let (now, next) = (self.keys(), next.keys());
        let differs = |(key, value): (&Value, &Value)| {
            let name = key.as_str()?;
            (next.get(key) != Some(value)).then(|| name.to_string())
        };
        now.iter().filter_map(differs).collect()
    }

    fn keys(&self) -> Mapping {
        match serde_yaml::to_value(self) {
            Ok(Value::Mapping(keys)) => keys,
            // This can't happen: all fields are plain values.
            _ => Mapping::new(),
        }
    }
}

/// The number of letters that must be changed, added or removed to turn one word into the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (b, above) in other.iter().zip(row.iter_mut().skip(1)) {
            let changed = diagonal + usize::from(a != *b);
            diagonal = *above;
            left = changed.min(*above + 1).min(left + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_overrules_the_program_where_it_says_something() {
        let path = std::env::temp_dir().join(format!("keys-{}.yaml", std::process::id()));
        let path = path.to_str().unwrap();
        let defaults = ServerConf {
            threads: 7,
            max_retries: 3,
            ..ServerConf::default()
        };
        std::fs::write(path, "threads: 2\nerror_log: /tmp/e\n").unwrap();
        let merged = ServerConf::load_over(defaults.clone(), path).unwrap();
        assert_eq!((merged.threads, merged.max_retries), (2, 3));
        assert_eq!(merged.error_log.as_deref(), Some("/tmp/e"));
        std::fs::write(path, "# nothing\n").unwrap();
        assert_eq!(
            ServerConf::load_over(defaults.clone(), path).unwrap(),
            defaults
        );
        std::fs::write(path, "threads: many\n").unwrap();
        let error = ServerConf::load_over(defaults, path).unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn unknown_keys_are_told_with_what_may_be_meant() {
        let text = "thread: 2\nthreads: 2\nmy_own_setting: {a: 1}\ngrace_period_second: 3\n";
        let unknown = ServerConf::unknown_keys(text).unwrap();
        let expected = [
            ("thread", Some("threads")),
            ("my_own_setting", None),
            ("grace_period_second", Some("grace_period_seconds")),
        ];
        let expected = expected.map(|(key, guess)| (key.to_string(), guess.map(str::to_string)));
        assert_eq!(unknown, expected);
        assert!(ServerConf::unknown_keys("").unwrap().is_empty());
        assert!(ServerConf::unknown_keys("- a\n").is_err());
    }

    #[test]
    fn what_has_no_effect_is_said() {
        assert!(ServerConf::default().without_effect().is_empty());
        let mut conf = ServerConf {
            error_log: Some("log".into()),
            runtime_enable_alt_timer: true,
            ..ServerConf::default()
        };
        let notes = conf.without_effect();
        assert!(notes[0].starts_with("runtime_enable_alt_timer: has no effect: "));
        assert!(
            notes[1].starts_with("error_log: has no effect: the server runs in the foreground")
        );
        conf.daemon = true;
        assert_eq!(conf.without_effect().len(), 1);
    }

    #[test]
    fn changes_are_found_by_key() {
        let now = ServerConf::default();
        let next = ServerConf {
            max_retries: 1,
            user: Some("nobody".into()),
            ..now.clone()
        };
        assert_eq!(now.keys_that_differ(&next), ["user", "max_retries"]);
        assert!(now.keys_that_differ(&now).is_empty());
    }
}
