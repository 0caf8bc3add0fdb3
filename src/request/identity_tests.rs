use super::*;
use crate::request::ResourceId;

const ID: &str =
    "/subscriptions/0000/resourceGroups/rg-1/providers/Microsoft.MachineLearningServices/workspaces/ws-1/computes/ci-1";

fn partial(resource_group: &str, workspace: &str, name: &str) -> PartialIdentity {
    let known = |text: &str| (text != "?").then(|| text.to_owned());
    PartialIdentity { resource_group: known(resource_group), workspace: known(workspace), name: known(name) }
}

fn request(id: Option<&str>, name: Option<&str>) -> Request {
    Request { id: id.and_then(ResourceId::parse), name: name.map(Into::into), ..Request::default() }
}

#[test]
#[rustfmt::skip] // a table
fn each_name_comes_from_the_first_place_that_knows_it() {
    let nothing = partial("?", "?", "?");
    let config = partial("rg-c", "ws-c", "ci-c");
    for (options, request, config, expected) in [
        (partial("rg-o", "ws-o", "ci-o"), request(Some(ID), Some("ci-n")), &config, "rg-o/ws-o/ci-o"),
        (partial("rg-o", "?", "?"), request(Some(ID), Some("ci-n")), &config, "rg-o/ws-1/ci-1"),
        (nothing.clone(), request(Some(ID), None), &nothing, "rg-1/ws-1/ci-1"),
        (nothing.clone(), request(None, Some("ci-n")), &config, "rg-c/ws-c/ci-n"),
        (nothing.clone(), request(None, None), &config, "rg-c/ws-c/ci-c"),
        (partial("", "", "ci-o"), request(None, None), &config, "rg-c/ws-c/ci-o"),
    ] {
        assert_eq!(Identity::resolve(&options, Some(&request), config).unwrap().to_string(), expected);
    }
    assert_eq!(Identity::resolve(&config, None, &nothing).unwrap().to_string(), "rg-c/ws-c/ci-c");
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    let nothing = partial("?", "?", "?");
    let error = Identity::resolve(&partial("?", "ws-o", "?"), None, &nothing).unwrap_err();
    assert_eq!(error.code, Code::MissingIdentity);
    assert_eq!(error.to_string(), "the instance's resource group and instance name are not known");
    assert_eq!(
        error.hint(),
        "give `--resource-group`, `--name`, or set `CI_SETUP_RESOURCE_GROUP`, `CI_SETUP_NAME`, or give the whole resource with its `id`"
    );
    let error = Identity::resolve(&nothing, Some(&request(None, Some("ci-1"))), &partial("rg", "?", "?")).unwrap_err();
    assert_eq!(error.to_string(), "the instance's workspace is not known");
    let error = Identity::resolve(&nothing, None, &nothing).unwrap_err();
    assert_eq!(error.to_string(), "the instance's resource group, workspace and instance name are not known");
}

#[test]
#[rustfmt::skip] // a table
fn names_within_the_rules_are_taken() {
    let longest = ["a".repeat(90), "w".repeat(33), "c".repeat(24)];
    for (group, workspace, name) in [
        ("r", "ws1", "ci1"), ("-_.()", "-_-", "a-b"), ("RG.Prod(1)", "My_Ws", "Ci-1-a"), ("1", "123", "a--b"),
        (longest[0].as_str(), longest[1].as_str(), longest[2].as_str()),
    ] {
        let identity = Identity::new(group, workspace, name).unwrap();
        assert_eq!((identity.resource_group(), identity.workspace(), identity.name()), (group, workspace, name));
    }
}

#[test]
fn names_outside_the_rules_are_refused() {
    let (group, workspace, name) = ("rg", "wks", "ci-1");
    for bad in ["", "a b", "a/b", "a+b", "..\n", "größe", "a\"b", "a$b", &"a".repeat(91)] {
        assert_eq!(Identity::new(bad, workspace, name).unwrap_err().code, Code::BadIdentity, "{bad}");
    }
    for bad in ["", "ws", "a.b", "w s1", "ws/1", &"w".repeat(34)] {
        assert_eq!(Identity::new(group, bad, name).unwrap_err().code, Code::BadIdentity, "{bad}");
    }
    for bad in ["", "ci", "1ci", "-ci", "ci-", "c_i", "c.i", "..", "ws/ci-1", &"c".repeat(25)] {
        assert_eq!(Identity::new(group, workspace, bad).unwrap_err().code, Code::BadIdentity, "{bad}");
    }
    let error = Identity::new(group, workspace, "1ci").unwrap_err();
    assert_eq!(error.to_string(), "bad instance name: `1ci`");
    assert!(error.hint().starts_with("give a valid one with `--name`: 3 to 24 of letters"), "{}", error.hint());
}

#[test]
fn case_makes_no_difference_and_stays_as_given() {
    let one = Identity::new("RG-Prod", "Ws1", "CI-1").unwrap();
    let other = Identity::new("rg-prod", "ws1", "ci-1").unwrap();
    assert_eq!(one, other);
    assert_eq!(one.key(), "rg-prod+ws1+ci-1");
    assert_eq!(one.key(), other.key());
    assert_eq!(one.to_string(), "RG-Prod/Ws1/CI-1");
    assert_ne!(one, Identity::new("rg-prod", "ws1", "ci-2").unwrap());
}

#[test]
fn an_identity_is_checked_again_when_it_is_read_back() {
    let identity = Identity::new("rg", "wks", "ci-1").unwrap();
    let text = r#"{"resourceGroup":"rg","workspace":"wks","name":"ci-1"}"#;
    assert_eq!(serde_json::to_string(&identity).unwrap(), text);
    assert_eq!(serde_json::from_str::<Identity>(text).unwrap(), identity);
    assert!(serde_json::from_str::<Identity>(&text.replace("ci-1", "../x")).is_err());
}
