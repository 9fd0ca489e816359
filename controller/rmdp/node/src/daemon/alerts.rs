//! What is wrong with a node, since when, and until when: an alert has a beginning and an end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use outplane_rmdp_core::object::PastAlert;

/// Alerts that are over and remembered.
const PAST: usize = 20;
/// How long they are shown, milliseconds.
const SHOWN_MS: u64 = 10 * 60 * 1000;
/// What was told as news and stands so soon after it, milliseconds, is one alert.
const SAME_MS: u64 = 5000;

/// What is wrong, in words, and what makes it the same although numbers in the words change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alert {
    kind: String,
    text: String,
}

impl Alert {
    /// One that is told from others by this, whatever its words are.
    pub(crate) fn of(kind: String, text: String) -> Self {
        Self { kind, text }
    }
}

/// One outage of the store, whichever requests have met it, and whether it says no or nothing.
pub(crate) fn away(text: String) -> Alert {
    Alert::of("the store is away".to_owned(), text)
}

impl From<String> for Alert {
    fn from(text: String) -> Self {
        Self { kind: kind(&text), text }
    }
}

/// The alerts of a node. Times are Unix milliseconds, for people.
#[derive(Debug, Default)]
pub(crate) struct Alerts {
    /// Those that hold, in order, by what makes them the same although numbers in them change.
    standing: Vec<(String, String, u64)>,
    /// The oldest first, each with what makes it the same.
    past: VecDeque<(String, PastAlert)>,
}

impl Alerts {
    /// What holds now; whatever held before and is not among it is over.
    pub(crate) fn hold(&mut self, alerts: Vec<Alert>, now_ms: u64) {
        let mut before: BTreeMap<String, (String, u64)> =
            self.standing.drain(..).map(|(kind, text, since)| (kind, (text, since))).collect();
        let mut told = BTreeSet::new();
        for Alert { kind, text } in alerts {
            if told.insert(kind.clone()) {
                let since = match before.remove(&kind) {
                    Some((_, since)) => since,
                    None => self.told(&kind, now_ms).unwrap_or(now_ms),
                };
                self.standing.push((kind, text, since));
            }
        }
        for (kind, (text, since)) in before {
            self.push(kind, PastAlert { text, from_ms: since, until_ms: now_ms });
        }
    }

    /// News of a moment.
    pub(crate) fn news(&mut self, alert: impl Into<Alert>, now_ms: u64) {
        let Alert { kind, text } = alert.into();
        if !self.standing.iter().any(|(standing, ..)| *standing == kind) {
            self.push(kind, PastAlert { text, from_ms: now_ms, until_ms: now_ms });
        }
    }

    /// When it was told as news, just before it stood.
    fn told(&mut self, of: &str, now_ms: u64) -> Option<u64> {
        let at = self.past.iter().position(|(kind, past)| {
            past.from_ms == past.until_ms && now_ms.saturating_sub(past.from_ms) <= SAME_MS && kind == of
        })?;
        self.past.remove(at).map(|(_, past)| past.from_ms)
    }

    fn push(&mut self, kind: String, alert: PastAlert) {
        self.past.push_back((kind, alert));
        if self.past.len() > PAST {
            self.past.pop_front();
        }
    }

    /// Those that hold, with their beginnings.
    pub(crate) fn standing(&self) -> impl Iterator<Item = (&str, u64)> {
        self.standing.iter().map(|(_, text, since)| (text.as_str(), *since))
    }

    /// Those that are over since a short while, the newest last.
    pub(crate) fn past(&self, now_ms: u64) -> impl Iterator<Item = &PastAlert> {
        self.past
            .iter()
            .map(|(_, past)| past)
            .filter(move |past| now_ms.saturating_sub(past.until_ms) < SHOWN_MS)
    }
}

/// The text without its numbers: how long somebody has been silent changes, and that he is silent stays. Digits of names
/// stay, and so does the first word: it says whose trouble it is, and may be a number, or an address.
fn kind(text: &str) -> String {
    let (first, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
    let mut kind = String::with_capacity(text.len());
    kind.push_str(first);
    let mut before = ' ';
    let mut in_number = false;
    for letter in rest.chars() {
        in_number = if in_number {
            letter.is_ascii_digit() || letter == '.'
        } else {
            letter.is_ascii_digit() && !before.is_alphanumeric() && !"-_.".contains(before)
        };
        if !in_number {
            kind.push(letter);
        }
        before = letter;
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<Alert> {
        all.iter().map(|text| Alert::from((*text).to_owned())).collect()
    }

    #[test]
    fn an_alert_has_a_beginning_and_an_end() {
        let mut alerts = Alerts::default();
        alerts.hold(texts(&["c2 is silent for 3.5 s", "c3 is silent for 3.5 s"]), 1000);
        alerts.hold(texts(&["c2 is silent for 4.5 s"]), 2000);
        assert_eq!(alerts.standing().collect::<Vec<_>>(), [("c2 is silent for 4.5 s", 1000)]);
        let past = PastAlert { text: "c3 is silent for 3.5 s".to_owned(), from_ms: 1000, until_ms: 2000 };
        assert_eq!(alerts.past(2000).collect::<Vec<_>>(), [&past]);
        assert_eq!(alerts.past(2000 + SHOWN_MS).count(), 0);
    }

    /// Nodes may be called by numbers; how many keys there are is no name.
    #[test]
    fn whose_trouble_it_is_tells_alerts_apart() {
        let mut alerts = Alerts::default();
        alerts.hold(texts(&["7 is silent for 3.5 s", "8 is silent for 3.5 s"]), 1000);
        assert_eq!(alerts.standing().count(), 2);
        alerts.hold(texts(&["8 is silent for 4.5 s"]), 2000);
        assert_eq!(alerts.standing().collect::<Vec<_>>(), [("8 is silent for 4.5 s", 1000)]);
        let keys = |count: u32| Alert::of("strangers i/".to_owned(), format!("{count} keys under i/"));
        let mut alerts = Alerts::default();
        (1..4).for_each(|count| alerts.hold(vec![keys(count)], count.into()));
        assert_eq!(alerts.standing().collect::<Vec<_>>(), [("3 keys under i/", 1)]);
    }

    #[test]
    fn what_is_news_and_stands_is_one_alert() {
        let mut alerts = Alerts::default();
        let timeout = |key: &str| away(format!("the store is away: get {key}: timeout"));
        alerts.news(timeout("n/c1"), 900);
        alerts.hold(vec![timeout("n/c1")], 1000);
        alerts.news(timeout("i/7"), 1100);
        // Whichever request has failed last: it is one outage.
        alerts.hold(vec![timeout("c/1/000001")], 1200);
        assert_eq!(
            alerts.standing().collect::<Vec<_>>(),
            [("the store is away: get c/1/000001: timeout", 900)]
        );
        assert_eq!(alerts.past(1200).count(), 0);
        // A task that failed is over as it is told.
        alerts.news("task 7 failed".to_owned(), 1200);
        assert_eq!(alerts.past(1200).count(), 1);
    }

    #[test]
    fn only_the_last_ones_are_remembered() {
        let mut alerts = Alerts::default();
        (0..50).for_each(|number| alerts.news(format!("n{number}"), number));
        let past: Vec<_> = alerts.past(60).map(|past| past.text.as_str()).collect();
        assert_eq!((past.len(), past[0], past[19]), (PAST, "n30", "n49"));
    }
}
