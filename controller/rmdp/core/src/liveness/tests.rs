use super::*;
use crate::config::{Member, Role};

fn at(ms: u64) -> Instant {
    Instant::START + Duration::from_millis(ms)
}

/// Members n1, n2, .. with these numbers, heartbeats each 20 ms, silent after 100.
fn config(members: &[u32]) -> SharedConfig {
    let mut config = SharedConfig::default();
    config.heartbeat.interval_ms = 20;
    for sender in members {
        let address = std::net::SocketAddr::from(([192, 0, 2, 1], 8277));
        let (name, role) = (format!("n{sender}"), Role::Controller);
        config.members.push(Member { name, sender: *sender, role, address, http: None });
    }
    config
}

/// What is told: of whom, and whether it is over.
fn told(liveness: &mut Liveness, ms: u64) -> Vec<(u32, bool)> {
    liveness.look(at(ms));
    liveness.judge(at(ms)).into_iter().map(|word| (word.sender, word.over)).collect()
}

#[test]
fn alive_within_the_limit() {
    let mut liveness = Liveness::new("n1", &config(&[1, 2]), at(0));
    liveness.heard(1, false, at(50));
    liveness.heard(9, false, at(50));
    for (sender, ms, alive) in
        [(1, 0, true), (1, 150, true), (1, 151, false), (2, 100, true), (2, 101, false), (9, 51, false)]
    {
        assert_eq!(liveness.is_alive(sender, at(ms)), alive, "{sender} at {ms}");
    }
    liveness.configure("n2", &config(&[2, 3]), at(1000));
    assert!(!liveness.is_alive(1, at(1000)) && !liveness.is_alive(2, at(1000)));
    assert!(liveness.is_alive(3, at(1100)));
}

/// Nobody is too few to be told of: of two, one.
#[test]
fn silence_is_told_once_and_so_is_its_end() {
    let mut liveness = Liveness::new("n1", &config(&[1, 2]), at(0));
    for ms in (0..1000).step_by(20) {
        liveness.heard(2, false, at(ms));
        assert_eq!(told(&mut liveness, ms), []);
    }
    // Heard last at 980.
    for ms in (1000..=1180).step_by(20) {
        assert_eq!(told(&mut liveness, ms), []);
    }
    assert_eq!(told(&mut liveness, 1181), [(2, false)]);
    assert_eq!(told(&mut liveness, 1200), []);
    let heard: Vec<_> = liveness.others(at(1280)).collect();
    let ago = Some(Duration::from_millis(300));
    assert_eq!(heard, [Heard { sender: 2, ago, left: false, silent: true, lost: None }]);
    liveness.heard(2, false, at(1290));
    // Nobody is told of somebody who was silent for no time.
    assert!(!liveness.others(at(1290)).next().unwrap().silent);
    assert_eq!(told(&mut liveness, 1290), [(2, true)]);
}

#[test]
fn who_was_never_heard_is_told_of() {
    let mut liveness = Liveness::new("n1", &config(&[1, 2, 3]), at(0));
    for ms in (0..=200).step_by(50) {
        liveness.heard(3, false, at(ms));
        assert_eq!(told(&mut liveness, ms), []);
    }
    let words = liveness.judge(at(201));
    assert_eq!(words.len(), 1);
    assert!(words[0].sender == 2 && words[0].alert && words[0].words.contains("at all"), "{words:?}");
    assert_eq!(liveness.others(at(201)).next().unwrap().ago, None);
}

#[test]
fn who_leaves_in_good_order_is_not_silent_but_gone() {
    let mut liveness = Liveness::new("n1", &config(&[1, 2]), at(0));
    liveness.heard(2, true, at(10));
    assert!(!liveness.is_alive(2, at(11)));
    for ms in (0..2000).step_by(50) {
        assert_eq!(told(&mut liveness, ms), []);
    }
    liveness.heard(2, false, at(2000));
    assert!(liveness.is_alive(2, at(2001)));
    for ms in (2000..=2200).step_by(50) {
        assert_eq!(told(&mut liveness, ms), []);
    }
    assert_eq!(told(&mut liveness, 2201), [(2, false)]);
    liveness.heard(2, true, at(2202));
    assert_eq!(told(&mut liveness, 2203), [(2, true)], "a silence that was none");
}

/// Who was frozen itself has heard nobody, and may not tell others of it.
#[test]
fn standing_still_is_nobody_elses_silence() {
    let mut liveness = Liveness::new("n1", &config(&[1, 2]), at(0));
    liveness.heard(2, false, at(0));
    assert_eq!(liveness.look(at(100)), None);
    assert_eq!(liveness.look(at(17_000)), Some(Duration::from_millis(16_900)));
    assert!(liveness.judge(at(17_000)).is_empty());
    assert_eq!(told(&mut liveness, 17_100), []);
    assert_eq!(told(&mut liveness, 17_200), []);
    assert_eq!(told(&mut liveness, 17_201), [(2, false)], "it had its time");
}

#[test]
fn lost_heartbeats_are_told() {
    let mut liveness = Liveness::new("n1", &config(&[1, 2, 3, 4]), at(0));
    let mut words = Vec::new();
    // n2 is regular, of n3 every second one is lost, n4 sends news all the time and loses nothing.
    for ms in 0..4001 {
        liveness.look(at(ms));
        if ms % 20 == 0 {
            liveness.heard(2, false, at(ms));
        }
        if ms % 40 == 0 && ms < 2500 || ms % 20 == 0 && ms >= 2500 {
            liveness.heard(3, false, at(ms));
        }
        liveness.heard(4, false, at(ms));
        words.extend(liveness.judge(at(ms)).into_iter().map(|word| (ms, word.sender, word.alert, word.over)));
        if ms == 2200 {
            let lost: Vec<_> = liveness.others(at(ms)).map(|heard| heard.lost).collect();
            assert_eq!(lost, [None, Some(50), None]);
        }
    }
    assert_eq!(words, [(2000, 3, false, false), (3000, 3, false, true)], "the first window has no beginning");
}
