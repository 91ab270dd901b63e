//! Reading the configuration, and refusing invalid ones.

use super::*;
use std::io::Write;

fn message(result: Result<ServerConf>) -> String {
    let error = result.expect_err("the configuration should be refused");
    for shown in [error.to_string(), format!("{error:?}")] {
        assert_eq!(shown.lines().count(), 1, "{shown}");
    }
    let context = error.context.as_ref().unwrap().as_str().to_string();
    // The text that a program shows if it unwraps the result.
    assert!(format!("{error:?}").contains(&context));
    context
}

#[test]
fn a_text_without_keys_means_the_defaults() {
    for text in [
        "",
        "---\n",
        "# nothing yet\n",
        "{}",
        "version: 1",
        "---\nversion: 1\n",
    ] {
        assert_eq!(
            ServerConf::from_yaml(text).unwrap(),
            ServerConf::default(),
            "{text:?}"
        );
    }
    assert_eq!(ServerConf::new(), Some(ServerConf::default()));
}

#[test]
fn the_defaults_are_what_is_documented() {
    let conf = ServerConf::default();
    assert!(conf.threads >= 1);
    assert_eq!(conf.listener_tasks_per_fd, 1);
    assert!(conf.work_stealing && !conf.daemon);
    assert_eq!(conf.pid_file, "/tmp/pingora.pid");
    assert_eq!(conf.upgrade_sock, "/tmp/pingora_upgrade.sock");
    assert_eq!(
        (conf.upstream_keepalive_pool_size, conf.max_retries),
        (128, 16)
    );
    assert!(conf.grace_period() + conf.shutdown_timeout() < Duration::from_secs(30));
    assert!(conf.validate().is_ok());
}

/// A number that stands for "never" must not cause a panic.
#[test]
fn an_instant_can_be_moved_by_every_time() {
    let conf = ServerConf {
        grace_period_seconds: Some(u64::MAX),
        graceful_shutdown_timeout_seconds: Some(u64::MAX),
        upgrade_sock_connect_accept_max_retries: Some(usize::MAX),
        daemon_ready_timeout_seconds: std::num::NonZeroU64::new(u64::MAX),
        ..ServerConf::default()
    };
    let times = [
        conf.grace_period(),
        conf.shutdown_timeout(),
        conf.upgrade_quiet_time(),
        conf.handover_timeout(),
        conf.daemon_ready_timeout(),
    ];
    let now = std::time::Instant::now();
    for time in times {
        assert!(now.checked_add(time).is_some(), "{time:?}");
    }
}

#[test]
fn every_key_is_read_and_written() {
    let text = r"---
version: 1
daemon: true
error_log: /tmp/e.log
pid_file: /tmp/p.pid
upgrade_sock: /tmp/u.sock
user: nobody
group: webusers
working_directory: /srv
threads: 3
listener_tasks_per_fd: 2
work_stealing: false
runtime_enable_alt_timer: true
ca_file: /tmp/ca.pem
grace_period_seconds: 7
graceful_shutdown_timeout_seconds: 8
client_bind_to_ipv4: [1.2.3.4, 5.6.7.8]
client_bind_to_ipv6: ['::1']
upstream_keepalive_pool_size: 9
upstream_connect_offload_threadpools: 2
upstream_connect_offload_thread_per_pool: 5
downstream_tls_offload_threadpools: 4
downstream_tls_offload_thread_per_pool: 6
upstream_debug_ssl_keylog: true
max_retries: 3
upgrade_sock_connect_accept_max_retries: 11
max_blocking_threads: 12
blocking_threads_ttl_seconds: 13
fast_timeout_to_tokio_threshold_seconds: 14
runtime_metrics_poll_time_histogram: true
runtime_metrics_poll_time_histogram_scale: log
runtime_metrics_poll_time_histogram_resolution_micros: 15
runtime_metrics_poll_time_histogram_buckets: 16
daemon_wait_for_ready: true
daemon_ready_timeout_seconds: 17
daemon_notify_timeout_seconds: 18
";
    let conf = ServerConf::from_yaml(text).unwrap();
    let read: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
    let written: serde_yaml::Value = serde_yaml::from_str(&conf.to_yaml()).unwrap();
    assert_eq!(read, written, "a key was dropped or changed");
    assert_eq!(ServerConf::from_yaml(&conf.to_yaml()).unwrap(), conf);
    assert_eq!(conf.upstream_connect_offload_threadpool(), Some((2, 5)));
    assert_eq!(conf.downstream_tls_offload_threadpool(), Some((4, 6)));
    let runtime = conf.runtime_opts();
    assert!(!runtime.work_stealing);
    assert_eq!(runtime.max_blocking_threads, Some(12));
    assert_eq!(runtime.blocking_threads_ttl, Some(Duration::from_secs(13)));
    assert_eq!(
        runtime.metrics.poll_time_histogram_scale,
        Some(RuntimeMetricsPollTimeHistogramScale::Log)
    );
}

#[test]
fn keys_of_the_users_own_are_ignored() {
    let conf = ServerConf::from_yaml("threads: 2\nmy_own: {deep: [1, 2]}\n").unwrap();
    assert_eq!(conf.threads, 2);
}

