//! DURATION as GNU `timeout` reads it (CONTRACT 3.3): a floating-point number in the C locale, then
//! nothing (seconds) or one of `s`, `m`, `h`, `d`.
//!
//! Accepted and refused exactly as by `timeout` of coreutils 9.1, which is the oracle of the tests
//! below. One value differs on purpose: there `1e-400` underflows to 0 and so means "no limit"
//! (GNU bug 77535, since mended); here every positive time is at least 1 ns.

use std::fmt;
use std::time::Duration;

use super::instead;
use super::text::shown;
use crate::error::{Code, Error};

/// A text that GNU `timeout` refuses as a DURATION.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NotADuration {
    text: String,
}

impl NotADuration {
    /// What to write instead, one line: computed where the text tells what was meant.
    pub fn hint(&self) -> String {
        match instead::suggest(&self.text) {
            Some(duration) => format!("write `{duration}`"),
            None => "write a number and one of `s`, `m`, `h`, `d`, such as `90s` or `1.5h`; `0` is no limit".into(),
        }
    }

    /// As a refusal of the thing called `name`, such as `creationScript.timeout` or `--grace`.
    pub fn into_error(self, code: Code, name: &str) -> Error {
        let hint = self.hint();
        Error::new(code, format!("`{name}` is not a duration: {}", shown(&self.text)), hint)
    }
}

impl fmt::Display for NotADuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a duration: {} (hint: {})", shown(&self.text), self.hint())
    }
}

impl std::error::Error for NotADuration {}

/// The longest time that the kernel's timers hold (2^63 - 1 ns, 292 years). Beyond it is never.
const LONGEST: Duration = Duration::from_nanos(i64::MAX as u64);

/// Reads a DURATION: the time rounded to nanoseconds, at least 1 ns; `None` is no limit (`0`, `inf`,
/// and what is longer than any timer can hold, as with `timeout`).
pub fn parse_duration(text: &str) -> Result<Option<Duration>, NotADuration> {
    let refusal = || NotADuration { text: text.into() };
    let (number, suffix) = number(text).ok_or_else(refusal)?;
    let unit = match suffix {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(refusal()),
    };
    // `-0`, and what is so near to 0 that it rounds to it, is not negative to coreutils.
    if number < 0.0 {
        return Err(refusal());
    }
    Ok(if number == 0.0 {
        None
    } else {
        // Too large for a Duration, infinity included: never.
        Duration::try_from_secs_f64(number * unit)
            .ok()
            .map(|time| time.max(Duration::from_nanos(1)))
            .filter(|time| *time <= LONGEST)
    })
}

/// Whether a DURATION that means "no limit" to `timeout` is a written 0.
pub fn is_zero(text: &str) -> bool {
    number(text).is_some_and(|(number, _)| number == 0.0)
}

/// The number that `strtod` finds at the beginning, and what follows it. `nan` is none.
fn number(text: &str) -> Option<(f64, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let (sign, text) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let (magnitude, rest) = infinity(text).or_else(|| hexadecimal(text)).or_else(|| decimal(text))?;
    // A positive time that underflows would be 0, and 0 is "no limit".
    let (magnitude, is_zero) = magnitude;
    if magnitude == 0.0 && !is_zero && sign > 0.0 {
        return Some((f64::MIN_POSITIVE, rest));
    }
    Some((sign * magnitude, rest))
}

/// A rounded value, and whether it is 0 without rounding.
type Magnitude = (f64, bool);

fn infinity(text: &str) -> Option<(Magnitude, &str)> {
    ["infinity", "inf"].into_iter().find_map(|word| {
        let (head, rest) = text.split_at_checked(word.len())?;
        head.eq_ignore_ascii_case(word).then_some(((f64::INFINITY, false), rest))
    })
}

/// `12`, `1.5`, `5.`, `.5`, each with an optional exponent.
fn decimal(text: &str) -> Option<(Magnitude, &str)> {
    let (whole, fraction, rest) = digits(text, |digit| digit.is_ascii_digit())?;
    let rest = exponent(rest, ['e', 'E']).map_or(rest, |(_, rest)| rest);
    let literal = &text[..text.len() - rest.len()];
    let is_zero = whole.bytes().chain(fraction.bytes()).all(|digit| digit == b'0');
    let value = literal.parse().expect("Rust reads every decimal literal of strtod");
    Some(((value, is_zero), rest))
}

/// `0x10`, `0x.8p1`: the exponent is a power of two, in decimal digits.
fn hexadecimal(text: &str) -> Option<(Magnitude, &str)> {
    let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    let (whole, fraction, rest) = digits(text, |digit| digit.is_ascii_hexdigit())?;
    let (power, rest) = exponent(rest, ['p', 'P']).unwrap_or((0, rest));

    // The first 60 bits, then one that stands for all further ones: it only decides how to round.
    let (mut mantissa, mut scale, mut beyond) = (0_u64, power, false);
    for (digit, step) in whole.chars().map(|digit| (digit, 0)).chain(fraction.chars().map(|digit| (digit, -4))) {
        let value = u64::from(digit.to_digit(16).unwrap_or(0));
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | value;
            scale = scale.saturating_add(step);
        } else {
            beyond |= value != 0;
            scale = scale.saturating_add(step + 4);
        }
    }
    let value = (mantissa | u64::from(beyond)) as f64;
    // In three steps, none of which leaves the range of f64 before the last one does.
    let scale = scale.clamp(-2400, 2400) as i32;
    let third = scale / 3;
    let value = value * 2_f64.powi(third) * 2_f64.powi(third) * 2_f64.powi(scale - 2 * third);
    Some(((value, mantissa == 0), rest))
}

/// Digits with at most one point among them, at least one digit: before, after, and the rest.
fn digits(text: &str, is_digit: impl Fn(u8) -> bool) -> Option<(&str, &str, &str)> {
    let count = |text: &str| text.bytes().take_while(|byte| is_digit(*byte)).count();
    let (whole, rest) = text.split_at(count(text));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after) => after.split_at(count(after)),
        None => ("", rest),
    };
    (!whole.is_empty() || !fraction.is_empty()).then_some((whole, fraction, rest))
}

/// An exponent and the rest. `None` if the letter is not followed by a number: it is then not part
/// of the number, and refused as a suffix.
fn exponent(text: &str, letters: [char; 2]) -> Option<(i64, &str)> {
    let text = text.strip_prefix(letters)?;
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) if text.starts_with('-') => (-1, digits),
        Some(digits) => (1, digits),
        None => (1, text),
    };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = digits.split_at(count);
    if digits.is_empty() {
        return None;
    }
    // More digits than an i64 holds are far beyond any f64.
    Some((sign * digits.parse().unwrap_or(i64::MAX / 2), rest))
}

#[cfg(test)]
#[path = "duration_tests.rs"]
mod tests;
