//! What a machine leaves to an interface's hardware: checksums that are not computed yet, and segments that are still
//! one frame.
//!
//! The kernel says so before each frame that it hands over (`struct virtio_net_hdr`, the VIRTIO standard's section
//! 5.1.6), and takes the same words back with a frame to send. So a switch that passes them on leaves to the egress
//! interface what the ingress interface was spared, as a bridge in the kernel does.

use super::super::parse::{PROTO_SCTP, PROTO_TCP, PROTO_UDP, transport};

/// `struct virtio_net_hdr`, bytes.
pub const HEADER_BYTES: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;

/// Bytes that a VLAN tag takes in a frame.
pub const TAG_BYTES: usize = 4;

/// What is left to do on a frame. The default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    flags: u8,
    segmentation: u8,
    /// Bytes of the headers that each segment gets.
    header_bytes: u16,
    /// Payload bytes of a segment.
    segment_bytes: u16,
    /// Where the bytes start that the checksum is over, up to the frame's end.
    checksum_start: u16,
    /// Where the checksum goes, from `checksum_start`. What stands there is the pseudo header's part of it.
    checksum_offset: u16,
}

impl Offload {
    /// Reads the kernel's header; its numbers are in the machine's byte order.
    pub fn from_bytes(bytes: [u8; HEADER_BYTES]) -> Self {
        let [flags, segmentation, h0, h1, g0, g1, s0, s1, o0, o1] = bytes;
        Self {
            flags,
            segmentation,
            header_bytes: u16::from_ne_bytes([h0, h1]),
            segment_bytes: u16::from_ne_bytes([g0, g1]),
            checksum_start: u16::from_ne_bytes([s0, s1]),
            checksum_offset: u16::from_ne_bytes([o0, o1]),
        }
    }

