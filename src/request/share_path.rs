//! Where a script lies on the share (CONTRACT 3.1).

use std::fmt;

use super::text::shown;
use crate::error::{Code, Error, Result};

/// A script's path on the share: relative, `/` between its components, none of which is empty, `.`
/// or `..`; ends in `.sh`. Whether such a file exists, and where links lead, is for `script` to see.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SharePath(String);

impl SharePath {
    /// Reads a path as it may stand in `scriptData`: below the share, with or without a leading `/`,
    /// with `/` or `\`, or the full path under either spelling of the mount, or under `extra_root`
    /// (`--share DIR`) where one is given.
    ///
    /// # Errors
    /// `outside-share`, `not-sh`, `bad-script-data`; the messages begin with the path, not with the
    /// script's name.
    pub fn parse(text: &str, extra_root: Option<&str>) -> Result<Self> {
        if text.contains(|c: char| c.is_control()) {
            return Err(Error::new(
                Code::BadScriptData,
                format!("the path {} holds a control character", shown(text)),
                "write one path, such as `Users/admin/setup.sh`",
            ));
        }
        let is_absolute = text.starts_with(['/', '\\']);
        let components = components(text);
        if components.contains(&"..") {
            return Err(Error::new(
                Code::OutsideShare,
                format!("the path {} holds `..`", shown(text)),
                "write the path from the top of the share, such as `Users/admin/setup.sh`",
            ));
        }
        if let Some(drive) = components.first().filter(|first| first.len() == 2 && first.ends_with(':')) {
            return Err(Error::new(
                Code::OutsideShare,
                format!("the path {} is on drive `{drive}` of some computer", shown(text)),
                "put the script on the share and give its path there, such as `Users/admin/setup.sh`",
            ));
        }
        let below = extra_root
            .filter(|_| is_absolute)
            .and_then(|root| strip(&components, &self::components(root)))
            .or_else(|| is_absolute.then(|| below_mount(&components)).flatten())
            .unwrap_or(&components);
        let path = below.join("/");
        if !path.ends_with(".sh") {
            return Err(Error::new(
                Code::NotSh,
                format!("the path {} does not end in `.sh`", shown(text)),
                not_sh_hint(text, &path),
            ));
        }
        Ok(Self(path))
    }

    /// The path, relative to the top of the share.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SharePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn components(text: &str) -> Vec<&str> {
    text.split(['/', '\\']).filter(|component| !matches!(*component, "" | ".")).collect()
}

/// What is below the root, if the path is.
fn strip<'c, 't>(components: &'c [&'t str], root: &[&str]) -> Option<&'c [&'t str]> {
    let is_below = components.len() >= root.len() && components.iter().zip(root).all(|(a, b)| a == b);
    is_below.then(|| &components[root.len()..])
}

/// What is below either spelling of the mount (CONTRACT 1).
fn below_mount<'c, 't>(components: &'c [&'t str]) -> Option<&'c [&'t str]> {
    match components {
        ["mnt", "batch", "tasks", "shared", "LS_root", "mounts", "clusters", _, "code", below @ ..]
        | ["home", _, "cloudfiles", "code", below @ ..] => Some(below),
        _ => None,
    }
}

