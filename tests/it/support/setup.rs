//! The agent in a place: requests in the three forms of CONTRACT 3, a call of `run`, and what it left.

use serde_json::{Value, json};

use super::{
    call::{Call, Ran},
    place::{Place, SHARE},
};

/// How a request is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{"setupScripts": …}`
    Fragment,
    /// A ComputeInstance's `properties`.
    Properties,
    /// The whole ARM resource, which brings its identity along.
    Resource,
}

pub const FORMS: [Form; 3] = [Form::Fragment, Form::Properties, Form::Resource];

/// A request on its way to be one.
#[derive(Clone, Debug)]
pub struct Request {
    form: Form,
    scripts: Value,
}

impl Request {
    pub fn new(form: Form) -> Self {
        Self { form, scripts: json!({}) }
    }

    /// A fragment with an inline creation script.
    pub fn creation(text: impl AsRef<[u8]>) -> Self {
        Self::new(Form::Fragment).inline("creationScript", text)
    }

    /// A fragment with an inline startup script.
    pub fn startup(text: impl AsRef<[u8]>) -> Self {
        Self::new(Form::Fragment).inline("startupScript", text)
    }

    /// A fragment with a creation script on the share.
    pub fn creation_at(path: &str) -> Self {
        Self::new(Form::Fragment).at("creationScript", path)
    }

    pub fn inline(self, script: &str, text: impl AsRef<[u8]>) -> Self {
        let data = base64(text.as_ref());
        self.script(script, json!({"scriptSource": "inline", "scriptData": data}))
    }

    pub fn at(self, script: &str, path: &str) -> Self {
        self.script(script, json!({"scriptSource": "workspaceStorage", "scriptData": path}))
    }

    pub fn script(mut self, script: &str, value: Value) -> Self {
        self.scripts[script] = value;
        self
    }

    /// Sets a member of all scripts that are there so far.
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        for (_, script) in self.scripts.as_object_mut().expect("scripts") {
            script[member] = value.clone();
        }
        self
    }

    pub fn text(&self) -> String {
        let fragment = json!({"setupScripts": {"scripts": self.scripts}});
        let mut properties = fragment.clone();
        properties["vmSize"] = json!("STANDARD_DS3_V2");
        let id = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/my-rg/providers\
                  /Microsoft.MachineLearningServices/workspaces/my-ws/computes/ci-1";
        match self.form {
            Form::Fragment => fragment,
            Form::Properties => properties,
            Form::Resource => json!({
                "id": id, "name": "ci-1", "type": "Microsoft.MachineLearningServices/workspaces/computes",
                "properties": {"computeType": "ComputeInstance", "properties": properties},
            }),
        }
        .to_string()
    }
}

/// The options that name the instance of a room.
pub const IDENTITY: [&str; 6] = ["--resource-group", "my-rg", "--workspace", "my-ws", "--name", "ci-1"];

/// A call of `run -` with that request and those options besides [`IDENTITY`].
pub fn run_call(place: &impl Place, request: &Request, options: &[&str]) -> Call {
    let words = ["ci-setup-agent", "run", "-"].into_iter().chain(IDENTITY).chain(options.iter().copied());
    place.call(words.map(str::to_owned)).input(request.text())
}

/// Runs a request as root.
pub fn run(place: &impl Place, request: &Request) -> Ran {
    run_with(place, request, &[])
}

/// Runs a request as root with options.
pub fn run_with(place: &impl Place, request: &Request, options: &[&str]) -> Ran {
    run_call(place, request, options).run()
}

/// Runs a request as root with `--json` and returns exit code and outcomes.
pub fn run_json(place: &impl Place, request: &Request, options: &[&str]) -> (i32, Vec<Value>) {
    let ran = run_with(place, request, &[options, &["--json"]].concat());
    (ran.code, outcomes(&ran))
}

/// The outcomes on standard output, one a line.
pub fn outcomes(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{ran:?}"))).collect()
}

/// The folders of that script's runs on the share, oldest first.
pub fn mirrors(place: &impl Place, word: &str) -> Vec<String> {
    let folder = format!("{SHARE}/Logs/ci-1/{word}");
    let mut names: Vec<String> = std::fs::read_dir(place.path(&folder))
        .into_iter()
        .flatten()
        .map(|entry| format!("{folder}/{}", entry.expect("an entry").file_name().to_string_lossy()))
        .collect();
    names.sort();
    names
}

/// The folders of all runs in the state directory, oldest first.
pub fn runs(place: &impl Place) -> Vec<String> {
    let folder = "/var/lib/ci-setup-agent/runs";
    let mut names: Vec<String> = std::fs::read_dir(place.path(folder))
        .into_iter()
        .flatten()
        .map(|entry| format!("{folder}/{}", entry.expect("an entry").file_name().to_string_lossy()))
        .collect();
    names.sort();
    names
}

/// `outcome.json` of a folder.
pub fn outcome_in(place: &impl Place, folder: &str) -> Value {
    let text = place.read(format!("{folder}/outcome.json")).unwrap_or_else(|| panic!("no outcome in {folder}"));
    serde_json::from_str(&text).expect("JSON")
}

/// The one folder in a list of folders.
#[track_caller]
pub fn only(folders: Vec<String>) -> String {
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders.into_iter().next().expect("one")
}

/// One line `error: …`, one line `hint: …`.
#[track_caller]
pub fn assert_error_and_hint(ran: &Ran) {
    for begin in ["error: ", "hint: "] {
        assert_eq!(ran.stderr.lines().filter(|line| line.starts_with(begin)).count(), 1, "{ran:?}");
    }
    let error = ran.stderr.lines().position(|line| line.starts_with("error: ")).expect("an error");
    assert!(ran.stderr.lines().nth(error + 1).is_some_and(|line| line.starts_with("hint: ")), "{ran:?}");
}

/// Python's `jsonschema` judges documents by the agent's own schema.
pub fn assert_valid(place: &impl Place, schema: &str, documents: &[Value]) {
    use std::io::Write;
    let schema: Value = serde_json::from_str(&place.run(["ci-setup-agent", "schema", schema]).ok()).expect("JSON");
    let program = "import sys, json, jsonschema\nv = jsonschema.validators.validator_for({'$schema': 'https://json-schema.org/draft/2020-12/schema'}, jsonschema.Draft7Validator)\nschema, documents = json.load(sys.stdin)\nv.check_schema(schema)\nfor d in documents: v(schema).validate(d)";
    let mut python = std::process::Command::new("/usr/bin/python3");
    let mut python = python.args(["-c", program]).stdin(std::process::Stdio::piped()).spawn().expect("python3");
    let input = serde_json::to_vec(&(schema, documents)).expect("JSON");
    python.stdin.take().expect("a pipe").write_all(&input).expect("python3-jsonschema");
    assert!(python.wait().expect("python3").success(), "{documents:#?}");
}

/// As `base64(1)` has it, without line breaks.
pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
