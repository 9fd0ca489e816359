//! A reader that goes on from what it has read before.
//!
//! What it keeps: the texts, in pieces from one line `---` to the next ([`pieces`]), what each piece says, all objects as they
//! were said ([`state`]), and the intent with what was found odd in it. Of new texts it looks for what differs, reads the
//! pieces that are new, takes out what those said that are gone, and resolves again what hangs on these objects.
//!
//! It never tells of errors by itself. Whatever is wrong, it leaves everything as it was and reads the texts from nothing, so
//! that errors are told in the words, the order and the number in which that tells them.

mod pieces;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::pieces::{File, Held, Piece, Plan, Planned, plan};
use self::state::{Delta, Fresh, State};
use super::declaration::Declaration;
use super::diagnostic::Diagnostics;
use super::limits::Limits;
use super::objects::Objects;
use super::sink::Sink;
use super::source::{SourceFile, number};
use super::sources::{Part, Sources};
use super::{Loaded, forbidden, read, source_files, yaml};
use crate::touched::Touched;

/// Reads texts one after the other, each of which is mostly the one before: what an edit costs hangs on the edit, and on how
/// fast the texts are compared.
///
/// [`Self::read`] gives what [`parse`](super::parse) of the same texts gives, errors and warnings and their places included. Only YAML
/// documents whose text is new are read again; of a file that is one document (JSON, a `List`) that is all of it, once
/// anything in it is new, and so it is of a file with directives (lines that begin with `%`). What Segments, Hosts,
/// Switches, groups and FilterPolicies say is resolved as a whole when one of them is new.
///
/// Texts with errors are read from nothing, and change nothing of what is kept: the next texts are compared with the last
/// good ones.
///
/// It keeps the last good texts, and a few times as much memory for what they say: about as much as a [`Loaded`] and the
/// objects before their names were resolved take. What texts before them said is gone.
#[derive(Debug)]
pub struct IncrementalReader {
    limits: Limits,
    files: Vec<File>,
    state: State,
    /// Numbers of parts that are free; from `parts` on all are.
    free: Vec<u32>,
    parts: u32,
    /// What was read last, if that was read from nothing; then nothing else is kept.
    whole: Option<Loaded>,
}

/// What was read.
#[derive(Debug)]
pub struct Reread<'r> {
    /// As if it was read from nothing.
    pub loaded: &'r Loaded,
    /// Which objects of the intent differ from what was read successfully before; from nothing, the first time.
    pub touched: Touched,
}

impl Default for IncrementalReader {
    fn default() -> Self {
        Self::within(Limits::default())
    }
}

impl IncrementalReader {
    /// Without anything read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Within limits of one's own.
    pub fn within(limits: Limits) -> Self {
        Self { limits, files: Vec::new(), state: State::default(), free: Vec::new(), parts: 0, whole: None }
    }

    /// What was read successfully last; nothing at first.
    pub fn last(&self) -> &Loaded {
        self.whole.as_ref().unwrap_or(&self.state.loaded)
    }

    /// Reads texts, each under the name that messages shall call it: all of them, as they are now.
    ///
    /// # Errors
    /// Those of [`parse_within`](super::parse_within).
    pub fn read<N: Into<String>, T: Into<String>>(
        &mut self,
        texts: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Reread<'_>, Diagnostics> {
        let sources = source_files(texts);
        if let Some(mut touched) = self.reread(sources.clone()) {
            if let Some(before) = self.whole.take() {
                touched = Touched::between(&before.intent, &self.state.loaded.intent);
            }
            return Ok(Reread { loaded: &self.state.loaded, touched });
        }
        let loaded = read(sources, &self.limits, Sink::new(self.limits.diagnostics))?;
        // Good texts of which some piece is not good by itself: nothing of them is kept.
        let touched = Touched::between(&self.last().intent, &loaded.intent);
        *self = Self::within(self.limits);
        Ok(Reread { loaded: self.whole.insert(loaded), touched })
    }

