//! One script of a request: its four members (CONTRACT 3).

use std::time::Duration;

use super::document::{Member, Node};
use super::duration::parse_duration;
use super::form::get;
use super::text::shown;
use super::{Reading, ScriptRequest, Warning, arguments, source};
use crate::error::{Code, Error};

/// The members that a script has, as ARM names them.
pub(super) const MEMBERS: [&str; 4] = ["scriptSource", "scriptData", "scriptArguments", "timeout"];

/// What the Python SDK calls the same members.
const SDK_NAMES: [(&str, &str); 4] = [
    ("path", "scriptData"),
    ("command", "scriptArguments"),
    ("timeout_minutes", "timeout"),
    ("timeoutMinutes", "timeout"),
];

/// How long a script may run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Timeout {
    /// As it was given; `None` if it was missing, null or empty.
    pub given: Option<String>,
    /// The time itself; `None` is no limit.
    pub limit: Option<Duration>,
}

impl Timeout {
    /// What counts if nothing was given: 15 minutes, as the service has it.
    pub const DEFAULT: Duration = Duration::from_secs(15 * 60);
}

impl Default for Timeout {
    fn default() -> Self {
        Self { given: None, limit: Some(Self::DEFAULT) }
    }
}

/// Reads the script called `name`, which stands at `path`. `None` for null, or after a problem.
pub(super) fn read(
    node: Node<'_>,
    name: &str,
    path: &str,
    share: Option<&str>,
    reading: &mut Reading,
) -> Option<ScriptRequest> {
    let members = reading.members(node, path)?;
    let before = reading.problems.len();
    for member in &members {
        if !reading.is_full() && !MEMBERS.contains(&member.name.as_str()) {
            reading.refuse(member.place, unknown(member, path));
        }
    }
    let mut string = |member: &str| {
        let node = get(&members, member)?;
        reading.string(node, &format!("{path}.{member}"))
    };
    let (source, data, timeout) = (string("scriptSource"), string("scriptData"), string("timeout"));
    let at = |member| get(&members, member).unwrap_or(node);

    // What has the wrong type has been refused already, and is not missing as well.
    let has_other_type = |member| get(&members, member).is_some_and(|node| !node.is_null() && node.string().is_none());
    let source = if has_other_type("scriptSource") || has_other_type("scriptData") {
        None
    } else {
        let place = if data.as_deref().is_none_or(|data| data.trim().is_empty())
            || source::Kind::named(source.as_deref()).is_some()
        {
            "scriptData"
        } else {
            "scriptSource"
        };
        source::read(source.as_deref(), data.as_deref(), name, share)
            .map_err(|error| reading.refuse(at(place), error))
            .ok()
    };
    let arguments = get(&members, "scriptArguments").and_then(|node| words(node, path, reading));
    let timeout =
        self::timeout(timeout, &format!("{name}.timeout")).map_err(|error| reading.refuse(at("timeout"), error));
    if let Ok((_, Some(warning))) = &timeout {
        reading.warn(at("timeout"), warning.clone());
    }
    if reading.problems.len() > before {
        return None;
    }
    Some(ScriptRequest { source: source?, arguments: arguments.unwrap_or_default(), timeout: timeout.ok()?.0 })
}

/// One string, cut into words, or an array of strings, taken as it is.
fn words(node: Node<'_>, path: &str, reading: &mut Reading) -> Option<Vec<String>> {
    let path = format!("{path}.scriptArguments");
    if node.is_null() {
        return None;
    }
    let words = if let Some(text) = node.string() {
        arguments::split(&text)
    } else if let Some(elements) = node.elements() {
        let mut words = Vec::new();
        for (index, element) in elements.into_iter().enumerate() {
            if reading.is_full() {
                break;
            }
            let path = format!("{path}[{index}]");
            match element.string() {
                Some(word) => words.push(word),
                None if element.is_null() => {
                    reading.wrong_type(element, &path, "a string", "take it away, or write `\"\"`");
                }
                None => drop(reading.string(element, &path)),
            }
        }
        words.iter().try_for_each(|word| arguments::refuse_nul(word)).map(|()| words)
    } else {
        let hint = node.quoted().unwrap_or_else(|| "give one string, such as `\"gpu 'a b'\"`".into());
        reading.wrong_type(node, &path, "a string or an array of strings", hint);
        return None;
    };
    words.map_err(|error| reading.refuse(node, error)).ok()
}

/// CONTRACT 3.3. The SDK sends the literal `Nonem` when no timeout was given.
fn timeout(given: Option<String>, name: &str) -> Result<(Timeout, Option<Warning>), Error> {
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return Ok((Timeout::default(), None));
    };
    if given == "Nonem" {
        let warning = Warning::new(
            "timeout-nonem",
            format!("`{name}` is `Nonem`, which the Python SDK sends when no timeout was given: 15 minutes apply"),
            "give `timeout_minutes` to the SDK",
        );
        let timeout = Timeout { given: Some(given), ..Timeout::default() };
        return Ok((timeout, Some(warning)));
    }
    let limit = parse_duration(&given).map_err(|refusal| refusal.into_error(Code::BadTimeout, name))?;
    Ok((Timeout { given: Some(given), limit }, None))
}

/// Names the known member that is nearest to an unknown one.
fn unknown(member: &Member<'_>, path: &str) -> Error {
    let name = member.name.as_str();
    let message = format!("unknown member {} in `{path}`", shown(name));
    let in_sdk = SDK_NAMES.iter().find(|(sdk, _)| *sdk == name);
    let hint = if let Some(known) = MEMBERS.iter().find(|known| known.eq_ignore_ascii_case(name)) {
        format!("only its case is wrong: write `{known}`")
    } else if let Some((_, known)) = in_sdk {
        format!("it is the Python SDK's word: write `{known}`")
    } else {
        // Without regard to case: `Data` is nearer to `scriptData` than to `timeout`.
        let nearness = |known: &&str| strsim::jaro_winkler(&reversed(known), &reversed(name));
        let nearest = MEMBERS.into_iter().max_by(|a, b| nearness(a).total_cmp(&nearness(b)));
        format!("did you mean `{}`? a script has `{}`", nearest.unwrap_or("scriptData"), MEMBERS.join("`, `"))
    };
    Error::new(Code::UnknownMember, message, hint)
}

/// The names differ at their ends, not at `script…`, and Jaro-Winkler favours a common beginning.
fn reversed(name: &str) -> String {
    name.to_lowercase().chars().rev().take(64).collect()
}