#[test]
fn what_is_wrong_is_said_with_its_key() {
    let cases: &[(&str, &[&str])] = &[
        (
            "threads: two",
            &["threads: ", "\"two\"", "expected a whole number", "line 1"],
        ),
        ("version: 1\nthreads: -1", &["threads: ", "-1", "line 2"]),
        ("threads: 1.5", &["threads: ", "1.5"]),
        ("threads: [1]", &["threads: "]),
        ("threads: 0", &["threads: must be at least 1"]),
        ("threads: 0x7fffffff", &["threads: must be at most 4096"]),
        (
            "listener_tasks_per_fd: 4097",
            &["listener_tasks_per_fd: must be at most 4096"],
        ),
        (
            "downstream_tls_offload_threadpools: 65\ndownstream_tls_offload_thread_per_pool: 64",
            &["downstream_tls_offload_thread_per_pool: must be at most 4096"],
        ),
        (
            "upstream_connect_offload_threadpools: 18446744073709551615\nupstream_connect_offload_thread_per_pool: 2",
            &["upstream_connect_offload_thread_per_pool: must be at most 4096"],
        ),
        (
            "listener_tasks_per_fd: 0",
            &["listener_tasks_per_fd: must be at least 1"],
        ),
        (
            "max_blocking_threads: 0",
            &["max_blocking_threads: must be at least 1"],
        ),
        ("daemon: 3", &["daemon: ", "expected true or false"]),
        (
            "work_stealing: maybe",
            &["work_stealing: ", "expected true or false"],
        ),
        ("pid_file: ''", &["pid_file: must not be empty"]),
        ("pid_file: {a: 1}", &["pid_file: ", "expected a string"]),
        (
            "client_bind_to_ipv4: 1.2.3.4",
            &["client_bind_to_ipv4: ", "expected a list"],
        ),
        (
            "client_bind_to_ipv4: [1.2.3]",
            &["client_bind_to_ipv4: `1.2.3` is not an IPv4"],
        ),
        (
            "client_bind_to_ipv6: [127.0.0.1]",
            &["client_bind_to_ipv6: `127.0.0.1` is not"],
        ),
        (
            "daemon_ready_timeout_seconds: 0",
            &["daemon_ready_timeout_seconds: "],
        ),
        (
            "runtime_metrics_poll_time_histogram_scale: cubic",
            &["runtime_metrics_poll_time_histogram_scale: ", "`cubic`"],
        ),
        ("threads: 1\nthreads: 2", &["threads"]),
        ("- a\n- b", &["expected a list of `key: value`"]),
        ("just words", &["expected a list of `key: value`"]),
        ("a: b: c", &["line 1"]),
        ("threads: [1, 2", &["line"]),
        ("version: 1\n\tthreads: 1", &["line 2"]),
        ("a: 1\n---\nb: 2", &["more than one document"]),
    ];
    for (text, parts) in cases {
        let message = message(ServerConf::from_yaml(text));
        for part in *parts {
            assert!(
                message.contains(part),
                "{text:?}: `{part}` is not in `{message}`"
            );
        }
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let missing = message(ServerConf::load_from_yaml("/nonexistent/conf.yaml"));
    assert!(
        missing.starts_with("/nonexistent/conf.yaml: can't be read: No such file"),
        "{missing}"
    );

    let path = std::env::temp_dir().join(format!("conf-{}.yaml", std::process::id()));
    std::fs::File::create(&path)
        .unwrap()
        .write_all(b"threads: many\n")
        .unwrap();
    let path = path.to_str().unwrap().to_string();
    let wrong = message(ServerConf::load_from_yaml(&path));
    assert!(wrong.starts_with(&format!("{path}: threads: ")), "{wrong}");

    std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    let binary = message(ServerConf::load_from_yaml(&path));
    assert!(binary.starts_with(&path), "{binary}");

    std::fs::write(&path, "threads: 2\ndaemon: false\n").unwrap();
    let opt = Opt {
        daemon: true,
        conf: Some(path.clone()),
        ..Opt::default()
    };
    let good = ServerConf::load_yaml_with_opt_override(&opt).unwrap();
    assert!(good.daemon && good.threads == 2);
    std::fs::remove_file(&path).unwrap();
    assert!(ServerConf::load_yaml_with_opt_override(&opt).is_err());
}

#[test]
fn the_command_line_only_turns_the_daemon_on() {
    let mut conf = ServerConf {
        daemon: true,
        ..ServerConf::default()
    };
    conf.merge_with_opt(&Opt::default());
    assert!(conf.daemon);
    let opt = Opt {
        daemon: true,
        ..Opt::default()
    };
    assert!(ServerConf::new_with_opt_override(&opt).unwrap().daemon);
    assert!(
        !ServerConf::load_yaml_with_opt_override(&Opt::default())
            .unwrap()
            .daemon
    );
}

#[test]
fn half_an_offload_pool_is_none() {
    for (pools, threads) in [(None, Some(1)), (Some(1), None), (Some(0), Some(1))] {
        let conf = ServerConf {
            upstream_connect_offload_threadpools: pools,
            upstream_connect_offload_thread_per_pool: threads,
            ..ServerConf::default()
        };
        assert_eq!(conf.upstream_connect_offload_threadpool(), None);
    }
}
