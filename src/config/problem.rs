//! One problem of a file, and the bounded collection of all of them.

use std::collections::HashSet;

use super::tree::Span;

/// Problems that are kept with their texts; the rest is counted. More than anyone reads, little enough for a
/// small machine when a hostile file has a million.
const MAX_KEPT: usize = 200;

/// What is wrong, where, and what to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in one sentence.
    pub title: String,
    /// The bytes of the file that it is about; `None` when it is about the whole file.
    pub at: Option<Span>,
    /// What is wrong with just these bytes.
    pub label: String,
    /// Other places that belong to it, with a word on each.
    pub also: Vec<(Span, String)>,
    /// What to try.
    pub help: Vec<String>,
}

impl Problem {
    pub(super) fn at(span: &Span, title: impl Into<String>) -> Problem {
        Problem { at: Some(span.clone()), ..Problem::of_file(title) }
    }

    pub(super) fn of_file(title: impl Into<String>) -> Problem {
        Problem { title: title.into(), at: None, label: String::new(), also: Vec::new(), help: Vec::new() }
    }

    /// The same problem of a text that begins at `by`.
    pub(super) fn shifted(mut self, by: usize) -> Problem {
        let shift = |span: &mut Span| *span = span.start + by..span.end + by;
        self.at.iter_mut().for_each(shift);
        self.also.iter_mut().for_each(|(span, _)| shift(span));
        self
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Problem {
        self.label = label.into();
        self
    }

    pub(super) fn also(mut self, span: &Span, label: impl Into<String>) -> Problem {
        self.also.push((span.clone(), label.into()));
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Problem {
        self.help.push(help.into());
        self
    }

    pub(super) fn maybe_help(mut self, help: Option<impl Into<String>>) -> Problem {
        self.help.extend(help.map(Into::into));
        self
    }
}

/// All problems of a file.
#[derive(Debug, Default)]
pub(super) struct Problems {
    kept: Vec<Problem>,
    total: usize,
    /// Aliases and merge keys bring one place up several times; it is told once.
    seen: HashSet<(Option<usize>, String)>,
    /// Bytes that no report may show.
    secrets: Vec<Span>,
    /// Known keys that were found where they don't belong.
    misplaced: HashSet<String>,
}

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        if self.is_full() {
            self.total += 1;
            return;
        }
        let first = self.seen.insert((problem.at.as_ref().map(|at| at.start), problem.title.clone()));
        if first {
            self.total += 1;
            self.kept.push(problem);
        }
    }

    /// Whether further problems are only counted, so that nobody needs to word them.
    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= MAX_KEPT
    }

    pub(super) fn count(&self) -> usize {
        self.total
    }

    /// A known key was found where it does not belong; what misses it has no mistake of its own.
    pub(super) fn mark_misplaced(&mut self, key: &str) {
        self.misplaced.insert(key.into());
    }

    pub(super) fn is_misplaced(&self, key: &str) -> bool {
        self.misplaced.contains(key)
    }

    /// No report may show these bytes.
    pub(super) fn hide(&mut self, span: &Span) {
        self.secrets.push(span.clone());
    }

    /// The problems in the order of the file, how many there were in all, and what to hide.
    pub(super) fn into_parts(mut self) -> (Vec<Problem>, usize, Vec<Span>) {
        self.kept.sort_by_key(|problem| problem.at.as_ref().map_or(0, |at| at.start));
        (self.kept, self.total, self.secrets)
    }
}