    /// The kernel's header.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [h0, h1] = self.header_bytes.to_ne_bytes();
        let [g0, g1] = self.segment_bytes.to_ne_bytes();
        let [s0, s1] = self.checksum_start.to_ne_bytes();
        let [o0, o1] = self.checksum_offset.to_ne_bytes();
        [self.flags, self.segmentation, h0, h1, g0, g1, s0, s1, o0, o1]
    }

    /// The same for a frame that has got a tag in front of all that this speaks of.
    #[must_use]
    pub fn behind_a_tag(self) -> Self {
        let bytes = u16::try_from(TAG_BYTES).unwrap_or(0);
        let moved = |place: u16, moves: bool| if moves { place.saturating_add(bytes) } else { place };
        Self {
            header_bytes: moved(self.header_bytes, self.header_bytes != 0),
            checksum_start: moved(self.checksum_start, self.needs_checksum()),
            ..self
        }
    }

    /// Whether the frame's checksum is still to be computed.
    pub fn needs_checksum(self) -> bool {
        self.flags & NEEDS_CHECKSUM != 0
    }

    /// Computes the checksum of a frame that has just come in, unless it is TCP's or UDP's as the switch reads the frame:
    /// these stay to be done. The others are SCTP's, a CRC that the kernel's header has no word for, those inside of
    /// tunnels, and whatever a sender makes up: an interface that obeyed it would write where the sender likes, into a frame
    /// that has been judged.
    pub fn settle(&mut self, frame: &mut [u8]) {
        if self.needs_checksum() && !self.is_of_transport(frame) {
            self.complete(frame);
        }
    }

    fn is_of_transport(self, frame: &[u8]) -> bool {
        let offset = |protocol| match protocol {
            PROTO_TCP => Some(16),
            PROTO_UDP => Some(6),
            _ => None,
        };
        transport(frame).is_some_and(|(protocol, start)| {
            start == usize::from(self.checksum_start) && offset(protocol) == Some(self.checksum_offset)
        })
    }

    /// Computes the checksum of a frame that no interface will complete. Of an aggregate it is that of the whole.
    pub fn complete(&mut self, frame: &mut [u8]) {
        if !self.needs_checksum() {
            return;
        }
        let sctp = self.is_sctp(frame);
        self.flags &= !NEEDS_CHECKSUM;
        let Some(covered) = frame.get_mut(usize::from(self.checksum_start)..) else { return };
        let at = usize::from(self.checksum_offset);
        if sctp {
            if let Some(field) = covered.get_mut(at..at + 4) {
                field.fill(0);
                let crc = crc32c(covered).to_le_bytes();
                covered[at..at + 4].copy_from_slice(&crc);
            }
        } else if covered.len() >= at + 2 {
            let sum = match !internet_sum(covered) {
                0 => 0xffff, // 0 would say that there is none, of UDP; to TCP both are one
                sum => sum,
            };
            covered[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// Whether the checksum to compute is SCTP's. That one stands at offset 8, and no other that kernels leave out does.
    fn is_sctp(self, frame: &[u8]) -> bool {
        self.checksum_offset == 8 && transport(frame).is_some_and(|(protocol, _)| protocol == PROTO_SCTP)
    }
}

/// The ones' complement sum of 16 bit words (RFC 1071), the last one padded with 0.
fn internet_sum(bytes: &[u8]) -> u16 {
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// `CRC32c` (RFC 9260, appendix A), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::frames::Frame;
    use super::*;

    /// An Ethernet frame with UDP from 10.0.0.1 to 10.0.0.2 whose checksum is the pseudo header's alone.
    fn udp_in_part() -> (Vec<u8>, Offload) {
        let mut frame = Frame::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1000, 53).bytes(b"hello").build();
        let udp = 14 + 20;
        let length = u16::try_from(frame.len() - udp).unwrap();
        frame[udp + 4..udp + 6].copy_from_slice(&length.to_be_bytes());
        let mut pseudo = frame[26..34].to_vec();
        pseudo.extend([0, 17]);
        pseudo.extend(length.to_be_bytes());
        let partial = internet_sum(&pseudo);
        frame[udp + 6..udp + 8].copy_from_slice(&partial.to_be_bytes());
        let start = u16::try_from(udp).unwrap();
        let offload = Offload { flags: 1, checksum_start: start, checksum_offset: 6, ..Offload::default() };
        (frame, offload)
    }

    #[test]
    fn bytes_there_and_back() {
        let (_, offload) = udp_in_part();
        assert_eq!(Offload::from_bytes(offload.to_bytes()), offload);
        assert_eq!(Offload::from_bytes([0; HEADER_BYTES]), Offload::default());
        assert_eq!(offload.to_bytes()[0], 1);
    }

    #[test]
    fn a_completed_checksum_is_right() {
        let (mut frame, mut offload) = udp_in_part();
        offload.complete(&mut frame);
        assert!(!offload.needs_checksum());
        // Sum over pseudo header and datagram, checksum included: all ones (RFC 768).
        let mut covered = frame[26..34].to_vec();
        covered.extend([0, 17]);
        covered.extend(&frame[38..40]);
        covered.extend(&frame[34..]);
        assert_eq!(internet_sum(&covered), 0xffff);
        // Nothing is left to do the second time.
        let before = frame.clone();
        offload.complete(&mut frame);
        assert_eq!(frame, before);
    }

    #[test]
    fn a_tag_moves_it() {
        let (_, offload) = udp_in_part();
        assert_eq!(offload.behind_a_tag().checksum_start, offload.checksum_start + 4);
        assert_eq!(offload.behind_a_tag().checksum_offset, offload.checksum_offset);
        assert_eq!(Offload::default().behind_a_tag(), Offload::default());
    }

    #[test]
    fn sctp_gets_its_crc() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283); // the catalogue's check value
        let mut frame = Frame::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).sctp(1, 2).bytes(&[7; 20]).build();
        let mut offload = Offload { flags: 1, checksum_start: 34, checksum_offset: 8, ..Offload::default() };
        offload.settle(&mut frame);
        assert!(!offload.needs_checksum());
        let told = u32::from_le_bytes(frame[42..46].try_into().unwrap());
        frame[42..46].fill(0);
        assert_eq!(told, crc32c(&frame[34..]));
        // TCP's and UDP's stay with the interface.
        let (mut frame, mut offload) = udp_in_part();
        offload.settle(&mut frame);
        assert!(offload.needs_checksum());
    }

    /// The port would be another one behind the switch than the one that it has judged.
    #[test]
    fn nobody_has_a_frame_written_after_it_was_judged() {
        for (start, offset) in [(34, 2), (20, 6), (30, 4), (34, 16), (38, 2)] {
            let (mut frame, _) = udp_in_part();
            let mut offload =
                Offload { flags: 1, checksum_start: start, checksum_offset: offset, ..Offload::default() };
            offload.settle(&mut frame);
            assert!(!offload.needs_checksum(), "{start} {offset}");
        }
        let (frame, _) = udp_in_part();
        assert_eq!(transport(&frame), Some((PROTO_UDP, 34)));
        assert_eq!(transport(&frame[..40]), None);
    }

    #[test]
    fn nothing_that_a_header_says_reaches_beyond_the_frame() {
        for start in [0, 13, 40, 60, u16::MAX] {
            for offset in [0, 8, 16, u16::MAX] {
                for length in [0, 14, 34, 60] {
                    let mut offload = Offload {
                        flags: 1,
                        checksum_start: start,
                        checksum_offset: offset,
                        ..Offload::default()
                    };
                    offload.behind_a_tag().complete(&mut vec![0; length]);
                    offload.complete(&mut vec![0; length]);
                    assert!(!offload.needs_checksum());
                }
            }
        }
    }
}
