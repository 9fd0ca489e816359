//! A generation of the intent, compiled: what each switch should hold, as blobs and as tasks.
//!
//! Every distributor does this by itself, and all come to the same bytes: what goes in is the record of the intent log
//! alone, the time that rules expire by included.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use outplane_compiler::compile::{self, Compiler, Options, SwitchState, compile_after};
use outplane_compiler::numbers::{Numbers, NumbersError};
use outplane_compiler::state::Desired;
use outplane_intent::model::{self, Intent};
use outplane_intent::reader::{self, Diagnostics, IncrementalReader, Loaded};
use outplane_intent::touched::Touched;
use outplane_rmdp_core::object::{DesiredState, Generation, text};
use outplane_rmdp_core::task::{BadEvent, Digest, Event, Task, Work};
use thiserror::Error;

use crate::blob;

/// Errors of a policy that are told; the rest is counted.
const TOLD: usize = 5;

/// Why a generation cannot be carried out. Switches stay at what they have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GenerationError {
    /// The files are wrong.
    #[error("generation {generation} is refused: {reason}; apply a corrected policy")]
    Refused {
        /// Which.
        generation: u64,
        /// The first errors.
        reason: String,
    },
    /// It does not fit the switches.
    #[error("generation {generation} cannot be compiled: {reason}; apply a smaller policy")]
    TooMuch {
        /// Which.
        generation: u64,
        /// What does not fit.
        reason: String,
    },
    /// It compiles to something else here than it did for whoever appended it.
    #[error(
        "generation {generation} compiles to something else here than where it was applied ({what}): is another version of \
         outplane at work? apply it again with this one"
    )]
    Differs {
        /// Which.
        generation: u64,
        /// Where.
        what: String,
    },
    /// It says of a switch that nothing has changed since an earlier generation, which says something else.
    #[error(
        "generation {generation} says of switch `{switch}` what generation {before} does not say, and that it has said it: is \
         another version of outplane at work? apply it again with this one (`outplane apply --anyway`)"
    )]
    Contradicts {
        /// Which.
        generation: u64,
        /// The earlier one.
        before: u64,
        /// The switch.
        switch: String,
    },
    /// What the compiler has numbered cannot be read.
    #[error(
        "generation {generation} cannot be compiled, its numbers are none ({source}): is another version of outplane at work? \
         apply it again with this one"
    )]
    Numbers {
        /// Which.
        generation: u64,
        /// What is wrong.
        source: NumbersError,
    },
    /// A name of a switch that no task can carry.
    #[error("generation {generation}: switch `{switch}`: {source}")]
    Event {
        /// Which.
        generation: u64,
        /// The switch.
        switch: String,
        /// What is wrong.
        source: BadEvent,
    },
}

/// Desired states by their names ([`blob::name`]).
pub type States = BTreeMap<Digest, Arc<Desired>>;

/// A generation, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Its number.
    pub generation: u64,
    /// What brings each switch to it, by the name of the switch: its task, or that of an earlier generation that has said the
    /// same, as has each since.
    pub tasks: Vec<Task>,
    /// The desired states that the tasks name. Switches that should hold the same share one.
    pub states: States,
    /// The switches that the intent describes.
    pub switches: BTreeMap<String, model::Switch>,
    /// When rules of it expire that had not by its time, Unix milliseconds, rounded up.
    pub expiries: BTreeSet<i64>,
}

/// What the switches should hold by a generation, and what it asks for. Takes as long as the policy is large: not for
/// asynchronous code.
pub fn states(record: &Generation) -> Result<(compile::Compiled, Intent), GenerationError> {
    if is_placeholder(record) {
        let nothing = compile::Compiled::default();
        return Ok((nothing, Intent::default()));
    }
    let intent = parsed(record)?.intent;
    Ok((states_of(record, &intent)?, intent))
}

fn states_of(record: &Generation, intent: &Intent) -> Result<compile::Compiled, GenerationError> {
    compile_after(intent, &Options { at: as_of(record) }, &numbers(record)?).map_err(|error| {
        GenerationError::TooMuch { generation: record.generation, reason: text(&error.to_string()) }
    })
}

/// What the compiler had numbered when a generation was appended, or (of one that is yet to be bound) in the one before.
pub fn numbers(record: &Generation) -> Result<Numbers, GenerationError> {
    let Some(bytes) = &record.numbers else { return Ok(Numbers::default()) };
    Numbers::decode(bytes)
        .map_err(|source| GenerationError::Numbers { generation: record.generation, source })
}

