//! What the caller, the environment and the config file say, in that order (CONTRACT 2).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    error::{Code, Error, Result},
    record::redaction::Redaction,
    request::{PartialIdentity, is_zero, parse_duration},
};

/// Where the package keeps the config file.
pub const CONFIG: &str = "/etc/ci-setup-agent/config.toml";
/// Where the state directory is, unless told otherwise.
pub const STATE: &str = "/var/lib/ci-setup-agent";

/// Everything that is settled before a request is read.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From options and their environment variables.
    pub identity: PartialIdentity,
    /// From the config file; outranked by the request.
    pub configured_identity: PartialIdentity,
    /// The instance's ordinary user, where somebody named it.
    pub user: Option<String>,
    /// The share, where somebody named it.
    pub share: Option<PathBuf>,
    /// The state directory.
    pub state: PathBuf,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// How long a script is looked for on a share that is late.
    pub share_wait: Duration,
    /// How long the end waits for the mirror.
    pub flush_wait: Duration,
    /// What becomes of processes that a script leaves behind.
    pub leftovers: Leftovers,
    /// The most bytes kept of an output; 0 means all.
    pub output_limit: u64,
    /// The most bytes that all runs may take on the local disk.
    pub state_limit: u64,
    /// How steps are recorded.
    pub steps: StepsMode,
    /// `[environment]` of the config file.
    pub environment: BTreeMap<String, String>,
    /// What the share may see.
    pub redaction: Redaction,
}

/// How the top-level commands of a script are recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepsMode {
    /// From outside, where that is possible; else, in a rehearsal, by a hook inside bash.
    Auto,
    /// By a hook inside bash, which knows less, and which a script that looks for it finds.
    Hook,
    /// Not at all.
    Off,
}

/// What becomes of processes that a script leaves behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leftovers {
    /// They live on, and what they write is recorded.
    Keep,
    /// They are ended as at a timeout, but with at most 0.3 s of grace.
    Kill,
}

impl Leftovers {
    /// As people write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Kill => "kill",
        }
    }
}

/// What options and environment may settle; the rest is up to the config file and the defaults.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Resource group, workspace and name.
    pub identity: PartialIdentity,
    /// `--user`.
    pub user: Option<String>,
    /// `--share`.
    pub share: Option<PathBuf>,
    /// `--state`.
    pub state: Option<PathBuf>,
    /// `--grace`.
    pub grace: Option<Duration>,
    /// `--share-wait`.
    pub share_wait: Option<Duration>,
    /// `--flush-wait`.
    pub flush_wait: Option<Duration>,
    /// `--leftovers`.
    pub leftovers: Option<Leftovers>,
    /// `--output-limit`.
    pub output_limit: Option<u64>,
    /// `--steps`.
    pub steps: Option<StepsMode>,
}

/// The config file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    resource_group: Option<String>,
    workspace: Option<String>,
    name: Option<String>,
    user: Option<String>,
    share: Option<PathBuf>,
    state: Option<PathBuf>,
    #[serde(deserialize_with = "text_or_number")]
    grace: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    share_wait: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    flush_wait: Option<String>,
    leftovers: Option<Leftovers>,
    #[serde(deserialize_with = "text_or_number")]
    output_limit: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    state_limit: Option<String>,
    steps: Option<StepsMode>,
    environment: BTreeMap<String, String>,
    mirror: MirrorConfig,
}

/// `5` is as good as `"5"` where a time or a size is meant.
fn text_or_number<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "this takes a text or a number")]
    enum Value {
        Text(String),
        Whole(i64),
        Fraction(f64),
    }
    Ok(Some(match Value::deserialize(from)? {
        Value::Text(text) => text,
        Value::Whole(number) => number.to_string(),
        Value::Fraction(number) => number.to_string(),
    }))
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct MirrorConfig {
    script: bool,
    arguments: bool,
}

impl Default for MirrorConfig {
    fn default() -> Self {
        Self { script: true, arguments: true }
    }
}

