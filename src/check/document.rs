//! JSON files: requests, whole resources, templates that make them, and the inline scripts inside.

use std::collections::HashSet;

use jiff::Timestamp;

use super::finding::{Finding, Findings};
use super::resource::{self, Resource, get};
use super::schedule::Explained;
use super::script::{self, Role, Wanted};
use super::template::{self, Values};
use crate::error::{Code, Error, Result};
use crate::request::document::{Node, Position, position_at};
use crate::request::{self, Identity, ScriptRequest, Source, parse_duration, syntax};

/// What was found in a file.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// When schedules fire, where that was asked for.
    pub explained: Vec<(Position, Explained)>,
}

/// What to look for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Ask shellcheck about scripts.
    pub shellcheck: bool,
    /// Tell when schedules fire, from here on.
    pub now: Option<Timestamp>,
}

impl Checked {
    /// Nothing but a file that could not be read.
    pub fn refused(error: &Error) -> Self {
        let mut findings = Findings::default();
        let start = Position { line: 1, column: 1 };
        findings.refuse("unreadable", start, error.chain(), error.hint());
        Self { findings: findings.list, ..Self::default() }
    }
}

/// Says what is wrong with a document.
///
/// # Errors
/// Only where shellcheck is wanted and cannot be asked.
pub fn check(document: &[u8], asked: Asked) -> Result<Checked> {
    let mut checked = Checked::default();
    let text = match syntax::check(document) {
        Ok(text) => text,
        Err(problem) => {
            let mut findings = Findings::default();
            let error = problem.error;
            findings.refuse(error.code.to_string(), problem.position, error.chain(), error.hint());
            checked.findings = findings.list;
            return Ok(checked);
        }
    };
    let root = Node::root(text);
    if !template::is_template(root) {
        let place = |offset| position_at(text.as_bytes(), offset);
        one(text, HashSet::new(), &place, asked, &mut checked)?;
        return Ok(checked);
    }
    let values = Values::of(root);
    let computes = template::computes(root, 0);
    if computes.is_empty() {
        let mut findings = Findings::default();
        let hint = "it is a resource of type `Microsoft.MachineLearningServices/workspaces/computes` with `\"computeType\": \"ComputeInstance\"`";
        findings.warn("no-compute-instance", root.position(), "the template makes no compute instance", hint);
        checked.findings = findings.list;
    }
    for compute in computes {
        let resolved = values.resolve(compute);
        let place = |offset| position_at(text.as_bytes(), resolved.place(offset));
        one(&resolved.text, resolved.unknown.clone(), &place, asked, &mut checked)?;
    }
    Ok(checked)
}

/// One request or resource; `place` tells where an offset of its text stands in the file.
fn one(
    text: &str,
    unknown: HashSet<usize>,
    place: &dyn Fn(usize) -> Position,
    asked: Asked,
    checked: &mut Checked,
) -> Result<()> {
    let reading = request::read(text.as_bytes(), None);
    let root = Node::root(text);
    let mut out = Resource::new(unknown, place);
    let lines = Lines::of(text);
    let is_resource = looks_like_resource(root);
    for problem in &reading.problems {
        let offset = lines.offset(problem.position);
        // A resource without scripts is a good one; of what nobody knows nothing can be wrong.
        if problem.error.code == Code::NoSetupScripts && is_resource || out.unknown.contains(&offset) {
            continue;
        }
        let error = &problem.error;
        out.findings.refuse(error.code.to_string(), place(offset), error.chain(), error.hint());
    }
    for (warning, position) in reading.request.warnings.iter().zip(&reading.warning_positions) {
        let offset = lines.offset(*position);
        if !out.unknown.contains(&offset) {
            out.findings.warn(warning.code.clone(), place(offset), warning.message.clone(), warning.hint.clone());
        }
    }
    if let (Some(id), Some(at)) = (&reading.request.id, get(root, "id")) {
        // A bad instance name is told of where `name` stands, if that says the same.
        let is_told = reading.request.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(&id.name));
        let name = if is_told && !Identity::allows_name(&id.name) { "told" } else { &id.name };
        if let Err(error) = Identity::new(id.resource_group.as_str(), id.workspace.as_str(), name) {
            out.refuse("bad-identity", at, error.chain(), error.hint());
        }
    }
    if root.members().is_some() {
        out.check(root, asked.now);
        let scripts = get(resource::properties(root), "setupScripts").and_then(|scripts| get(scripts, "scripts"));
        let creation = &reading.request.creation;
        let startup = &reading.request.startup;
        for (name, request, role) in
            [("creationScript", creation, Role::Once), ("startupScript", startup, Role::Startup)]
        {
            let Some(node) = scripts.and_then(|scripts| get(scripts, name)) else { continue };
            around(node, &mut out);
            if let (Some(ScriptRequest { source: Source::Inline(script), .. }), Some(at)) =
                (request, get(node, "scriptData"))
            {
                let wanted = Wanted { role, shellcheck: asked.shellcheck };
                let at = place(at.offset());
                for mut finding in script::check(script.clone(), wanted)? {
                    finding.script = Some(name.to_owned());
                    finding.script_at = Some(at.into());
                    checked.findings.push(finding);
                }
            }
        }
        if let (Some(creation), Some(startup), Some(node)) =
            (creation, startup, scripts.and_then(|all| get(all, "startupScript")))
            && creation.source == startup.source
            && creation.arguments == startup.arguments
        {
            let hint = "leave `creationScript` out: a startup script runs at the first start as well";
            out.warn(
                "same-script-twice",
                node,
                "the same script is creation and startup script, so it runs twice when the instance is made",
                hint,
            );
        }
    }
    out.findings.list.sort_by_key(|finding| (finding.line, finding.column));
    // What stands in the file comes before what stands inside its scripts.
    let inside = std::mem::take(&mut checked.findings);
    let (mut before, scripts): (Vec<_>, Vec<_>) = inside.into_iter().partition(|finding| finding.script.is_none());
    before.append(&mut out.findings.list);
    before.extend(scripts);
    checked.findings = before;
    checked.explained.append(&mut out.explained);
    Ok(())
}

