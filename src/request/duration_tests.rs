use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

/// Whether the real `timeout` takes this as a DURATION. It refuses with 125; otherwise `true` ran,
/// or was cut short by a tiny one.
fn accepted_by_timeout(text: &str) -> bool {
    let status = Command::new("timeout")
        .args(["--", text, "true"])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("this test needs GNU timeout");
    status.code() != Some(125)
}

fn nanoseconds(nanoseconds: u64) -> Option<Duration> {
    Some(Duration::from_nanos(nanoseconds))
}

fn seconds(seconds: f64) -> Option<Duration> {
    Some(Duration::from_secs_f64(seconds))
}

#[test]
#[rustfmt::skip] // a table
fn accepted_durations_have_their_value_and_timeout_accepts_them_too() {
    for (text, expected) in [
        ("5", seconds(5.0)), (".5", seconds(0.5)), ("5.", seconds(5.0)), ("+5", seconds(5.0)), (" 5", seconds(5.0)),
        ("\t\n\u{b}\u{c}\r5", seconds(5.0)), ("007", seconds(7.0)), ("5s", seconds(5.0)), ("5m", seconds(300.0)),
        ("5h", seconds(18000.0)), ("5d", seconds(432_000.0)), ("1.5m", seconds(90.0)), ("0.0004d", seconds(34.56)),
        ("1e1", seconds(10.0)), ("1E1m", seconds(600.0)), ("1e+1", seconds(10.0)), ("1e-1", seconds(0.1)),
        ("1.1", nanoseconds(1_100_000_000)),
        // Hexadecimal: `d` is a digit there, and the exponent a power of two.
        ("0x10", seconds(16.0)), ("0X10", seconds(16.0)), ("0x.8p1", seconds(1.0)), ("0x1.", seconds(1.0)),
        ("0x1.8", seconds(1.5)), ("0x1d", seconds(29.0)), ("0x1p3d", seconds(691_200.0)), ("0x1s", seconds(1.0)),
        ("0x1P-1m", seconds(30.0)), ("0x1e5", seconds(485.0)), ("0x00000000000000000000001p+1", seconds(2.0)),
        ("0x10000000000000000p-64", seconds(1.0)), ("0x0.00000000000000000001p80", seconds(1.0)),
        // No limit.
        ("0", None), ("0m", None), ("00.000", None), ("-0", None), ("-0.0s", None), ("-0x0", None),
        ("0e99999", None), ("0x0p99999", None),
        // Never.
        ("inf", None), ("INF", None), ("+inf", None), ("Infinity", None), ("iNfInItYd", None), ("infs", None),
        ("1e400", None), ("1e99999999999999999999", None), ("0x1p5000", None), ("18446744073709551616", None),
        ("106751991167301d", None), ("9223372036.9", None),
        ("9223372036", Some(Duration::from_secs(9_223_372_036))),
        // Tiny, and yet not "no limit".
        ("1e-9", nanoseconds(1)), ("1e-320", nanoseconds(1)), ("1e-400", nanoseconds(1)), ("1e-99999999d", nanoseconds(1)),
        ("0x1p-2000", nanoseconds(1)), ("0x1p-99999999999999999999", nanoseconds(1)), ("0.4e-9", nanoseconds(1)),
        // Negative, but so little that it is 0 to `timeout`.
        ("-1e-400", None), ("-2e-324", None), ("-0x1p-1075", None),
    ] {
        assert_eq!(parse_duration(text), Ok(expected), "{text:?}");
        assert!(accepted_by_timeout(text), "{text:?}");
    }
}

#[test]
#[rustfmt::skip] // a table
fn refused_durations_are_refused_by_timeout_too() {
    for text in [
        "", " ", ".", "+", "-", "s", "m", ".s", "e5", ".e1", "-5", "-1e-320", "-0x1.8p-1075", "-inf", "+-5", "++5", "+ 5",
        "nan", "NAN", "-nan", "nan(1)", "nans", "infinit", "infi", "inf5", "infx", "infss", "5 ", "5 m", "5\n", "5M", "5S",
        "5D", "5ms", "5ss", "5min", "10x", "1f", "1L", "1,5", "1.5.5", "1_000", "1e", "1es", "1e+", "1e+s", "1e1.5",
        "0x", "0xs", "0x.", "0xg", "0xp1", "0x1p", "0x1pd", "0x1p+", "0x1p1.5", "0x1.8.1", "0b11", "1e-330x", "PT20M",
        "1m30s", "20min", "Nonem", "None", "５", "é", "5é", "ın", "\u{a0}5", "'5'", "0:15",
    ] {
        assert!(parse_duration(text).is_err(), "{text:?}");
        assert!(!accepted_by_timeout(text), "{text:?}");
    }
}

