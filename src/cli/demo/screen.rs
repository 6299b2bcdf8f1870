//! The terminal: lines with their time, colour where it is wanted, and one status line at the bottom when it is a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::story::Tone;

/// Clears the line that the cursor is on (ECMA-48: carriage return, erase in line).
const CLEAR_LINE: &str = "\r\x1b[K";
/// Between two status lines, where each overwrites the last and where it can't.
const LIVE_STATUS_EVERY: Duration = Duration::from_secs(1);
const PIPED_STATUS_EVERY: Duration = Duration::from_secs(30);

/// Where the story is told.
#[derive(Debug)]
pub struct Screen<W> {
    out: W,
    coloured: bool,
    /// Whether the status line can be overwritten.
    live: bool,
    status: String,
    last_status: Option<Duration>,
}

impl Screen<io::Stdout> {
    /// Standard output: in colour and with a live status line when it is a terminal, neither when `plain`.
    pub fn stdout(plain: bool) -> Screen<io::Stdout> {
        let terminal = io::stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Screen::new(io::stdout(), terminal && !plain && !no_color, terminal)
    }
}

impl<W: Write> Screen<W> {
    /// Any sink.
    pub fn new(out: W, coloured: bool, live: bool) -> Screen<W> {
        Screen { out, coloured, live, status: String::new(), last_status: None }
    }

    /// Text without a time, as it is. Errors when nobody reads any more.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.above_status(text)
    }

    /// A line with the time since the start.
    pub fn line(&mut self, at: Duration, tone: Tone, text: &str) -> io::Result<()> {
        let seconds = at.as_secs();
        let text = wrap(text, 7, 79);
        let (on, off) = if self.coloured && tone != Tone::Plain { (colour(tone), "\x1b[0m") } else { ("", "") };
        self.above_status(&format!("{:02}:{:02}  {on}{text}{off}", seconds / 60, seconds % 60))
    }

    /// Replaces the status line; in a pipe, writes one now and then once `settled`.
    pub fn status(&mut self, at: Duration, status: String, settled: bool) -> io::Result<()> {
        let rest = if self.live { LIVE_STATUS_EVERY } else { PIPED_STATUS_EVERY };
        if self.last_status.is_some_and(|last| at.saturating_sub(last) < rest) || !(self.live || settled) {
            return Ok(());
        }
        self.last_status = Some(at);
        if !self.live {
            return self.line(at, Tone::Plain, &status);
        }
        self.status = status;
        write!(self.out, "{CLEAR_LINE}{}", self.status)?;
        self.out.flush()
    }

    /// Takes the status line away.
    pub fn close(&mut self) -> io::Result<()> {
        if !self.status.is_empty() {
            self.status.clear();
            write!(self.out, "{CLEAR_LINE}")?;
        }
        self.out.flush()
    }

    fn above_status(&mut self, text: &str) -> io::Result<()> {
        if self.status.is_empty() {
            writeln!(self.out, "{text}")?;
        } else {
            write!(self.out, "{CLEAR_LINE}{text}\n{}", self.status)?;
        }
        self.out.flush()
    }
}

fn colour(tone: Tone) -> &'static str {
    match tone {
        Tone::Act => "\x1b[1;33m",
        Tone::Plain => "",
        Tone::Good => "\x1b[32m",
        Tone::Bad => "\x1b[1;31m",
    }
}

/// Breaks `text` between words so that no line is longer than `width`, when the first begins at column `indent` and so do the others.
fn wrap(text: &str, indent: usize, width: usize) -> String {
    let mut out = String::new();
    let mut column = indent;
    // Runs of spaces stay: they align columns.
    for word in text.split_inclusive(' ') {
        let length = word.trim_end().chars().count();
        if column + length > width && column > indent {
            out.truncate(out.trim_end().len());
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        }
        out.push_str(word);
        column += word.chars().count();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(coloured: bool, live: bool, play: impl FnOnce(&mut Screen<&mut Vec<u8>>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        play(&mut Screen::new(&mut out, coloured, live)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_pipe_gets_plain_lines_and_no_cursor_tricks() {
        let text = shown(false, false, |screen| {
            screen.line(Duration::from_secs(65), Tone::Good, "arrived")?;
            screen.status(Duration::from_secs(66), "fine".into(), false)?;
            screen.status(Duration::from_secs(67), "fine".into(), true)?;
            screen.status(Duration::from_secs(68), "fine".into(), true)?;
            screen.close()
        });
        assert_eq!(text, "01:05  arrived\n01:07  fine\n");
    }

    #[test]
    fn a_terminal_keeps_the_status_below_and_loses_it_at_the_end() {
        let text = shown(true, true, |screen| {
            screen.status(Duration::ZERO, "fine".into(), false)?;
            screen.status(Duration::from_millis(200), "too soon".into(), false)?;
            screen.line(Duration::ZERO, Tone::Bad, "lost")?;
            screen.close()
        });
        assert_eq!(text, "\r\x1b[Kfine\r\x1b[K00:00  \x1b[1;31mlost\x1b[0m\nfine\r\x1b[K");
    }

    #[test]
    fn long_lines_break_between_words_below_their_beginning() {
        assert_eq!(wrap("aa bb cc", 2, 8), "aa bb\n  cc");
        assert_eq!(wrap("a  b", 0, 80), "a  b");
        assert_eq!(wrap("unbreakable", 2, 5), "unbreakable");
    }
}