/// Whether a generation only takes its number: a recovery has left it, and nobody has to hold anything by it.
pub fn is_placeholder(record: &Generation) -> bool {
    record.says_nothing() && record.desired.is_empty()
}

/// The time that rules of a generation expire by. Milliseconds beyond what the calendar holds are its ends.
pub fn as_of(record: &Generation) -> Timestamp {
    let end = if record.as_of_ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(record.as_of_ms).unwrap_or(end)
}

/// What the switches should hold, as a generation says it.
pub fn desired(
    states: &compile::Compiled,
    switches: &BTreeMap<String, model::Switch>,
) -> BTreeMap<String, DesiredState> {
    let state = |(name, SwitchState { desired, .. }): (&String, &SwitchState)| {
        let entries = u32::try_from(desired.entries.len()).unwrap_or(u32::MAX);
        let state = DesiredState { sha256: blob::name(desired), entries, place: place(switches.get(name)) };
        (name.clone(), state)
    };
    states.switches.iter().map(state).collect()
}

/// A hash of how a switch is reached: another one means that everything is to be written again.
fn place(switch: Option<&model::Switch>) -> u64 {
    let Some(model::Switch { address, tls, protocol, .. }) = switch else { return 0 };
    let Digest(hash) = Digest::of(format!("{:?}", (address, tls, protocol)).as_bytes());
    u64::from_be_bytes(*hash.first_chunk().unwrap_or(&[0; 8]))
}

/// A generation that says what it compiles to, for whoever appends it: it has the numbers of the one before, and gets its
/// own. Not for asynchronous code either.
pub fn bound(mut record: Generation) -> Result<Generation, GenerationError> {
    if let Err(error) = numbers(&record) {
        tracing::warn!(%error, "everything is numbered anew");
        record.numbers = None;
    }
    let (states, intent) = states(&record)?;
    Ok(Generation {
        desired: desired(&states, &intent.switches),
        numbers: Some(states.numbers.encode().into()),
        ..record
    })
}

/// Compiles a generation to tasks and blobs, and compares them with what it says of itself. Not for asynchronous code
/// either.
pub fn compiled(record: &Generation) -> Result<Compiled, GenerationError> {
    let (states, intent) = states(record)?;
    let states = states.switches.iter().map(|(name, state)| (name.as_str(), &state.desired));
    compared(record, &states.collect(), &intent)
}

/// A generation as it was compiled here, if that is what it says of itself.
fn compared(
    record: &Generation,
    states: &BTreeMap<&str, &Desired>,
    intent: &Intent,
) -> Result<Compiled, GenerationError> {
    let generation = record.generation;
    let expiries = intent.expiries().map(|at| -(-at.as_nanosecond()).div_euclid(1_000_000));
    let expiries =
        expiries.filter_map(|at| i64::try_from(at).ok()).filter(|at| *at > record.as_of_ms).collect();
    let (tasks, states_of, switches) = (Vec::new(), States::new(), intent.switches.clone());
    let mut compiled = Compiled { generation, tasks, states: states_of, switches, expiries };
    let differs = |what: String| Err(GenerationError::Differs { generation, what });
    if let Some(switch) = record.desired.keys().find(|switch| !states.contains_key(switch.as_str())) {
        return differs(format!("switch `{switch}` is none of its switches"));
    }
    for (switch, desired) in states {
        let switch = (*switch).to_owned();
        let digest = blob::name(desired);
        let entries = u32::try_from(desired.entries.len()).unwrap_or(u32::MAX);
        match record.desired.get(&switch) {
            Some(said) if (said.sha256, said.entries) == (digest, entries) => {}
            Some(said) => {
                return differs(format!("switch `{switch}`: b/{digest} here, b/{} there", said.sha256));
            }
            None => return differs(format!("switch `{switch}` was none of its switches")),
        }
        // Of an earlier generation, where that has said the same, and each since.
        let since = record.since(&switch);
        let work = Work::Converge { generation: since, desired: digest, entries };
        let task = Task::new(Event::generation(record.network, since, &switch), work)
            .map_err(|source| GenerationError::Event { generation, switch, source })?;
        compiled.tasks.push(task);
        compiled.states.entry(digest).or_insert_with(|| Arc::new((*desired).clone()));
    }
    Ok(compiled)
}

/// Reads a generation's files.
pub fn parsed(record: &Generation) -> Result<Loaded, GenerationError> {
    let texts = record.inputs().map(|file| (file.name.as_str(), file.text.as_str()));
    reader::parse(texts).map_err(|diagnostics| refused(record, &diagnostics))
}

