//! The JSON Schema of what is read (`schema request`, CONTRACT 2 and 3).

use serde_json::{Value, json};

/// DURATION as a regular expression of JSON Schema (ECMA 262), with what stands for "not given". It
/// leaves out negative numbers that are so small that they round to 0, which the parser takes.
const TIMEOUT: &str = concat!(
    r"^(?:|Nonem|[ \t\n\v\f\r]*(?:",
    r"\+?(?:0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?[0-9]+)?",
    r"|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?",
    r"|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)",
    r"|-(?:0[xX](?:0+\.?0*|\.0+)(?:[pP][+-]?[0-9]+)?|(?:0+\.?0*|\.0+)(?:[eE][+-]?[0-9]+)?)",
    r")[smhd]?)$"
);

/// The JSON Schema (2020-12) of a request, in its three forms. What it refuses the parser refuses;
/// some things only the parser sees, such as what the base64 holds, or a quote that is not closed.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:ci-setup-agent:request:1",
        "title": "Request of ci-setup-agent",
        "description": "The setup scripts of an Azure Machine Learning compute instance: alone, in the instance's properties, or in the whole ARM resource",
        "type": "object",
        "properties": {
            "id": {
                "type": ["string", "null"],
                "description": "/subscriptions/…/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/WS/computes/NAME: tells the instance's identity",
            },
            "name": {
                "type": ["string", "null"],
                "description": "the instance's name, where `id` does not tell it",
            },
        },
        "anyOf": [
            { "title": "The setup scripts, alone or in the instance's properties", "$ref": "#/$defs/holdsSetupScripts" },
            {
                "title": "The whole ARM resource",
                "required": ["properties"],
                "properties": {
                    "properties": {
                        "type": "object",
                        "anyOf": [
                            { "$ref": "#/$defs/holdsSetupScripts" },
                            {
                                "required": ["properties"],
                                "properties": { "properties": { "$ref": "#/$defs/holdsSetupScripts" } },
                            },
                        ],
                    },
                },
            },
        ],
        "$defs": {
            "holdsSetupScripts": {
                "type": "object",
                "required": ["setupScripts"],
                "properties": {
                    "setupScripts": {
                        "type": "object",
                        "required": ["scripts"],
                        "properties": {
                            "scripts": {
                                "type": "object",
                                "properties": {
                                    "creationScript": {
                                        "description": "runs once in the life of the instance",
                                        "$ref": "#/$defs/script",
                                    },
                                    "startupScript": {
                                        "description": "runs at every start of the instance, the first one included, after the creation script",
                                        "$ref": "#/$defs/script",
                                    },
                                },
                            },
                        },
                    },
                },
            },
            "script": {
                "type": ["object", "null"],
                "required": ["scriptSource", "scriptData"],
                "additionalProperties": false,
                "properties": {
                    "scriptSource": {
                        "type": "string",
                        "description": "`workspaceStorage` (or `workspace`) for a path on the share, `inline` for base64; the case of letters does not matter",
                        "pattern": "^(?:[wW][oO][rR][kK][sS][pP][aA][cC][eE](?:[sS][tT][oO][rR][aA][gG][eE])?|[iI][nN][lL][iI][nN][eE])$",
                        "examples": ["workspaceStorage", "inline"],
                    },
                    "scriptData": {
                        "type": "string",
                        "description": "the script's path on the share, which ends in `.sh`, or the script in base64, at most 1 MiB decoded",
                        "pattern": "\\S",
                        "examples": ["Users/admin/setup.sh"],
                    },
                    "scriptArguments": {
                        "description": "the script's arguments: one string, cut into words as a shell does with quotes and backslashes and with no expansion, or the words themselves",
                        "anyOf": [
                            { "type": ["string", "null"], "pattern": "^[^\\u0000]*$" },
                            { "type": "array", "items": { "type": "string", "pattern": "^[^\\u0000]*$" } },
                        ],
                    },
                    "timeout": {
                        "type": ["string", "null"],
                        "description": "GNU timeout's DURATION: a floating-point number, then nothing (seconds) or one of s, m, h, d; `0` is no limit; 15 minutes if missing, null, empty or `Nonem`",
                        "pattern": TIMEOUT,
                        "default": "15m",
                        "examples": ["20m", "1.5h", "90"],
                    },
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::{form, oracle, parse, script};
    use super::*;

    #[test]
    fn it_names_every_member_that_is_read_and_no_other() {
        let schema = schema();
        let names = |pointer: &str| -> Vec<String> {
            schema.pointer(pointer).and_then(Value::as_object).unwrap().keys().cloned().collect()
        };
        let sorted = |names: &[&str]| {
            let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names("/$defs/script/properties"), sorted(&script::MEMBERS));
        let scripts = "/$defs/holdsSetupScripts/properties/setupScripts/properties/scripts/properties";
        assert_eq!(names(scripts), sorted(&form::SCRIPTS));
    }

    /// Python's `jsonschema` judges the same documents as the parser.
    #[test]
    #[rustfmt::skip] // a table
    fn it_agrees_with_the_parser() {
        let script = |extra: &str| {
            format!(r#"{{"setupScripts":{{"scripts":{{"creationScript":{{"scriptSource":"workspace","scriptData":"x.sh"{extra}}}}}}}}}"#)
        };
        let mut documents: Vec<String> = [
            r#"{"setupScripts":{"scripts":{}}}"#, r#"{"setupScripts":{"scripts":{"creationScript":null,"other":1}},"vmSize":"x"}"#,
            r#"{"properties":{"properties":{"setupScripts":{"scripts":{}}}}}"#, r#"{"properties":{"setupScripts":{"scripts":{}}}}"#,
            r#"{"id":null,"name":"ci","setupScripts":{"scripts":{}}}"#, r#"{"id":1,"setupScripts":{"scripts":{}}}"#,
            "[]", "{}", r#"{"setupScripts":null}"#, r#"{"setupScripts":{}}"#, r#"{"setupScripts":{"scripts":null}}"#,
            r#"{"setupScripts":{"scripts":[]}}"#, r#"{"setupScripts":{"scripts":{"startupScript":{}}}}"#,
            r#"{"properties":{"properties":{"setupScripts":null}}}"#, r#"{"properties":1}"#,
        ].map(Into::into).into();
        for timeout in [
            "", "Nonem", "5", " 5", "5.", ".5", "+5m", "0x.8p1", "0x1d", "infs", "INFINITY", "1e-5d", "-0", "-0x0.0s", "-0e5",
            ".", "-5", "-inf", "5 ", "5M", "5\n", "nan", "0x", "0x1pd", "1e", "PT20M", "1m30s", "inf5", "nonem", "1,5",
        ] {
            documents.push(script(&format!(r#","timeout":{}"#, json!(timeout))));
        }
        for extra in [
            "", r#","timeout":null"#, r#","timeout":5"#, r#","scriptArguments":"a b""#, r#","scriptArguments":["a",""]"#,
            r#","scriptArguments":null"#, r#","scriptArguments":[1]"#, r#","scriptArguments":7"#, r#","scriptArguments":"\u0000""#,
            r#","timeOut":"5""#, r#","other":null"#,
        ] {
            documents.push(script(extra));
        }
        let program = "import sys, json, jsonschema\nv = getattr(jsonschema, 'Draft202012Validator', jsonschema.Draft7Validator)\nschema, documents = json.load(sys.stdin)\nv.check_schema(schema)\nprint(json.dumps([v(schema).is_valid(json.loads(d)) for d in documents]))";
        let input = serde_json::to_vec(&(schema(), &documents)).unwrap();
        let answers: Vec<bool> = serde_json::from_slice(&oracle::python(program, &[], &input)).unwrap();
        for (document, answer) in documents.iter().zip(answers) {
            // Python's `$` also matches before a last line end; ECMA's does not.
            if !document.contains(r"5\n") {
                assert_eq!(parse(document.as_bytes()).is_ok(), answer, "{document}");
            }
        }
    }
}