    /// None, and everything is as it was, if something is wrong.
    fn reread(&mut self, sources: Vec<Arc<SourceFile>>) -> Option<Touched> {
        let sizes = sources.iter().map(|source| source.text().len());
        if sizes.clone().any(|size| size > self.limits.file_bytes)
            || sizes.fold(0, usize::saturating_add) > self.limits.total_bytes
        {
            return None;
        }
        let Plan { files, gone } = plan(&self.files, sources, &self.limits)?;
        let (free, parts) = (self.free.clone(), self.parts);
        let done = self.pieces(files).and_then(|(files, fresh)| {
            let delta = Delta { gone: &gone, fresh };
            place(&files, &mut self.state.loaded.sources);
            let touched = self.state.change(delta, &files, &self.limits)?;
            Some((files, touched))
        });
        let Some((files, touched)) = done else {
            (self.free, self.parts) = (free, parts);
            place(&self.files, &mut self.state.loaded.sources);
            return None;
        };
        self.files = files;
        self.free.extend(gone.iter().map(|piece| piece.part));
        Some(touched)
    }

    /// Reads pieces that are new.
    fn pieces(&mut self, planned: Vec<(Arc<SourceFile>, Vec<Planned>)>) -> Option<(Vec<File>, Vec<Fresh>)> {
        let (mut files, mut fresh) = (Vec::with_capacity(planned.len()), Vec::new());
        let mut documents = 0_usize;
        for (source, planned) in planned {
            let mut file = File { source, pieces: Vec::with_capacity(planned.len()) };
            for piece in planned {
                let piece = match piece {
                    Planned::Kept(piece) => piece,
                    new => {
                        let read = self.piece(&file.source, new)?;
                        let piece = read.held.clone();
                        fresh.push(read);
                        piece
                    }
                };
                documents = documents.saturating_add(piece.documents as usize);
                file.pieces.push(piece);
            }
            files.push(file);
        }
        (documents <= self.limits.documents).then_some((files, fresh))
    }

    fn piece(&mut self, source: &Arc<SourceFile>, planned: Planned) -> Option<Fresh> {
        let part = self.free.pop().unwrap_or_else(|| {
            self.parts += 1;
            self.parts - 1
        });
        // Relative paths go by the name of the file.
        let mut sources = Sources::default();
        sources.set_files(vec![Arc::clone(source)]);
        let mut objects = Objects::new(Sink::new(self.limits.diagnostics), sources);
        let (text, json, documents) = match planned {
            Planned::Json(document) => {
                forbidden(source.text()).is_none().then_some(())?;
                if let Some(document) = document {
                    objects.read(document.part(part).root(), None);
                }
                (source.text(), true, 1)
            }
            Planned::New(range) => {
                let text = &source.text()[range];
                forbidden(text).is_none().then_some(())?;
                let own;
                let source = if text.len() == source.text().len() {
                    source
                } else {
                    own = Arc::new(SourceFile::new(source.name(), text));
                    &own
                };
                let mut left = self.limits.documents;
                let mut documents = yaml::Documents::new(source, part, self.limits).of_piece();
                while let Some(document) = documents.next(&mut left) {
                    objects.read(document.ok()?.root(), None);
                }
                (text, false, self.limits.documents - left)
            }
            Planned::Kept(_) => return None,
        };
        if objects.sink.error_count() > 0 {
            return None;
        }
        let declarations = objects.declared.drain();
        let piece = Piece {
            json,
            keys: declarations.iter().map(Declaration::key).collect(),
            objects: objects.placed.iter().map(|(name, _)| name.clone()).collect(),
            warnings: objects.sink.warnings,
            omitted_warnings: objects.sink.omitted_warnings,
            skipped: objects.skipped,
        };
        let held = Held {
            part,
            bytes: number(text.len()),
            characters: number(text.chars().count()),
            documents: number(documents),
            plain: piece.warnings.is_empty() && piece.omitted_warnings == 0 && piece.skipped.is_empty(),
            piece: Arc::new(piece),
        };
        Some(Fresh { held, declarations, placed: objects.placed })
    }
}

/// Tells where the parts of files begin.
fn place(files: &[File], sources: &mut Sources) {
    sources.set_files(files.iter().map(|file| Arc::clone(&file.source)).collect());
    for (at, file) in files.iter().enumerate() {
        let mut part = Part { file: number(at), ..Part::default() };
        for piece in &file.pieces {
            part.ascii = piece.bytes == piece.characters;
            sources.set_part(piece.part, part);
            part.byte += piece.bytes;
            part.character += piece.characters;
        }
    }
}
