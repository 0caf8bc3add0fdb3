//! `idleTimeBeforeShutdown`: an ISO 8601 duration from 15 minutes to 3 days, unlike a script's timeout.

const SHORTEST: u64 = 15 * 60;
const LONGEST: u64 = 3 * 86400;

/// What is wrong with it, and the way out.
pub fn check(text: &str) -> Result<(), (String, String)> {
    let shown: String = text.chars().take(40).collect();
    let Some(seconds) = seconds(text) else {
        let hint = match crate::request::parse_duration(text) {
            Ok(Some(time)) => {
                format!("write `PT{}M`: here it is ISO 8601, unlike a script's `timeout`", time.as_secs().div_ceil(60))
            }
            _ => "write a time such as `PT30M` or `PT2H`".into(),
        };
        return Err((format!("`idleTimeBeforeShutdown` is no ISO 8601 duration: `{shown}`"), hint));
    };
    if !(SHORTEST..=LONGEST).contains(&seconds) {
        let message = format!("`idleTimeBeforeShutdown` is `{shown}`, and may be 15 minutes to 3 days");
        return Err((message, "write `PT15M` to `P3D`".into()));
    }
    Ok(())
}

/// `P1DT2H3M4S`, whole numbers, larger units first.
fn seconds(text: &str) -> Option<u64> {
    let (mut rest, mut total, mut in_time, mut last) = (text.strip_prefix('P')?, 0_u64, false, 0);
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T').filter(|time| !in_time && !time.is_empty()) {
            (rest, in_time) = (time, true);
            continue;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        let (rank, unit) = match (rest.as_bytes().get(digits)?, in_time) {
            (b'W', false) => (1, 7 * 86400),
            (b'D', false) => (2, 86400),
            (b'H', true) => (3, 3600),
            (b'M', true) => (4, 60),
            (b'S', true) => (5, 1),
            _ => return None,
        };
        if rank <= last {
            return None;
        }
        last = rank;
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    (last > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_iso_8601_between_15_minutes_and_3_days() {
        for good in ["PT15M", "PT30M", "PT2H", "P1DT12H", "P3D", "PT4320M"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, hint) in [
            ("30m", "PT30M"),
            ("1800", "PT30M"),
            ("PT14M", "PT15M"),
            ("P3DT1S", "PT15M"),
            ("P", "PT30M"),
            ("PT", "PT30M"),
            ("PT1M1H", "PT30M"),
            ("", "PT30M"),
            ("PT1.5H", "PT30M"),
            ("0", "PT30M"),
            ("P1M", "PT30M"),
        ] {
            assert!(check(bad).unwrap_err().1.contains(hint), "{bad}: {:?}", check(bad));
        }
    }
}
