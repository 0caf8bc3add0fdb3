//! What clap says of a command line, in the words of this program: one message, one way out.

use clap::error::ErrorKind;

use crate::error::{Code, Error};

/// The refusal of a command line that makes no sense.
pub fn error_of(error: &clap::Error) -> Error {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or("no command is given");
    // What a value should be stands behind it, and is the way out.
    if error.kind() == ErrorKind::ValueValidation
        && let Some((message, hint)) = message.split_once(">': ")
    {
        return Error::new(Code::BadOption, backticked(&format!("{message}>'")), hint);
    }
    // What is missing stands on lines of its own.
    let message = match lines.clone().next().filter(|_| message.ends_with(':')) {
        Some(missing) => format!("{message} `{missing}`"),
        None => backticked(message),
    };
    let hint = lines.find_map(way_out);
    let hint = hint.unwrap_or_else(|| "see `ci-setup-agent --help`, or `--help` behind a command".to_owned());
    Error::new(Code::BadOption, message, hint)
}

fn way_out(line: &str) -> Option<String> {
    if let Some(values) = line.strip_prefix("[possible values: ") {
        return Some(format!("write one of `{}`", values.trim_end_matches(']').replace(", ", "`, `")));
    }
    let tip = line.strip_prefix("tip: ")?;
    Some(match tip.split_once(" exists: ") {
        Some((what, near)) if what.contains("similar") => format!("did you mean {}?", backticked(near)),
        _ => backticked(tip),
    })
}

/// clap puts names in single quotes.
fn backticked(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find('\'') {
        let (before, quoted) = (&rest[..begin], &rest[begin + 1..]);
        let ends = quoted.match_indices('\'').map(|(at, _)| at);
        let end = ends.into_iter().find(|at| !quoted[at + 1..].starts_with(char::is_alphanumeric));
        result.push_str(before);
        let Some(end) = end.filter(|_| !before.ends_with(char::is_alphanumeric)) else {
            result.push('\'');
            rest = quoted;
            continue;
        };
        result.push_str(&format!("`{}`", &quoted[..end]));
        rest = &quoted[end + 1..];
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn it_names_what_is_wrong_and_what_to_write() {
        for (words, message, hint) in [
            (&["runn"][..], "unrecognized subcommand `runn`", "did you mean `run`?"),
            (&["run", "--rerum"], "unexpected argument `--rerum` found", "did you mean `--rerun`?"),
            (&["schema", "it's"], "invalid value `it's` for `<DOCUMENT>`", "write one of `request`, `outcome`"),
            (&["run", "--grace", "PT5M"], "invalid value `PT5M` for `--grace <DURATION>`", "write `5m`"),
            (
                &["run", "--state"],
                "a value is required for `--state <DIR>` but none was supplied",
                "see `ci-setup-agent --help`, or `--help` behind a command",
            ),
            (
                &["try"],
                "the following required arguments were not provided: `<SCRIPT>`",
                "see `ci-setup-agent --help`, or `--help` behind a command",
            ),
            (&[], "no command is given", "see `ci-setup-agent --help`, or `--help` behind a command"),
        ] {
            let words = ["ci-setup-agent"].iter().chain(words);
            let error = error_of(&Cli::try_parse_from(words).unwrap_err());
            assert_eq!((error.to_string().as_str(), error.hint()), (message, hint));
        }
    }
}