impl Settings {
    /// Settles what is given against the config file and the defaults.
    ///
    /// # Errors
    /// `bad-config` where a value of the config file does not parse.
    pub fn new(given: Given, config: Config) -> Result<Self> {
        let duration = |given: Option<Duration>, key: &str, text: Option<&str>, default: u64| match (given, text) {
            (Some(given), _) => Ok(given),
            (None, Some(text)) => wait(text).map_err(|error| bad_value(key, text, &error)),
            (None, None) => Ok(Duration::from_secs(default)),
        };
        let limit = |given: Option<u64>, key: &str, text: Option<&str>, default: u64| match (given, text) {
            (Some(given), _) => Ok(given),
            (None, Some(text)) => size(text).map_err(|error| bad_value(key, text, &error)),
            (None, None) => Ok(default),
        };
        // A key that is set to nothing says nothing, as with the identity.
        let folder = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        for (name, value) in &config.environment {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_name) {
                return Err(bad_value("environment", name, "name it with letters, digits and `_`, as a shell does"));
            }
            if value.contains('\0') {
                return Err(bad_value(&format!("environment.{name}"), value, "remove the NUL byte"));
            }
        }
        Ok(Self {
            identity: given.identity,
            configured_identity: PartialIdentity {
                resource_group: config.resource_group,
                workspace: config.workspace,
                name: config.name,
            },
            user: given.user.or(config.user.filter(|user| !user.is_empty())),
            // The agent's processes leave the caller's folder.
            share: given.share.or(folder(config.share)).map(absolute),
            state: absolute(given.state.or(folder(config.state)).unwrap_or_else(|| STATE.into())),
            grace: duration(given.grace, "grace", config.grace.as_deref(), 10)?,
            share_wait: duration(given.share_wait, "share-wait", config.share_wait.as_deref(), 120)?,
            flush_wait: duration(given.flush_wait, "flush-wait", config.flush_wait.as_deref(), 30)?,
            leftovers: given.leftovers.or(config.leftovers).unwrap_or(Leftovers::Keep),
            output_limit: limit(given.output_limit, "output-limit", config.output_limit.as_deref(), 1 << 30)?,
            state_limit: limit(None, "state-limit", config.state_limit.as_deref(), 4 << 30)?,
            steps: given.steps.or(config.steps).unwrap_or(StepsMode::Auto),
            environment: config.environment,
            redaction: Redaction { shows_script: config.mirror.script, shows_arguments: config.mirror.arguments },
        })
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

impl Config {
    /// Reads the config file; one that is not there says nothing.
    ///
    /// # Errors
    /// `writable-by-others`, `unknown-config-key`, `bad-config`.
    pub fn read(path: &Path) -> Result<Self> {
        let cannot = |error: io::Error| {
            let message = format!("cannot read config file `{}`", path.display());
            Error::new(Code::BadConfig, message, "make it a readable file, or remove it").because(error)
        };
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            // It may hold a password for a proxy. Who may not read it may still look at the share.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !nix::unistd::geteuid().is_root() => {
                return Ok(Self::default());
            }
            result => result.map_err(cannot)?,
        };
        trusted(&file, path)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(cannot)?;
        toml::from_str(&text).map_err(|error| Self::not_understood(path, &text, &error))
    }

    fn not_understood(path: &Path, text: &str, error: &toml::de::Error) -> Error {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        let message = error.message();
        let code = if message.starts_with("unknown field") { Code::UnknownConfigKey } else { Code::BadConfig };
        let hint = match message.split('`').nth(1).filter(|_| code == Code::UnknownConfigKey) {
            Some(key) => near_key(key, message),
            None => format!("correct line {line}; `man ci-setup-agent` lists the keys"),
        };
        let key = text.lines().nth(line - 1).and_then(|text| text.split_once('=')).map(|(key, _)| key.trim());
        let message = match (message.split_once(", expected "), key) {
            // The keys themselves are too many; a value's few words are all there is to say.
            (Some((what, expected)), Some(key)) if code == Code::BadConfig => {
                format!("`{key}`: {what}, not {expected}")
            }
            (Some((what, _)), _) => what.replace("unknown field", "unknown key"),
            (None, _) => message.to_owned(),
        };
        Error::new(code, format!("config file `{}`, line {line}: {message}", path.display()), hint)
    }
}

