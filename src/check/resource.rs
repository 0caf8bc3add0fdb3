//! A ComputeInstance resource as it is documented, beyond its setup scripts.

use std::collections::HashSet;

use jiff::Timestamp;

use super::finding::{Findings, Severity};
use super::schedule::{self, Explained, short};
use super::{custom_services, idle_time};
use crate::request::Identity;
use crate::request::document::{Member, Node, Position};

/// A resource that is looked at, and what was found in it.
#[derive(Default)]
pub struct Resource<'a> {
    /// Places of expressions whose values nobody knows here.
    pub unknown: HashSet<usize>,
    /// What was found.
    pub findings: Findings,
    /// When its schedules fire, each with its place.
    pub explained: Vec<(Position, Explained)>,
    place: Option<&'a dyn Fn(usize) -> Position>,
}

/// All members that the service knows of an instance's own properties.
const MEMBERS: [&str; 24] = [
    "vmSize",
    "subnet",
    "applicationSharingPolicy",
    "sshSettings",
    "customServices",
    "osImageMetadata",
    "connectivityEndpoints",
    "applications",
    "createdBy",
    "errors",
    "state",
    "computeInstanceAuthorizationType",
    "personalComputeInstanceSettings",
    "setupScripts",
    "lastOperation",
    "schedules",
    "idleTimeBeforeShutdown",
    "enableNodePublicIp",
    "containers",
    "dataDisks",
    "dataMounts",
    "versions",
    "enableRootAccess",
    "enableSSO",
];

impl<'a> Resource<'a> {
    /// One whose positions are told by `place`, from offsets.
    pub fn new(unknown: HashSet<usize>, place: &'a dyn Fn(usize) -> Position) -> Self {
        Self { unknown, place: Some(place), ..Self::default() }
    }

    fn position(&self, node: Node<'_>) -> Position {
        self.place.map_or_else(|| node.position(), |place| place(node.offset()))
    }

    /// Its value is an expression that cannot be worked out here.
    pub fn is_unknown(&self, node: Node<'_>) -> bool {
        self.unknown.contains(&node.offset())
    }

