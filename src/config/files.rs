//! The texts that make up a configuration: the file that was named, what it includes, the templates of its devices.
//!
//! They lie one after the other in one text, so a place in any of them is one number, wherever it is passed on to.

use std::path::{Path, PathBuf};

use super::report::mask;
use super::tree::Span;
use super::types::Place;

/// The texts, in the order in which they were added.
#[derive(Debug, Clone)]
pub(super) struct Files {
    text: String,
    /// Each with where it starts; the first starts at 0.
    parts: Vec<(PathBuf, usize)>,
}

impl Files {
    pub(super) fn new(path: &Path, text: String) -> Files {
        Files { text, parts: vec![(path.into(), 0)] }
    }

    /// Adds a text and says which part of the whole it is.
    pub(super) fn add(&mut self, path: &Path, text: &str) -> Span {
        // The end of one file is a place too, and not the beginning of the next.
        self.text.push('\n');
        let start = self.text.len();
        self.text.push_str(text);
        self.parts.push((path.into(), start));
        start..self.text.len()
    }

    /// All texts.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The file that was named.
    pub(super) fn first(&self) -> &Path {
        &self.parts[0].0
    }

    /// The file of a place.
    pub(super) fn path(&self, at: usize) -> &Path {
        &self.parts[self.index(at)].0
    }

    /// The bytes of the file of a place.
    pub(super) fn range(&self, at: usize) -> Span {
        let index = self.index(at);
        let end = self.parts.get(index + 1).map_or(self.text.len(), |(_, next)| next - 1);
        self.parts[index].1..end
    }

    /// Line and column of a byte in its file.
    pub(super) fn place(&self, at: usize) -> Place {
        let range = self.range(at);
        let before = &self.text[range.start..at.min(range.end)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            file: self.path(at).into(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The same with these bytes masked.
    pub(super) fn masked(self, secrets: &[Span]) -> Files {
        Files { text: mask(&self.text, secrets), ..self }
    }

    fn index(&self, at: usize) -> usize {
        // The first part starts at 0, so at least one starts at or before any place.
        self.parts.partition_point(|(_, start)| *start <= at).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_belongs_to_the_file_it_is_in_up_to_its_end() {
        let mut files = Files::new("a.yaml".as_ref(), "one\ntwo".into());
        let second = files.add("b.yaml".as_ref(), "three\nfour\n");
        assert_eq!(&files.text()[second.clone()], "three\nfour\n");
        assert_eq!(files.place(7), Place { file: "a.yaml".into(), line: 2, column: 4 });
        assert_eq!(files.place(8), Place { file: "b.yaml".into(), line: 1, column: 1 });
        assert_eq!(files.place(second.start + 7), Place { file: "b.yaml".into(), line: 2, column: 2 });
        assert_eq!((files.range(3), files.range(9)), (0..7, second));
    }
}