/// The nearest of the keys that serde's message lists.
fn near_key(key: &str, message: &str) -> String {
    let known = message.split('`').skip(3).step_by(2);
    let best = known.map(|known| (strsim::jaro_winkler(key, known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((score, known)) if score > 0.7 => format!("did you mean `{known}`?"),
        _ => "remove it; `man ci-setup-agent` lists the keys there are".into(),
    }
}

/// As root, only believes a file that nobody else may write, as sudo does with its own.
///
/// # Errors
/// `writable-by-others`.
pub fn trusted(file: &File, path: &Path) -> Result<()> {
    let Ok(found) = file.metadata() else { return Ok(()) };
    let is_root = nix::unistd::geteuid().is_root();
    let is_lasting = found.is_file() || found.file_type().is_fifo();
    if !is_root || !is_lasting || found.uid() == 0 && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Error::new(
        Code::WritableByOthers,
        format!("`{}` may be written by others than root", path.display()),
        format!("make it root's alone: `chown root {0} && chmod go-w {0}`", path.display()),
    ))
}

fn bad_value(key: &str, value: &str, why: &str) -> Error {
    Error::new(
        Code::BadConfig,
        format!("config file `{CONFIG}`: `{key}` cannot be `{}`", crate::error::one_line(value)),
        why.to_owned(),
    )
}

/// A time to wait, in the words of GNU `timeout`. `inf` is as long as it gets.
///
/// # Errors
/// What to write instead.
pub fn wait(text: &str) -> std::result::Result<Duration, String> {
    /// Far more than any machine lives, and far less than what clocks overflow at.
    const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    match parse_duration(text) {
        Ok(Some(duration)) => Ok(duration.min(FOREVER)),
        // For `timeout` no time means no limit; for a wait it means no wait.
        Ok(None) if is_zero(text) => Ok(Duration::ZERO),
        Ok(None) => Ok(FOREVER),
        Err(error) => Err(error.hint().to_owned()),
    }
}

/// A size in bytes: a whole number, then nothing or `K`, `M`, `G`, `T`, with `B`, `iB` or nothing behind;
/// all of them powers of 1024.
///
/// # Errors
/// What to write instead.
pub fn size(text: &str) -> std::result::Result<u64, String> {
    let wrong = || "write a whole number of bytes, or one with K, M, G or T, such as 512M or 1GiB".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = unit.trim_start().to_ascii_uppercase();
    let power = match unit.trim_end_matches('B').trim_end_matches('I') {
        "" if unit != "I" && unit != "IB" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << (10 * power)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::read(file.path())
    }

    #[test]
    fn sizes_are_powers_of_1024_in_the_usual_spellings() {
        for (text, bytes) in
            [("0", 0), ("512", 512), ("1K", 1 << 10), ("1GiB", 1 << 30), ("2 mb", 2 << 20), ("1t", 1 << 40), ("5B", 5)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1", "1.5G", "1X", "1iB", "99999999999T"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_time_to_wait_is_no_wait() {
        for text in ["0", "0.0m", "0x0", "0e5d", "-0"] {
            assert_eq!(wait(text), Ok(Duration::ZERO), "{text}");
        }
        assert!(wait("1e400").unwrap() > Duration::from_secs(1 << 30));
        assert_eq!(wait("1.5m"), Ok(Duration::from_secs(90)));
        assert!(wait("inf").unwrap() > Duration::from_secs(1 << 30));
        assert!(wait("PT5M").is_err());
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_one() {
        let error = config("user = \"x\"\nflush-wai = \"1s\"\n").unwrap_err();
        assert_eq!(error.code, Code::UnknownConfigKey);
        assert!(error.to_string().contains("line 2: unknown key `flush-wai`"), "{error}");
        assert_eq!(error.hint(), "did you mean `flush-wait`?");
    }

    #[test]
    fn options_outrank_the_config_file_and_it_outranks_the_defaults() {
        let config = config("grace = \"3s\"\nflush-wait = \"7\"\n[mirror]\nscript = false\n").unwrap();
        let given = Given { grace: Some(Duration::from_secs(1)), ..Given::default() };
        let settings = Settings::new(given, config).unwrap();
        assert_eq!(settings.grace, Duration::from_secs(1));
        assert_eq!(settings.flush_wait, Duration::from_secs(7));
        assert_eq!(settings.share_wait, Duration::from_secs(120));
        assert!(!settings.redaction.shows_script && settings.redaction.shows_arguments);
    }

    #[test]
    fn a_number_is_as_good_as_its_text() {
        let config = config("grace = 5\nflush-wait = 0.5\noutput-limit = 0\n").unwrap();
        let settings = Settings::new(Given::default(), config).unwrap();
        assert_eq!((settings.grace, settings.flush_wait), (Duration::from_secs(5), Duration::from_millis(500)));
        assert_eq!(settings.output_limit, 0);
    }

    #[test]
    fn a_key_that_is_set_to_nothing_says_nothing() {
        let config = config("user = \"\"\nshare = \"\"\nstate = \"\"\n").unwrap();
        let settings = Settings::new(Given::default(), config).unwrap();
        assert_eq!((settings.user, settings.share, settings.state), (None, None, STATE.into()));
    }

    #[test]
    fn a_bad_value_is_told_with_its_key() {
        let config = config("grace = \"PT5M\"\n").unwrap();
        let error = Settings::new(Given::default(), config).unwrap_err();
        assert_eq!(error.code, Code::BadConfig);
        assert!(error.to_string().contains("`grace`"), "{error}");
    }
}
