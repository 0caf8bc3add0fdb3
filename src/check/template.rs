//! ARM templates: the compute instances they make, with the expressions in them worked out as far as their
//! parameters' defaults and variables tell.

use std::collections::{BTreeMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::resource::get;
use crate::request::document::Node;

/// Expressions inside variables inside variables are followed this far.
const DEEPEST: usize = 16;

/// What parameters and variables are.
#[derive(Debug, Default)]
pub struct Values {
    parameters: BTreeMap<String, Value>,
    variables: BTreeMap<String, Value>,
}

/// One resource with its expressions replaced.
#[derive(Debug)]
pub struct Resolved {
    /// Its text.
    pub text: String,
    /// Places in `text` where an expression still stands.
    pub unknown: HashSet<usize>,
    /// Pairs of places, here and in the template; in between they run in step.
    steps: Vec<(usize, usize)>,
}

impl Resolved {
    /// The place in the template of a place here.
    pub fn place(&self, offset: usize) -> usize {
        let index = self.steps.partition_point(|(here, _)| *here <= offset).max(1) - 1;
        let (here, there) = self.steps[index];
        there + offset.saturating_sub(here)
    }
}

/// A template has `resources`, and a schema or a version of content.
pub fn is_template(root: Node<'_>) -> bool {
    get(root, "resources").is_some() && (get(root, "$schema").is_some() || get(root, "contentVersion").is_some())
}

/// The compute instances of a template, nested ones included.
pub fn computes<'n>(root: Node<'n>, depth: usize) -> Vec<Node<'n>> {
    let Some(resources) = get(root, "resources").filter(|_| depth < DEEPEST) else { return Vec::new() };
    let list = resources.elements().or_else(|| {
        // From language version 2.0 on it is an object of named ones.
        Some(resources.members()?.into_iter().map(|member| member.value).collect())
    });
    let mut found = Vec::new();
    for resource in list.unwrap_or_default() {
        let kind = get(resource, "type").and_then(Node::string).unwrap_or_default().to_ascii_lowercase();
        let is_compute = kind == "computes" || kind.ends_with("/computes");
        let compute_type =
            get(resource, "properties").and_then(|outer| get(outer, "computeType")).and_then(Node::string);
        if is_compute
            && compute_type.is_none_or(|kind| kind.eq_ignore_ascii_case("ComputeInstance") || kind.starts_with('['))
        {
            found.push(resource);
        }
        found.extend(computes(resource, depth + 1));
        let nested = get(resource, "properties").and_then(|properties| get(properties, "template"));
        found.extend(nested.map(|nested| computes(nested, depth + 1)).unwrap_or_default());
    }
    found
}

impl Values {
    /// Those of a template.
    pub fn of(root: Node<'_>) -> Self {
        let value = |node: Node<'_>| serde_json::from_str::<Value>(node.raw()).unwrap_or_default();
        let mut values = Self::default();
        for member in get(root, "parameters").and_then(Node::members).unwrap_or_default() {
            if let Some(default) = get(member.value, "defaultValue").or_else(|| get(member.value, "value")) {
                values.parameters.insert(member.name.to_ascii_lowercase(), value(default));
            }
        }
        for member in get(root, "variables").and_then(Node::members).unwrap_or_default() {
            values.variables.insert(member.name.to_ascii_lowercase(), value(member.value));
        }
        values
    }

    /// A resource's text with every expression replaced whose value is known.
    pub fn resolve(&self, resource: Node<'_>) -> Resolved {
        let raw = resource.raw();
        let base = resource.offset();
        let mut resolved =
            Resolved { text: String::with_capacity(raw.len()), unknown: HashSet::new(), steps: vec![(0, base)] };
        let mut at = 0;
        while let Some(start) = raw[at..].find('"').map(|found| at + found) {
            let end = start + string_length(&raw[start..]);
            resolved.text.push_str(&raw[at..start]);
            let token = &raw[start..end];
            let text: String = serde_json::from_str(token).unwrap_or_default();
            let here = resolved.text.len();
            // A member's name is followed by a colon.
            let is_name = raw[end..].trim_start().starts_with(':');
            if text.starts_with('[') && text.ends_with(']') && !is_name {
                match self.value(&text, 0) {
                    Some(value) => {
                        resolved.steps.push((here, base + start));
                        resolved.text.push_str(&value.to_string());
                        resolved.steps.push((resolved.text.len(), base + end));
                    }
                    None => {
                        resolved.unknown.insert(here);
                        resolved.text.push_str(token);
                    }
                }
            } else {
                resolved.text.push_str(token);
            }
            at = end;
        }
        resolved.text.push_str(&raw[at..]);
        resolved
    }

    fn value(&self, text: &str, depth: usize) -> Option<Value> {
        if let Some(literal) = text.strip_prefix("[[") {
            return Some(Value::String(format!("[{literal}")));
        }
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        let mut reader = Reader { rest: inner, values: self, depth };
        let value = reader.expression()?;
        reader.rest.trim().is_empty().then_some(value)
    }

