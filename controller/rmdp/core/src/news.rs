//! What a machine tells people of the other members' signs of life: distributors and controllers alike.

use std::sync::Arc;

use crate::config::SharedConfig;
use crate::counters::Counters;
use crate::freshness::Freshness;
use crate::io::{Action, Heard, Level, Note};
use crate::liveness::{Liveness, seconds};
use crate::time::Instant;

fn name(config: &SharedConfig, sender: u32) -> String {
    config.sender(sender).map_or_else(|| format!("sender {sender}"), |member| member.name.clone())
}

/// At the beginning of each step: has this node stood still?
pub(crate) fn look(
    liveness: &mut Liveness,
    counters: &mut Counters,
    now: Instant,
    actions: &mut Vec<Action>,
) {
    let Some(still) = liveness.look(now) else { return };
    counters.stood_still += 1;
    let text = format!(
        "this node stood still for {} s, so that others took it for gone: was it stopped, or is the machine overloaded?",
        seconds(still)
    );
    actions.push(Action::Note(Note { level: Level::Alert, id: None, text }));
}

/// At each heartbeat: who has fallen silent, who is heard again.
pub(crate) fn tell(
    liveness: &mut Liveness,
    config: &Arc<SharedConfig>,
    counters: &mut Counters,
    now: Instant,
    actions: &mut Vec<Action>,
) {
    for word in liveness.judge(now) {
        let level = match (word.over, word.alert) {
            (true, _) => Level::Info,
            (false, true) => Level::State,
            (false, false) => Level::Warn,
        };
        counters.silent += u64::from(level == Level::State);
        counters.lossy += u64::from(level == Level::Warn);
        let text = format!("{} {}", name(config, word.sender), word.words);
        actions.push(Action::Note(Note { level, id: None, text }));
    }
}

/// A heartbeat has come: its sender, its epoch and sequence, and the starts that it tells of. Whether it is a member's, and
/// of now.
pub(crate) fn is_fresh(
    (freshness, liveness): (&mut Freshness, &mut Liveness),
    config: &SharedConfig,
    me: &str,
    (sender, place, heard): (u32, (u64, u64), &[Heard]),
    now: Instant,
    actions: &mut Vec<Action>,
) -> bool {
    let own = config.member(me).map(|member| member.sender);
    if own == Some(sender) && freshness.meets_twin(place.0, now) {
        let text = twin(freshness, config, me, now).unwrap_or_default();
        actions.push(Action::Note(Note { level: Level::State, id: None, text }));
    }
    let member = config.sender(sender).is_some();
    if member && freshness.is_later(sender, place.0) {
        liveness.started(sender);
    }
    member && freshness.hears(own, sender, place, heard)
}

/// Whether another process has this node's name, in words.
pub(crate) fn twin(freshness: &Freshness, config: &SharedConfig, me: &str, now: Instant) -> Option<String> {
    freshness.has_twin(now, config.silence() * 2).then(|| {
        format!(
            "another process runs as {me}, and was started later, so that the others listen to that one and not to this: \
             stop one of the two, or give it the name of another member"
        )
    })
}

/// Who is silent now, and whose heartbeats get lost, in words.
pub(crate) fn silent(liveness: &Liveness, config: &SharedConfig, now: Instant) -> Vec<String> {
    let mut words = Vec::new();
    for heard in liveness.others(now) {
        let name = name(config, heard.sender);
        match (heard.silent, heard.ago, heard.lost) {
            (true, Some(ago), _) => words.push(format!("{name} has not been heard for {} s", seconds(ago))),
            (true, None, _) => {
                words.push(format!("{name} has not been heard at all since this node started"));
            }
            (false, _, Some(lost)) => {
                words.push(format!("{lost} % of the heartbeats of {name} do not come here"));
            }
            (false, _, None) => {}
        }
    }
    words
}
