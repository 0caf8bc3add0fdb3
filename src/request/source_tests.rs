use base64::Engine;
use base64::engine::general_purpose;
use proptest::prelude::*;

use super::*;

const SCRIPT: &str = "#!/bin/bash\necho hi\n";

fn encoded(text: impl AsRef<[u8]>) -> String {
    general_purpose::STANDARD.encode(text)
}

fn read_data(source: &str, data: &str) -> Result<Source> {
    read(Some(source), Some(data), "creationScript", None)
}

fn refusal(source: &str, data: &str) -> (Code, String, String) {
    let error = read_data(source, data).expect_err(data);
    (error.code, error.to_string(), error.hint().to_owned())
}

#[test]
fn the_sources_words_are_known_in_any_case() {
    for source in ["workspaceStorage", "workspacestorage", "WORKSPACESTORAGE", "workspace", "Workspace"] {
        let Source::WorkspaceStorage(path) = read_data(source, "/Users/admin/x.sh").unwrap() else {
            panic!("{source}")
        };
        assert_eq!(path.as_str(), "Users/admin/x.sh");
    }
    for source in ["inline", "Inline", "INLINE"] {
        assert_eq!(read_data(source, &encoded(SCRIPT)).unwrap(), Source::Inline(SCRIPT.into()));
    }
}

#[test]
#[rustfmt::skip] // a table
fn an_unknown_source_is_refused_with_the_nearest_one() {
    for (source, data, hint) in [
        ("inlined", "bHM=", "did you mean `inline`?"),
        ("workspaceStorege", "x.sh", "did you mean `workspaceStorage`?"),
        ("workspaces", "x.sh", "did you mean `workspace`?"),
        (" inline", "bHM=", "did you mean `inline`?"),
        ("blob", "x.sh", "write `workspaceStorage` for a path on the share, `inline` for base64"),
        ("", "x.sh", "write `\"scriptSource\": \"workspaceStorage\"`; it is `workspaceStorage` or `inline`"),
        ("", "bHM=", "write `\"scriptSource\": \"inline\"`; it is `workspaceStorage` or `inline`"),
    ] {
        let (code, _, found) = refusal(source, data);
        assert_eq!((code, found.as_str()), (Code::UnknownScriptSource, hint), "{source}");
    }
    let error = read(None, Some("x.sh"), "startupScript", None).unwrap_err();
    assert_eq!(error.to_string(), "`startupScript.scriptSource` is missing");
    let (code, message, hint) = refusal("https://a.blob.core.windows.net/c/x.sh?sig=SECRET", "x.sh");
    assert_eq!(code, Code::UnknownScriptSource);
    assert!(!message.contains("SECRET") && hint.contains("a link cannot be a source"), "{message} {hint}");
}

#[test]
fn missing_data_is_refused_in_the_services_own_words() {
    for data in [None, Some(""), Some(" \n")] {
        for source in [None, Some("inline"), Some("nonsense")] {
            let error = read(source, data, "creationScript", None).unwrap_err();
            assert_eq!(error.code, Code::EmptyScriptData);
            assert_eq!(error.to_string(), "creationScript.scriptData cannot be null or empty");
        }
    }
}

#[test]
#[rustfmt::skip] // a table
fn base64_is_read_with_white_space_without_padding_and_in_either_alphabet() {
    let bytes: Vec<u8> = (0..=255).collect();
    let standard = encoded(&bytes);
    for data in [
        standard.clone(),
        standard.trim_end_matches('=').to_owned(),
        standard.replace('+', "-").replace('/', "_"),
        format!("\r\n {}\t{}\n", &standard[..7], &standard[7..]),
        standard.chars().flat_map(|c| [c, '\n']).collect(),
    ] {
        assert_eq!(read_data("inline", &data).unwrap(), Source::Inline(bytes.clone()), "{data}");
    }
    // `echo ü` and `ls`, with the bits beyond the last byte set.
    assert_eq!(read_data("inline", "bHN=").unwrap(), Source::Inline(b"ls".into()));
}

#[test]
fn an_inline_script_may_have_1_mib_and_no_byte_more() {
    let largest = vec![b'#'; MAX_INLINE_BYTES];
    assert_eq!(read_data("inline", &encoded(&largest)).unwrap(), Source::Inline(largest.clone()));
    let (code, message, _) = refusal("inline", &encoded([largest, vec![b'#']].concat()));
    assert_eq!(code, Code::TooLarge);
    assert_eq!(message, "the inline script of `creationScript` is 1048577 bytes, more than 1048576");
}

