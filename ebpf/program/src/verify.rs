//! The tag.

use aya_ebpf::programs::XdpContext;
use outplane_rmdp_wire::datagram::{MAX_LENGTH, TAG_LENGTH};
use outplane_rmdp_wire::siphash::SipHash;

use crate::abi::Active;
use crate::maps;
use crate::packet::{Datagram, fresh};

/// More words than a datagram without its tag has.
const WORDS: usize = (MAX_LENGTH - TAG_LENGTH) / 8 + 1;

/// Whether this is the network that is taken from.
#[inline(always)]
pub(crate) fn network(network: u64) -> bool {
    let Some(&index) = maps::ACTIVE.get(Active::Settings as u32) else { return false };
    // The mask is for the verifier.
    maps::SETTINGS.get(index & 1).is_some_and(|settings| settings.network == network)
}

/// The two halves of the key with this id.
#[inline(always)]
pub(crate) fn key(id: u32) -> Option<[u64; 2]> {
    let settings = match maps::ACTIVE.get(Active::Settings as u32) {
        // The mask is for the verifier.
        Some(&index) => maps::SETTINGS.get(index & 1)?,
        None => return None,
    };
    let [one, two] = &settings.keys;
    // Copies, not references: the verifier goes on with one state, not with one for each key.
    if one.used != 0 && one.id == id {
        Some(one.halves)
    } else if two.used != 0 && two.id == id {
        Some(two.halves)
    } else {
        None
    }
}

/// Whether the tag is right. Reads what lies in the frame, copies nothing.
#[inline(always)]
pub(crate) fn tag(context: &XdpContext, datagram: &Datagram, key: [u64; 2]) -> bool {
    let message = datagram.length - TAG_LENGTH;
    let mut state = SipHash::new(u64::from_le(key[0]), u64::from_le(key[1]));
    let end = context.data_end();
    let mut at = datagram.at(context, 0);
    let whole = message / 8;
    let mut words = 0;
    while words < WORDS {
        if words >= whole || at + 8 > end {
            break;
        }
        // SAFETY: eight bytes from here lie before the frame's end.
        state.word(u64::from_le(unsafe { (at as *const u64).read_unaligned() }));
        at += 8;
        words += 1;
    }
    // The message is longer than eight bytes.
    let tail = datagram.at(context, fresh(message - 8));
    if tail + 8 + TAG_LENGTH > end {
        return false;
    }
    let words = tail as *const u64;
    // SAFETY: 24 bytes from here lie before the frame's end.
    let [tail, first, second] = unsafe {
        [words.read_unaligned(), words.add(1).read_unaligned(), words.add(2).read_unaligned()]
            .map(u64::from_le)
    };
    let left = (message & 7) as u32;
    // The last zero to seven bytes are the upper ones of the eight before the tag.
    let last = if left == 0 { 0 } else { tail >> (64 - 8 * left) };
    let expected = state.finish(last, message as u64);
    // Both halves always, so that nothing is told by the time it takes.
    (expected.0 ^ first) | (expected.1 ^ second) == 0
}
