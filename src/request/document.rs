//! JSON with positions: a document is checked once from end to end, then only the objects that are
//! of interest are opened. `serde_json`'s raw values are slices of the text, so each knows its place.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::text::shown;
use super::{Reading, Warning};
use crate::error::{Code, Error};

/// A place in a document, both numbers from 1; the column counts characters.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// Something wrong at a place of a document.
#[derive(Debug)]
pub struct Problem {
    /// Where.
    pub position: Position,
    /// What, and the way out.
    pub error: Error,
}

/// One value of a document, still unread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    document: &'a str,
    raw: &'a str,
}

/// One member of an object.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub(crate) name: String,
    /// Where its name stands.
    pub(crate) place: Node<'a>,
    pub(crate) value: Node<'a>,
}

impl<'a> Node<'a> {
    /// The whole of a document that [`check`](super::syntax::check) has let through.
    pub(crate) fn root(document: &'a str) -> Self {
        let raw: &RawValue = serde_json::from_str(document).expect(CHECKED);
        Self { document, raw: raw.get() }
    }

    pub(crate) fn position(self) -> Position {
        position_of(self.document, self.raw)
    }

    /// Where it begins, in bytes.
    pub(crate) fn offset(self) -> usize {
        self.raw.as_ptr() as usize - self.document.as_ptr() as usize
    }

    /// The value as it stands in the document.
    pub(crate) fn raw(self) -> &'a str {
        self.raw
    }

    pub(crate) fn is_null(self) -> bool {
        self.raw == "null"
    }

    /// The kind of value, with its article.
    pub(crate) fn kind(self) -> &'static str {
        match self.raw.as_bytes()[0] {
            b'{' => "an object",
            b'[' => "an array",
            b'"' => "a string",
            b't' | b'f' => "a boolean",
            b'n' => "null",
            _ => "a number",
        }
    }

    /// The way out for a number or boolean where a string belongs.
    pub(crate) fn quoted(self) -> Option<String> {
        let is_scalar = matches!(self.kind(), "a number" | "a boolean") && self.raw.len() <= 60;
        is_scalar.then(|| format!("put it in quotes: `\"{}\"`", self.raw))
    }

    pub(crate) fn string(self) -> Option<String> {
        self.raw.starts_with('"').then(|| serde_json::from_str(self.raw).expect(CHECKED))
    }

    pub(crate) fn elements(self) -> Option<Vec<Node<'a>>> {
        self.raw.starts_with('[').then(|| {
            let raws: Vec<&RawValue> = serde_json::from_str(self.raw).expect(CHECKED);
            raws.into_iter().map(|raw| Node { raw: raw.get(), ..self }).collect()
        })
    }

    /// The members in their order, with those that are given twice.
    pub(crate) fn members(self) -> Option<Vec<Member<'a>>> {
        self.raw.starts_with('{').then(|| {
            let RawMembers(raws) = serde_json::from_str(self.raw).expect(CHECKED);
            raws.into_iter()
                .map(|(name, value)| Member {
                    name: serde_json::from_str(name.get()).expect(CHECKED),
                    place: Node { raw: name.get(), ..self },
                    value: Node { raw: value.get(), ..self },
                })
                .collect()
        })
    }
}

/// `syntax::check` has read the same bytes with the same parser.
const CHECKED: &str = "the document has been checked";

/// The place of a slice in the text that it was cut from.
fn position_of(document: &str, part: &str) -> Position {
    position_at(document.as_bytes(), part.as_ptr() as usize - document.as_ptr() as usize)
}

pub(crate) fn position_at(document: &[u8], offset: usize) -> Position {
    let before = &document[..offset];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    Position {
        line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
        column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
    }
}

/// The most problems, and the most warnings, that one reading notes.
const MAX_FINDINGS: usize = 100;

impl Reading {
    /// Notes a problem; reading goes on. Beyond 100 of them only the fact counts.
    pub(super) fn refuse(&mut self, place: Node<'_>, error: Error) {
        if !self.is_full() {
            let position = place.position();
            self.problems.push(Problem { position, error });
        }
    }

    pub(super) fn warn(&mut self, place: Node<'_>, warning: Warning) {
        if self.request.warnings.len() < MAX_FINDINGS {
            self.warning_positions.push(place.position());
            self.request.warnings.push(warning);
        }
    }

    /// Finding a place takes a pass over the document, so a hostile one must not ask for many.
    pub(super) fn is_full(&self) -> bool {
        self.problems.len() >= MAX_FINDINGS
    }

    /// The members of the object at `path`, `null` as `None`. Anything else is the wrong type.
    /// A member that is given twice is refused: readers differ on which of the two counts.
    pub(super) fn members<'a>(&mut self, node: Node<'a>, path: &str) -> Option<Vec<Member<'a>>> {
        let Some(members) = node.members() else {
            if !node.is_null() {
                self.wrong_type(node, path, "an object", "write an object, in braces");
            }
            return None;
        };
        let mut seen: HashMap<&str, Node<'_>> = HashMap::new();
        for member in &members {
            let name = member.name.as_str();
            let Some(first) = seen.insert(name, member.place).filter(|_| !self.is_full()) else {
                continue;
            };
            let message = format!(
                "`{path}` has {} twice: at line {} and at line {}",
                shown(name),
                first.position().line,
                member.place.position().line,
            );
            self.refuse(member.place, Error::new(Code::NotJson, message, "take one of the two away"));
        }
        Some(members)
    }

    /// The string at `path`, `null` as `None`. Anything else is the wrong type.
    pub(super) fn string(&mut self, node: Node<'_>, path: &str) -> Option<String> {
        let string = node.string();
        if string.is_none() && !node.is_null() {
            let hint = node.quoted().unwrap_or_else(|| "give one string".into());
            self.wrong_type(node, path, "a string", hint);
        }
        string
    }

    pub(super) fn wrong_type(&mut self, node: Node<'_>, path: &str, expected: &str, hint: impl Into<String>) {
        let message = format!("`{path}`: expected {expected}, found {}", node.kind());
        self.refuse(node, Error::new(Code::WrongType, message, hint));
    }
}

/// The members of one object as slices.
struct RawMembers<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = RawMembers<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut raws = Vec::new();
                while let Some(member) = members.next_entry()? {
                    raws.push(member);
                }
                Ok(RawMembers(raws))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
