//! Which of the three documents it is, recognised by what is in it (CONTRACT 3): the setup scripts
//! alone, the instance's `properties`, or the whole ARM resource.

use super::document::{Member, Node};
use super::text::shown;
use super::{Reading, ResourceId, ScriptRequest, Warning, script};
use crate::error::{Code, Error};

/// The scripts of a request, as ARM names them.
pub(super) const SCRIPTS: [&str; 2] = ["creationScript", "startupScript"];

/// Reads a document that is known to be JSON.
pub(super) fn read(text: &str, share: Option<&str>, reading: &mut Reading) {
    let root = Node::root(text);
    if !root.raw().starts_with('{') {
        let hint = match root.kind() {
            "an array" => "give one resource, not a list of them",
            _ => WRAP,
        };
        return reading.wrong_type(root, "request", "an object", hint);
    }
    let top = reading.members(root, "request").unwrap_or_default();
    identity(root, &top, reading);
    let before = reading.problems.len();
    match setup_scripts(&top, reading) {
        Some((path, setup_scripts)) => scripts(setup_scripts, &path, share, reading),
        None if reading.problems.len() > before => {}
        None => reading.refuse(root, no_setup_scripts(&top)),
    }
}

const WRAP: &str = r#"give `{"setupScripts": {"scripts": {"creationScript": {…}}}}`, or the whole resource"#;

/// Finds `setupScripts` at the top, in `properties`, or in `properties.properties`.
fn setup_scripts<'a>(top: &[Member<'a>], reading: &mut Reading) -> Option<(String, Node<'a>)> {
    if let Some(found) = get(top, "setupScripts") {
        return Some(("setupScripts".into(), found));
    }
    let outer = reading.members(get(top, "properties")?, "properties")?;
    if let Some(found) = get(&outer, "setupScripts") {
        return Some(("properties.setupScripts".into(), found));
    }
    let path = "properties.properties";
    let inner = reading.members(get(&outer, "properties")?, path)?;
    get(&inner, "setupScripts").map(|found| (format!("{path}.setupScripts"), found))
}

/// Reads `setupScripts` and its `scripts`.
fn scripts(setup_scripts: Node<'_>, path: &str, share: Option<&str>, reading: &mut Reading) {
    let before = reading.problems.len();
    let outer = reading.members(setup_scripts, path);
    let scripts = outer.as_ref().and_then(|outer| {
        wrong_case(outer, path, &["scripts"], reading);
        get(outer, "scripts")
    });
    let path = format!("{path}.scripts");
    let Some(members) = scripts.and_then(|scripts| reading.members(scripts, &path)) else {
        if reading.problems.len() == before {
            let message = format!("`{path}` is missing or null");
            reading.refuse(setup_scripts, Error::new(Code::NoSetupScripts, message, WRAP));
        }
        return;
    };
    wrong_case(&members, &path, &SCRIPTS, reading);
    let mut read = |name: &str| -> Option<ScriptRequest> {
        script::read(get(&members, name)?, name, &format!("{path}.{name}"), share, reading)
    };
    let [creation, startup] = SCRIPTS.map(&mut read);
    reading.request.creation = creation;
    reading.request.startup = startup;
}

/// Other members are ignored, but not one that would be read if its case were right: a script that
/// silently does not run is the worst answer. Near misses are worth a warning.
fn wrong_case(members: &[Member<'_>], path: &str, known: &[&str], reading: &mut Reading) {
    for member in members.iter().filter(|member| !known.contains(&member.name.as_str())) {
        let name = &member.name;
        let same = known.iter().find(|known| known.eq_ignore_ascii_case(name));
        if let Some(known) = same.filter(|known| get(members, known).is_none()) {
            let message = format!("unknown member {} in `{path}`", shown(name));
            let hint = format!("only its case is wrong: write `{known}`");
            reading.refuse(member.place, Error::new(Code::UnknownMember, message, hint));
        } else if let Some(near) = known.iter().find(|known| is_near(known, name)) {
            let message = format!("member {} in `{path}` is ignored", shown(name));
            reading.warn(member.place, Warning::new("member-ignored", message, format!("did you mean `{near}`?")));
        }
    }
}

/// Whether one is the other with a slip or two. (The measure takes memory for each pair of characters.)
fn is_near(known: &str, name: &str) -> bool {
    name.len() <= 2 * known.len() && strsim::damerau_levenshtein(known, name) <= 2
}

/// Reads the resource's `id` and `name`.
fn identity(root: Node<'_>, top: &[Member<'_>], reading: &mut Reading) {
    let at = |name| get(top, name).unwrap_or(root);
    let mut string = |name| get(top, name).and_then(|node| reading.string(node, name));
    let (id, name) = (string("id"), string("name"));
    let (id, name) = (id.filter(|id| !id.is_empty()), name.filter(|name| !name.is_empty()));
    if let Some(id) = id {
        reading.request.id = ResourceId::parse(&id);
        if reading.request.id.is_none() {
            let message = format!("`id` is not that of a compute: {}", shown(&id));
            let hint = "it is read as `/subscriptions/…/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/WS/computes/NAME`";
            reading.warn(at("id"), Warning::new("id-ignored", message, hint));
        }
    }
    if let (Some(id), Some(name)) = (&reading.request.id, &name)
        && !id.name.eq_ignore_ascii_case(name)
    {
        let message = format!("`name` is {}, but `id` says {}", shown(name), shown(&id.name));
        reading
            .warn(at("name"), Warning::new("name-ignored", message, "the one in `id` counts: correct one of the two"));
    }
    reading.request.name = name;
}

/// Why a document has no setup scripts: what it is instead.
fn no_setup_scripts(top: &[Member<'_>]) -> Error {
    let string = |members: &[Member<'_>], name| get(members, name).and_then(Node::string);
    let outer = get(top, "properties").and_then(Node::members).unwrap_or_default();
    let inner = get(&outer, "properties").and_then(Node::members).unwrap_or_default();
    let compute_type = string(top, "computeType").or_else(|| string(&outer, "computeType"));
    let other_case = |members: &[Member<'_>], known: &[&str]| {
        let find = |known: &&str| members.iter().find(|member| member.name.eq_ignore_ascii_case(known));
        let (known, member) = known.iter().find_map(|known| Some((*known, find(known)?)))?;
        (member.name != known).then(|| format!("only its case is wrong: write `{known}` for {}", shown(&member.name)))
    };
    let hint = other_case(top, &["setupScripts", "properties"])
        .or_else(|| other_case(&outer, &["setupScripts", "properties"]))
        .or_else(|| other_case(&inner, &["setupScripts"]))
        .unwrap_or_else(|| {
            let has = |name| get(top, name).is_some();
            if has("scripts") || SCRIPTS.into_iter().any(has) || script::MEMBERS.into_iter().any(has) {
                WRAP.into()
            } else if has("resources") {
                "it is a template: give the resource that it makes, as `az rest --method get` returns it".into()
            } else if has("value") {
                "it is a list: give one resource of it".into()
            } else if let Some(other) = compute_type.filter(|kind| !kind.eq_ignore_ascii_case("ComputeInstance")) {
                format!("it is of type {}, and only a `ComputeInstance` has setup scripts", shown(&other))
            } else {
                WRAP.into()
            }
        });
    Error::new(Code::NoSetupScripts, "request has no `setupScripts`", hint)
}

/// The first member of that name.
pub(super) fn get<'a>(members: &[Member<'a>], name: &str) -> Option<Node<'a>> {
    members.iter().find(|member| member.name == name).map(|member| member.value)
}