    fn known(&self, value: &Value, depth: usize) -> Option<Value> {
        match value {
            Value::String(text) if text.starts_with('[') && text.ends_with(']') => {
                if depth < DEEPEST {
                    self.value(text, depth + 1)
                } else {
                    None
                }
            }
            // Parts of it may be expressions.
            Value::Array(_) | Value::Object(_) if value.to_string().contains("\"[") => None,
            other => Some(other.clone()),
        }
    }
}

/// The length of the JSON string that a text begins with.
fn string_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Reads the functions that can be worked out without Azure.
struct Reader<'a> {
    rest: &'a str,
    values: &'a Values,
    depth: usize,
}

impl Reader<'_> {
    fn expression(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > 2 * DEEPEST {
            return None;
        }
        self.rest = self.rest.trim_start();
        if let Some(text) = self.rest.strip_prefix('\'') {
            return self.literal(text);
        }
        let length = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(length);
        if let Ok(number) = name.parse::<i64>() {
            self.rest = rest;
            return Some(number.into());
        }
        self.rest = rest.strip_prefix('(')?;
        let mut arguments = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix(')') {
                self.rest = rest;
                break;
            }
            arguments.push(self.expression()?);
            self.rest = self.rest.trim_start();
            self.rest = self.rest.strip_prefix(',').unwrap_or(self.rest);
            if self.rest.is_empty() {
                return None;
            }
        }
        // A member or an element of the value: not followed.
        if self.rest.starts_with(['.', '[']) {
            return None;
        }
        self.call(&name.to_ascii_lowercase(), &arguments)
    }

    /// `'it''s'`
    fn literal(&mut self, mut text: &str) -> Option<Value> {
        let mut value = String::new();
        loop {
            let (part, rest) = text.split_once('\'')?;
            value.push_str(part);
            match rest.strip_prefix('\'') {
                Some(more) => {
                    value.push('\'');
                    text = more;
                }
                None => {
                    let consumed = self.rest.len() - rest.len();
                    self.rest = &self.rest[consumed..];
                    return Some(Value::String(value));
                }
            }
        }
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Value> {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let first = arguments.first();
        let lookup = |values: &BTreeMap<String, Value>| {
            let found = values.get(&first?.as_str()?.to_ascii_lowercase())?;
            self.values.known(found, self.depth)
        };
        match name {
            "parameters" => lookup(&self.values.parameters),
            "variables" => lookup(&self.values.variables),
            "concat" => arguments.iter().map(text).collect::<Option<String>>().map(Value::String),
            "base64" => Some(Value::String(STANDARD.encode(text(first?)?))),
            "string" => text(first?).map(Value::String),
            "tolower" => Some(Value::String(text(first?)?.to_lowercase())),
            "toupper" => Some(Value::String(text(first?)?.to_uppercase())),
            "trim" => Some(Value::String(text(first?)?.trim().to_owned())),
            "format" => {
                let mut result = text(first?)?;
                for (index, argument) in arguments[1..].iter().enumerate() {
                    result = result.replace(&format!("{{{index}}}"), &text(argument)?);
                }
                Some(Value::String(result))
            }
            "json" => serde_json::from_str(&text(first?)?).ok(),
            "null" => Some(Value::Null),
            "true" => Some(true.into()),
            "false" => Some(false.into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = r#"{"$schema": "x", "contentVersion": "1.0.0.0",
 "parameters": {"name": {"type": "string", "defaultValue": "ci-1"}, "given": {"type": "string"}},
 "variables": {"file": "[concat('Users/', parameters('name'), '.sh')]"},
 "resources": [{"type": "Microsoft.MachineLearningServices/workspaces", "name": "ws", "resources": [
  {"type": "computes", "name": "[parameters('NAME')]", "x": "[variables('file')]", "y": "[parameters('given')]", "z": "[[a]"}]}]}"#;

    #[test]
    fn expressions_are_worked_out_as_far_as_their_values_are_known() {
        let root = Node::root(TEMPLATE);
        assert!(is_template(root));
        let computes = computes(root, 0);
        let resolved = Values::of(root).resolve(computes[0]);
        let value: Value = serde_json::from_str(&resolved.text).unwrap();
        assert_eq!(value["name"], "ci-1");
        assert_eq!(value["x"], "Users/ci-1.sh");
        assert_eq!(value["y"], "[parameters('given')]");
        assert_eq!(value["z"], "[a]");
        let at = resolved.text.find("\"[parameters").unwrap();
        assert!(resolved.unknown.contains(&at));
        assert_eq!(resolved.place(at), TEMPLATE.find("\"[parameters('given')").unwrap());
        assert_eq!(resolved.place(resolved.text.find("\"Users/ci-1").unwrap()), TEMPLATE.find("\"[variables").unwrap());
    }

    #[test]
    fn functions_of_texts_have_their_values() {
        let value = |text: &str| Values::default().value(text, 0);
        assert_eq!(value("[base64('it''s')]"), Some("aXQncw==".into()));
        assert_eq!(value("[format('{0}-{1}', 'a', 2)]"), Some("a-2".into()));
        for unknown in [
            "[reference('x')]",
            "[concat('a'",
            "[parameters('x')]",
            "[concat('a', uniqueString('b'))]",
            "['a' 'b']",
            "[x]",
            "[]",
        ] {
            assert_eq!(value(unknown), None, "{unknown}");
        }
    }
}
