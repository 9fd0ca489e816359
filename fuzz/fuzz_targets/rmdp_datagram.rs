//! RMDP datagrams: any bytes are read or refused; what is read is written again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_rmdp_wire::{Announce, Datagram, Heartbeat, Hint, Key, Payload, encode};

fuzz_target!(|data: &[u8]| {
    let key = Key { id: 1, secret: [7; 16] };
    if let Ok(datagram) = Datagram::parse(data) {
        let _ = datagram.verify(&[key]);
        let _ = Payload::parse(&datagram);
        let mut out = [0; 1400];
        let length = encode(&datagram.header, datagram.payload, &key, &mut out).expect("it was read");
        let again = Datagram::parse(&out[..length]).expect("it was written");
        assert_eq!((again.header, again.payload), (datagram.header, datagram.payload));
        assert!(again.verify(&[key]).is_ok());
    }
    // Payloads behind a tag that somebody with the key has made.
    let mut out = [0; 1400];
    if let Ok(announce) = Announce::parse(data) {
        let length = announce.encode(&mut out).expect("it was read");
        assert_eq!(&out[..length], data);
        announce.event.id().expect("its strings are short");
    }
    if let Ok(heartbeat) = Heartbeat::parse(data) {
        assert_eq!(heartbeat.notices.iter().count(), heartbeat.notices.len());
        assert_eq!(heartbeat.lateness.iter().count(), heartbeat.lateness.len());
        assert_eq!(heartbeat.heard.iter().count(), heartbeat.heard.len());
    }
    if let Ok(hint) = Hint::parse(data) {
        let length = hint.encode(&mut out).expect("it was read");
        assert_eq!(&out[..length], data);
    }
});
