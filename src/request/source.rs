//! `scriptSource` and `scriptData`: a path on the share, or base64 of the script itself, and the
//! way out for everything that people send instead (CONTRACT 3.1).

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::SharePath;
use super::mistakes::{link, unevaluated};
use super::text::{reads_like_text, shown};
use crate::error::{Code, Error, Result};

/// The largest inline script, decoded: 1 MiB.
pub const MAX_INLINE_BYTES: usize = 1 << 20;

/// Where a script comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A file on the share.
    WorkspaceStorage(SharePath),
    /// The script itself: decoded, not empty, not yet known to be text.
    Inline(Vec<u8>),
}

/// What `scriptSource` names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    WorkspaceStorage,
    Inline,
}

impl Kind {
    /// The case of letters does not matter. `workspace` is the word of the older API versions.
    pub(super) fn named(source: Option<&str>) -> Option<Self> {
        let source = source?.to_ascii_lowercase();
        match source.as_str() {
            "workspacestorage" | "workspace" => Some(Self::WorkspaceStorage),
            "inline" => Some(Self::Inline),
            _ => None,
        }
    }
}

/// Reads the source of the script called `name`.
///
/// # Errors
/// `empty-script-data`, `unknown-script-source`, `bad-script-data`, `not-base64`, `too-large`,
/// `outside-share`, `not-sh`. Neither a script's text nor the signature of a link is repeated.
pub(super) fn read(source: Option<&str>, data: Option<&str>, name: &str, share: Option<&str>) -> Result<Source> {
    let Some(data) = data.filter(|data| !data.trim().is_empty()) else {
        return Err(Error::new(
            Code::EmptyScriptData,
            // The service's own words.
            format!("{name}.scriptData cannot be null or empty"),
            format!("give the script's path on the share, or its base64; for no script leave `{name}` out"),
        ));
    };
    let Some(kind) = Kind::named(source) else {
        return Err(unknown_source(source.unwrap_or_default(), data, name));
    };
    if let Some((what, hint)) = unevaluated(data).or_else(|| link(data)) {
        return Err(bad_data(name, &what, hint));
    }
    match kind {
        Kind::WorkspaceStorage => path(data, name, share).map(Source::WorkspaceStorage),
        Kind::Inline => inline(data, name).map(Source::Inline),
    }
}

fn bad_data(name: &str, what: &str, hint: &str) -> Error {
    Error::new(Code::BadScriptData, format!("`{name}.scriptData` {what}"), hint)
}

fn unknown_source(source: &str, data: &str, name: &str) -> Error {
    let is_link = link(source).is_some() || link(data).is_some();
    let hint = if is_link {
        "a link cannot be a source: put the script on the share and use `workspaceStorage`, or send it as base64 with `inline`".into()
    } else if source.is_empty() {
        let fitting = if data.trim().ends_with(".sh") { "workspaceStorage" } else { "inline" };
        format!("write `\"scriptSource\": \"{fitting}\"`; it is `workspaceStorage` or `inline`")
    } else {
        // The measure takes memory for each pair of characters: only for what can be near at all.
        let distance = |known: &&str| match source.len() {
            0..=32 => strsim::damerau_levenshtein(&known.to_lowercase(), &source.to_lowercase()),
            _ => usize::MAX,
        };
        match ["workspaceStorage", "workspace", "inline"].into_iter().min_by_key(distance) {
            Some(near) if distance(&near) <= 3 => format!("did you mean `{near}`?"),
            _ => "write `workspaceStorage` for a path on the share, `inline` for base64".into(),
        }
    };
    let message = match source {
        "" => format!("`{name}.scriptSource` is missing"),
        _ if link(source).is_some() => format!("unknown `{name}.scriptSource`: a link"),
        _ => format!("unknown `{name}.scriptSource`: {}", shown(source)),
    };
    Error::new(Code::UnknownScriptSource, message, hint)
}

