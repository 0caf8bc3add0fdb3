//! `secret`: what stands in a script or in its arguments is readable for the whole workspace, on the share and on
//! the details page. No secret is repeated in a finding.

use super::{Notes, View};
use crate::check::script::launch::Launch;
use crate::check::script::model::Word;

/// The way out.
pub const HINT: &str = "everyone in the workspace can read it: fetch it from Key Vault in the script (`az login --identity`, `az keyvault secret show`), and revoke this one";

/// Tells secrets in words, assignments and heredocs.
pub fn in_script(view: &View<'_>, notes: &mut Notes<'_>) {
    let shell = view.shell;
    let place = |at| shell.text.place(at);
    for command in &shell.commands {
        for (name, value) in &command.assignments {
            if let Some(word) = value.as_ref().filter(|word| is_secret_name(name) && is_secret_value(word.text())) {
                notes.warn(
                    "secret",
                    place(word.range.start),
                    format!("`{name}` is set to what looks like a secret"),
                    HINT,
                );
            } else if let Some(what) = value.as_ref().and_then(|word| in_text(&word.raw)) {
                notes.warn("secret", place(command.at), format!("{what} stands in the script"), HINT);
            }
        }
        for word in &command.words {
            // A block's text is looked at as a shell of its own.
            let is_block = shell.blocks.iter().any(|block| block.text.place(0) == place(word.range.start + 1));
            if let Some(what) = in_text(&word.raw).filter(|_| !is_block) {
                notes.warn("secret", place(word.range.start), format!("{what} stands in the script"), HINT);
            }
        }
        if let Some((option, word)) = option_with_secret(&Launch::of(command)) {
            notes.warn(
                "secret",
                place(word.range.start),
                format!("`{option}` is given what looks like a secret"),
                HINT,
            );
        }
        for heredoc in &command.heredocs {
            let body = &shell.text.text[heredoc.body.clone()];
            let is_block = shell.blocks.iter().any(|block| block.text.place(0) == place(heredoc.body.start));
            if is_block {
                continue;
            }
            let mut at = heredoc.body.start;
            for line in body.split_inclusive('\n') {
                if let Some(what) = line.split_whitespace().find_map(in_text) {
                    notes.warn("secret", place(at), format!("{what} stands in the script"), HINT);
                }
                at += line.len();
            }
        }
    }
}

/// What kind of secret a text holds, if it is plainly one.
pub fn in_text(text: &str) -> Option<&'static str> {
    const TOKENS: [(&str, usize, &str); 13] = [
        ("ghp_", 30, "a GitHub token"),
        ("gho_", 30, "a GitHub token"),
        ("ghs_", 30, "a GitHub token"),
        ("github_pat_", 30, "a GitHub token"),
        ("glpat-", 16, "a GitLab token"),
        ("hf_", 30, "a Hugging Face token"),
        ("AKIA", 16, "an AWS key"),
        ("xoxb-", 20, "a Slack token"),
        ("sk-", 32, "an API key"),
        ("dapi", 32, "a Databricks token"),
        ("AccountKey=", 40, "a storage account's key"),
        ("SharedAccessKey=", 30, "a shared access key"),
        ("sig=", 30, "a link with a signature"),
    ];
    for (begin, length, what) in TOKENS {
        let is_token = text.match_indices(begin).any(|(at, _)| {
            let starts = !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let rest = &text[at + begin.len()..];
            let run = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"_-+/%=".contains(byte)).count();
            let run = &rest[..run];
            starts && run.len() >= length && run.bytes().any(|byte| byte.is_ascii_digit()) && !is_placeholder(run)
        });
        if is_token {
            return Some(what);
        }
    }
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '"', '\'', ' ', '?']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    let (_, password) = user.split_once(':')?;
    (!password.is_empty() && !is_placeholder(user)).then_some("a link with a password")
}

