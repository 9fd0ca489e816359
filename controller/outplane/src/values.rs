//! Numbers and origins of a switch's entries, for people.

use std::net::{Ipv4Addr, Ipv6Addr};

use outplane_compiler::state::Origin;
use outplane_p4runtime::bytestring::max_value;
use outplane_p4runtime::entry::Match;

/// `rule web of FilterPolicy/servers`; what the entry is for where it serves all policies; nothing where it is not ours.
pub(crate) fn origin_text(metadata: &[u8]) -> String {
    match Origin::decode(metadata) {
        Some(origin) if origin.policy == Origin::COMMON => origin.rule,
        Some(origin) => format!("{}, rule {}", origin.policy, origin.rule),
        None => "of others".to_owned(),
    }
}

/// What a field of so many bits is matched against: addresses as addresses, a mask where it is no prefix.
pub(crate) fn value_text(matches: Match, bits: u32) -> String {
    let number = |value| number_text(value, bits);
    match matches {
        Match::Exact(value) | Match::Optional(value) => number(value),
        Match::Lpm { value, prefix_len } => format!("{}/{prefix_len}", number(value)),
        Match::Ternary { value, mask } if mask == max_value(bits) => number(value),
        Match::Ternary { value, mask } => match prefix_length(mask, bits) {
            Some(length) if bits == 32 || bits == 128 => format!("{}/{length}", number(value)),
            _ => format!("{value:#x}/{mask:#x}"),
        },
        Match::Range { low, high } if low == high => number(low),
        Match::Range { low, high } => format!("{}-{}", number(low), number(high)),
    }
}

/// Up to 16 bits are counted, 32 and 128 are addresses in this program, 48 is a MAC address.
fn number_text(value: u128, bits: u32) -> String {
    match (bits, u32::try_from(value)) {
        (32, Ok(address)) => Ipv4Addr::from(address).to_string(),
        (128, _) => Ipv6Addr::from(value).to_string(),
        (48, _) => {
            value.to_be_bytes()[10..].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
        }
        (1..=16, _) => value.to_string(),
        _ => format!("{value:#x}"),
    }
}

/// The length of a mask that is a prefix.
fn prefix_length(mask: u128, bits: u32) -> Option<u32> {
    let ones = mask.count_ones();
    let prefix =
        if ones == 0 { 0 } else { max_value(bits) & !(max_value(bits).checked_shr(ones).unwrap_or(0)) };
    (prefix == mask).then_some(ones)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_what_they_are() {
        for (matches, bits, text) in [
            (Match::Ternary { value: 0x0a01_0000, mask: 0xffff_ff00 }, 32, "10.1.0.0/24"),
            (Match::Ternary { value: 0x0a01_0001, mask: 0xffff_ffff }, 32, "10.1.0.1"),
            (Match::Ternary { value: 0x0a00_0001, mask: 0xff00_00ff }, 32, "0xa000001/0xff0000ff"),
            (Match::Ternary { value: 0xfd << 120, mask: 0xff << 120 }, 128, "fd00::/8"),
            (Match::Ternary { value: 1, mask: u128::MAX }, 128, "::1"),
            (Match::Ternary { value: 2, mask: 0x12 }, 8, "0x2/0x12"),
            (Match::Ternary { value: 6, mask: 0xff }, 8, "6"),
            (Match::Exact(0x0200_0000_0210), 48, "02:00:00:00:02:10"),
            (Match::Range { low: 80, high: 80 }, 16, "80"),
            (Match::Range { low: 80, high: 90 }, 16, "80-90"),
        ] {
            assert_eq!(value_text(matches, bits), text);
        }
    }
}
