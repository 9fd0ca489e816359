//! A megabyte of buffers, shared: a stranger gets an eighth of it, all strangers three quarters, and who has shown who it
//! is gets what they leave.
//!
//! `cargo run -p outplane-admission --example quota`

use std::net::IpAddr;

use outplane_admission::{Admission, Place, Quota, Settings, Share};

const KILOBYTE: usize = 1 << 10;

/// Takes as many pieces as there are to have.
fn take_all(quota: &Quota, place: &Place) -> Vec<Share> {
    std::iter::from_fn(|| quota.try_take(place, 64 * KILOBYTE)).collect()
}

fn main() {
    let admission = Admission::new(Settings::new(64));
    let buffers = Quota::quartered(1024 * KILOBYTE, 8);
    let mut held = Vec::new();
    for last in 1..=8u8 {
        let place = admission.admit(IpAddr::from([192, 0, 2, last])).expect("there is room for connections");
        let shares = take_all(&buffers, &place);
        println!("stranger {}: {} KB", place.address(), 64 * shares.len());
        held.push((place, shares));
    }
    let friend = admission.admit(IpAddr::from([198, 51, 100, 1])).expect("there is room for connections");
    friend.authenticated();
    let shares = take_all(&buffers, &friend);
    println!("known    {}: {} KB", friend.address(), 64 * shares.len());
    drop(held);
    println!("the strangers are gone, and leave it {} KB more", 64 * take_all(&buffers, &friend).len());
}