/// What can be said of a script without its text: arguments, timeout, size.
fn around(script: Node<'_>, out: &mut Resource<'_>) {
    if let Some(at) = out.member(script, "scriptArguments") {
        let words = match at.string() {
            Some(text) => request::split(&text).unwrap_or_default(),
            None => at.elements().unwrap_or_default().into_iter().filter_map(Node::string).collect(),
        };
        if let Some(first) =
            words.first().filter(|word| matches!(word.as_str(), "bash" | "sh" | "/bin/bash" | "/bin/sh"))
        {
            let message = format!("`scriptArguments` begins with `{first}`, which the script gets as its `$1`");
            out.warn(
                "arguments-begin-with-bash",
                at,
                message,
                "give only what follows the script's name: it is no command line",
            );
        }
        for (index, word) in words.iter().enumerate() {
            let names_secret =
                |word: &str| matches!(word, "--password" | "--token" | "--secret" | "--client-secret" | "--api-key");
            let follows =
                index.checked_sub(1).and_then(|before| words.get(before)).is_some_and(|before| names_secret(before));
            let what = script::secret_in(word)
                .or_else(|| follows.then_some("a secret").filter(|_| word.len() >= 6 && !word.starts_with('-')));
            if let Some(what) = what {
                out.warn("secret", at, format!("{what} stands in `scriptArguments`"), script::SECRET_HINT);
                break;
            }
        }
    }
    if let Some(at) = out.member(script, "timeout")
        && let Some(text) = at.string().filter(|text| !text.is_empty())
        && let Ok(limit) = parse_duration(&text)
    {
        let message = match limit {
            None => Some("the script may run for ever, and nobody can use the instance until it ends".to_owned()),
            Some(limit) if limit.as_secs() > 86400 => {
                Some("the script may run for more than a day, and nobody can use the instance until it ends".into())
            }
            Some(_) => None,
        };
        if let Some(message) = message {
            out.warn("long-timeout", at, message, "write what it takes at most, such as `25m`");
        }
    }
    let is_inline =
        get(script, "scriptSource").and_then(Node::string).is_some_and(|source| source.eq_ignore_ascii_case("inline"));
    if let Some(at) = out.member(script, "scriptData").filter(|_| is_inline)
        && let Some(length) = at.string().map(|data| data.len()).filter(|length| *length > 4096)
    {
        let message = format!(
            "the inline script is {length} characters of base64; the service has been seen to refuse more than 4096"
        );
        out.warn("inline-length", at, message, "put the script on the share and give its path with `workspaceStorage`");
    }
}

/// It is an instance, with or without scripts.
fn looks_like_resource(root: Node<'_>) -> bool {
    let is_instance = |node: Node<'_>| {
        let kind = get(node, "computeType").and_then(Node::string);
        kind.is_some_and(|kind| kind.eq_ignore_ascii_case("ComputeInstance"))
    };
    let inner = resource::properties(root);
    let has = |name| get(inner, name).is_some();
    // As `null` they are there and say that there are none: so the service returns a resource without.
    let is_set = |name| get(inner, name).is_some_and(|member| !member.is_null());
    let scripts = ["scripts", "setupScripts", "creationScript", "startupScript"].into_iter().any(is_set);
    !scripts
        && (is_instance(root)
            || get(root, "properties").is_some_and(is_instance)
            || [
                "vmSize",
                "schedules",
                "sshSettings",
                "idleTimeBeforeShutdown",
                "personalComputeInstanceSettings",
                "customServices",
            ]
            .into_iter()
            .any(has))
}

/// From positions back to offsets.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    fn offset(&self, position: Position) -> usize {
        let start = self.starts.get(position.line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let line = &self.text[start..];
        start + line.char_indices().nth(position.column.saturating_sub(1)).map_or(line.len(), |(at, _)| at)
    }
}

/// Whether a file is JSON rather than a script: what its first character says.
pub fn is_document(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match bytes.trim_ascii_start() {
        // `[` may be a shell's test, `{` its group: JSON goes on with a string or another of its own signs.
        [b'{', rest @ ..] => matches!(rest.trim_ascii_start().first(), Some(b'"' | b'}' | b'\'' | b'/') | None),
        [b'[', rest @ ..] => {
            matches!(rest.trim_ascii_start().first(), Some(b'{' | b']' | b'"' | b'[') | None)
                && !rest.starts_with(b"[ ")
        }
        [b'"', ..] => serde_json::from_slice::<serde_json::Value>(bytes).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
