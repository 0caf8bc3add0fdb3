//! What people send as `scriptData` that is neither a path nor base64: expressions and links. Each
//! is told as what it is and the way out; the tests are those of `source`.

use super::text::shown;

/// An expression that a template or program should have evaluated.
pub(super) fn unevaluated(data: &str) -> Option<(String, &'static str)> {
    let data = data.trim();
    let calls = [
        "base64(",
        "loadTextContent(",
        "loadFileAsBase64(",
        "filebase64(",
        "base64encode(",
        "parameters(",
        "variables(",
    ];
    let is_call = calls.iter().any(|call| data.starts_with(call));
    let is_arm = data.starts_with('[') && data.ends_with(']') && data.contains('(') && !data.contains('\n');
    let is_terraform = data.starts_with("${") && data.ends_with('}');
    (is_call || is_arm || is_terraform).then(|| {
        (
            format!("is an expression that nobody evaluated: {}", shown(data)),
            "give its value; for an inline script that is what `base64 -w0 setup.sh` prints",
        )
    })
}

/// A URL, a SAS link, a UNC path of a file share, or a data URI. The part with a signature is not
/// repeated.
pub(super) fn link(text: &str) -> Option<(String, &'static str)> {
    let text = text.trim();
    let lower: String = text.chars().take(64).collect::<String>().to_ascii_lowercase();
    if lower.starts_with("data:") {
        return Some(("is a data URI".into(), "give only what follows the comma"));
    }
    let scheme = lower.split_once("://").map(|(scheme, _)| scheme);
    let is_url = scheme.is_some_and(|scheme| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    let host = text.trim_start_matches(['/', '\\']).split(['/', '\\']).next().unwrap_or_default();
    let is_host = [".core.windows.net", ".githubusercontent.com"].iter().any(|end| host.ends_with(end));
    // The path of a file on the share, as a link to it has it, with its signature.
    let is_signed = text.contains("sig=") && text.contains('?') && !text.contains(char::is_whitespace);
    (is_url || is_host || is_signed).then(|| {
        let address = text.split(['?', '#']).next().unwrap_or_default();
        // `user:token@host` is a secret as well.
        let address = match address.split_once("://") {
            Some((scheme, rest)) => match rest.rsplit_once('@') {
                Some((_, host)) => format!("{scheme}://{host}"),
                None => address.to_owned(),
            },
            None => address.to_owned(),
        };
        (
            format!("is a link: {}", shown(&address)),
            "nothing is downloaded: put the script on the share and give its path, or send its base64 with `inline`",
        )
    })
}
