//! Whether a document is JSON at all, from end to end, and where not.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::MAX_REQUEST_BYTES;
use super::document::{Position, Problem, position_at};
use crate::error::{Code, Error};

/// The text of a document that is JSON from end to end, at most 4 MiB, without its byte order mark.
pub(crate) fn check(document: &[u8]) -> Result<&str, Problem> {
    let problem =
        |position, code, message: String, hint: &str| Problem { position, error: Error::new(code, message, hint) };
    let start = Position { line: 1, column: 1 };
    if document.len() > MAX_REQUEST_BYTES {
        let message = format!("request is {} bytes, more than {MAX_REQUEST_BYTES}", document.len());
        return Err(problem(start, Code::TooLarge, message, "put the script on the share and give its path"));
    }
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    let text = std::str::from_utf8(document).map_err(|error| {
        let at = position_at(document, error.valid_up_to());
        let message = format!("request is not UTF-8 at line {} column {}", at.line, at.column);
        let hint = match document {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
                "it is UTF-16: save it as UTF-8, in PowerShell with `-Encoding utf8`"
            }
            _ => "save it as UTF-8",
        };
        problem(at, Code::NotJson, message, hint)
    })?;
    if text.trim().is_empty() {
        let hint = r#"give a JSON object: `{"setupScripts": {"scripts": {…}}}`"#;
        return Err(problem(start, Code::NotJson, "request is empty".into(), hint));
    }
    serde_json::from_str::<Checked>(text).map(|_| text).map_err(|error| {
        let position = Position { line: error.line(), column: error.column() };
        let hint = syntax_hint(text, position, error.is_eof());
        Problem { position, error: Error::new(Code::NotJson, "request is not JSON", hint).because(error) }
    })
}

/// The way out of a syntax error, from the character where the parser stopped.
fn syntax_hint(text: &str, at: Position, is_eof: bool) -> &'static str {
    let line = text.split('\n').nth(at.line.saturating_sub(1)).unwrap_or_default();
    match line.as_bytes().get(at.column.saturating_sub(1)) {
        _ if is_eof => "the end is missing: was the file written and copied whole?",
        Some(b'\'') => "JSON knows double quotes only",
        Some(b'/' | b'#') => "JSON knows no comments: take them out",
        Some(b'}' | b']') => "take away the comma before it",
        Some(b'[' | b'{') => "objects and lists may lie in each other 127 deep",
        _ => "correct it there; `python3 -m json.tool FILE` shows the same place",
    }
}

/// Reads everything, with every escape in every string, and keeps nothing.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Check)
    }
}

struct Check;

impl<'de> Visitor<'de> for Check {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_str<E>(self, _: &str) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Checked, A::Error> {
        while elements.next_element::<Checked>()?.is_some() {}
        Ok(Checked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Checked, A::Error> {
        while members.next_entry::<Name, Checked>()?.is_some() {}
        Ok(Checked)
    }
}

/// A member's name, read with its escapes.
#[derive(Debug)]
struct Name;

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Name)
    }
}