fn refused(record: &Generation, diagnostics: &Diagnostics) -> GenerationError {
    GenerationError::Refused { generation: record.generation, reason: text(&told(diagnostics)) }
}

/// How many compiled generations are kept, the newest ones.
const RECENT: usize = 4;

/// Reads and compiles generations one after the other, each of which is mostly the one before: what it has read and
/// compiled of one is kept for the next, some ten times what its text takes, and what came of the last few. Clones share
/// it; what one does, the others wait for. Not for asynchronous code, but for [`Self::state`] and [`Self::newest`].
///
/// What comes of a generation is the same whatever came before it.
#[derive(Clone, Default)]
pub struct Generations(Arc<Shared>);

#[derive(Default)]
struct Shared {
    kept: Mutex<Kept>,
    /// What was compiled last, the newest at the end; each with what it was compiled from, without the files.
    recent: Mutex<VecDeque<(Generation, Arc<Compiled>)>>,
}

#[derive(Default)]
struct Kept {
    reader: IncrementalReader,
    compiler: Option<Compiler>,
    /// What has been read since it was compiled last.
    touched: Touched,
}

impl fmt::Debug for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Generations")
    }
}

impl Generations {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`compiled`]; takes the files. One that somebody has just compiled here is not compiled again.
    ///
    /// # Errors
    /// As [`compiled`].
    pub fn compiled(&self, mut record: Generation) -> Result<Arc<Compiled>, GenerationError> {
        if is_placeholder(&record) {
            return compiled(&record).map(Arc::new);
        }
        let mut kept = self.kept();
        let said = record.without_files();
        let known =
            self.recent().iter().find(|(other, _)| *other == said).map(|(_, known)| Arc::clone(known));
        if let Some(known) = known {
            return Ok(known);
        }
        let found = Arc::new(kept.compiled(&mut record)?);
        let mut recent = self.recent();
        recent.push_back((said, Arc::clone(&found)));
        if recent.len() > RECENT {
            recent.pop_front();
        }
        Ok(found)
    }

    /// A desired state of this name, if one of the generations that were compiled last has it. Waits for nobody.
    pub fn state(&self, digest: Digest) -> Option<Arc<Desired>> {
        self.recent().iter().rev().find_map(|(_, compiled)| compiled.states.get(&digest).cloned())
    }

    /// The newest generation that was compiled of late. Waits for nobody.
    pub fn newest(&self) -> Option<u64> {
        self.recent().iter().map(|(said, _)| said.generation).max()
    }

    /// Reads a generation's files, and has somebody look at what they say. The record comes without them.
    ///
    /// # Errors
    /// As [`parsed`].
    pub fn read<T>(
        &self,
        mut record: Generation,
        look: impl FnOnce(&Generation, &Loaded) -> T,
    ) -> Result<T, GenerationError> {
        let mut kept = self.kept();
        let Kept { reader, touched, .. } = &mut *kept;
        let loaded = read(reader, touched, &mut record)?;
        Ok(look(&record, loaded))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(|poisoned| {
            // Somebody's panic has left it in the middle of something.
            self.0.kept.clear_poison();
            let mut kept = poisoned.into_inner();
            *kept = Kept::default();
            kept
        })
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<(Generation, Arc<Compiled>)>> {
        self.0.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn compiled(&mut self, record: &mut Generation) -> Result<Compiled, GenerationError> {
        let Self { reader, compiler, touched } = self;
        let intent = &read(reader, touched, record)?.intent;
        let options = Options { at: as_of(record) };
        let since = std::mem::take(touched);
        if let Some(mut going_on) = compiler.take()
            && going_on.update(intent, &since, &options).is_ok()
            && let Ok(found) = compared(record, &going_on.switches().collect(), intent)
        {
            *compiler = Some(going_on);
            return Ok(found);
        }
        // It was numbered otherwise than what is known here would be, or is wrong.
        let going_on = Compiler::of(intent, &options, states_of(record, intent)?);
        let found = compared(record, &going_on.switches().collect(), intent);
        *compiler = Some(going_on);
        found
    }
}

/// Reads the files of a generation, which gives them away.
fn read<'r>(
    reader: &'r mut IncrementalReader,
    touched: &mut Touched,
    record: &mut Generation,
) -> Result<&'r Loaded, GenerationError> {
    let files = std::mem::take(&mut record.files);
    let sources = std::mem::take(&mut record.sources);
    let files = files.into_iter().chain(sources.into_values().flatten());
    let read = reader.read(files.map(|file| (file.name, file.text)));
    let read = read.map_err(|diagnostics| refused(record, &diagnostics))?;
    touched.extend(read.touched);
    Ok(read.loaded)
}