/// The first argument that an option says to be a secret.
fn option_with_secret<'a>(launch: &Launch<'a>) -> Option<(String, &'a Word)> {
    const NAMES: [&str; 9] = [
        "--password",
        "--token",
        "--secret",
        "--api-key",
        "--client-secret",
        "--account-key",
        "--sas-token",
        "--auth-token",
        "--apikey",
    ];
    let arguments = launch.arguments();
    let is_login = matches!(launch.name(), "az" | "docker") && launch.has(&["login"]);
    for (index, word) in arguments.iter().enumerate() {
        let text = word.text();
        let (option, value) = text.split_once('=').map_or((text, None), |(option, value)| (option, Some(value)));
        if !(NAMES.contains(&option) || is_login && option == "-p") {
            continue;
        }
        let holder = if value.is_some() { word } else { arguments.get(index + 1)? };
        let value = value.unwrap_or(holder.text());
        let is_plain = value.len() >= 6 && !value.starts_with('-') && !is_placeholder(value);
        if is_plain && in_text(&holder.raw).is_none() {
            return Some((option.to_owned(), holder));
        }
    }
    None
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["TOKEN", "PASSWORD", "PASSWD", "SECRET", "API_KEY", "APIKEY", "ACCESS_KEY", "ACCOUNT_KEY", "PAT"]
        .iter()
        .any(|end| name == *end || name.ends_with(&format!("_{end}")))
}

fn is_secret_value(value: &str) -> bool {
    value.len() >= 10
        && !value.contains([' ', '/', ':'])
        && value.bytes().any(|byte| byte.is_ascii_digit())
        && !is_placeholder(value)
}

/// What documentation writes where a secret goes.
fn is_placeholder(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    text.contains(['<', '$', '{', '*', '[', '\u{e000}'])
        || ["your", "xxxx", "...", "example", "changeme", "placeholder", "todo", "replace", "user:pass", "1234567"]
            .iter()
            .any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use crate::check::script::tests::{found, rules_in};

    // Put together here, so that no scanner takes this file for a leak.
    fn token() -> String {
        format!("gh{}_{}", 'p', "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6")
    }

    #[test]
    fn plain_secrets_are_told_and_not_repeated() {
        for text in [
            format!("git clone https://{}@github.com/a/b\n", token()),
            "git clone https://me:hunter22@github.com/a/b\n".to_owned(),
            "git clone \"https://me:hunter22@github.com/a/$PROJECT\"\n".to_owned(),
            format!("export GITHUB_TOKEN={}\n", token()),
            "WANDB_API_KEY=0a1b2c3d4e5f60718293\n".to_owned(),
            "docker login -u me -p s3cretpw registry.io\n".to_owned(),
            "tool --password=s3cretpw\n".to_owned(),
            format!("cat > ~/.netrc <<E\nmachine github.com password {}\nE\n", token()),
            format!("sudo -u azureuser bash <<'EOF'\ngit clone https://{}@github.com/a/b\nEOF\n", token()),
        ] {
            let found = found(&text);
            assert_eq!(found.iter().map(|finding| finding.rule.as_ref()).collect::<Vec<_>>(), ["secret"], "{text}");
            assert!(!found[0].message.contains("a1B2") && !found[0].message.contains("s3cret"));
        }
    }

    #[test]
    fn variables_and_placeholders_are_no_secrets() {
        for text in [
            "git clone https://$TOKEN@github.com/a/b\n",
            "git clone https://user:${PAT}@github.com/a/b\n",
            "git clone https://<token>@github.com/a/b\n",
            "git clone git@github.com:a/b.git\n",
            "TOKEN=$(az keyvault secret show --name x --query value -o tsv)\n",
            "export API_KEY=your-api-key-1\n",
            "TOKEN_FILE=/run/secrets/t0ken\n",
            "tool --token \"$1\"\n",
            "curl https://example.com/a?x=1@2\n",
            "pip install git+https://github.com/a/b@v1.0:sub\n",
        ] {
            assert!(rules_in(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}
