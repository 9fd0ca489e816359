//! What happens to a site, and when.

use super::chance::Chance;
use super::clock::MS;

/// A fault, or something to do, at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incident {
    Append,
    Probe,
    Crash {
        node: usize,
        restart_after: u64,
        old: bool,
    },
    Pause {
        node: usize,
        length: u64,
        kind: Pause,
    },
    ClockJumps {
        node: usize,
        by: u64,
    },
    WallClock {
        node: usize,
        by: i64,
    },
    Configure {
        version: usize,
    },
    PutBack {
        by: u64,
    },
    Drain {
        node: usize,
        restart_after: u64,
    },
    /// Nothing that the one sends comes to the other.
    Cut {
        from: usize,
        to: usize,
        length: u64,
    },
    StoreGone {
        length: u64,
        keeps: bool,
    },
    SwitchRestart {
        switch: usize,
    },
    SwitchEdited {
        switch: usize,
    },
    SwitchGone {
        switch: usize,
        length: u64,
    },
    Replay,
    ReplayBeats,
    Forge {
        what: Forged,
        switch: usize,
        queued: bool,
    },
    ForgetCopies,
    Calm,
}

/// How a node stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Its clock goes on.
    Plain,
    /// Its clock stands still with it.
    Still,
    /// Its clock goes on, and it is for so long that others have to tell of it, beyond the calm too.
    Frozen,
}

/// What somebody with the key says that is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forged {
    /// A task of the last generation that there can be.
    Absurd,
    /// The next generation's task, as it will be, before there is that generation.
    Early,
    /// A task of the newest generation, or of the next one, with another desired state.
    Otherwise,
    /// A task of another network, under the newest generation's number.
    Foreign,
    /// A task whose generation is not its occurrence.
    Uneven,
    /// A task for a switch of which its generation says nothing.
    Elsewhere,
    /// A task of the newest generation, as if it said something new of a switch.
    Unchanged,
    /// Heartbeats that tell of generations that are not there.
    Heartbeat,
}

impl Forged {
    pub(super) const ALL: [Self; 8] = [
        Self::Absurd,
        Self::Early,
        Self::Otherwise,
        Self::Foreign,
        Self::Uneven,
        Self::Elsewhere,
        Self::Heartbeat,
        Self::Unchanged,
    ];
}

pub(super) fn any(chance: &mut Chance, nodes: usize, switches: usize) -> Incident {
    let node = chance.index(nodes);
    match chance.range(0, 13) {
        0..=2 => {
            Incident::Crash { node, restart_after: chance.range(50, 2500) * MS, old: chance.permille(300) }
        }
        3..=5 => Incident::Pause { node, length: chance.range(50, 3000) * MS, kind: Pause::Plain },
        6 => Incident::Drain { node, restart_after: chance.range(200, 2000) * MS },
        7 => Incident::StoreGone { length: chance.range(100, 2500) * MS, keeps: chance.permille(500) },
        8 => Incident::SwitchRestart { switch: chance.index(switches) },
        9 => Incident::SwitchGone { switch: chance.index(switches), length: chance.range(100, 2000) * MS },
        10 => Incident::Replay,
        11 => Incident::ReplayBeats,
        12 => Incident::SwitchEdited { switch: chance.index(switches) },
        _ => Incident::ForgetCopies,
    }
}
