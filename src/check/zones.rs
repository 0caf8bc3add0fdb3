//! Windows' names of time zones, which `schedules` use, each with its rule today in the notation of POSIX `TZ`.
//!
//! From Unicode's list of which zone a Windows name means, and the rules of that zone. Only times to come are
//! worked out, so no zone's past is kept here. Morocco's hour back in Ramadan cannot be written as such a rule.

/// A zone by its Windows name; letters' case does not matter to Windows.
pub fn rule(name: &str) -> Option<&'static str> {
    ZONES.iter().find(|(zone, _)| zone.eq_ignore_ascii_case(name)).map(|(_, rule)| *rule)
}

/// The known name that is nearest to an unknown one.
pub fn near(name: &str) -> Option<&'static str> {
    if let Some((_, windows)) = OTHER_NAMES.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)) {
        return Some(windows);
    }
    if name.len() > 60 {
        return None;
    }
    let nearness = |zone: &str| strsim::jaro_winkler(&zone.to_lowercase(), &name.to_lowercase());
    let near = ZONES.iter().map(|(zone, _)| *zone).max_by(|a, b| nearness(a).total_cmp(&nearness(b)))?;
    (nearness(near) > 0.85).then_some(near)
}

/// What people write instead: the IANA names and abbreviations seen most.
#[rustfmt::skip] // a table
const OTHER_NAMES: [(&str, &str); 30] = [
    ("GMT", "GMT Standard Time"), ("Etc/UTC", "UTC"), ("Z", "UTC"), ("Coordinated Universal Time", "UTC"),
    ("PST", "Pacific Standard Time"), ("PDT", "Pacific Standard Time"), ("America/Los_Angeles", "Pacific Standard Time"),
    ("MST", "Mountain Standard Time"), ("America/Denver", "Mountain Standard Time"),
    ("CST", "Central Standard Time"), ("America/Chicago", "Central Standard Time"),
    ("EST", "Eastern Standard Time"), ("EDT", "Eastern Standard Time"), ("America/New_York", "Eastern Standard Time"),
    ("CET", "W. Europe Standard Time"), ("Europe/Berlin", "W. Europe Standard Time"), ("Europe/Amsterdam", "W. Europe Standard Time"),
    ("Europe/Zurich", "W. Europe Standard Time"), ("Europe/Paris", "Romance Standard Time"), ("Europe/Madrid", "Romance Standard Time"),
    ("Europe/London", "GMT Standard Time"), ("Europe/Warsaw", "Central European Standard Time"), ("Europe/Moscow", "Russian Standard Time"),
    ("Asia/Kolkata", "India Standard Time"), ("IST", "India Standard Time"), ("Asia/Shanghai", "China Standard Time"),
    ("Asia/Tokyo", "Tokyo Standard Time"), ("Asia/Singapore", "Singapore Standard Time"), ("Australia/Sydney", "AUS Eastern Standard Time"),
    ("America/Sao_Paulo", "E. South America Standard Time"),
];

