//! Which nodes are up, by their statuses in the store, and what they say: for commands that wait for them. Nodes that wait
//! write no status: they are asked themselves, where the shared configuration says where their pages are.

use std::collections::BTreeMap;
use std::time::Duration;

use outplane_rmdp_core::config::{Role, SharedConfig};
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{KeptSwitch, KeptSwitches, NodeStatus, Object};
use outplane_rmdp_core::task::NetworkId;
use outplane_rmdp_node::daemon::{self, LEFT};
use outplane_rmdp_node::http;
use outplane_rmdp_node::network;
use outplane_rmdp_node::objects::Objects;

use crate::clocks::{self, Ahead, STALE, TOLD_BEHIND, WRITTEN, ahead, ahead_words, earlier, since};

/// Objects of nodes that are listed at most.
const MOST_LISTED: usize = 1000;

/// Alerts that are quoted.
const QUOTED: usize = 3;

/// The times of what happened are set right by multiples of this, in milliseconds.
const STEADY: i64 = 10_000;

/// How long a node may take to say how it is.
const ASKED: Duration = Duration::from_secs(1);

/// What to do where the store is not the nodes' any more.
const CURE: &str = "`outplane store recover` says who remembers what (docs/operations.md)";

/// Why the store is not one that anybody can work with, if that shows in it.
///
/// # Errors
/// The store's.
pub(crate) async fn of_store(objects: &Objects) -> Result<Option<String>, outplane_rmdp_node::Error> {
    match network::of(objects).await {
        Ok(Some(_)) => Ok(None),
        Ok(None) => Ok(Some(format!(
            "the store says no network (its object `network` is gone): nodes wait; was it restored from a backup? {CURE}"
        ))),
        Err(outplane_rmdp_node::Error::Object(error)) => {
            Ok(Some(format!("the store's network cannot be read: {error}; {CURE}")))
        }
        Err(error) => Err(error),
    }
}

/// Why members do not work with this store, in their own words, by name: asked at their pages, a second at most. Who says
/// nothing of the kind, or does not answer, is not in it.
pub(crate) async fn waits(objects: &Objects, config: &SharedConfig) -> BTreeMap<String, Vec<String>> {
    let pages = config.members.iter().filter_map(|member| Some((member.name.clone(), member.http?)));
    let (told, store) = tokio::join!(http::told(pages.collect(), ASKED), network::of(objects));
    let store = store.ok().flatten().map(|network| network.to_string());
    let why = |told: http::Told| {
        let other = match (&store, &told.network) {
            (Some(store), Some(own)) if store != own => Some(format!(
                "it is of network {own}, and the store is of network {store}: was the bucket made anew, or does an endpoint lead to \
                 another store? {CURE}"
            )),
            _ => None,
        };
        // What it says itself has the cure.
        if told.lacks.is_empty() { other.into_iter().collect() } else { told.lacks }
    };
    let waits = told.into_iter().map(|(name, told)| (name, why(told)));
    waits.filter(|(_, why)| !why.is_empty()).collect()
}

/// Of which networks members are, as they say themselves, by name; who does not answer within this is not in it.
pub(crate) async fn networks(config: &SharedConfig, within: Duration) -> BTreeMap<String, NetworkId> {
    let pages = config.members.iter().filter_map(|member| Some((member.name.clone(), member.http?)));
    let told = http::told(pages.collect(), within).await.into_iter();
    told.filter_map(|(name, told)| Some((name, told.network?.parse().ok()?))).collect()
}

/// Whether nodes of a network join the store's by themselves, since somebody has recovered it.
///
/// # Errors
/// The store's.
pub(crate) async fn joins(
    objects: &Objects,
    store: NetworkId,
    before: NetworkId,
) -> Result<bool, outplane_rmdp_node::Error> {
    let found = objects.get_readable(&Key::Recovery(store)).await?;
    Ok(matches!(found, Some(Object::Recovery(recovery)) if recovery.follows(before)))
}

/// Of members that do not run, as far as their statuses say, those that cannot be asked why: with what would mend that.
pub(crate) fn unasked(config: &SharedConfig, statuses: &[NodeStatus]) -> Option<String> {
    let live = |name: &str| statuses.iter().any(|status| status.node == name && is_live(status));
    let mute = config.members.iter().filter(|member| member.http.is_none() && !live(&member.name));
    let mute: Vec<&str> = mute.map(|member| member.name.as_str()).collect();
    let (is, its) = match mute.len() {
        0 => return None,
        1 => ("does not run, as far as the store says, and cannot be asked", "its"),
        _ => ("do not run, as far as the store says, and cannot be asked", "their"),
    };
    Some(format!(
        "{} {is}: `http = \"ADDRESS:PORT\"` of {its} [[member]] in the shared configuration says where {its} pages are ([http] \
         `listen` in {its} own file)",
        mute.join(", ")
    ))
}