fn not_sh_hint(text: &str, path: &str) -> String {
    let trimmed = path.trim_end();
    if trimmed.ends_with(".sh") {
        "take away the blank at its end".into()
    } else if trimmed.to_ascii_lowercase().ends_with(".sh") {
        "rename the file: `.sh` is in lower case".into()
    } else if let Some(end) = text.find(".sh ") {
        format!("give {} as `scriptData` and the rest as `scriptArguments`", shown(&text[..end + 3]))
    } else {
        "a setup script is a file whose name ends in `.sh`: rename it".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOUNT: &str = "/mnt/batch/tasks/shared/LS_root/mounts/clusters/ci-1/code";

    #[test]
    #[rustfmt::skip] // a table
    fn every_spelling_of_a_path_leads_to_the_same_place() {
        for text in [
            "Users/admin/x.sh", "/Users/admin/x.sh", "//Users//admin/./x.sh", "./Users/admin/x.sh", r"Users\admin\x.sh",
            r"\Users\admin/x.sh", "Users/admin/x.sh/", "/home/azureuser/cloudfiles/code/Users/admin/x.sh",
            "/home/someone/cloudfiles/code//Users/admin/x.sh", r"\home\azureuser\cloudfiles\code\Users\admin\x.sh",
            "/mnt/batch/tasks/shared/LS_root/mounts/clusters/ci-1/code/Users/admin/x.sh",
            "/mnt/batch/./tasks//shared/LS_root/mounts/clusters/other/code/Users/admin/x.sh", "/srv/my share/Users/admin/x.sh",
        ] {
            assert_eq!(SharePath::parse(text, Some("/srv/my share/")).unwrap().as_str(), "Users/admin/x.sh", "{text}");
        }
    }

    #[test]
    #[rustfmt::skip] // a table
    fn what_only_resembles_the_mount_is_a_path_below_the_share() {
        for (text, expected) in [
            ("home/azureuser/cloudfiles/code/x.sh", "home/azureuser/cloudfiles/code/x.sh"),
            ("/home/azureuser/x.sh", "home/azureuser/x.sh"), ("/srv/share/x.sh", "srv/share/x.sh"),
            ("/mnt/batch/x.sh", "mnt/batch/x.sh"), ("x.sh", "x.sh"), (".sh", ".sh"), ("a b/ü…/..x.sh", "a b/ü…/..x.sh"),
            ("/home/a/b/cloudfiles/code/x.sh", "home/a/b/cloudfiles/code/x.sh"), ("...sh", "...sh"),
        ] {
            assert_eq!(SharePath::parse(text, None).unwrap().as_str(), expected);
        }
    }

    #[test]
    #[rustfmt::skip] // a table
    fn paths_that_name_no_script_of_the_share_are_refused() {
        for (text, code) in [
            ("../x.sh", Code::OutsideShare), ("Users/../../x.sh", Code::OutsideShare), ("Users/../x.sh", Code::OutsideShare),
            (r"Users\..\x.sh", Code::OutsideShare), (r"C:\Users\me\x.sh", Code::OutsideShare), ("d:/x.sh", Code::OutsideShare),
            ("", Code::NotSh), ("/", Code::NotSh), ("Users/admin", Code::NotSh), ("x.SH", Code::NotSh), ("x.sh ", Code::NotSh),
            ("x.py", Code::NotSh), ("x.sh.txt", Code::NotSh), ("xsh", Code::NotSh), (MOUNT, Code::NotSh), ("x.sh gpu", Code::NotSh),
            ("x\0.sh", Code::BadScriptData), ("x\n.sh", Code::BadScriptData),
        ] {
            assert_eq!(SharePath::parse(text, None).unwrap_err().code, code, "{text:?}");
        }
        assert_eq!(SharePath::parse(&format!("{MOUNT}/../x.sh"), None).unwrap_err().code, Code::OutsideShare);
    }

    #[test]
    #[rustfmt::skip] // a table
    fn the_hint_fits_the_ending() {
        for (text, hint) in [
            ("x.sh ", "take away the blank at its end"),
            ("x.SH", "rename the file: `.sh` is in lower case"),
            ("Users/x.sh gpu v2", "give `Users/x.sh` as `scriptData` and the rest as `scriptArguments`"),
            ("x.py", "a setup script is a file whose name ends in `.sh`: rename it"),
        ] {
            assert_eq!(SharePath::parse(text, None).unwrap_err().hint(), hint);
        }
    }

    proptest! {
        #[test]
        fn a_path_that_is_taken_is_normal_and_stays_as_it_is(text in r"[/\\]?([a.é ]{0,3}[/\\]){0,4}[a.]{0,3}(\.sh)?") {
            if let Ok(path) = SharePath::parse(&text, None) {
                prop_assert!(path.as_str().split('/').all(|component| !matches!(component, "" | "." | "..")));
                prop_assert!(path.as_str().ends_with(".sh"));
                prop_assert_eq!(SharePath::parse(path.as_str(), None).unwrap(), path);
            }
        }
    }
}
