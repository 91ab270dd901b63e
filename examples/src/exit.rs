use pingora::{Error, ErrorType, Result};
use std::io::Write;
use std::process::ExitCode;

/// Logs to standard error at the level `filter`, such as `warn`, unless the environment variable
/// `RUST_LOG` sets another: `RUST_LOG=info`, `RUST_LOG=debug`.
pub fn log_to_stderr(filter: &str) {
    let environment = env_logger::Env::default().default_filter_or(filter);
    env_logger::Builder::from_env(environment).init();
}

/// The result of the process. An error is printed in one line, with a remedy if there is one.
pub fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", in_one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn in_one_line(error: &Error) -> String {
    let text = match (&error.context, &error.cause) {
        (Some(context), None) => context.to_string(),
        (Some(context), Some(cause)) => format!("{context}: {cause}"),
        (None, _) => error.to_string(),
    };
    match error.root_etype() {
        ErrorType::BindError => {
            format!("{text}; `--listen 127.0.0.1:8080` or the like chooses another address")
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_a_way_out() {
        let taken = Error::explain(ErrorType::BindError, "can't listen on 0.0.0.0:6188: in use");
        let text = in_one_line(&taken);
        assert!(
            text.starts_with("can't listen on 0.0.0.0:6188: in use; "),
            "{text}"
        );
        assert!(text.contains("--listen 127.0.0.1:8080"), "{text}");

        let caused = Error::because(ErrorType::InternalError, "reading", "no such file");
        assert_eq!(in_one_line(&caused), "reading: no such file");
        assert!(!in_one_line(&Error::new(ErrorType::InternalError)).is_empty());
    }
}