/// The members' statuses; none that can be read is none. Whose clock differs is set right, and told by how much.
///
/// # Errors
/// The store's.
pub(crate) async fn statuses(
    objects: &Objects,
    config: &SharedConfig,
) -> Result<(Vec<NodeStatus>, Ahead), outplane_rmdp_node::Error> {
    let taken = taken(objects, &Prefix::Statuses).await?;
    let (mut statuses, mut ahead) = (Vec::new(), Ahead::new());
    for member in &config.members {
        let key = Key::Status(member.name.clone());
        if let Some(Object::Status(mut status)) = objects.get_readable(&key).await? {
            ahead
                .extend(set_right(&mut status, taken.get(&key).copied()).map(|by| (member.name.clone(), by)));
            statuses.push(status);
        }
    }
    Ok((statuses, ahead))
}

/// How long ago the store took the objects under a prefix, by its own clock and a listing.
pub(crate) async fn taken(
    objects: &Objects,
    prefix: &Prefix,
) -> Result<BTreeMap<Key, Duration>, outplane_rmdp_node::Error> {
    let listed = objects.list_aged(prefix, MOST_LISTED).await?.0;
    clocks::learn(objects);
    Ok(listed.into_iter().map(|listed| (listed.key, listed.age)).collect())
}

/// The newest shared configuration, and what its members have written of themselves.
async fn members(objects: &Objects) -> Option<(SharedConfig, Vec<NodeStatus>, Ahead)> {
    let (_, config) = daemon::newest_config(objects).await.ok()??;
    let (statuses, ahead) = statuses(objects, &config).await.ok()?;
    Some((config, statuses, ahead))
}

/// Takes the times of a status for as much earlier as its node's clock is ahead, or later as it is behind, which is told.
pub(crate) fn set_right(status: &mut NodeStatus, taken: Option<Duration>) -> Option<i64> {
    let by = ahead(status.at_ms, taken)?;
    earlier(&mut status.at_ms, by);
    let told = (by > 0 || by <= -TOLD_BEHIND).then_some(by)?;
    // By how much is known to a second or two, and another each time: the times of what happened once stay the same.
    let by = told.saturating_add(told.signum() * STEADY / 2) / STEADY * STEADY;
    for at in &mut status.since_ms {
        earlier(at, by);
    }
    status
        .past
        .iter_mut()
        .flat_map(|past| [&mut past.from_ms, &mut past.until_ms])
        .for_each(|at| earlier(at, by));
    Some(told)
}

/// What controllers tell of the switches that they keep, as each says it.
///
/// # Errors
/// The store's.
pub(crate) async fn keepers(objects: &Objects) -> Result<Vec<KeptSwitches>, outplane_rmdp_node::Error> {
    let mut told = Vec::new();
    for key in objects.list_all(&Prefix::Kept, MOST_LISTED).await?.0 {
        if let Some(Object::Kept(kept)) = objects.get_readable(&key).await? {
            told.push(kept);
        }
    }
    Ok(told)
}

/// The same as [`set_right`] of what a keeper tells. Those of its times that are of the future still say so.
pub(crate) fn keeper_set_right((mut kept, taken): (KeptSwitches, Option<Duration>)) -> KeptSwitches {
    if let Some(by) = ahead(kept.at_ms, taken) {
        earlier(&mut kept.at_ms, by);
        kept.switches.iter_mut().flat_map(|of| &mut of.verified_ms).for_each(|at| earlier(at, by));
    }
    kept
}

/// What controllers tell of the switches that they keep, by switch: who told last of the newest generation, and not too long
/// ago.
///
/// # Errors
/// The store's.
pub(crate) async fn kept(
    objects: &Objects,
) -> Result<BTreeMap<String, KeptSwitch>, outplane_rmdp_node::Error> {
    let mut told = Vec::new();
    for (key, taken) in taken(objects, &Prefix::Kept).await? {
        if let Some(Object::Kept(kept)) = objects.get_readable(&key).await? {
            told.push(keeper_set_right((kept, Some(taken))));
        }
    }
    told.retain(|kept| since(kept.at_ms) <= STALE);
    told.sort_by_key(|kept| kept.at_ms);
    let mut switches: BTreeMap<String, KeptSwitch> = BTreeMap::new();
    for kept in told.into_iter().flat_map(|kept| kept.switches) {
        if switches.get(&kept.switch).is_none_or(|other| other.generation <= kept.generation) {
            switches.insert(kept.switch.clone(), kept);
        }
    }
    Ok(switches)
}

