//! Whose instance this is: resource group, workspace and instance name (CONTRACT 3).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Request;
use super::text::shown;
use crate::error::{Code, Error, Result};

/// The identity of an instance, valid by construction. Equal without regard to ASCII case, because
/// the service returns resource groups in changing case; the spelling as given is kept.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", try_from = "Parts")]
#[schemars(!try_from)]
pub struct Identity {
    resource_group: String,
    workspace: String,
    name: String,
}

/// What is known of an identity from one place. An empty string counts as not known: an environment
/// variable that is set to nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PartialIdentity {
    pub resource_group: Option<String>,
    pub workspace: Option<String>,
    pub name: Option<String>,
}

impl PartialIdentity {
    /// What is known here, else there, for each part.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            resource_group: self.resource_group.or(other.resource_group),
            workspace: self.workspace.or(other.workspace),
            name: self.name.or(other.name),
        }
    }
}

impl From<&Identity> for PartialIdentity {
    fn from(identity: &Identity) -> Self {
        Self {
            resource_group: Some(identity.resource_group().to_owned()),
            workspace: Some(identity.workspace().to_owned()),
            name: Some(identity.name().to_owned()),
        }
    }
}

impl Identity {
    /// Checks the three names against the service's rules (CONTRACT 3).
    ///
    /// # Errors
    /// `bad-identity`, with the rule as its hint.
    pub fn new(
        resource_group: impl Into<String>,
        workspace: impl Into<String>,
        name: impl Into<String>,
    ) -> Result<Self> {
        let identity = Self { resource_group: resource_group.into(), workspace: workspace.into(), name: name.into() };
        RESOURCE_GROUP.check(&identity.resource_group)?;
        WORKSPACE.check(&identity.workspace)?;
        NAME.check(&identity.name)?;
        Ok(identity)
    }

    /// Whether the service allows this name of an instance.
    pub fn allows_name(name: &str) -> bool {
        (NAME.allows)(name)
    }

    /// Puts the identity together, each of its names from the first place that knows it: `options`
    /// (the environment included), the request's `id`, its `name`, `config`.
    ///
    /// # Errors
    /// `missing-identity` naming all that is missing, `bad-identity`.
    pub fn resolve(options: &PartialIdentity, request: Option<&Request>, config: &PartialIdentity) -> Result<Self> {
        let id = request.and_then(|request| request.id.as_ref());
        let first = |places: [Option<&String>; 4]| places.into_iter().flatten().find(|text| !text.is_empty()).cloned();
        let resource_group = first([
            options.resource_group.as_ref(),
            id.map(|id| &id.resource_group),
            None,
            config.resource_group.as_ref(),
        ]);
        let workspace =
            first([options.workspace.as_ref(), id.map(|id| &id.workspace), None, config.workspace.as_ref()]);
        let name = first([
            options.name.as_ref(),
            id.map(|id| &id.name),
            request.and_then(|request| request.name.as_ref()),
            config.name.as_ref(),
        ]);
        match (resource_group, workspace, name) {
            (Some(resource_group), Some(workspace), Some(name)) => Self::new(resource_group, workspace, name),
            (resource_group, workspace, name) => {
                let found = [(&RESOURCE_GROUP, resource_group), (&WORKSPACE, workspace), (&NAME, name)];
                Err(missing(found.iter().filter(|(_, text)| text.is_none()).map(|(rule, _)| *rule)))
            }
        }
    }

    /// The resource group, as given.
    pub fn resource_group(&self) -> &str {
        &self.resource_group
    }

    /// The workspace, as given.
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// The instance's name, as given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `rg+ws+name` in lower case, at most 149 ASCII bytes: one file name, the same for equal
    /// identities and only for these (`+` is in none of the names).
    pub fn key(&self) -> String {
        format!("{}+{}+{}", self.resource_group, self.workspace, self.name).to_ascii_lowercase()
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Identity {}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.resource_group, self.workspace, self.name)
    }
}

/// The same three names before they are checked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parts {
    resource_group: String,
    workspace: String,
    name: String,
}

impl TryFrom<Parts> for Identity {
    type Error = Error;

    fn try_from(parts: Parts) -> Result<Self> {
        Self::new(parts.resource_group, parts.workspace, parts.name)
    }
}

/// What the service allows for one of the names.
struct Rule {
    what: &'static str,
    option: &'static str,
    variable: &'static str,
    words: &'static str,
    allows: fn(&str) -> bool,
}

const RESOURCE_GROUP: Rule = Rule {
    what: "resource group",
    option: "--resource-group",
    variable: "CI_SETUP_RESOURCE_GROUP",
    words: "1 to 90 of letters, digits and `-_.()`",
    allows: |text| made_of(text, 1..=90, "-_.()"),
};

const WORKSPACE: Rule = Rule {
    what: "workspace",
    option: "--workspace",
    variable: "CI_SETUP_WORKSPACE",
    words: "3 to 33 of letters, digits, `-` and `_`",
    allows: |text| made_of(text, 3..=33, "-_"),
};

const NAME: Rule = Rule {
    what: "instance name",
    option: "--name",
    variable: "CI_SETUP_NAME",
    words: "3 to 24 of letters, digits and `-`; it begins with a letter and does not end in `-`",
    allows: |text| {
        made_of(text, 3..=24, "-") && text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.ends_with('-')
    },
};

impl Rule {
    fn check(&self, text: &str) -> Result<()> {
        if (self.allows)(text) {
            return Ok(());
        }
        let what = self.what;
        Err(Error::new(
            Code::BadIdentity,
            format!("bad {what}: {}", shown(text)),
            format!("give a valid one with `{}`: {}", self.option, self.words),
        ))
    }
}

fn made_of(text: &str, lengths: std::ops::RangeInclusive<usize>, others: &str) -> bool {
    lengths.contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

fn missing<'a>(rules: impl Iterator<Item = &'a Rule>) -> Error {
    let rules: Vec<&Rule> = rules.collect();
    let list = |field: fn(&Rule) -> &str| rules.iter().map(|rule| field(rule)).collect::<Vec<_>>();
    let in_backticks = |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    Error::new(
        Code::MissingIdentity,
        format!(
            "the instance's {} not known",
            match list(|rule| rule.what)[..] {
                [what] => format!("{what} is"),
                [first, last] => format!("{first} and {last} are"),
                _ => "resource group, workspace and instance name are".into(),
            }
        ),
        format!(
            "give {}, or set {}, or give the whole resource with its `id`",
            in_backticks(list(|rule| rule.option)),
            in_backticks(list(|rule| rule.variable)),
        ),
    )
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
