//! The checks of `-t` besides the configuration file itself: the files that it names must exist.

use super::configuration::ServerConf;
use super::{privileges, report};
use pingora_error::{Error, ErrorType, Result};
use std::path::Path;

/// # Errors
/// One line with the first key that names something missing.
pub(super) fn environment(conf: &ServerConf) -> Result<()> {
    let user = privileges::account(conf)?;
    privileges::group(conf, user.as_ref())?;
    if let Some(path) = &conf.ca_file
        && let Err(e) = std::fs::File::open(path)
    {
        return refuse(format!("ca_file: {path} can't be read: {e}"));
    }
    if let Some(path) = &conf.working_directory
        && !path.is_dir()
    {
        let shown = path.display();
        return refuse(format!("working_directory: {shown} is not a directory"));
    }
    for (key, path) in [
        ("pid_file", Some(&conf.pid_file)),
        ("upgrade_sock", Some(&conf.upgrade_sock)),
        ("error_log", conf.error_log.as_ref()),
    ] {
        let Some(path) = path else { continue };
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        if folder != Path::new("") && !folder.is_dir() {
            let folder = folder.display();
            return refuse(format!("{key}: {folder} is not a directory"));
        }
    }
    Ok(())
}

fn refuse(reason: String) -> Result<()> {
    Error::e_explain(ErrorType::FileReadError, reason)
}

/// Lists the keys that are not the server's: a program may know them, or they are misspelt.
pub(super) fn tell_unknown_keys(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    for (key, guess) in ServerConf::unknown_keys(&text).unwrap_or_default() {
        let guess = guess.map_or_else(String::new, |guess| format!("; is `{guess}` meant?"));
        report::notice(&format!(
            "{}: `{key}` is no key of the server's{guess}",
            file.display()
        ));
    }
}
