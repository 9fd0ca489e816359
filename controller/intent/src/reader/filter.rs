//! FilterPolicy.

use std::collections::{BTreeMap, BTreeSet};

use super::annotations::{RELATED_ERRORS_CHOICES, REPLIES_CHOICES};
use super::declared::{FilterDecl, RulePlaces};
use super::decode::{Decoder, Fields, Problem};
use super::diagnostic::Code;
use super::render::quoted;
use super::source::Place;
use super::traffic;
use super::tree::{Cursor, Said};
use super::values::{HostBits, within};
use crate::deciders;
use crate::model::{
    FilterAction, FilterPeer, FilterPolicy, FilterRule, FilterTier, RateLimit, RelatedErrors, Replies,
};

const ACTIONS: [(&str, FilterAction); 3] =
    [("allow", FilterAction::Allow), ("deny", FilterAction::Deny), ("pass", FilterAction::Pass)];
const TIERS: [(&str, FilterTier); 2] = [("admin", FilterTier::Admin), ("baseline", FilterTier::Baseline)];
const DEFAULT_PRIORITY: u16 = 500;
pub(crate) fn policy(decoder: &mut Decoder<'_>, spec: Option<Cursor<'_>>, at: Place) -> FilterDecl {
    let policy = FilterPolicy {
        tier: FilterTier::Admin,
        priority: DEFAULT_PRIORITY,
        switches: Vec::new(),
        segments: Vec::new(),
        default: None,
        replies: Replies::default(),
        related_errors: RelatedErrors::default(),
        rules: Vec::new(),
    };
    let mut declared =
        FilterDecl { policy, switches: Vec::new(), segments: Vec::new(), default: None, rules: Vec::new() };
    let Some(mut fields) = decoder.spec(spec, at) else { return declared };
    let policy = &mut declared.policy;
    if let Some(at) = fields.get("tier") {
        policy.tier = decoder.choice(at, "`tier`", &TIERS).unwrap_or(FilterTier::Admin);
    }
    if let Some(at) = fields.get("priority") {
        policy.priority = decoder.number(at, "`priority`", 0..=1000).unwrap_or(DEFAULT_PRIORITY);
    }
    if let Some(at) = fields.get("appliesTo")
        && let Some(mut scope) = decoder.fields(at, "`appliesTo`")
    {
        (policy.switches, declared.switches) = names(decoder, &mut scope, "switches", "every switch");
        (policy.segments, declared.segments) = names(decoder, &mut scope, "segments", "every segment");
        scope.finish(decoder);
    }
    if let Some(at) = fields.get("default") {
        policy.default = decoder.choice(at, "`default`", &ACTIONS);
        declared.default = Some(at.place());
    }
    if let Some(at) = fields.get("replies") {
        policy.replies = decoder.choice(at, "`replies`", &REPLIES_CHOICES).unwrap_or_default();
    }
    if let Some(at) = fields.get("relatedErrors") {
        policy.related_errors =
            decoder.choice(at, "`relatedErrors`", &RELATED_ERRORS_CHOICES).unwrap_or_default();
    }
    let rules_at = fields.get("rules");
    if let Some(rules) = rules_at
        && let Some(rules) = decoder.list(rules, "`rules`")
    {
        for (number, at) in rules.iter().enumerate() {
            if let Some((rule, places)) = rule(decoder, at, number + 1) {
                policy.rules.push(rule);
                declared.rules.push(places);
            }
        }
    }
    if rules_at.is_none() && declared.default.is_none() {
        let help = "add `rules: [...]`, or `default: deny`";
        decoder.error(
            Code::MissingField,
            fields.place(),
            "a policy without `rules` and `default` does nothing",
            help,
        );
    }
    fields.finish(decoder);
    names_are_unique(decoder, &declared);
    declared
}

/// A list of names that says something only when it is not empty.
fn names(
    decoder: &mut Decoder<'_>,
    fields: &mut Fields<'_>,
    field: &'static str,
    all: &str,
) -> (Vec<String>, Vec<Place>) {
    let mut names: Vec<String> = Vec::new();
    let mut places = Vec::new();
    let mut known = BTreeSet::new();
    for at in listed(decoder, fields, field, all) {
        let Some(name) = decoder.text(at, "a name") else { continue };
        if !known.insert(name) {
            let message = format!("{} is listed twice", quoted(name));
            decoder.error(Code::DuplicateName, at.place(), message, "remove one of them");
            continue;
        }
        names.push(name.to_owned());
        places.push(at.place());
    }
    (names, places)
}