#[test]
fn a_refusal_names_the_thing_and_says_what_to_write_instead() {
    let error = parse_duration("PT20M").unwrap_err().into_error(Code::BadTimeout, "creationScript.timeout");
    assert_eq!(error.code, Code::BadTimeout);
    assert_eq!(error.to_string(), "`creationScript.timeout` is not a duration: `PT20M`");
    assert_eq!(error.hint(), "write `20m`");
    let error = parse_duration("soon").unwrap_err().into_error(Code::BadOption, "--grace");
    assert_eq!(error.code, Code::BadOption);
    assert_eq!(error.hint(), "write a number and one of `s`, `m`, `h`, `d`, such as `90s` or `1.5h`; `0` is no limit");
}

/// Texts near the border of the grammar: mostly made from its own tokens.
fn near_durations() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        3 => "[0-9]{1,4}",
        2 => "[smhd]",
        2 => Just(".".to_owned()),
        1 => "[eEpP][+-]?[0-9]{0,4}",
        1 => "0[xX][0-9a-fA-F]{0,3}",
        1 => "[+-]",
        1 => "[iI][nN][fF]([iI][nN][iI][tT][yY])?|nan|NaN",
        1 => "[ \t\n,_]",
        1 => "[a-zA-Z:é]",
    ];
    prop_oneof![
        proptest::collection::vec(token, 1..6).prop_map(|tokens| tokens.concat()),
        "[ \t]?[+-]?[0-9]{0,3}\\.?[0-9]{0,3}([eE][+-]?[0-9]{0,3})?[smhdx]?",
        "[+-]?0[xX][0-9a-f]{0,3}\\.?[0-9a-f]{0,3}([pP][+-]?[0-9]{0,4})?[smhd]?",
        "[+-]?(inf|INFINITY|infinit|nan)[smhd]?.?",
    ]
}

#[test]
fn timeout_agrees_on_what_a_duration_is() {
    let mut runner = TestRunner::new(ProptestConfig { cases: 1000, ..ProptestConfig::default() });
    runner
        .run(&near_durations(), |text| {
            prop_assume!(!text.contains('\0'));
            prop_assert_eq!(parse_duration(&text).is_ok(), accepted_by_timeout(&text), "{:?}", text);
            Ok(())
        })
        .unwrap();
}

/// `strtod`'s values by way of Python, which rounds correctly as the C library does.
#[test]
fn python_agrees_on_the_value_of_numbers() {
    let literal =
        prop_oneof!["[0-9]{1,6}(\\.[0-9]{0,6})?(e-?[0-3])?", "0x[0-9a-f]{1,18}(\\.[0-9a-f]{0,5})?(p-?[0-9]{1,2})?",];
    let program =
        "import sys\nfor t in sys.stdin.read().split():\n print(repr(float.fromhex(t) if 'x' in t else float(t)))";
    let config = ProptestConfig { cases: 4, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&proptest::collection::vec(literal, 500), |texts| {
            let output = super::super::oracle::python(program, &[], texts.join("\n").as_bytes());
            let values = String::from_utf8(output).unwrap();
            for (text, value) in texts.iter().zip(values.lines()) {
                let found = number(text).map(|(value, _)| value);
                prop_assert_eq!(found, Some(value.parse::<f64>().unwrap()), "{}", text);
            }
            prop_assert_eq!(texts.len(), values.lines().count());
            Ok(())
        })
        .unwrap();
}

/// The oracle's own clock: the time after which `timeout` ends `sleep`.
#[test]
fn timeout_waits_as_long_as_we_say() {
    for text in ["0x1p-2", "0.005m", "25e-2s", "0x.4", ".00008h"] {
        let limit = parse_duration(text).unwrap().unwrap();
        let start = std::time::Instant::now();
        let status = Command::new("timeout").args([text, "sleep", "5"]).status().unwrap();
        let elapsed = start.elapsed();
        assert_eq!(status.code(), Some(124), "{text}");
        // A busy machine is late, never early; a reading in the wrong unit would outlast `sleep`.
        assert!(elapsed >= limit, "{text}: {limit:?}, {elapsed:?}");
    }
}
