//! `scriptArguments` cut into words as a POSIX shell does it with quotes and backslashes, and with
//! nothing else (CONTRACT 3.2; POSIX shell 2.2 and 2.3): no expansion, no operators, no comments.
//!
//! Written here because the crates at hand read `#` as a comment and refuse a last backslash.

use crate::error::{Code, Error, Result};

/// Where the reader is in the text.
enum State {
    /// Between words.
    Blank,
    /// In a word, outside quotes.
    Word,
    /// After a backslash outside quotes; `true` if a word had begun before it.
    Escaped { in_word: bool },
    /// In `'…'`: every character stands for itself.
    Single,
    /// In `"…"`: a backslash before `$`, `` ` ``, `"`, `\` or a line end quotes it.
    Double,
    /// After a backslash in `"…"`.
    DoubleEscaped,
}

/// Cuts one string into words. Blanks are space, tab and line end; empty words in quotes are kept;
/// a backslash with a line end is nothing; a backslash at the very end stands for itself, as in
/// `bash -c`.
///
/// # Errors
/// `unclosed-quote` with the position of the quote in characters, `bad-arguments` for a NUL
/// character, which no argument can carry.
pub fn split(text: &str) -> Result<Vec<String>> {
    refuse_nul(text)?;
    let mut words = Vec::new();
    let mut word = String::new();
    let mut state = State::Blank;
    let mut quote_at = 0;
    for (index, c) in text.chars().enumerate() {
        state = match state {
            State::Blank | State::Word => match c {
                ' ' | '\t' | '\n' => {
                    if matches!(state, State::Word) {
                        words.push(std::mem::take(&mut word));
                    }
                    State::Blank
                }
                '\'' | '"' => {
                    quote_at = index + 1;
                    if c == '"' { State::Double } else { State::Single }
                }
                '\\' => State::Escaped { in_word: matches!(state, State::Word) },
                _ => {
                    word.push(c);
                    State::Word
                }
            },
            State::Escaped { in_word } if c == '\n' => {
                if in_word {
                    State::Word
                } else {
                    State::Blank
                }
            }
            State::Escaped { .. } => {
                word.push(c);
                State::Word
            }
            State::Single if c == '\'' => State::Word,
            State::Single => {
                word.push(c);
                State::Single
            }
            State::Double => match c {
                '"' => State::Word,
                '\\' => State::DoubleEscaped,
                _ => {
                    word.push(c);
                    State::Double
                }
            },
            State::DoubleEscaped => {
                match c {
                    '$' | '`' | '"' | '\\' => word.push(c),
                    '\n' => {}
                    _ => word.extend(['\\', c]),
                }
                State::Double
            }
        };
    }
    match state {
        State::Blank => {}
        State::Word => words.push(word),
        State::Escaped { .. } => {
            word.push('\\');
            words.push(word);
        }
        State::Single => return Err(unclosed('\'', quote_at)),
        State::Double | State::DoubleEscaped => return Err(unclosed('"', quote_at)),
    }
    Ok(words)
}

/// Refuses what `execve` cannot pass on.
pub(super) fn refuse_nul(text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::new(
            Code::BadArguments,
            "`scriptArguments` holds a NUL character",
            "take `\\u0000` out: an argument of a program cannot hold it",
        ));
    }
    Ok(())
}