/// A field's list. An empty one is refused: it could mean everything or nothing.
fn listed<'d>(
    decoder: &mut Decoder<'_>,
    fields: &mut Fields<'d>,
    field: &'static str,
    all: &str,
) -> Vec<Cursor<'d>> {
    let Some(at) = fields.get(field) else { return Vec::new() };
    let Some(items) = decoder.list(at, &format!("`{field}`")) else { return Vec::new() };
    if items.len() == 0 {
        let message = format!("`{field}` is empty");
        let help = format!("leave `{field}` out to mean {all}");
        decoder.error(Code::InvalidValue, at.place(), message, &help);
    }
    items.iter().collect()
}

fn names_are_unique(decoder: &mut Decoder<'_>, declared: &FilterDecl) {
    let mut seen = BTreeMap::new();
    for (rule, places) in declared.policy.rules.iter().zip(&declared.rules) {
        if let Some(first) = seen.insert(rule.name.as_str(), places.at) {
            let message = format!("the policy has two rules {}", quoted(&rule.name));
            let problem = Problem::error(Code::DuplicateName, places.at, message).also(first, "first here");
            decoder
                .report(problem.help("rename one of them; rules without a name are called rule-<n>, from 1"));
        }
    }
}

fn rule(decoder: &mut Decoder<'_>, at: Cursor<'_>, number: usize) -> Option<(FilterRule, RulePlaces)> {
    let errors = decoder.sink.error_count();
    let mut fields = decoder.fields(at, "a rule")?;
    let name_at = fields.get("name");
    let name = name_at.and_then(|at| rule_name(decoder, at));
    let place = name_at.map_or_else(|| fields.place(), Cursor::place);
    let name = name.map_or_else(|| format!("rule-{number}"), str::to_owned);
    let action_at = fields.require(decoder, "action", "deny");
    let action = action_at.and_then(|at| decoder.choice(at, "`action`", &ACTIONS));
    let (from, from_places) = peers(decoder, &mut fields, "from");
    let (to, to_places) = peers(decoder, &mut fields, "to");
    let mut traffic = Vec::new();
    let mut traffic_places = Vec::new();
    for at in listed(decoder, &mut fields, "ports", "all traffic") {
        if let Some(found) = traffic::port(decoder, at) {
            traffic.push(found);
            traffic_places.push(at.place());
        }
    }
    for at in listed(decoder, &mut fields, "icmp", "all traffic") {
        for found in traffic::icmp(decoder, at) {
            traffic.push(found);
            traffic_places.push(at.place());
        }
    }
    let log_at = fields.get("log");
    let log = log_at.and_then(|at| decoder.boolean(at, "`log`")).unwrap_or_default();
    let rate_at = fields.get("rateLimit");
    let rate_limit = rate_at.and_then(|at| rate(decoder, at));
    let expires = fields.get("expires").and_then(|at| decoder.moment(at, "`expires`"));
    if let (true, Some(FilterAction::Allow | FilterAction::Pass), Some(at)) = (log, action, log_at) {
        let help = "only denied packets are sent to the controller; every rule has counters";
        decoder.error(Code::Conflict, at.place(), "`log` is only for rules that deny", help);
    }
    if let (Some(FilterAction::Deny | FilterAction::Pass), Some(_)) = (action, rate_at) {
        let at = fields.key("rateLimit").unwrap_or(place);
        let help = "a rate limit says how much an allow rule lets through; leave it out here";
        decoder.error(Code::Conflict, at, "`rateLimit` is only for rules that allow", help);
    }
    fields.finish(decoder);
    let rule = FilterRule {
        name,
        action: action.unwrap_or(FilterAction::Deny),
        from,
        to,
        traffic,
        log,
        rate_limit,
        expires,
    };
    let places = RulePlaces {
        at: place,
        from: from_places,
        to: to_places,
        traffic: traffic_places,
        broken: decoder.sink.error_count() > errors,
    };
    Some((rule, places))
}

