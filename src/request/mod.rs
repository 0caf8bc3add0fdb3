//! What is asked: a request document parsed once into types that cannot be wrong (CONTRACT 3).
//!
//! Reading order: `syntax` (is it JSON), `document` (JSON with positions), `form` (which of the three documents it is),
//! `script` (one script's members), then the members: `source`, `share_path`, `arguments`,
//! `duration`; beside them `identity`. Pure: no file system, no environment, no process.

pub mod arguments;
pub(crate) mod document;
pub mod duration;
mod form;
pub mod identity;
mod instead;
mod mistakes;
#[cfg(test)]
mod oracle;
mod resource_id;
pub mod schema;
mod script;
mod share_path;
mod source;
pub(crate) mod syntax;
mod text;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use arguments::split;
pub use document::{Position, Problem};
pub use duration::{NotADuration, is_zero, parse_duration};
pub use identity::{Identity, PartialIdentity};
pub use resource_id::ResourceId;
pub use schema::schema;
pub use script::Timeout;
pub use share_path::SharePath;
pub use source::{MAX_INLINE_BYTES, Source};

use crate::error::Result;

/// The largest request: 4 MiB.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;

/// What one document asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The script that runs once in the life of the instance.
    pub creation: Option<ScriptRequest>,
    /// The script that runs at every start.
    pub startup: Option<ScriptRequest>,
    /// What the resource's `id` says.
    pub id: Option<ResourceId>,
    /// The resource's `name`, as it stands there.
    pub name: Option<String>,
    /// What was accepted although it looks like a mistake.
    pub warnings: Vec<Warning>,
}

/// One script of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptRequest {
    /// Where the script comes from.
    pub source: Source,
    /// The words after the script's name, `$1` first.
    pub arguments: Vec<String>,
    /// How long it may run.
    pub timeout: Timeout,
}

/// Something that was accepted although it looks like a mistake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// The stable name of this kind of warning, in kebab-case.
    pub code: String,
    /// What was seen, one line.
    pub message: String,
    /// What to do about it, one line.
    pub hint: String,
}

impl Warning {
    /// A warning with its stable name, what was seen, and what to do about it.
    pub fn new(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), hint: hint.into() }
    }
}

/// All that one reading of a document found, each thing with its place.
#[derive(Debug, Default)]
pub struct Reading {
    /// What was understood; to be used only if there are no problems.
    pub request: Request,
    /// What is wrong, in the order in which it was found; [`parse`] gives the first.
    pub problems: Vec<Problem>,
    /// The places of `request.warnings`, in the same order.
    pub warning_positions: Vec<Position>,
}

/// Parses any of the three document forms (CONTRACT 3).
///
/// # Errors
/// The first thing that is wrong with it (CONTRACT 11).
pub fn parse(document: &[u8]) -> Result<Request> {
    parse_with_share(document, None)
}

/// As [`parse`], where full paths to scripts may also begin with `share` (`--share DIR`).
///
/// # Errors
/// The first thing that is wrong with it (CONTRACT 11).
pub fn parse_with_share(document: &[u8], share: Option<&str>) -> Result<Request> {
    let mut reading = read(document, share);
    if reading.problems.is_empty() { Ok(reading.request) } else { Err(reading.problems.swap_remove(0).error) }
}

/// As [`parse_with_share`], but goes on after a problem and gives all of them, with their places.
pub fn read(document: &[u8], share: Option<&str>) -> Reading {
    let mut reading = Reading::default();
    match syntax::check(document) {
        Ok(text) => form::read(text, share, &mut reading),
        Err(problem) => reading.problems.push(problem),
    }
    reading
}

#[cfg(test)]
mod tests;