/// Whether a node runs, as far as its status says.
pub(crate) fn is_live(status: &NodeStatus) -> bool {
    status.receiver != LEFT && since(status.at_ms) <= STALE
}

/// Why nothing happens, as far as nodes say.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Of a role that has to be there nobody is: in words, with how each of them is.
    pub(crate) nobody: Vec<String>,
    /// What is wrong for nodes that are up, now, each with who says so and since when.
    pub(crate) says: Vec<String>,
}

impl Standing {
    /// Asks the members of the newest shared configuration; who has left it says nothing.
    pub(crate) async fn read(objects: &Objects) -> Option<Self> {
        let (config, statuses, ahead) = members(objects).await?;
        Some(Self::of(&config, &statuses, &ahead))
    }

    /// The same, and what those say themselves that are not up.
    pub(crate) async fn asked(objects: &Objects) -> Option<Self> {
        let (config, statuses, ahead) = members(objects).await?;
        let mut standing = Self::of(&config, &statuses, &ahead);
        standing.nobody.extend(controllers(&config, &statuses));
        standing.says.extend(unasked(&config, &statuses));
        let waits = waits(objects, &config).await;
        for (name, why) in
            waits.into_iter().flat_map(|(name, all)| all.into_iter().map(move |why| (name.clone(), why)))
        {
            // What a status has told already is told once.
            let is_told = standing.says.iter().any(|said| said.starts_with(&name) && said.ends_with(&why));
            if standing.says.len() < QUOTED && !is_told {
                standing.says.push(format!("{name} says: {why}"));
            }
        }
        Some(standing)
    }

    /// By the members' statuses.
    fn of(config: &SharedConfig, statuses: &[NodeStatus], ahead: &Ahead) -> Self {
        let mut standing = Self { nobody: nobody(config, statuses), says: Vec::new() };
        for status in statuses.iter().filter(|status| is_live(status)) {
            let node = &status.node;
            if let Some(why) = &status.estranged {
                standing.says.push(format!("{node} says: {why}"));
                continue;
            }
            for (at, alert) in status.alerts.iter().enumerate() {
                let began = status.since_ms.get(at);
                let began =
                    began.map_or_else(String::new, |at_ms| format!(", since {} s", since(*at_ms).as_secs()));
                standing.says.push(format!("{node} says{began}: {alert}"));
            }
        }
        standing.says.truncate(QUOTED);
        standing.says.extend(ahead.iter().map(|(node, by)| format!("{node}: {}", ahead_words(*by))));
        standing.says.extend(clocks::own().map(clocks::own_words));
        standing
    }
}

/// Roles that nobody has who is up, with how each member is that has them.
pub(crate) fn nobody(config: &SharedConfig, statuses: &[NodeStatus]) -> Vec<String> {
    let of = |name: &str| statuses.iter().find(|status| status.node == name);
    let mut nobody = Vec::new();
    for (role, word) in [(Role::Distributor, "distributor"), (Role::Controller, "controller")] {
        let of_role = || config.members.iter().filter(|member| member.role == role);
        let works = |status: &NodeStatus| is_live(status) && !status.draining;
        if !of_role().any(|member| of(&member.name).is_some_and(works)) {
            let each: Vec<String> =
                of_role().map(|member| format!("{} {}", member.name, state(of(&member.name)))).collect();
            nobody.push(format!("no {word} is up ({})", each.join(", ")));
        }
    }
    nobody
}

/// How long ago controllers were heard, by their own statuses and by the others'; none: of them nobody is up, as
/// [`nobody`] says.
fn controllers(config: &SharedConfig, statuses: &[NodeStatus]) -> Option<String> {
    let of_role = || config.members.iter().filter(|member| member.role == Role::Controller);
    let live = |name: &str| statuses.iter().any(|status| status.node == name && is_live(status));
    if !of_role().any(|member| live(&member.name)) {
        return None;
    }
    let heard: Vec<(&str, Option<u64>)> = of_role()
        .map(|member| {
            let name = member.name.as_str();
            let ago = |status: &NodeStatus| {
                if status.node == name {
                    return (status.receiver != LEFT).then(|| since(status.at_ms));
                }
                let ms = status.heard.get(name)?.ms?;
                Some(Duration::from_millis(ms) + since(status.at_ms))
            };
            (name, statuses.iter().filter_map(ago).min().map(|ago| ago.as_secs()))
        })
        .collect();
    let last = heard.iter().filter_map(|(_, ago)| *ago).min()?;
    let each: Vec<String> = heard
        .iter()
        .map(|(name, ago)| ago.map_or_else(|| format!("{name} never"), |ago| format!("{name} {ago} s ago")))
        .collect();
    let each = each.join(", ");
    Some(if last > WRITTEN.as_secs() {
        format!("no controller has been heard for {last} s ({each})")
    } else {
        format!("controllers were heard: {each}")
    })
}

