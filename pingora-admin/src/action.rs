//! The actions of operators.

use crate::purge::Purge;
use crate::state::Shown;
use http::StatusCode;
use log::LevelFilter;
use serde_json::Value;

/// A validated action.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    SetEnabled {
        group: String,
        backend: String,
        enabled: bool,
    },
    LogLevel(LevelFilter),
    Drain(bool),
    Purge(Purge),
}

/// The result of an action: a status and a line of text.
pub(crate) type ActionResult = (StatusCode, String);

fn bad(text: &str) -> ActionResult {
    (StatusCode::BAD_REQUEST, text.to_owned())
}

impl Action {
    /// Reads `{"action": …, "confirm": true, …}`.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ActionResult> {
        let value: Value = serde_json::from_slice(body).map_err(|_| bad("the body is no JSON"))?;
        if value["confirm"] != true {
            return Err(bad("\"confirm\" has to be true"));
        }
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let flag = |key: &str| value[key].as_bool();
        let action = match value["action"].as_str() {
            Some("set_enabled") => match (text("group"), text("backend"), flag("enabled")) {
                (Some(group), Some(backend), Some(enabled)) => Some(Action::SetEnabled {
                    group,
                    backend,
                    enabled,
                }),
                _ => None,
            },
            Some("log_level") => {
                let level = text("level").and_then(|level| level.parse().ok());
                level.map(Action::LogLevel)
            }
            Some("drain") => flag("drain").map(Action::Drain),
            Some("purge") => {
                let what = text("what").unwrap_or_default();
                Purge::parse(&what, text("value").as_deref()).map(Action::Purge)
            }
            _ => return Err(bad("there is no such action")),
        };
        action.ok_or_else(|| bad("something is missing, or has another type"))
    }

    /// Carries it out.
    pub(crate) fn perform(self, shown: &Shown) -> ActionResult {
        let done = |text: String| {
            log::warn!("by an operator on the admin page: {text}");
            (StatusCode::OK, text)
        };
        match self {
            Action::SetEnabled {
                group,
                backend,
                enabled,
            } => {
                let found = shown.groups.iter().find(|(name, _)| *name == group);
                if !found.is_some_and(|(_, found)| found.set_enabled(&backend, enabled)) {
                    return (StatusCode::NOT_FOUND, "there is no such backend".to_owned());
                }
                let what = if enabled { "enabled" } else { "disabled" };
                done(format!("{backend} of {group} is {what}"))
            }
            Action::LogLevel(level) => {
                log::set_max_level(level);
                done(format!("the log level is {level}"))
            }
            Action::Drain(drains) => match &shown.health {
                None => (
                    StatusCode::NOT_FOUND,
                    "there are no health endpoints".to_owned(),
                ),
                Some(health) => {
                    health.drain(drains);
                    let what = if drains { "not ready" } else { "ready" };
                    done(format!("the process says that it is {what}"))
                }
            },
            Action::Purge(purge) => match shown.purger.as_deref().map(|one| one.purge(&purge)) {
                None => (StatusCode::NOT_FOUND, "there is no cache".to_owned()),
                Some(Ok(())) => done(format!("purged: {purge}")),
                Some(Err(why)) => {
                    log::error!("by an operator on the admin page: not purged: {purge}: {why}");
                    (StatusCode::INTERNAL_SERVER_ERROR, why)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_not_done() {
        let rows = [
            (
                r#"{"action":"log_level","level":"debug","confirm":true}"#,
                true,
            ),
            (r#"{"action":"drain","drain":true,"confirm":true}"#, true),
            (
                r#"{"action":"set_enabled","group":"a","backend":"b","enabled":false,"confirm":true}"#,
                true,
            ),
            (r#"{"action":"log_level","level":"debug"}"#, false),
            (
                r#"{"action":"log_level","level":"debug","confirm":"true"}"#,
                false,
            ),
            (
                r#"{"action":"log_level","level":"loud","confirm":true}"#,
                false,
            ),
            (r#"{"action":"drain","drain":1,"confirm":true}"#, false),
            (
                r#"{"action":"set_enabled","group":"a","backend":"b","confirm":true}"#,
                false,
            ),
            (r#"{"action":"format disk","confirm":true}"#, false),
            (r#"{"action":"purge","what":"all","confirm":true}"#, true),
            (
                r#"{"action":"purge","what":"tag","value":"news","confirm":true}"#,
                true,
            ),
            (r#"{"action":"purge","what":"tag","value":"news"}"#, false),
            (r#"{"action":"purge","value":"news","confirm":true}"#, false),
            (r#"[true]"#, false),
            ("", false),
            ("action=drain&confirm=true", false),
        ];
        for (body, good) in rows {
            assert_eq!(Action::parse(body.as_bytes()).is_ok(), good, "{body}");
        }
        let deep = "[".repeat(100_000);
        assert!(Action::parse(deep.as_bytes()).is_err());
        for action in [Action::Drain(true), Action::Purge(Purge::All)] {
            let (status, _) = action.perform(&Shown::default());
            assert_eq!(status, StatusCode::NOT_FOUND);
        }
    }
}