fn path(data: &str, name: &str, share: Option<&str>) -> Result<SharePath> {
    const SEND_INLINE: &str = "write `\"scriptSource\": \"inline\"`, or put the script on the share and give its path";
    let trimmed = data.trim();
    if trimmed.starts_with("#!") || trimmed.contains('\n') && !is_base64(trimmed) {
        let hint =
            "put the script on the share and give its path, or send what `base64 -w0 setup.sh` prints with `inline`";
        return Err(bad_data(name, "is the script's text, not a path", hint));
    }
    if !trimmed.ends_with(".sh") && is_base64(trimmed) {
        return Err(bad_data(name, "is base64, not a path", SEND_INLINE));
    }
    SharePath::parse(data, share).map_err(|error| {
        let (message, hint) = (error.to_string(), error.hint().to_owned());
        Error::new(error.code, message.replacen("the path", &format!("`{name}.scriptData`"), 1), hint)
    })
}

/// Base64 of what reads like a script. A path such as `Users/admin/setup` is in the alphabet too.
fn is_base64(data: &str) -> bool {
    decode(data).is_some_and(|bytes| {
        reads_like_text(&bytes) && (bytes.starts_with(b"#!") || bytes.iter().any(|byte| b" \n".contains(byte)))
    })
}

fn inline(data: &str, name: &str) -> Result<Vec<u8>> {
    const ENCODE: &str = "give what `base64 -w0 setup.sh` prints";
    let trimmed = data.trim();
    let Some(bytes) = decode(data) else {
        let is_word = !trimmed.contains(char::is_whitespace);
        return Err(if is_word && (trimmed.ends_with(".sh") || trimmed.starts_with(['/', '\\', '~', '.'])) {
            let hint = "write `\"scriptSource\": \"workspaceStorage\"` for a path on the share";
            bad_data(name, &format!("is a path, not base64: {}", shown(trimmed)), hint)
        } else if trimmed.starts_with("#!") || reads_like_script(trimmed) {
            bad_data(name, "is the script's text, not base64", ENCODE)
        } else {
            Error::new(Code::NotBase64, format!("`{name}.scriptData` is not base64{}", culprit(data)), ENCODE)
        });
    };
    if bytes.len() > MAX_INLINE_BYTES {
        return Err(Error::new(
            Code::TooLarge,
            format!("the inline script of `{name}` is {} bytes, more than {MAX_INLINE_BYTES}", bytes.len()),
            "put it on the share and give its path with `workspaceStorage`",
        ));
    }
    // `ls` and `apt-get install python3-venv` are in the alphabet, and decode to bytes that nobody wrote.
    let has_only_words = trimmed.chars().all(|c| c.is_ascii_lowercase() || matches!(c, ' ' | '\n' | '/' | '-' | '_'));
    if !reads_like_text(&bytes) && (has_only_words || trimmed.contains(' ') && reads_like_script(trimmed)) {
        return Err(bad_data(name, &format!("is plain text, not base64: {}", shown(trimmed)), ENCODE));
    }
    Ok(bytes)
}

/// Words with blanks or operators between them, and not base64 that was damaged.
fn reads_like_script(data: &str) -> bool {
    let longest = data.split_whitespace().map(str::len).max().unwrap_or(0);
    let has_blanks = data.contains(char::is_whitespace);
    has_blanks && longest < 64 || data.contains(['$', ';', '|', '&', '>', '"', '\''])
}

/// Base64 in the standard or the URL-safe alphabet (not both), white space anywhere, padding
/// optional. Bits beyond the last byte are not looked at, as with `base64 -d`.
fn decode(data: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let compact: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let alphabet = if compact.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    GeneralPurpose::new(&alphabet, config).decode(compact).ok()
}

/// Why it is not base64, as far as that can be told.
fn culprit(data: &str) -> String {
    let in_alphabet = |c: char| c.is_ascii_alphanumeric() || "+/-_=".contains(c) || c.is_ascii_whitespace();
    let digits = data.chars().filter(|c| !c.is_ascii_whitespace() && *c != '=').count();
    match data.chars().enumerate().find(|(_, c)| !in_alphabet(*c)) {
        Some((index, c)) => format!(": `{}` at character {}", c.escape_debug(), index + 1),
        None if data.contains(['+', '/']) && data.contains(['-', '_']) => {
            ": it mixes `+` or `/` with `-` or `_`".into()
        }
        None if digits % 4 == 1 => format!(": {digits} digits cannot be whole, was it cut off?"),
        None => ": wrong padding".into(),
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
