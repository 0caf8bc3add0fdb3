//! A script is text; what tools commonly do to text is put right (CONTRACT 3.1).

use crate::{
    error::{Code, Error, Result},
    request::Warning,
};

/// A script's text as it runs.
#[derive(Debug)]
pub struct Text {
    /// The text.
    pub text: Vec<u8>,
    /// What was put right.
    pub repairs: Vec<Warning>,
}

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const BINARIES: [&[u8]; 5] = [b"\x7fELF", b"\x1f\x8b", b"PK\x03\x04", b"BZh9", b"\xfd7zXZ"];

/// Checks that `found` is the text of a script, and puts a byte order mark and CRLF line ends right.
///
/// # Errors
/// `empty-script`, `utf16`, `not-text`.
pub fn check(mut found: Vec<u8>, name: &str) -> Result<Text> {
    let mut repairs = Vec::new();
    if is_utf16(&found) {
        return Err(Error::new(
            Code::Utf16,
            format!("script `{name}` is UTF-16 text"),
            "save it as UTF-8: `iconv -f UTF-16 -t UTF-8 SCRIPT` prints it so",
        ));
    }
    if found.starts_with(UTF8_MARK) {
        found.drain(..UTF8_MARK.len());
        repairs.push(Warning::new(
            "byte-order-mark",
            format!("script `{name}` begins with a byte order mark; a copy without it runs"),
            "save it as UTF-8 without BOM",
        ));
    }
    if found.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::new(
            Code::EmptyScript,
            format!("script `{name}` is empty"),
            "put commands into it, or leave the script out of the request",
        ));
    }
    if let Some(what) = binary(&found) {
        return Err(Error::new(
            Code::NotText,
            format!("script `{name}` is not text: {what}"),
            "a setup script is a text file with shell commands; call programs from it instead",
        ));
    }
    if found.windows(2).any(|pair| pair == b"\r\n") {
        found = without_crlf(&found);
        repairs.push(Warning::new(
            "crlf",
            format!("script `{name}` has Windows line ends (CRLF); a copy with LF runs"),
            "save it with Unix line ends, as `dos2unix SCRIPT` does",
        ));
    }
    Ok(Text { text: found, repairs })
}

/// A byte order mark of UTF-16, or text in which every second byte of the beginning is NUL.
fn is_utf16(text: &[u8]) -> bool {
    let begin = &text[..text.len().min(64) & !1];
    let zeros = |offset| begin.iter().skip(offset).step_by(2).filter(|byte| **byte == 0).count();
    let half = begin.len() / 2;
    text.starts_with(b"\xff\xfe")
        || text.starts_with(b"\xfe\xff")
        || half >= 2 && (zeros(0) * 10 >= half * 9 && zeros(1) == 0 || zeros(1) * 10 >= half * 9 && zeros(0) == 0)
}

fn binary(text: &[u8]) -> Option<String> {
    if BINARIES.iter().any(|magic| text.starts_with(magic)) {
        return Some("it is a program or an archive".into());
    }
    let nul = text.iter().position(|byte| *byte == 0)?;
    let line = 1 + text[..nul].iter().filter(|byte| **byte == b'\n').count();
    Some(format!("it has a NUL byte in line {line}"))
}

fn without_crlf(text: &[u8]) -> Vec<u8> {
    let mut fixed = Vec::with_capacity(text.len());
    for (index, byte) in text.iter().enumerate() {
        let ends_line = matches!(text.get(index + 1), Some(b'\n') | None);
        if !(*byte == b'\r' && ends_line) {
            fixed.push(*byte);
        }
    }
    fixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &[u8]) -> Code {
        check(text.to_vec(), "x.sh").unwrap_err().code
    }

    fn repaired(text: &[u8]) -> (Vec<u8>, Vec<String>) {
        let done = check(text.to_vec(), "x.sh").unwrap();
        (done.text, done.repairs.into_iter().map(|warning| warning.code).collect())
    }

    #[test]
    fn nothing_white_space_or_a_lone_byte_order_mark_is_an_empty_script() {
        for text in [&b""[..], b"\n \t\r\n", UTF8_MARK] {
            assert_eq!(refused(text), Code::EmptyScript, "{text:?}");
        }
    }

    #[test]
    fn utf16_is_named_as_such_with_and_without_its_mark() {
        let plain = "#!/bin/bash\necho hi\n";
        let little: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = plain.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(refused(&little), Code::Utf16);
        assert_eq!(refused(&big), Code::Utf16);
        assert_eq!(refused(&[b"\xff\xfe", &little[..]].concat()), Code::Utf16);
    }

    #[test]
    fn binaries_and_nul_bytes_are_not_text() {
        assert_eq!(refused(b"\x7fELF\x02\x01\x01 and so on"), Code::NotText);
        assert_eq!(refused(b"\x1f\x8b\x08 zip"), Code::NotText);
        assert_eq!(refused(b"echo a\necho b \0 c\n"), Code::NotText);
    }

    #[test]
    fn mark_and_crlf_are_put_right_and_said() {
        let mark: Vec<String> = vec!["byte-order-mark".into()];
        assert_eq!(repaired(b"\xef\xbb\xbf#!/bin/sh\necho\n"), (b"#!/bin/sh\necho\n".to_vec(), mark));
        assert_eq!(repaired(b"a\r\nb\r\nc\r"), (b"a\nb\nc".to_vec(), vec!["crlf".into()]));
    }

    #[test]
    fn other_bytes_stay_as_they_are() {
        for text in [&b"echo \xe4\xf6 # latin-1\n"[..], b"no last newline", b"printf 'a\rb'\n"] {
            assert_eq!(repaired(text), (text.to_vec(), vec![]));
        }
    }
}
