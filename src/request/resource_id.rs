//! The `id` of an ARM resource (CONTRACT 3).

/// What a resource's `id` says, as it stands there: not yet held against the service's rules.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ResourceId {
    pub resource_group: String,
    pub workspace: String,
    pub name: String,
}

impl ResourceId {
    /// Reads `/subscriptions/…/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/WS/computes/NAME`.
    /// ARM's own words are compared without regard to case. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let segments: Vec<&str> = text.strip_prefix('/')?.trim_end_matches('/').split('/').collect();
        let [subscriptions, _, groups, group, providers, provider, workspaces, workspace, computes, name] =
            segments[..]
        else {
            return None;
        };
        let words = [
            (subscriptions, "subscriptions"),
            (groups, "resourceGroups"),
            (providers, "providers"),
            (provider, "Microsoft.MachineLearningServices"),
            (workspaces, "workspaces"),
            (computes, "computes"),
        ];
        words.iter().all(|(found, word)| found.eq_ignore_ascii_case(word)).then(|| Self {
            resource_group: group.into(),
            workspace: workspace.into(),
            name: name.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "/subscriptions/0000/resourceGroups/rg-1/providers/Microsoft.MachineLearningServices/workspaces/ws-1/computes/ci-1";

    #[test]
    fn a_resource_id_is_read_in_any_case_and_nothing_else_is() {
        for id in [ID.to_owned(), ID.to_uppercase(), format!("{ID}/"), ID.replace("resourceGroups", "resourcegroups")] {
            let read = ResourceId::parse(&id).unwrap();
            assert_eq!(
                (read.resource_group.to_lowercase(), read.workspace.to_lowercase(), read.name.to_lowercase()),
                ("rg-1".into(), "ws-1".into(), "ci-1".into())
            );
        }
        for id in [
            "",
            "/",
            "ci-1",
            &ID[1..],
            &ID.replace("computes", "jobs"),
            &ID.replace("/computes/ci-1", ""),
            &format!("{ID}/x"),
        ] {
            assert_eq!(ResourceId::parse(id), None, "{id}");
        }
    }
}