fn told(diagnostics: &Diagnostics) -> String {
    let errors = diagnostics.errors();
    let mut told = String::new();
    for (at, error) in errors.iter().take(TOLD).enumerate() {
        let _ = write!(told, "{}", if at == 0 { "" } else { "; " });
        if let Some(location) = error.location() {
            let _ = write!(told, "{}:{}: ", location.file, location.line);
        }
        let _ = write!(told, "{error}");
    }
    let more = errors.len().saturating_sub(TOLD) + diagnostics.omitted();
    if more > 0 {
        let _ = write!(told, "; and {more} more");
    }
    told
}

#[cfg(test)]
mod tests {
    use outplane_rmdp_core::object::PolicyFile;
    use outplane_rmdp_core::task::NetworkId;

    use super::*;

    fn record(policy: &str) -> Generation {
        let file = |name: &str, text: &str| PolicyFile { name: name.to_owned(), text: text.to_owned() };
        let record = Generation {
            network: NetworkId::new(1),
            generation: 7,
            desired: BTreeMap::new(),
            since: BTreeMap::new(),
            sources: BTreeMap::new(),
            numbers: None,
            files: vec![
                file("network.yaml", include_str!("../../../../examples/campus/network.yaml")),
                file("policy.yaml", policy),
            ],
            as_of_ms: 0,
            author: "somebody".to_owned(),
            at_ms: 1,
        };
        bound(record.clone()).unwrap_or(record)
    }

    const POLICY: &str = include_str!("../../../../examples/campus/policy.yaml");

    #[test]
    fn every_distributor_comes_to_the_same() {
        let first = compiled(&record(POLICY)).unwrap();
        let [task] = first.tasks.as_slice() else { panic!("{:?}", first.tasks) };
        assert_eq!((task.switch(), task.work().generation()), ("core", Some(7)));
        let Work::Converge { desired, entries, .. } = task.work() else { panic!("{task:?}") };
        assert!(*entries > 10 && first.states.contains_key(desired));
        // Who wrote it and when changes nothing.
        let other = Generation { author: "another".to_owned(), at_ms: 2, ..record(POLICY) };
        assert_eq!(compiled(&other).unwrap(), first);
    }

    #[test]
    fn what_was_read_before_changes_nothing() {
        let edited = POLICY.replacen("443", "8443", 1);
        assert_ne!(edited, POLICY);
        let placeholder = Generation { files: Vec::new(), desired: BTreeMap::new(), ..record(POLICY) };
        let records = [POLICY, "kind: Nonsense", &edited, POLICY, &edited].map(record);
        let generations = Generations::new();
        for record in records.into_iter().chain([placeholder, record(POLICY)]) {
            let known = generations.clone().compiled(record.clone());
            assert_eq!(known.map(|known| (*known).clone()), compiled(&record));
        }
    }

    #[test]
    fn a_placeholder_wants_nothing() {
        let placeholder = Generation { files: Vec::new(), desired: BTreeMap::new(), ..record(POLICY) };
        let compiled = compiled(&placeholder).unwrap();
        assert!(compiled.tasks.is_empty() && compiled.states.is_empty() && compiled.switches.is_empty());
    }

    #[test]
    fn what_it_says_of_itself_is_compared() {
        let good = record(POLICY);
        let told = |change: fn(&mut Generation)| {
            let mut other = good.clone();
            change(&mut other);
            match compiled(&other) {
                Err(GenerationError::Differs { generation: 7, what }) => what,
                other => panic!("{other:?}"),
            }
        };
        let digest = |record: &mut Generation| {
            record.desired.values_mut().for_each(|state| state.sha256 = Digest([0; 32]));
        };
        assert!(told(digest).contains("switch `core`"));
        assert!(told(|record| record.desired.clear()).contains("was none of its switches"));
        let more = |record: &mut Generation| {
            record
                .desired
                .insert("edge".to_owned(), DesiredState { sha256: Digest([0; 32]), entries: 0, place: 0 });
        };
        assert!(told(more).contains("switch `edge`"));
    }

    #[test]
    fn faults_name_the_file_and_the_generation() {
        let error = compiled(&record("kind: Nonsense")).unwrap_err();
        let told = error.to_string();
        assert!(matches!(error, GenerationError::Refused { .. }), "{told}");
        assert!(told.contains("generation 7") && told.contains("policy.yaml:1"), "{told}");
    }
}