/// How a node is that does not work.
fn state(status: Option<&NodeStatus>) -> String {
    match status {
        None => "was never seen".to_owned(),
        Some(status) if status.receiver == LEFT => format!("left {} s ago", since(status.at_ms).as_secs()),
        Some(status) if status.draining => "drains".to_owned(),
        Some(status) => format!("has said nothing for {} s", since(status.at_ms).as_secs()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use outplane_rmdp_core::object::PastAlert;
    use outplane_rmdp_node::clock;

    use super::*;

    fn config() -> SharedConfig {
        let member = |name: &str, sender: u32, role: &str| {
            format!(
                "[[member]]\nname = \"{name}\"\nsender = {sender}\nrole = \"{role}\"\naddress = \"192.0.2.{sender}:1\"\n"
            )
        };
        let text =
            [member("d1", 1, "distributor"), member("c1", 2, "controller"), member("c2", 3, "controller")];
        SharedConfig::from_toml(&text.concat()).unwrap()
    }

    /// The status of a controller that was written so long ago, and tells of nothing.
    pub(crate) fn plain(node: &str, ago_ms: u64) -> NodeStatus {
        NodeStatus {
            node: node.to_owned(),
            role: Role::Controller,
            epoch: 1,
            version: "0".to_owned(),
            config: 1,
            generation: 1,
            receiver: "socket".to_owned(),
            draining: false,
            counters: BTreeMap::new(),
            tasks: Vec::new(),
            alerts: Vec::new(),
            heard: BTreeMap::new(),
            keys: None,
            estranged: None,
            since_ms: Vec::new(),
            past: Vec::new(),
            at_ms: clock::unix_millis() - ago_ms,
        }
    }

    fn status(node: &str, ago_ms: u64, alerts: &[&str]) -> NodeStatus {
        let now = clock::unix_millis();
        NodeStatus {
            alerts: alerts.iter().map(|alert| (*alert).to_owned()).collect(),
            since_ms: alerts.iter().map(|_| now - 12_000).collect(),
            past: vec![PastAlert { text: "long over".to_owned(), from_ms: 1, until_ms: 2 }],
            ..plain(node, ago_ms)
        }
    }

    #[test]
    fn who_is_not_up_is_said_once_for_each_role() {
        let left = NodeStatus { receiver: LEFT.to_owned(), ..status("c2", 3000, &["asked to stop"]) };
        let statuses = [status("c1", 60_000, &["old words"]), left];
        let standing = Standing::of(&config(), &statuses, &Ahead::new());
        assert_eq!(
            standing.nobody,
            [
                "no distributor is up (d1 was never seen)",
                "no controller is up (c1 has said nothing for 60 s, c2 left 3 s ago)"
            ]
        );
        // Whoever is gone says nothing of now.
        assert_eq!(standing.says, [""; 0]);
    }

    #[test]
    fn what_is_known_of_controllers_is_said() {
        let heard = |ms| {
            let at = outplane_rmdp_core::object::HeardAt { ms: Some(ms), ..Default::default() };
            NodeStatus { heard: [("c1".to_owned(), at)].into(), ..status("d1", 1100, &[]) }
        };
        let dead = [status("c1", 9100, &[]), status("c2", 6100, &[]), heard(6000)];
        assert_eq!(
            controllers(&config(), &dead).as_deref(),
            Some("no controller has been heard for 6 s (c1 7 s ago, c2 6 s ago)")
        );
        let up = [status("c1", 4100, &[]), heard(100)];
        assert_eq!(
            controllers(&config(), &up).as_deref(),
            Some("controllers were heard: c1 1 s ago, c2 never")
        );
        // That is told as such.
        assert_eq!(controllers(&config(), &[status("c1", 60_000, &[]), heard(50_000)]), None);
    }

    #[test]
    fn what_is_over_is_no_reason() {
        let statuses = [status("d1", 100, &[]), status("c1", 100, &["no disk"])];
        let standing = Standing::of(&config(), &statuses, &Ahead::new());
        assert_eq!(
            (standing.nobody.len(), standing.says),
            (0, vec!["c1 says, since 12 s: no disk".to_owned()])
        );
    }

    /// Also one that is gone looked fresh for as long as its clock was ahead.
    #[test]
    fn what_is_of_the_future_is_as_old_as_the_store_has_it() {
        let of = |taken| {
            let mut status = status("c1", 0, &["no disk"]);
            (status.at_ms, status.since_ms[0]) =
                (clock::unix_millis() + 3_600_000, clock::unix_millis() + 3_590_000);
            let by = set_right(&mut status, taken).unwrap();
            (
                is_live(&status),
                since(status.at_ms).as_secs(),
                since(status.since_ms[0]).as_secs(),
                by / 60_000,
            )
        };
        assert_eq!(of(Some(Duration::from_secs(3))), (true, 3, 10, 60));
        assert_eq!(of(Some(Duration::from_secs(40))), (false, 40, 50, 60));
        // Nobody knows when it was written.
        assert!(!of(None).0);
        // Clocks differ.
        let mut little = status("c1", 0, &[]);
        little.at_ms += 1000;
        assert_eq!(set_right(&mut little, None), None);
        let ahead = [("c1".to_owned(), 3_600_000)].into();
        let says = Standing::of(&config(), &[], &ahead).says;
        assert!(says[0].starts_with("c1: its clock is 3600 s ahead"), "{says:?}");
    }

    /// By how much a clock is ahead is known to the second at best; what happened did so at one time.
    #[test]
    fn what_happened_does_not_jump_between_two_looks() {
        let began = clock::unix_millis() + 3_590_000;
        let at = |written, taken, ahead| {
            let mut status = status("c1", 0, &["no disk"]);
            status.past[0] = PastAlert { text: "over".to_owned(), from_ms: began - 1000, until_ms: began };
            (status.at_ms, status.since_ms[0]) = (clock::unix_millis() + ahead - written, began);
            set_right(&mut status, Some(Duration::from_millis(taken)));
            (status.since_ms[0], status.past[0].from_ms, status.past[0].until_ms)
        };
        let first = at(4900, 5800, 3_600_000);
        assert_eq!(first, at(400, 0, 3_600_000));
        assert_eq!(first, at(1300, 2300, 3_600_000));
        assert_eq!(first.0, began - 3_600_000);
        // A store that was slow to take it says nothing of the clock.
        assert_eq!(at(3000, 0, 0).0, began);
    }

    /// A clock that is behind made who lives stale.
    #[test]
    fn what_the_store_has_taken_just_now_is_young() {
        let of = |behind_ms, taken| {
            let mut status = status("c1", behind_ms, &["no disk"]);
            let by = set_right(&mut status, Some(Duration::from_secs(taken)));
            (is_live(&status), since(status.at_ms).as_secs(), by.map(|by| by / 1000))
        };
        assert_eq!(of(62_000, 2), (true, 2, Some(-60)));
        // It is old for the store, too.
        assert_eq!(of(100_000, 40), (false, 40, Some(-60)));
        assert_eq!(of(60_000, 60), (false, 60, None));
        // What is written may be taken late.
        assert_eq!(of(6000, 2), (true, 2, None));
        assert!(ahead_words(-60_000).starts_with("its clock is 60 s behind the store's"));
        assert!(clocks::own_words(600_400).starts_with("this machine's clock is 600 s ahead of the store's"));
        let hostile = [0, 1, u64::MAX, u64::MAX / 2];
        for at_ms in hostile {
            let mut status = plain("c1", 0);
            status.at_ms = at_ms;
            set_right(&mut status, Some(Duration::MAX));
            set_right(&mut status, Some(Duration::ZERO));
        }
    }

    #[test]
    fn who_cannot_be_asked_is_named_with_the_cure() {
        let left = [status("d1", 100, &[]), status("c1", 60_000, &[])];
        let words = unasked(&config(), &left).unwrap();
        assert!(words.starts_with("c1, c2 do not run") && words.contains("`http = "), "{words}");
        let up = [status("d1", 100, &[]), status("c1", 100, &[]), status("c2", 100, &[])];
        assert_eq!(unasked(&config(), &up), None);
        let mut config = config();
        for member in &mut config.members {
            member.http = Some(([192, 0, 2, 1], 80).into());
        }
        assert_eq!(unasked(&config, &left), None);
    }
}
