//! What the shell is told.

use crate::store::OpenError;
use serde_json::Value;
use std::path::Path;
use std::process::ExitCode;

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// A rule said no.
    Refused = 1,
    /// Used wrongly.
    Usage = 2,
    /// Could not reach or open, or was told to come back later.
    Unreachable = 3,
    /// Damage was found.
    Damage = 4,
    /// The storage cannot be trusted.
    Doubt = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// What an answer of that status means. Of a batch whose items stand alone, the worst.
    pub fn of(status: u16, body: &Value) -> Exit {
        match status {
            200..=299 => {
                let code = |item: &Value| item["code"].as_u64().and_then(|code| u16::try_from(code).ok());
                let items = body["results"].as_array().into_iter().flatten();
                let exits = items.map(|item| code(item).map_or(Exit::Unreachable, |code| Exit::of(code, item)));
                exits.max().unwrap_or(Exit::Done)
            }
            400 => Exit::Usage,
            401..=499 => Exit::Refused,
            500 if body["error"] == "outcome_unknown" => Exit::Doubt,
            500 if body["error"] == "damaged" => Exit::Damage,
            _ => Exit::Unreachable,
        }
    }
}

/// Why there is no answer to tell, in one sentence.
#[derive(Debug)]
pub struct Trouble {
    /// What the shell is told.
    pub exit: Exit,
    /// What people are told.
    pub sentence: String,
}

impl Trouble {
    /// The arguments make no sense.
    pub fn usage(sentence: impl Into<String>) -> Trouble {
        Trouble { exit: Exit::Usage, sentence: sentence.into() }
    }

    /// Something is not there, or does not let us in.
    pub fn unreachable(sentence: impl Into<String>) -> Trouble {
        Trouble { exit: Exit::Unreachable, sentence: sentence.into() }
    }

    /// The file does not open.
    pub fn cannot_open(file: &Path, why: &OpenError) -> Trouble {
        let exit = if why.is_damage() { Exit::Damage } else { Exit::Unreachable };
        Trouble { exit, sentence: format!("cannot open {}: {why}", file.display()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_becomes_an_exit_code() {
        let nothing = json!({});
        let exits = [201, 400, 402, 423, 503].map(|status| Exit::of(status, &nothing) as u8);
        assert_eq!(exits, [0, 2, 1, 1, 3]);
        assert_eq!(Exit::of(500, &nothing), Exit::Unreachable);
        assert_eq!(Exit::of(500, &json!({ "error": "outcome_unknown" })), Exit::Doubt);
        assert_eq!(Exit::of(500, &json!({ "error": "damaged" })), Exit::Damage);
    }

    #[test]
    fn a_batch_is_as_good_as_its_worst_item() {
        let batch =
            |codes: &[u16]| json!({ "results": codes.iter().map(|code| json!({ "code": code })).collect::<Vec<_>>() });
        assert_eq!(Exit::of(200, &batch(&[])), Exit::Done);
        assert_eq!(Exit::of(200, &batch(&[200, 402, 200])), Exit::Refused);
    }
}
