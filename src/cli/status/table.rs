//! Columns for the terminal: as wide as what is in them, and together no wider than the page.

/// Columns of a page.
pub const PAGE: usize = 80;
/// Between two columns.
const GAP: usize = 2;
/// No column is cut to less.
const LEAST: usize = 6;

/// How a cell is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// A heading, or less important.
    Faint,
    /// Well.
    Good,
    /// Worth a look.
    Odd,
    /// Wrong.
    Bad,
}

/// Whether tones are shown, by the escape sequences of ECMA-48.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    /// The text in that tone.
    pub fn text(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.0 => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Odd => "33",
            Tone::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// One cell.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    tone: Tone,
    right: bool,
}

impl Cell {
    /// A text.
    pub fn text(tone: Tone, text: impl Into<String>) -> Cell {
        Cell { text: text.into(), tone, right: false }
    }

    /// A number, which stands on the right.
    pub fn number(tone: Tone, text: impl Into<String>) -> Cell {
        Cell { text: text.into(), tone, right: true }
    }
}

/// Rows of cells under headings; the last column takes what is left of the page.
#[derive(Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// No rows yet.
    pub fn new(headings: &[&'static str]) -> Table {
        Table { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with a cell for each heading.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.headings.len(), "a cell for each heading");
        self.rows.push(cells);
    }

    /// The lines, each no wider than the page.
    pub fn lines(&self, paint: Paint) -> Vec<String> {
        let widths = self.widths();
        let heading = |(column, text): (usize, &&'static str)| Cell {
            text: (*text).to_owned(),
            tone: Tone::Faint,
            right: self.rows.first().is_some_and(|row| row[column].right),
        };
        let headings: Vec<Cell> = self.headings.iter().enumerate().map(heading).collect();
        std::iter::once(&headings).chain(&self.rows).map(|row| line(row, &widths, paint)).collect()
    }

    /// As wide as what is in them; where that is too much, the widest gives way first.
    fn widths(&self) -> Vec<usize> {
        let of = |column: usize| {
            let cells = self.rows.iter().map(|row| width(&row[column].text));
            cells.chain([width(self.headings[column])]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.headings.len()).map(of).collect();
        let gaps = GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > PAGE {
            let Some(widest) = widths.iter_mut().max_by_key(|width| **width) else { break };
            if *widest <= LEAST {
                break;
            }
            *widest -= 1;
        }
        widths
    }
}

fn line(row: &[Cell], widths: &[usize], paint: Paint) -> String {
    let mut line = String::new();
    let mut owed = 0;
    for (cell, most) in row.iter().zip(widths) {
        let text = cut(&cell.text, *most);
        let missing = most - width(&text);
        let before = owed + if cell.right { missing } else { 0 };
        if !text.is_empty() {
            line.extend(std::iter::repeat_n(' ', before));
            line += &paint.text(cell.tone, &text);
            owed = 0;
        } else {
            owed = before;
        }
        owed += GAP + if cell.right { 0 } else { missing };
    }
    line
}

fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Names are ASCII; what systems say rarely has characters of two columns, and then a line is a little longer.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// A sentence in lines of at most a page, the first after `first` and the others as far in.
pub fn wrap(first: &str, text: &str) -> Vec<String> {
    let indent = width(first);
    let mut lines = vec![first.to_owned()];
    let mut used = indent;
    for word in text.split_whitespace() {
        let is_first = used == indent;
        if !is_first && used + 1 + width(word) > PAGE {
            lines.push(" ".repeat(indent));
            used = indent;
        }
        let line = lines.last_mut().expect("there is one from the beginning");
        if used > indent {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += width(word);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_on_the_right() {
        let mut table = Table::new(&["NAME", "QUEUED", "WHY"]);
        table.row(vec![Cell::text(Tone::Plain, "cloud"), Cell::number(Tone::Plain, "12"), Cell::text(Tone::Plain, "")]);
        table.row(vec![
            Cell::text(Tone::Plain, "a"),
            Cell::number(Tone::Plain, "1,234"),
            Cell::text(Tone::Plain, "away"),
        ]);
        assert_eq!(table.lines(Paint(false)), ["NAME   QUEUED  WHY", "cloud      12", "a       1,234  away"]);
    }

    #[test]
    fn a_line_is_never_wider_than_the_page() {
        let mut table = Table::new(&["NAME", "WHY"]);
        table.row(vec![Cell::text(Tone::Plain, "n".repeat(60)), Cell::text(Tone::Bad, "w".repeat(90))]);
        for line in table.lines(Paint(false)) {
            assert!(width(&line) <= PAGE, "{line}");
        }
        for line in wrap("! ", &"many words ".repeat(20)) {
            assert!(width(&line) <= PAGE && !line.ends_with(' '), "{line:?}");
        }
    }

    #[test]
    fn colours_are_there_only_when_they_are_wanted() {
        assert_eq!(Paint(true).text(Tone::Bad, "down"), "\x1b[31mdown\x1b[0m");
        assert_eq!(Paint(false).text(Tone::Bad, "down"), "down");
    }
}