#[test]
#[rustfmt::skip] // a table
fn what_people_send_under_inline_instead_of_base64_gets_a_fitting_hint() {
    for (data, code, message, hint) in [
        ("Users/admin/x.sh", Code::BadScriptData, "is a path", "`\"scriptSource\": \"workspaceStorage\"`"),
        ("/home/azureuser/cloudfiles/code/x.sh", Code::BadScriptData, "is a path", "workspaceStorage"),
        ("#!/bin/bash\necho hi", Code::BadScriptData, "is the script's text", "base64 -w0"),
        ("echo hi; id", Code::BadScriptData, "is the script's text", "base64 -w0"),
        ("pip install torch==2.1", Code::BadScriptData, "is the script's text", "base64 -w0"),
        ("ls", Code::BadScriptData, "is plain text", "base64 -w0"),
        ("whoami", Code::BadScriptData, "is plain text", "base64 -w0"),
        ("echo s3cret-text", Code::BadScriptData, "is plain text", "base64 -w0"),
        ("apt-get install python3-venv", Code::BadScriptData, "is plain text", "base64 -w0"),
        ("reboot now", Code::BadScriptData, "is the script's text", "base64 -w0"),
        ("[base64(parameters('script'))]", Code::BadScriptData, "is an expression", "give its value"),
        ("[parameters('script')]", Code::BadScriptData, "is an expression", "give its value"),
        ("${base64encode(file(\"x.sh\"))}", Code::BadScriptData, "is an expression", "give its value"),
        ("loadFileAsBase64('x.sh')", Code::BadScriptData, "is an expression", "give its value"),
        ("https://a.blob.core.windows.net/c/x.sh?sv=1&sig=SECRET", Code::BadScriptData, "is a link: `https://a.blob.core.windows.net/c/x.sh`", "nothing is downloaded"),
        ("data:text/plain;base64,bHM=", Code::BadScriptData, "is a data URI", "after the comma|follows the comma"),
        ("IyEvYmlu*2Jhc2g=", Code::NotBase64, "is not base64: `*` at character 9", "base64 -w0"),
        ("abcde", Code::NotBase64, "is not base64: 5 digits cannot be whole, was it cut off?", "base64 -w0"),
        ("ab+/cd-_", Code::NotBase64, "is not base64: it mixes", "base64 -w0"),
        ("bHM==", Code::NotBase64, "is not base64: wrong padding", "base64 -w0"),
        ("=", Code::NotBase64, "is not base64: wrong padding", "base64 -w0"),
    ] {
        let (found, text, way_out) = refusal("inline", data);
        assert_eq!(found, code, "{data}: {text}");
        assert!(text.starts_with("`creationScript.scriptData` ") && text.contains(message), "{data}: {text}");
        assert!(hint.split('|').any(|hint| way_out.contains(hint)), "{data}: {way_out}");
    }
}

#[test]
#[rustfmt::skip] // a table
fn what_people_send_instead_of_a_path_gets_a_fitting_hint() {
    let base64 = encoded(SCRIPT);
    for (data, code, message, hint) in [
        (base64.as_str(), Code::BadScriptData, "is base64, not a path", "`\"scriptSource\": \"inline\"`"),
        (SCRIPT, Code::BadScriptData, "is the script's text", "put the script on the share"),
        ("echo hi\nid", Code::BadScriptData, "is the script's text", "put the script on the share"),
        ("https://raw.githubusercontent.com/o/r/main/x.sh", Code::BadScriptData, "is a link", "nothing is downloaded"),
        ("raw.githubusercontent.com/o/r/main/x.sh", Code::BadScriptData, "is a link", "nothing is downloaded"),
        (r"\\acc.file.core.windows.net\code\Users\x.sh", Code::BadScriptData, "is a link", "nothing is downloaded"),
        ("abfss://fs@acc.dfs.core.windows.net/x.sh", Code::BadScriptData, "is a link", "nothing is downloaded"),
        ("[parameters('path')]", Code::BadScriptData, "is an expression", "give its value"),
        ("../x.sh", Code::OutsideShare, "holds `..`", "from the top of the share"),
        ("Users/admin/setup", Code::NotSh, "does not end in `.sh`", "rename it"),
        ("x.sh gpu", Code::NotSh, "does not end in `.sh`", "scriptArguments"),
        ("bash x", Code::NotSh, "does not end in `.sh`", "rename it"),
    ] {
        let (found, text, way_out) = refusal("workspaceStorage", data);
        assert_eq!(found, code, "{data}: {text}");
        assert!(text.starts_with("`creationScript.scriptData` ") && text.contains(message), "{data}: {text}");
        assert!(way_out.contains(hint), "{data}: {way_out}");
    }
}

#[test]
fn no_secret_of_a_link_is_repeated() {
    for data in [
        "https://u:SECRET@github.com/o/r/x.sh",
        "HTTPS://a/x.sh?sig=SECRET",
        "Users/admin/x.sh?sv=1&sig=SECRET",
        "https://a/x.sh#SECRET",
        "a.blob.core.windows.net/x.sh?SECRET",
    ] {
        for source in ["inline", "workspaceStorage", "nonsense"] {
            let (_, message, hint) = refusal(source, data);
            assert!(!message.contains("SECRET") && !hint.contains("SECRET"), "{message} {hint}");
        }
    }
}

proptest! {
    #[test]
    fn every_script_comes_back_from_its_base64(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
        // Plain lower-case words are the one thing that is taken for text.
        let data = encoded(&bytes);
        prop_assume!(data.bytes().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'='));
        prop_assert_eq!(read_data("inline", &data).unwrap(), Source::Inline(bytes));
    }
}
