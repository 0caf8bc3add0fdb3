//! What to write for a duration in another notation: ISO 8601 (`PT20M`, the notation of the
//! instance's own `idleTimeBeforeShutdown`), `1m30s`, `20min`, `5M`, `1,5`, `5 m`, `00:15:00`.

use super::duration::parse_duration;

/// One number with its unit.
struct Part {
    number: String,
    unit: char,
}

/// A DURATION that GNU `timeout` accepts and that says what `text` seems to mean, in the smallest
/// unit that `text` names. `None` if it does not tell.
pub(super) fn suggest(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.trim_matches(['"', '\'']).trim();
    let parts = clock(text).or_else(|| iso8601(text)).or_else(|| words(text))?;
    let suggestion = in_one_unit(&parts)?;
    // Nobody means a number of more digits than that.
    (suggestion.len() <= 20 && parse_duration(&suggestion).is_ok()).then_some(suggestion)
}

/// `00:15:00`: hours, minutes, seconds.
fn clock(text: &str) -> Option<Vec<Part>> {
    let fields: Vec<&str> = text.split(':').collect();
    let [hours, minutes, seconds] = fields[..] else {
        return None;
    };
    let parts = [(hours, 'h'), (minutes, 'm'), (seconds, 's')];
    parts
        .into_iter()
        .filter(|(number, _)| number.bytes().any(|byte| byte != b'0'))
        .map(|(number, unit)| {
            number.bytes().all(|byte| byte.is_ascii_digit()).then(|| Part { number: number.into(), unit })
        })
        .collect()
}

/// `PT1H30M`, `P1D`, `P2W`. Years and months have no fixed length.
fn iso8601(text: &str) -> Option<Vec<Part>> {
    let rest = text.strip_prefix(['P', 'p'])?;
    let (date, time) = match rest.split_once(['T', 't']) {
        Some((date, time)) => (numbers(date)?, numbers(time)?),
        None => (numbers(rest)?, Vec::new()),
    };
    let mut parts = Vec::new();
    for (number, unit) in date {
        match unit.to_ascii_uppercase().as_str() {
            "W" => parts.push(Part { number: (number.parse::<f64>().ok()? * 7.0).to_string(), unit: 'd' }),
            "D" => parts.push(Part { number, unit: 'd' }),
            _ => return None,
        }
    }
    for (number, unit) in time {
        let unit = match unit.to_ascii_uppercase().as_str() {
            "H" => 'h',
            "M" => 'm',
            "S" => 's',
            _ => return None,
        };
        parts.push(Part { number, unit });
    }
    Some(parts)
}

/// `1m30s`, `1 h 30 min`, `20 minutes`, `5M`, `500ms`, `1,5`, `5 m`, `-5`.
fn words(text: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for (number, unit) in numbers(text)? {
        let unit = match unit.to_lowercase().trim_end_matches('.') {
            "" | "s" | "sec" | "secs" | "second" | "seconds" => 's',
            "m" | "min" | "mins" | "minute" | "minutes" => 'm',
            "h" | "hr" | "hrs" | "hour" | "hours" => 'h',
            "d" | "day" | "days" => 'd',
            "ms" | "msec" | "millisecond" | "milliseconds" => {
                let seconds = number.parse::<f64>().ok()? / 1000.0;
                parts.push(Part { number: seconds.to_string(), unit: 's' });
                continue;
            }
            _ => return None,
        };
        parts.push(Part { number, unit });
    }
    Some(parts)
}

/// Numbers, each with the letters after it. A comma is taken for a decimal point; signs and white
/// space are left out.
fn numbers(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim_start_matches(['-', '+']);
    while !rest.trim_start().is_empty() {
        rest = rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(rest.len());
        let number = rest[..end].replace(',', ".");
        number.parse::<f64>().ok()?;
        rest = rest[end..].trim_start();
        let end = rest.find(|c: char| !c.is_alphabetic() && c != '.').unwrap_or(rest.len());
        pairs.push((number, rest[..end].into()));
        rest = &rest[end..];
    }
    Some(pairs)
}

/// One part stays as it was written; several are added up in the smallest of their units.
fn in_one_unit(parts: &[Part]) -> Option<String> {
    if let [part] = parts {
        return Some(format!("{}{}", part.number, part.unit));
    }
    let seconds = |unit| match unit {
        'd' => 86400.0,
        'h' => 3600.0,
        'm' => 60.0,
        _ => 1.0,
    };
    let smallest = parts.iter().map(|part| part.unit).min_by(|a, b| f64::total_cmp(&seconds(*a), &seconds(*b)))?;
    let mut total = 0.0;
    for part in parts {
        total += part.number.parse::<f64>().ok()? * seconds(part.unit);
    }
    Some(format!("{}{smallest}", total / seconds(smallest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    #[rustfmt::skip] // a table
    fn other_notations_are_put_into_a_duration() {
        for (given, expected) in [
            ("PT20M", "20m"), ("PT30M", "30m"), ("PT1H30M", "90m"), ("PT1M30S", "90s"), ("PT0.5S", "0.5s"),
            ("pt15m", "15m"), ("P1D", "1d"), ("P1DT12H", "36h"), ("P2W", "14d"), ("PT1,5M", "1.5m"),
            ("1m30s", "90s"), ("1h30m", "90m"), ("1 h 30 min", "90m"), ("1h0.5m", "60.5m"),
            ("20min", "20m"), ("20 min.", "20m"), ("20 minutes", "20m"), ("2hours", "2h"), ("90sec", "90s"),
            ("5M", "5m"), ("5S", "5s"), ("1,5", "1.5s"), ("1,5m", "1.5m"), ("5 m", "5m"), ("5m ", "5m"),
            ("500ms", "0.5s"), ("00:15:00", "15m"), ("01:30:00", "90m"), ("00:01:30", "90s"),
            ("-5", "5s"), ("-5m", "5m"), ("\"20m\"", "20m"), ("'20m'", "20m"),
        ] {
            assert_eq!(suggest(given).as_deref(), Some(expected), "{given}");
        }
    }

    #[test]
    fn what_does_not_tell_its_meaning_gets_no_suggestion() {
        for given in
            ["", "nan", "P", "PT", "P1M", "P1Y", "10x", "soon", "1.5.5", "15:00", "::", "00:00:00", "[x]", "m", "e5"]
        {
            assert_eq!(suggest(given), None, "{given}");
        }
    }

    proptest! {
        #[test]
        fn every_suggestion_is_itself_accepted(text in "P?T?([0-9]{1,3}[.,]?[0-9]? ?(m|min|M|H|s|S|h|D|ms|:)? ?){1,4}") {
            if let Some(suggestion) = suggest(&text) {
                prop_assert!(parse_duration(&suggestion).is_ok(), "{} -> {}", text, suggestion);
            }
        }
    }
}
