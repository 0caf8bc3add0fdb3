//! What is told of a run in the same words everywhere: in its outcome, on its page and in `status`.

use super::outcome::{Block, Outcome};
use crate::{error::one_line, request::Warning};

/// Where a command stands and how it begins: `line 42 of the script, line 7 of the azureuser block`, `` `pip …` ``.
pub fn place_and_name(line: u32, block: Option<&Block>, command: &str) -> (String, String) {
    let place = match block {
        Some(block) => format!("line {line} of the script, line {} of the {} block", block.line, block.user),
        None => format!("line {line} of the script"),
    };
    let mut lines = command.lines();
    let more = if lines.clone().count() > 1 { " …" } else { "" };
    (place, format!("`{}{more}`", one_line(lines.next().unwrap_or_default())))
}

/// One warning that names the commands a successful script passed over.
pub fn silent_failures(outcome: &Outcome) -> Option<Warning> {
    let first = outcome.failed_commands.first()?;
    let (place, name) = place_and_name(first.line, first.block.as_ref(), &first.command);
    let more = match outcome.failed_command_count {
        0 | 1 => String::new(),
        count => format!(", and {} more", count - 1),
    };
    Some(Warning::new(
        "failed-commands",
        format!("the script succeeded although {name} failed with {} in {place}{more}", first.exit_code),
        "put `set -e` at the top of the script and of the block, or handle the failure with `||`",
    ))
}

/// Seconds for people, two units at most.
pub fn human(seconds: f64) -> String {
    let seconds = seconds.clamp(0.0, 1e12);
    if seconds > 0.0 && seconds < 0.1 {
        return format!("{}ms", (seconds * 1000.0).round());
    }
    if seconds < 60.0 {
        return format!("{}s", (seconds * 10.0).round() / 10.0);
    }
    let whole = std::time::Duration::from_secs(seconds.round() as u64);
    let text = humantime::format_duration(whole).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_tell_them() {
        for (seconds, text) in [
            (0.0, "0s"),
            (0.04, "40ms"),
            (3.12, "3.1s"),
            (59.9, "59.9s"),
            (90.0, "1m 30s"),
            (900.2, "15m"),
            (7322.0, "2h 2m"),
        ] {
            assert_eq!(human(seconds), text);
        }
    }
}