fn rule_name<'d>(decoder: &mut Decoder<'_>, at: Cursor<'d>) -> Option<&'d str> {
    const LONGEST: usize = 100;
    let name = decoder.plain_name(at, "`name`")?;
    let why = if name == deciders::DEFAULT {
        "verdicts call the policy's default so"
    } else if name.chars().count() > LONGEST {
        "names of rules have at most 100 characters"
    } else if name.contains('/') {
        "names of rules have no `/`"
    } else {
        return Some(name);
    };
    decoder.error(Code::InvalidValue, at.place(), format!("{} is no name for a rule", quoted(name)), why);
    None
}

fn rate(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<RateLimit> {
    let most = i64::from(u32::MAX);
    let mut fields = decoder.fields(at, "`rateLimit`")?;
    let packets = fields
        .require(decoder, "packetsPerSecond", "1000")
        .and_then(|at| decoder.number::<u32>(at, "`packetsPerSecond`", 1..=most));
    let burst = fields.get("burst").map(|at| decoder.number::<u32>(at, "`burst`", 1..=most));
    fields.finish(decoder);
    let packets_per_second = packets?;
    let burst = burst.unwrap_or(Some((packets_per_second / 10).max(1)))?;
    Some(RateLimit { packets_per_second, burst })
}

fn peers(
    decoder: &mut Decoder<'_>,
    fields: &mut Fields<'_>,
    field: &'static str,
) -> (Vec<FilterPeer>, Vec<Place>) {
    let mut peers = Vec::new();
    let mut places = Vec::new();
    for at in listed(decoder, fields, field, "every address") {
        if let Some((peer, place)) = peer(decoder, at) {
            peers.push(peer);
            places.push(place);
        }
    }
    (peers, places)
}

/// A peer and its place: text is an address or CIDR, a mapping says what it is.
fn peer(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<(FilterPeer, Place)> {
    const KINDS: &str = "`cidr`, `group`, `segment`, `host`, or `podSelector` and `namespaceSelector`";
    if let Said::Text(_) = at.said() {
        let cidr = decoder.cidr(at, "a peer", HostBits::Refuse, true)?;
        return Some((FilterPeer::Cidr { cidr, except: Vec::new() }, at.place()));
    }
    let errors = decoder.sink.error_count();
    let mut fields = decoder.fields(at, "a peer")?;
    let mut found = Vec::new();
    if let Some(at) = fields.get("cidr") {
        let cidr = decoder.cidr(at, "`cidr`", HostBits::Refuse, true);
        let except = fields.get("except").and_then(|at| decoder.list(at, "`except`"));
        let mut cut = Vec::new();
        for at in except.iter().flat_map(|items| items.iter()) {
            let hole = decoder.cidr(at, "an item of `except`", HostBits::Refuse, true);
            if let (Some(cidr), Some(hole)) = (cidr, hole)
                && within(decoder, at, cidr, hole)
            {
                cut.push(hole);
            }
        }
        found.extend(cidr.map(|cidr| (FilterPeer::Cidr { cidr, except: cut }, at.place())));
    } else if fields.get("except").is_some() {
        let at = fields.key("except").unwrap_or_else(|| fields.place());
        decoder.error(
            Code::Conflict,
            at,
            "`except` is only for `cidr`",
            "name what it is cut out of: `cidr: ...`",
        );
    }
    for (field, make) in [
        ("group", FilterPeer::Group as fn(String) -> FilterPeer),
        ("segment", FilterPeer::Segment),
        ("host", FilterPeer::Host),
    ] {
        if let Some(at) = fields.get(field) {
            let name = decoder.text(at, &format!("`{field}`"));
            found.extend(name.map(|name| (make(name.to_owned()), at.place())));
        }
    }
    let selectors = super::selector::peer_selectors(decoder, &mut fields);
    if let Some(at) = selectors.at {
        let pods = selectors.pods.unwrap_or_default();
        found.push((FilterPeer::Pods { namespaces: selectors.namespaces, pods }, at));
    }
    let place = fields.place();
    fields.finish(decoder);
    if found.len() > 1 {
        let help = "write them as separate items of the list";
        decoder.error(Code::Conflict, place, format!("a peer is one of {KINDS}"), help);
        return None;
    }
    if found.is_empty() && decoder.sink.error_count() == errors {
        let help = "leave the list out to mean every address";
        decoder.error(Code::MissingField, place, format!("a peer needs one of {KINDS}"), help);
    }
    found.pop()
}
