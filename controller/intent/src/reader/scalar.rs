//! What plain scalars say: YAML 1.2's core schema, and where YAML 1.1 says something else.
//!
//! kubectl, Helm and most of what prints or checks such files read YAML 1.1. A port `0120` is 80 for them and 120 in
//! YAML 1.2, so neither is what a file means: whoever asks for such a value gets both readings and an error.

use std::fmt;

/// What a plain scalar is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Plain {
    Null,
    Boolean(bool),
    /// None where it has more than 64 bits.
    Integer(Option<i64>),
    Float,
    Text,
}

/// What YAML 1.1 makes of a scalar that YAML 1.2 reads differently.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Old {
    Boolean(bool),
    Integer(i128),
    Float(f64),
    /// Nothing but text.
    Text,
}

impl fmt::Display for Old {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text => f.write_str("text"),
        }
    }
}

/// A plain scalar by YAML 1.2's core schema (section 10.3.2).
pub(crate) fn core(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Boolean(true),
        "false" | "False" | "FALSE" => return Plain::Boolean(false),
        _ => {}
    }
    let (_, unsigned) = sign(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Plain::Text;
    }
    let radix = |digits: &str, radix: u32| {
        is_number(digits, radix).then(|| Plain::Integer(i64::from_str_radix(digits, radix).ok()))
    };
    let based = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => radix(digits, 16),
        (_, Some(digits)) => radix(digits, 8),
        _ => None,
    };
    if let Some(number) = based {
        return number;
    }
    if is_number(unsigned, 10) {
        return Plain::Integer(text.parse().ok());
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF")
        || matches!(text, ".nan" | ".NaN" | ".NAN")
        || is_float(unsigned)
    {
        return Plain::Float;
    }
    Plain::Text
}

/// How YAML 1.1 reads a scalar, if that is not what YAML 1.2 reads; `core` is what that is.
///
/// YAML 1.1 is its type repository and what kubectl makes of it, which reads some numbers more (`0X1F`). `y` and `n`,
/// which only some take for booleans, are text, and so are moments.
pub(crate) fn old(text: &str, core: Plain) -> Option<Old> {
    if matches!(core, Plain::Null | Plain::Boolean(_)) {
        return None;
    }
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some(Old::Boolean(true)),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Some(Old::Boolean(false)),
        _ => {}
    }
    let (negative, unsigned) = sign(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let signed = |number: i128| if negative { -number } else { number };
    let plain: String = unsigned.chars().filter(|letter| *letter != '_').collect();
    if let Some(number) = whole(unsigned, &plain) {
        let number = signed(number);
        let same = matches!(core, Plain::Integer(Some(value)) if i128::from(value) == number)
            || matches!(core, Plain::Integer(None));
        return (!same).then_some(Old::Integer(number));
    }
    if let Some(number) = sexagesimal(&plain) {
        let number = if negative { -number } else { number };
        // Whole ones are integers: all of their digits are.
        #[expect(clippy::cast_possible_truncation, reason = "bounded in `sexagesimal`")]
        return Some(if plain.contains('.') { Old::Float(number) } else { Old::Integer(number as i128) });
    }
    match core {
        // `1_0.5`, which only YAML 1.1 reads as a number.
        Plain::Text if plain != unsigned && is_float(&plain) => {
            let number = plain.parse().unwrap_or(f64::NAN);
            Some(Old::Float(if negative { -number } else { number }))
        }
        // `08` is no octal number, and `0o17` no number at all.
        Plain::Integer(_) if has_leading_zero(unsigned) || unsigned.starts_with("0o") => Some(Old::Text),
        _ => None,
    }
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn has_leading_zero(unsigned: &str) -> bool {
    unsigned.len() > 1 && unsigned.starts_with('0') && unsigned.as_bytes()[1].is_ascii_digit()
}

fn is_number(digits: &str, radix: u32) -> bool {
    !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))
}

/// A whole number of YAML 1.1 without sign, `plain` being the same without underscores: binary, octal, decimal,
/// hexadecimal. Not those in base 60, and nothing that has more than 127 bits.
fn whole(unsigned: &str, plain: &str) -> Option<i128> {
    let based = |prefixes: [&str; 2], radix| {
        let digits = prefixes.iter().find_map(|prefix| plain.strip_prefix(prefix))?;
        is_number(digits, radix).then(|| i128::from_str_radix(digits, radix).ok()).flatten()
    };
    if let Some(number) = based(["0b", "0B"], 2).or_else(|| based(["0x", "0X"], 16)) {
        return Some(number);
    }
    // Only kubectl takes these, and the lower-case one as YAML 1.2 does.
    if unsigned.starts_with("0O") || unsigned.starts_with("0o") && plain != unsigned {
        return based(["0o", "0O"], 8);
    }
    if has_leading_zero(plain) || unsigned.starts_with("0_") && plain.len() > 1 {
        return is_number(plain, 8).then(|| i128::from_str_radix(plain, 8).ok()).flatten();
    }
    is_number(plain, 10).then(|| plain.parse().ok()).flatten()
}

