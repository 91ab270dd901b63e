//! The command line.

use clap::Parser;
use std::ffi::OsString;

/// The command-line options of a server: `-c FILE`, `-d`, `-u`, `-t`, `-h`.
///
/// It is a [`clap::Parser`] for a program without options of its own, and can be flattened into
/// the parser of one that has some:
///
/// ```
/// use clap::Parser;
/// use pingora_core::server::configuration::Opt;
///
/// /// An HTTP cache
/// #[derive(Parser)]
/// struct Cli {
///     #[command(flatten)]
///     server: Opt,
///     /// Where cached objects are stored
///     #[arg(long, default_value = "/var/cache")]
///     store: String,
/// }
///
/// let cli = Cli::parse_from(["cache", "-c", "conf.yaml", "--store", "/tmp"]);
/// assert_eq!(cli.server.conf.as_deref(), Some("conf.yaml"));
/// ```
// `about` is empty: the text above is for readers of the documentation, not of `--help`.
#[derive(Parser, Clone, Debug, Default, PartialEq, Eq)]
#[command(about = "", long_about = "")]
pub struct Opt {
    /// Take over the listening sockets of the server that is running
    #[arg(short, long)]
    pub upgrade: bool,

    /// Run in the background
    #[arg(short, long)]
    pub daemon: bool,

    /// Accepted and ignored, for test programs that are started with it
    #[arg(long, hide = true)]
    pub nocapture: bool,

    /// Check the configuration and exit, with code 0 if it is good
    #[arg(short, long)]
    pub test: bool,

    /// The configuration file, in YAML
    #[arg(short, long, value_name = "FILE")]
    pub conf: Option<String>,
}

impl Opt {
    /// Parses the command line of this process. If it is invalid, prints the reason and exits with
    /// code 2; exits with code 0 after `-h`.
    ///
    /// From here on the process is a server: SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 no longer end it, but take
    /// effect when the server runs.
    pub fn parse_args() -> Self {
        super::signals::expect_signals();
        Opt::parse()
    }

    /// Parses the given command line, whose first item is the program's name. Exits in the same
    /// cases as [`Opt::parse_args`].
    pub fn parse_from_args<I, T>(args: I) -> Self
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        Opt::parse_from(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_flag_has_a_short_and_a_long_form() {
        let short = Opt::parse_from_args(["program", "-u", "-d", "-t", "-c", "conf.yaml"]);
        let long = Opt::parse_from_args([
            "program",
            "--upgrade",
            "--daemon",
            "--test",
            "--conf",
            "conf.yaml",
        ]);
        assert_eq!(short, long);
        assert!(short.upgrade && short.daemon && short.test && !short.nocapture);
        assert_eq!(Opt::parse_from_args(["program"]), Opt::default());
        assert!(Opt::parse_from_args(["program", "--nocapture"]).nocapture);
    }

    #[test]
    fn help_shows_what_a_user_needs_and_hides_the_rest() {
        let help = Opt::command().render_long_help().to_string();
        for flag in ["--upgrade", "--daemon", "--test", "--conf <FILE>", "--help"] {
            assert!(help.contains(flag), "{flag} is missing in {help}");
        }
        assert!(!help.contains("nocapture"));
        assert!(!help.contains("clap"), "{help}");
    }

    #[test]
    fn a_program_keeps_its_own_description_when_it_flattens_the_options() {
        /// Serves cats
        #[derive(Parser)]
        #[command(name = "cats")]
        struct Cli {
            #[command(flatten)]
            server: Opt,
            /// How many
            #[arg(long, default_value_t = 3)]
            cats: u32,
        }
        let cli = Cli::parse_from(["cats", "-t", "--cats", "7"]);
        assert!(cli.server.test);
        assert_eq!(cli.cats, 7);
        let help = Cli::command().render_help().to_string();
        assert!(help.starts_with("Serves cats"), "{help}");
    }
}
