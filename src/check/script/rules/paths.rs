//! `relative-path`: a block of `sudo -i` begins in the user's home, not in the script's folder.

use super::{Notes, View};
use crate::check::script::launch::Launch;
use crate::check::script::model::{Command, Word};

/// Tells the first file that is named as if the block began in the script's folder.
pub fn relative_in_login_block(view: &View<'_>, notes: &mut Notes<'_>) {
    let Some((block, _)) = view.block().filter(|(block, _)| block.login && block.user.is_some()) else { return };
    let mut before: Vec<String> = Vec::new();
    for command in &view.shell.commands {
        let launch = Launch::of(command);
        if brings_unknown_files(&launch) {
            return;
        }
        if let Some(word) = file_read(&launch).filter(|word| is_relative(word)) {
            let name = word.unquoted();
            let last = name.trim_start_matches("./").rsplit('/').next().unwrap_or_default().to_owned();
            if !before.iter().any(|text| text.contains(&last)) {
                let user = block.user.as_deref().unwrap_or("azureuser");
                return notes.warn(
                    "relative-path",
                    view.shell.text.place(word.range.start),
                    format!("`{name}` is looked for in the home of `{user}`: `-i` puts the block there, not in the script's folder"),
                    "leave `-i` away (`sudo -u azureuser bash <<'EOF'` stays in the folder), or write the full path",
                );
            }
        }
        before.extend(mentions(command));
    }
}

/// From here on the folder, or what lies in it, is not known.
fn brings_unknown_files(launch: &Launch<'_>) -> bool {
    let clones = launch.name() == "git" && launch.has(&["clone", "pull", "checkout"]);
    clones
        || matches!(launch.name(), "cd" | "pushd" | "unzip" | "tar" | "rsync" | "cp" | "ln" | "mv" | "azcopy" | "eval")
}

/// The file that a command cannot do without.
fn file_read<'a>(launch: &Launch<'a>) -> Option<&'a Word> {
    let arguments = launch.arguments();
    let after = |options: &[&str]| {
        let at = arguments.iter().position(|word| options.contains(&word.text()))?;
        arguments.get(at + 1)
    };
    match launch.name() {
        // `activate` comes from the path.
        "source" | "." => arguments.first().filter(|word| word.text() != "activate"),
        "pip" | "pip3" => after(&["-r", "--requirement"]),
        "conda" | "mamba" => after(&["-f", "--file"]),
        "bash" | "sh" | "python" | "python3" | "Rscript" if launch.shell.is_none() => {
            let first = arguments.first()?;
            (!first.raw.starts_with('-')).then_some(first)
        }
        _ => launch.words.first().filter(|word| word.text().starts_with("./")),
    }
}

fn is_relative(word: &Word) -> bool {
    let text = word.text();
    !text.is_empty() && !text.starts_with(['/', '~', '-']) && !text.contains("://")
}

/// Every text that may be a file's name: the command may have made it.
fn mentions(command: &Command) -> Vec<String> {
    let targets = command.redirects.iter().filter_map(|redirect| redirect.target.as_ref());
    command.words.iter().chain(targets).map(Word::unquoted).collect()
}

#[cfg(test)]
mod tests {
    use crate::check::script::tests::{found, rules_in};

    #[test]
    fn a_file_beside_the_script_is_not_found_from_a_login_block() {
        for inside in
            ["pip install -r requirements.txt", "bash ./other.sh", "source settings.sh", "./tool", "python setup/x.py"]
        {
            let text = format!("sudo -u azureuser -i <<'EOF'\n{inside}\nEOF\n");
            assert_eq!(rules_in(&text), ["relative-path"], "{text}");
        }
        let text =
            "sudo -iu azureuser <<'EOF'\nsource /anaconda/etc/profile.d/conda.sh\nconda env create -f env.yml\nEOF\n";
        assert_eq!(rules_in(text), ["relative-path"]);
    }

    #[test]
    fn files_that_the_block_brings_or_names_in_full_are_found() {
        for text in [
            "sudo -u azureuser bash <<'EOF'\npip install -r requirements.txt\nEOF\n",
            "sudo -u azureuser -i <<'EOF'\npip install -r /tmp/requirements.txt\nEOF\n",
            "sudo -u azureuser -i <<'EOF'\ncd ~/cloudfiles/code\n./tool\nEOF\n",
            "sudo -u azureuser -i <<'EOF'\nset -e\nwget https://a/b/tool.sh\nbash tool.sh\nEOF\n",
            "sudo -u azureuser -i <<'EOF'\nset -e\ncurl https://a -o x.py\npython x.py\nEOF\n",
            "sudo -u azureuser -i <<'EOF'\necho numpy > r.txt\npip install -r r.txt\nEOF\n",
            "sudo -u azureuser -i <<'EOF'\npython -m ipykernel install --user\nEOF\n",
            "bash ./other.sh\n",
        ] {
            assert!(rules_in(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}