/// `1:30` and `190:20:30.15`: each number behind a colon is below 60. The first of whole ones does not start with 0.
fn sexagesimal(plain: &str) -> Option<f64> {
    /// Longer ones are no number that anybody means.
    const LONGEST: usize = 30;
    let (whole, fraction) =
        plain.split_once('.').map_or((plain, None), |(whole, fraction)| (whole, Some(fraction)));
    let (first, rest) = whole.split_once(':')?;
    let good = plain.len() <= LONGEST
        && is_number(first, 10)
        && (fraction.is_some() || !first.starts_with('0'))
        && fraction.is_none_or(|fraction| fraction.is_empty() || is_number(fraction, 10));
    if !good {
        return None;
    }
    let mut number: f64 = first.parse().ok()?;
    for part in rest.split(':') {
        let value: u8 =
            if part.len() <= 2 && is_number(part, 10) { part.parse().ok()? } else { return None };
        if value >= 60 {
            return None;
        }
        number = number * 60.0 + f64::from(value);
    }
    let fraction = fraction.filter(|fraction| !fraction.is_empty());
    Some(number + fraction.map_or(0.0, |fraction| format!("0.{fraction}").parse().unwrap_or(0.0)))
}

/// `[0-9]* [.[0-9]*] [e[+-][0-9]+]`, with a digit before any exponent.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && whole.len() + fraction.len() > 0
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `PyYAML` 6 and kubectl 1.37 make of them; where only one of the two differs from YAML 1.2, that one's.
    #[test]
    fn what_yaml_1_1_reads_differently() {
        let cases: &[(&str, Plain, Old)] = &[
            ("0120", Plain::Integer(Some(120)), Old::Integer(80)),
            ("010", Plain::Integer(Some(10)), Old::Integer(8)),
            ("+0120", Plain::Integer(Some(120)), Old::Integer(80)),
            ("-010", Plain::Integer(Some(-10)), Old::Integer(-8)),
            ("0443", Plain::Integer(Some(443)), Old::Integer(291)),
            ("08", Plain::Integer(Some(8)), Old::Text),
            ("0o17", Plain::Integer(Some(15)), Old::Text),
            ("0O17", Plain::Text, Old::Integer(15)),
            ("0o1_7", Plain::Text, Old::Integer(15)),
            ("0777_7", Plain::Text, Old::Integer(4095)),
            ("01_0", Plain::Text, Old::Integer(8)),
            ("0b101", Plain::Text, Old::Integer(5)),
            ("0B1", Plain::Text, Old::Integer(1)),
            ("0b_1", Plain::Text, Old::Integer(1)),
            ("0X1F", Plain::Text, Old::Integer(31)),
            ("0x_1F", Plain::Text, Old::Integer(31)),
            ("-0x1F", Plain::Text, Old::Integer(-31)),
            ("1_000", Plain::Text, Old::Integer(1000)),
            ("1_", Plain::Text, Old::Integer(1)),
            ("0_1", Plain::Text, Old::Integer(1)),
            ("1:30", Plain::Text, Old::Integer(90)),
            ("-1:30", Plain::Text, Old::Integer(-90)),
            ("190:20:30", Plain::Text, Old::Integer(685_230)),
            ("10:00:00:00:00:01", Plain::Text, Old::Integer(7_776_000_001)),
            ("1:30.5", Plain::Text, Old::Float(90.5)),
            ("1_0.5", Plain::Text, Old::Float(10.5)),
            ("yes", Plain::Text, Old::Boolean(true)),
            ("No", Plain::Text, Old::Boolean(false)),
            ("ON", Plain::Text, Old::Boolean(true)),
            ("off", Plain::Text, Old::Boolean(false)),
        ];
        for (text, new, reading) in cases {
            assert_eq!(core(text), *new, "{text}");
            assert_eq!(old(text, *new), Some(*reading), "{text}");
        }
    }

    #[test]
    fn what_both_read_alike() {
        for text in [
            "0",
            "-0",
            "+0",
            "00",
            "007",
            "80",
            "+12",
            "0x1F",
            "65535",
            "1.5",
            "1.",
            ".5",
            "1e3",
            "1.5e+3",
            "010.5",
            "true",
            "False",
            "null",
            "~",
            "",
            "y",
            "n",
            "Y",
            "N",
            "tRue",
            "yEs",
            "http",
            "1:60",
            "08:30",
            "01:30",
            "1::2",
            "a:1",
            "0b2",
            "0o8",
            "0x",
            "0o",
            "0b",
            "_1",
            "2027-01-31",
            "2027-01-31T18:00:00Z",
            "1024-65535",
            "10.0.0.1",
            "10.0.0.0/8",
            "fd00::1",
            "02:00:00:00:00:01",
            "99999999999999999999",
            "0xffffffffffffffffff",
            ".inf",
            "-.inf",
            ".nan",
            "=",
        ] {
            assert_eq!(old(text, core(text)), None, "{text}");
        }
    }
}