fn unclosed(quote: char, position: usize) -> Error {
    let name = if quote == '"' { "double" } else { "single" };
    Error::new(
        Code::UnclosedQuote,
        format!("`scriptArguments` has a {name} quote at character {position} that is not closed"),
        format!("close it, write `\\{quote}` for the character itself, or give a JSON array of strings"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use super::super::oracle;
    use super::*;

    #[test]
    #[rustfmt::skip] // a table
    fn words_are_cut_at_blanks_and_joined_by_quotes() {
        for (text, expected) in [
            ("", &[][..]), ("  \t\n ", &[]), ("gpu", &["gpu"]), (" gpu  v2\t3\n4 ", &["gpu", "v2", "3", "4"]),
            ("'a b'", &["a b"]), (r#""a b""#, &["a b"]), (r"a\ b", &["a b"]), (r#"a"b c"'d e'f"#, &["ab cd ef"]),
            ("''", &[""]), (r#"a "" b"#, &["a", "", "b"]), ("''\"\"", &[""]), ("''a", &["a"]),
            (r#"'"' "'""#, &["\"", "'"]), (r"\' \", &["'", r"\"]), (r#"\""#, &["\""]),
            (r"'a\b'", &[r"a\b"]), (r"'a\'", &[r"a\"]), (r#""a\b""#, &[r"a\b"]), (r#""a\\b""#, &[r"a\b"]),
            (r#""\$x \`y \"z\'""#, &[r#"$x `y "z\'"#]), ("'a\nb' \"c\nd\"", &["a\nb", "c\nd"]),
            ("a\\\nb \\\n c", &["ab", "c"]), ("\"a\\\nb\"", &["ab"]), ("'a\\\nb'", &["a\\\nb"]), ("\\\n", &[]),
            (r"a\", &[r"a\"]), (r"\\", &[r"\"]), (r"C:\\dir C:\dir", &[r"C:\dir", "C:dir"]),
            ("größe 'ü ö'", &["größe", "ü ö"]), ("a\rb \u{b}\u{a0}", &["a\rb", "\u{b}\u{a0}"]),
        ] {
            assert_eq!(split(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    #[rustfmt::skip] // a table
    fn nothing_is_expanded_and_no_character_is_an_operator_or_a_comment() {
        for text in [
            "$HOME", "$(id)", "`id`", "*", "?", "[a-z]", "~", "~root", ";", "&&", "|", ">file", "<in", "(a)", "{a,b}", "!x",
            "a=b", "#comment", "a#b", "$'x", "2>&1", "%1", "$((1+1))", "${X}",
        ] {
            if text.contains('\'') { continue; }
            assert_eq!(split(text).unwrap(), [text]);
            assert_eq!(split(&format!("a {text} b")).unwrap(), ["a", text, "b"]);
            assert_eq!(split(&format!("\"{text}\" '{text}'")).unwrap(), [text, text]);
        }
        assert_eq!(split("echo # no comment").unwrap(), ["echo", "#", "no", "comment"]);
        assert_eq!(split("a;rm -rf /").unwrap(), ["a;rm", "-rf", "/"]);
        // `$'…'` is an expansion of some shells, not of this one.
        assert_eq!(split(r"$'a\n' $'b'").unwrap(), [r"$a\n", "$b"]);
    }

    #[test]
    #[rustfmt::skip] // a table
    fn an_unclosed_quote_is_refused_with_its_position() {
        for (text, message) in [
            ("'", "`scriptArguments` has a single quote at character 1 that is not closed"),
            ("it's", "`scriptArguments` has a single quote at character 3 that is not closed"),
            ("ü \"a", "`scriptArguments` has a double quote at character 3 that is not closed"),
            ("'a' \"b' c\\\"", "`scriptArguments` has a double quote at character 5 that is not closed"),
            ("\"a\\", "`scriptArguments` has a double quote at character 1 that is not closed"),
        ] {
            let error = split(text).unwrap_err();
            assert_eq!((error.code, error.to_string().as_str()), (Code::UnclosedQuote, message), "{text:?}");
        }
        assert!(split("it's").unwrap_err().hint().contains(r"write `\'`"));
    }

    #[test]
    fn a_nul_character_is_refused_even_in_quotes() {
        for text in ["\0", "a '\0'"] {
            assert_eq!(split(text).unwrap_err().code, Code::BadArguments);
        }
    }

    /// Texts of letters, blanks, quotes and backslashes: nothing that a shell would expand.
    fn quoted_texts() -> impl Strategy<Value = String> {
        prop_oneof!["[aé \t'\"\\\\]{0,12}", "[ab \n'\"\\\\,/.:@%+_-]{0,20}"]
    }

    /// NUL-terminated words, or `None` where bash finds a syntax error.
    fn bash(text: &str) -> Option<Vec<String>> {
        // In an array assignment a line end separates words, as it does for us.
        let program = format!("words=( {text}\n)\n[ ${{#words[@]}} = 0 ] || printf '%s\\0' \"${{words[@]}}\"");
        let output = oracle::run("bash", &["--norc", "-c", &program], b"");
        output.status.success().then(|| {
            let text = String::from_utf8(output.stdout).unwrap();
            text.split_terminator('\0').map(Into::into).collect()
        })
    }

    #[test]
    fn bash_agrees_on_words_and_on_unclosed_quotes() {
        let config = ProptestConfig { cases: 600, ..ProptestConfig::default() };
        TestRunner::new(config)
            .run(&quoted_texts(), |text| {
                // A last backslash would quote the oracle's own line end.
                let last = text.len() - text.trim_end_matches('\\').len();
                prop_assume!(last % 2 == 0);
                prop_assert_eq!(split(&text).ok(), bash(&text), "{:?}", text);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn bash_agrees_that_a_last_backslash_stands_for_itself() {
        for text in [r"a\", r"a \", r"'a'\"] {
            let output = oracle::run("bash", &["--norc", "-c", &format!("printf '%s\\0' {text}")], b"");
            let words: Vec<_> =
                String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(String::from).collect();
            assert_eq!(split(text).unwrap(), words);
        }
    }

    #[test]
    fn words_quoted_by_bash_come_back_unchanged() {
        let words = proptest::collection::vec("[a-z $*#;'\"\\\\~é\n]{0,8}", 1..8);
        let config = ProptestConfig { cases: 100, ..ProptestConfig::default() };
        TestRunner::new(config)
            .run(&words, |words| {
                let program = "for word; do printf \"'%s' \" \"${word//\\'/\\'\\\\\\'\\'}\"; done";
                let mut arguments = vec!["--norc", "-c", program, "bash"];
                arguments.extend(words.iter().map(String::as_str));
                let quoted = String::from_utf8(oracle::run("bash", &arguments, b"").stdout).unwrap();
                prop_assert_eq!(split(&quoted).unwrap(), words, "{}", quoted);
                Ok(())
            })
            .unwrap();
    }

    /// Where `shlex` and POSIX agree: it keeps the backslash of `"\$"` and of a quoted line end, and
    /// refuses a last one.
    #[test]
    fn shlex_agrees_where_it_follows_posix() {
        let program = "import sys, json, shlex\ndef f(t):\n try: return shlex.split(t, comments=False)\n except ValueError: return None\nprint(json.dumps([f(t) for t in json.load(sys.stdin)]))";
        let texts = proptest::collection::vec("[ab \t\n'\"$#*;é]{0,8}(\\\\[ab'\"]|\\\\\\\\)?[a' \"]{0,6}", 500);
        let config = ProptestConfig { cases: 4, ..ProptestConfig::default() };
        TestRunner::new(config)
            .run(&texts, |texts| {
                let input = serde_json::to_vec(&texts).unwrap();
                let answers: Vec<Option<Vec<String>>> =
                    serde_json::from_slice(&oracle::python(program, &[], &input)).unwrap();
                for (text, answer) in texts.iter().zip(answers) {
                    prop_assert_eq!(split(text).ok(), answer, "{:?}", text);
                }
                Ok(())
            })
            .unwrap();
    }
}
