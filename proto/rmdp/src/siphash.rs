//! `SipHash-2-4` with a 128-bit result (Aumasson, Bernstein: "`SipHash`, a fast short-input PRF"), the datagram's tag.
//!
//! Own code because the XDP program needs it in pieces: it feeds the words that it loads from the packet in a loop that
//! the kernel's verifier can bound. The tests compare it with the authors' vectors and the `siphasher` crate.

/// The state between words.
#[derive(Clone, Copy)]
pub struct SipHash {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl SipHash {
    /// Begins with a key: its first and last eight bytes as little-endian numbers.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "eBPF functions cannot take or return the state")]
    pub const fn new(k0: u64, k1: u64) -> Self {
        Self {
            v0: k0 ^ 0x736f_6d65_7073_6575,
            v1: k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            v2: k0 ^ 0x6c79_6765_6e65_7261,
            v3: k1 ^ 0x7465_6462_7974_6573,
        }
    }

    /// Eight bytes of the message as a little-endian number.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "eBPF functions cannot take or return the state")]
    pub const fn word(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.round();
        self.v0 ^= word;
    }

    /// The last, incomplete word (zero to seven bytes, little-endian) and the length of the whole message in bytes;
    /// gives the first and last eight bytes of the tag as little-endian numbers.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "eBPF functions cannot take or return the state")]
    pub const fn finish(mut self, last: u64, length: u64) -> (u64, u64) {
        self.word(length << 56 | last);
        self.v2 ^= 0xee;
        self.rounds();
        let first = self.v0 ^ self.v1 ^ self.v2 ^ self.v3;
        self.v1 ^= 0xdd;
        self.rounds();
        (first, self.v0 ^ self.v1 ^ self.v2 ^ self.v3)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "eBPF functions cannot take or return the state")]
    const fn rounds(&mut self) {
        self.round();
        self.round();
        self.round();
        self.round();
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "eBPF functions cannot take or return the state")]
    const fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }
}

/// The 16-byte tag of a message.
pub fn tag(key: &[u8; 16], message: &[u8]) -> [u8; 16] {
    let (low, high) = key.split_at(8);
    let mut state = SipHash::new(little_endian(low), little_endian(high));
    let words = message.chunks_exact(8);
    let last = little_endian(words.remainder());
    for word in words {
        state.word(little_endian(word));
    }
    let (first, second) = state.finish(last, message.len() as u64);
    let mut tag = [0; 16];
    let (low, high) = tag.split_at_mut(8);
    low.copy_from_slice(&first.to_le_bytes());
    high.copy_from_slice(&second.to_le_bytes());
    tag
}

/// At most eight bytes; the rest counts as zero.
fn little_endian(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher;

    use proptest::prelude::*;
    use siphasher::sip128::{Hasher128, SipHasher24};

    use super::tag;

    #[test]
    fn the_authors_vectors() {
        // vectors_sip128 of https://github.com/veorq/SipHash: key 00 .. 0f, messages 00 .. of each length.
        let vectors = include_str!("../tests/data/siphash-2-4-128.txt");
        let key: [u8; 16] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        let message: [u8; 64] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        let mut count = 0;
        for (length, line) in vectors.lines().filter(|line| !line.starts_with('#')).enumerate() {
            let number = u128::from_be_bytes(tag(&key, &message[..length]));
            assert_eq!(std::format!("{number:032x}"), line, "message of {length} bytes");
            count += 1;
        }
        assert_eq!(count, 64);
    }

    proptest! {
        #[test]
        fn the_siphasher_crate_agrees(key: [u8; 16], message in prop::collection::vec(any::<u8>(), 0..1400)) {
            let mut theirs = SipHasher24::new_with_key(&key);
            theirs.write(&message);
            prop_assert_eq!(tag(&key, &message), theirs.finish128().as_bytes());
        }
    }
}