#[rustfmt::skip] // a table
const ZONES: [(&str, &str); 144] = [
    ("Afghanistan Standard Time", "<+0430>-4:30"),
    ("Alaskan Standard Time", "AKST9AKDT,M3.2.0,M11.1.0"),
    ("Alberta Standard Time", "MST7MDT,M3.2.0,M11.1.0"),
    ("Aleutian Standard Time", "HST10HDT,M3.2.0,M11.1.0"),
    ("Altai Standard Time", "<+07>-7"),
    ("Arab Standard Time", "<+03>-3"),
    ("Arabian Standard Time", "<+04>-4"),
    ("Arabic Standard Time", "<+03>-3"),
    ("Argentina Standard Time", "<-03>3"),
    ("Astrakhan Standard Time", "<+04>-4"),
    ("Atlantic Standard Time", "AST4ADT,M3.2.0,M11.1.0"),
    ("AUS Central Standard Time", "ACST-9:30"),
    ("Aus Central W. Standard Time", "<+0845>-8:45"),
    ("AUS Eastern Standard Time", "AEST-10AEDT,M10.1.0,M4.1.0/3"),
    ("Azerbaijan Standard Time", "<+04>-4"),
    ("Azores Standard Time", "<-01>1<+00>,M3.5.0/0,M10.5.0/1"),
    ("Bahia Standard Time", "<-03>3"),
    ("Bangladesh Standard Time", "<+06>-6"),
    ("Belarus Standard Time", "<+03>-3"),
    ("Bougainville Standard Time", "<+11>-11"),
    ("British Columbia Standard Time", "PST8PDT,M3.2.0,M11.1.0"),
    ("Canada Central Standard Time", "CST6"),
    ("Cape Verde Standard Time", "<-01>1"),
    ("Caucasus Standard Time", "<+04>-4"),
    ("Cen. Australia Standard Time", "ACST-9:30ACDT,M10.1.0,M4.1.0/3"),
    ("Central America Standard Time", "CST6"),
    ("Central Asia Standard Time", "<+06>-6"),
    ("Central Brazilian Standard Time", "<-04>4"),
    ("Central Europe Standard Time", "CET-1CEST,M3.5.0,M10.5.0/3"),
    ("Central European Standard Time", "CET-1CEST,M3.5.0,M10.5.0/3"),
    ("Central Pacific Standard Time", "<+11>-11"),
    ("Central Standard Time", "CST6CDT,M3.2.0,M11.1.0"),
    ("Central Standard Time (Mexico)", "CST6"),
    ("Chatham Islands Standard Time", "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45"),
    ("China Standard Time", "CST-8"),
    ("Cuba Standard Time", "CST5CDT,M3.2.0/0,M11.1.0/1"),
    ("Dateline Standard Time", "<-12>12"),
    ("E. Africa Standard Time", "EAT-3"),
    ("E. Australia Standard Time", "AEST-10"),
    ("E. Europe Standard Time", "EET-2EEST,M3.5.0,M10.5.0/3"),
    ("E. South America Standard Time", "<-03>3"),
    ("Easter Island Standard Time", "<-06>6<-05>,M9.1.6/22,M4.1.6/22"),
    ("Eastern Standard Time", "EST5EDT,M3.2.0,M11.1.0"),
    ("Eastern Standard Time (Mexico)", "EST5"),
    ("Egypt Standard Time", "EET-2EEST,M4.5.5/0,M10.5.4/24"),
    ("Ekaterinburg Standard Time", "<+05>-5"),
    ("Fiji Standard Time", "<+12>-12"),
    ("FLE Standard Time", "EET-2EEST,M3.5.0/3,M10.5.0/4"),
    ("Georgian Standard Time", "<+04>-4"),
    ("GMT Standard Time", "GMT0BST,M3.5.0/1,M10.5.0"),
    ("Greenland Standard Time", "<-02>2<-01>,M3.5.0/-1,M10.5.0/0"),
    ("Greenwich Standard Time", "GMT0"),
    ("GTB Standard Time", "EET-2EEST,M3.5.0/3,M10.5.0/4"),
    ("Haiti Standard Time", "EST5EDT,M3.2.0,M11.1.0"),
    ("Hawaiian Standard Time", "HST10"),
    ("India Standard Time", "IST-5:30"),
    ("Iran Standard Time", "<+0330>-3:30"),
    ("Israel Standard Time", "IST-2IDT,M3.4.4/26,M10.5.0"),
    ("Jordan Standard Time", "<+03>-3"),
    ("Kaliningrad Standard Time", "EET-2"),
    ("Kamchatka Standard Time", "<+12>-12"),
    ("Korea Standard Time", "KST-9"),
    ("Libya Standard Time", "EET-2"),
    ("Line Islands Standard Time", "<+14>-14"),
    ("Lord Howe Standard Time", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"),
    ("Magadan Standard Time", "<+11>-11"),
    ("Magallanes Standard Time", "<-03>3"),
    ("Manitoba Standard Time", "CST6CDT,M3.2.0,M11.1.0"),
    ("Marquesas Standard Time", "<-0930>9:30"),
    ("Mauritius Standard Time", "<+04>-4"),
    ("Mid-Atlantic Standard Time", "<-02>2"),
    ("Middle East Standard Time", "EET-2EEST,M3.5.0/0,M10.5.0/0"),
    ("Montevideo Standard Time", "<-03>3"),
    ("Morocco Standard Time", "<+01>-1"),
    ("Mountain Standard Time", "MST7MDT,M3.2.0,M11.1.0"),
    ("Mountain Standard Time (Mexico)", "MST7"),
    ("Myanmar Standard Time", "<+0630>-6:30"),
    ("N. Central Asia Standard Time", "<+07>-7"),
    ("Namibia Standard Time", "CAT-2"),
    ("Nepal Standard Time", "<+0545>-5:45"),
    ("New Zealand Standard Time", "NZST-12NZDT,M9.5.0,M4.1.0/3"),
    ("Newfoundland Standard Time", "NST3:30NDT,M3.2.0,M11.1.0"),
    ("Norfolk Standard Time", "<+11>-11<+12>,M10.1.0,M4.1.0/3"),
    ("North Asia East Standard Time", "<+08>-8"),
    ("North Asia Standard Time", "<+07>-7"),
    ("North Korea Standard Time", "KST-9"),
    ("Omsk Standard Time", "<+06>-6"),
    ("Pacific SA Standard Time", "<-04>4<-03>,M9.1.6/24,M4.1.6/24"),
    ("Pacific Standard Time", "PST8PDT,M3.2.0,M11.1.0"),
    ("Pacific Standard Time (Mexico)", "PST8PDT,M3.2.0,M11.1.0"),
    ("Pakistan Standard Time", "PKT-5"),
    ("Paraguay Standard Time", "<-03>3"),
    ("Qyzylorda Standard Time", "<+05>-5"),
    ("Romance Standard Time", "CET-1CEST,M3.5.0,M10.5.0/3"),
    ("Russia Time Zone 10", "<+11>-11"),
    ("Russia Time Zone 11", "<+12>-12"),
    ("Russia Time Zone 3", "<+04>-4"),
    ("Russian Standard Time", "MSK-3"),
    ("SA Eastern Standard Time", "<-03>3"),
    ("SA Pacific Standard Time", "<-05>5"),
    ("SA Western Standard Time", "<-04>4"),
    ("Saint Pierre Standard Time", "<-03>3<-02>,M3.2.0,M11.1.0"),
    ("Sakhalin Standard Time", "<+11>-11"),
    ("Samoa Standard Time", "<+13>-13"),
    ("Sao Tome Standard Time", "GMT0"),
    ("Saratov Standard Time", "<+04>-4"),
    ("SE Asia Standard Time", "<+07>-7"),
    ("Singapore Standard Time", "<+08>-8"),
    ("South Africa Standard Time", "SAST-2"),
    ("South Sudan Standard Time", "CAT-2"),
    ("Sri Lanka Standard Time", "<+0530>-5:30"),
    ("Sudan Standard Time", "CAT-2"),
    ("Syria Standard Time", "<+03>-3"),
    ("Taipei Standard Time", "CST-8"),
    ("Tasmania Standard Time", "AEST-10AEDT,M10.1.0,M4.1.0/3"),
    ("Tocantins Standard Time", "<-03>3"),
    ("Tokyo Standard Time", "JST-9"),
    ("Tomsk Standard Time", "<+07>-7"),
    ("Tonga Standard Time", "<+13>-13"),
    ("Transbaikal Standard Time", "<+09>-9"),
    ("Turkey Standard Time", "<+03>-3"),
    ("Turks And Caicos Standard Time", "EST5EDT,M3.2.0,M11.1.0"),
    ("Ulaanbaatar Standard Time", "<+08>-8"),
    ("US Eastern Standard Time", "EST5EDT,M3.2.0,M11.1.0"),
    ("US Mountain Standard Time", "MST7"),
    ("UTC", "UTC0"),
    ("UTC+12", "<+12>-12"),
    ("UTC+13", "<+13>-13"),
    ("UTC-02", "<-02>2"),
    ("UTC-08", "<-08>8"),
    ("UTC-09", "<-09>9"),
    ("UTC-11", "<-11>11"),
    ("Venezuela Standard Time", "<-04>4"),
    ("Vladivostok Standard Time", "<+10>-10"),
    ("Volgograd Standard Time", "MSK-3"),
    ("W. Australia Standard Time", "AWST-8"),
    ("W. Central Africa Standard Time", "WAT-1"),
    ("W. Europe Standard Time", "CET-1CEST,M3.5.0,M10.5.0/3"),
    ("W. Mongolia Standard Time", "<+07>-7"),
    ("West Asia Standard Time", "<+05>-5"),
    ("West Bank Standard Time", "EET-2EEST,M3.4.4/50,M10.4.4/50"),
    ("West Pacific Standard Time", "<+10>-10"),
    ("Yakutsk Standard Time", "<+09>-9"),
    ("Yukon Standard Time", "MST7"),
];

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn every_rule_is_one() {
        for (name, rule) in ZONES {
            assert!(TimeZone::posix(rule).is_ok(), "{name}");
        }
        for (_, name) in OTHER_NAMES {
            assert!(rule(name).is_some(), "{name}");
        }
    }

    #[test]
    fn other_names_lead_to_the_windows_name() {
        assert_eq!(near("europe/berlin"), Some("W. Europe Standard Time"));
        assert_eq!(near("Pacific Standart Time"), Some("Pacific Standard Time"));
        assert_eq!(near("nowhere"), None);
    }
}