    /// A member that is there, not null, and known.
    pub fn member<'n>(&self, node: Node<'n>, name: &str) -> Option<Node<'n>> {
        let value = get(node, name)?;
        (!value.is_null() && !self.is_unknown(value)).then_some(value)
    }

    /// A member's text; anything else but null is noted.
    pub fn text(&mut self, node: Node<'_>, name: &str) -> Option<String> {
        let value = self.member(node, name)?;
        let text = value.string();
        if text.is_none() {
            self.wrong_type("wrong-type", value, &format!("`{name}`"), "a string");
        }
        text
    }

    /// Notes an error.
    pub fn refuse(&mut self, rule: &'static str, at: Node<'_>, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Error, rule, at, message, hint);
    }

    /// Notes a warning.
    pub fn warn(&mut self, rule: &'static str, at: Node<'_>, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Warning, rule, at, message, hint);
    }

    fn add(
        &mut self,
        severity: Severity,
        rule: &'static str,
        at: Node<'_>,
        text: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if !self.is_unknown(at) {
            let position = self.position(at);
            self.findings.add(severity, rule, position, text, hint);
        }
    }

    /// Notes a value of another type.
    pub fn wrong_type(&mut self, rule: &'static str, at: Node<'_>, what: &str, expected: &str) {
        let message = format!("{what}: expected {expected}, found {}", at.kind());
        self.refuse(rule, at, message, format!("write {expected}"));
    }

    /// Notes a schedule's times.
    pub fn explain(&mut self, at: Node<'_>, explained: Explained) {
        let position = self.position(at);
        self.explained.push((position, explained));
    }

    /// Checks the whole; `now` asks for the times of schedules.
    pub fn check(&mut self, root: Node<'_>, now: Option<Timestamp>) {
        self.name(root);
        let inner = properties(root);
        if let Some(outer) = get(root, "properties").filter(|outer| get(*outer, "properties").is_some())
            && let Some(at) = self.member(outer, "computeType")
            && let Some(kind) =
                self.text(outer, "computeType").filter(|kind| !kind.eq_ignore_ascii_case("ComputeInstance"))
        {
            let message = format!("`computeType` is `{}`: only a ComputeInstance has setup scripts", short(&kind));
            self.refuse("compute-type", at, message, "write `ComputeInstance`");
            return;
        }
        self.near_members(inner);
        if let Some(at) = self.member(inner, "idleTimeBeforeShutdown")
            && let Some(text) = self.text(inner, "idleTimeBeforeShutdown")
            && let Err((message, hint)) = idle_time::check(&text)
        {
            self.refuse("idle-time", at, message, hint);
        }
        if let Some(settings) = self.member(inner, "sshSettings") {
            self.ssh(settings);
        }
        if let Some(settings) = self.member(inner, "personalComputeInstanceSettings") {
            self.assigned_user(settings, has_script(inner));
        }
        if let Some(schedules) = self.member(inner, "schedules") {
            schedule::check(schedules, self, now);
        }
        if let Some(services) = self.member(inner, "customServices") {
            custom_services::check(services, self);
        }
    }

    /// `workspace/instance` in a template.
    fn name(&mut self, root: Node<'_>) {
        let Some(at) = self.member(root, "name") else { return };
        let Some(text) = at.string() else { return };
        let name = text.rsplit('/').next().unwrap_or_default();
        // Something else fills in what stands in braces.
        let is_placeholder = name.contains(['{', '<', '$']);
        if get(root, "properties").is_some() && !is_placeholder && !Identity::allows_name(name) {
            let hint = "3 to 24 of letters, digits and `-`; it begins with a letter and does not end in `-`";
            self.refuse("bad-name", at, format!("bad instance name: `{}`", short(name)), hint);
        }
    }

    fn near_members(&mut self, inner: Node<'_>) {
        let members = inner.members().unwrap_or_default();
        for member in members.iter().filter(|member| !MEMBERS.contains(&member.name.as_str()) && member.name.len() < 60)
        {
            // Their case does not matter to ARM: Microsoft's own samples write `VMSize`.
            if MEMBERS.into_iter().any(|known| known.eq_ignore_ascii_case(&member.name)) {
                continue;
            }
            let near = MEMBERS.into_iter().find(|known| strsim::damerau_levenshtein(known, &member.name) <= 2);
            // The reader of requests tells `setupScripts` itself.
            if let Some(near) = near.filter(|near| *near != "setupScripts") {
                let message = format!("member `{}` is not known", short(&member.name));
                self.warn("member-ignored", member.place, message, format!("did you mean `{near}`?"));
            }
        }
    }

    fn ssh(&mut self, settings: Node<'_>) {
        const RULE: &str = "ssh-settings";
        if settings.members().is_none() {
            return self.wrong_type(RULE, settings, "`sshSettings`", "an object");
        }
        let access = self.text(settings, "sshPublicAccess");
        if let (Some(text), Some(at)) = (&access, self.member(settings, "sshPublicAccess")) {
            one_of(self, RULE, at, "sshPublicAccess", text, &["Enabled", "Disabled"]);
        }
        let is_enabled = access.is_some_and(|access| access.eq_ignore_ascii_case("Enabled"));
        let key = self.text(settings, "adminPublicKey").filter(|key| !key.is_empty());
        let key_node = get(settings, "adminPublicKey");
        match (key, key_node) {
            (Some(key), Some(at)) if key.contains("PRIVATE KEY") => {
                self.refuse(
                    RULE,
                    at,
                    "`adminPublicKey` holds a private key",
                    "give the public one (`id_rsa.pub`), and make a new pair: this one is no secret any more",
                );
            }
            (Some(key), Some(at)) if !key.trim_start().starts_with("ssh-rsa ") => {
                self.refuse(
                    RULE,
                    at,
                    "`adminPublicKey` is no RSA public key",
                    "give one line that begins with `ssh-rsa `: `ssh-keygen -t rsa` makes it",
                );
            }
            (Some(_), Some(at)) if !is_enabled => {
                self.warn(
                    RULE,
                    at,
                    "`adminPublicKey` has no effect while `sshPublicAccess` is not `Enabled`",
                    "SSH can only be enabled when the instance is made: write `\"sshPublicAccess\": \"Enabled\"`",
                );
            }
            (None, None) if is_enabled => {
                self.refuse(
                    RULE,
                    settings,
                    "`sshPublicAccess` is `Enabled` without `adminPublicKey`",
                    "give the public key, one line that begins with `ssh-rsa `",
                );
            }
            _ => {}
        }
    }

    fn assigned_user(&mut self, settings: Node<'_>, has_script: bool) {
        const RULE: &str = "assigned-user";
        let Some(user) = self.member(settings, "assignedUser") else { return };
        if user.members().is_none() {
            return self.wrong_type(RULE, user, "`assignedUser`", "an object");
        }
        for name in ["objectId", "tenantId"] {
            match (self.text(user, name), get(user, name)) {
                (Some(id), Some(at)) if !is_uuid(&id) => {
                    let message = format!("`{name}` is no UUID: `{}`", short(&id));
                    self.refuse(RULE, at, message, "`az ad user show --id NAME --query id` prints the object id");
                }
                (None, None) => {
                    self.refuse(
                        RULE,
                        user,
                        format!("`assignedUser` has no `{name}`"),
                        "both `objectId` and `tenantId` are required",
                    );
                }
                _ => {}
            }
        }
        if has_script {
            self.warn(
                "single-sign-on",
                user,
                "an instance made on behalf of somebody, with a setup script, is made with single sign-on disabled",
                "tell the assigned user to enable it after creation, on the instance's details page",
            );
        }
    }
}

/// The instance's own properties: the innermost of up to two `properties`.
pub fn properties(root: Node<'_>) -> Node<'_> {
    let Some(outer) = get(root, "properties").filter(|node| node.members().is_some()) else { return root };
    get(outer, "properties").filter(|node| node.members().is_some()).unwrap_or(outer)
}

/// A member of an object, by its exact name.
pub fn get<'n>(node: Node<'n>, name: &str) -> Option<Node<'n>> {
    let is_named = |member: &Member<'_>| member.name == name;
    node.members()?.into_iter().find(is_named).map(|member| member.value)
}

fn has_script(inner: Node<'_>) -> bool {
    let scripts = get(inner, "setupScripts").and_then(|scripts| get(scripts, "scripts"));
    let given = |name| scripts.and_then(|scripts| get(scripts, name)).is_some_and(|script| !script.is_null());
    given("creationScript") || given("startupScript")
}

/// Notes a text that is none of the service's words. Their case does not matter to it.
pub fn one_of(out: &mut Resource<'_>, rule: &'static str, at: Node<'_>, name: &str, text: &str, words: &[&str]) {
    if !words.iter().any(|word| word.eq_ignore_ascii_case(text)) {
        let message = format!("`{name}` is `{}`", short(text));
        out.refuse(rule, at, message, format!("write one of `{}`", words.join("`, `")));
    }
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
