//! Adapters that hear themselves: what was sent is read back before the answer. Pure.
//!
//! A Modbus answer is found behind an echo anyway, but the answer to a write may be the same bytes as its request: there an echo
//! would look like a confirmation that nobody gave. So it is taken off, once it is known that there is one.

/// What is known about echoes on a line.
#[derive(Debug, Clone, Copy)]
pub struct Echo {
    /// As configured.
    always: bool,
    known: Option<bool>,
}

impl Echo {
    /// `always` when the configuration says that there is one; else it is found out.
    pub fn new(always: bool) -> Echo {
        Echo { always, known: always.then_some(true) }
    }

    /// The line was opened anew: it may be another adapter.
    pub fn forget(&mut self) {
        self.known = self.always.then_some(true);
    }

    /// Begins to listen after `sent`. `may_be_answer` when the answer itself can be the same bytes.
    pub fn filter<'a>(&self, sent: &'a [u8], may_be_answer: bool) -> Filter<'a> {
        let is_over = sent.is_empty() || self.known == Some(false) || (self.known.is_none() && may_be_answer);
        Filter { sent, matched: 0, is_over, was_heard: false }
    }

    /// The exchange is over; `answered` when an answer came.
    pub fn learn(&mut self, filter: &Filter<'_>, answered: bool) {
        if self.always || (self.known == Some(false)) {
            return;
        }
        // Bytes that look like an echo may be the answer itself, as long as nothing follows them.
        self.known = match (filter.was_heard, answered) {
            (true, true) => Some(true),
            (false, true) if filter.sent.is_empty() => self.known,
            (false, true) => Some(false),
            (_, false) => self.known,
        };
    }
}

/// Takes the echo of one request off what is heard.
#[derive(Debug)]
pub struct Filter<'a> {
    sent: &'a [u8],
    matched: usize,
    is_over: bool,
    was_heard: bool,
}

impl<'a> Filter<'a> {
    /// What is left of `bytes`: first what was held back and is no echo after all, then the rest.
    pub fn push<'b>(&mut self, bytes: &'b [u8]) -> (&'a [u8], &'b [u8]) {
        if self.is_over {
            return (&[], bytes);
        }
        let rest = &self.sent[self.matched..];
        let same = rest.iter().zip(bytes).take_while(|(sent, heard)| sent == heard).count();
        self.matched += same;
        if self.matched == self.sent.len() {
            self.is_over = true;
            self.was_heard = true;
            return (&[], &bytes[same..]);
        }
        if same < bytes.len() {
            self.is_over = true;
            return (&self.sent[..self.matched], &bytes[same..]);
        }
        (&[], &[])
    }

    /// What was held back when nothing more comes.
    pub fn rest(&mut self) -> &'a [u8] {
        if std::mem::replace(&mut self.is_over, true) { &[] } else { &self.sent[..self.matched] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What passes, in pieces of any size.
    fn passed(echo: &mut Echo, sent: &[u8], heard: &[u8], piece: usize, may_be_answer: bool) -> Vec<u8> {
        let mut filter = echo.filter(sent, may_be_answer);
        let mut out = Vec::new();
        for bytes in heard.chunks(piece) {
            let (held, rest) = filter.push(bytes);
            out.extend_from_slice(held);
            out.extend_from_slice(rest);
        }
        let answered = !out.is_empty();
        out.extend_from_slice(filter.rest());
        echo.learn(&filter, answered);
        out
    }

    #[test]
    fn an_echo_is_taken_off_and_anything_else_passes_whole() {
        for piece in 1..9 {
            let mut echo = Echo::new(false);
            assert_eq!(passed(&mut echo, b"ask", b"askanswer", piece, false), b"answer");
            assert_eq!(echo.known, Some(true));
            // Known now, so that even an answer of the same bytes is told from it.
            assert_eq!(passed(&mut echo, b"set", b"setset", piece, true), b"set");
            let mut none = Echo::new(false);
            assert_eq!(passed(&mut none, b"ask", b"asnwer", piece, false), b"asnwer");
            assert_eq!(none.known, Some(false));
            assert_eq!(passed(&mut none, b"set", b"set", piece, true), b"set");
        }
    }

    #[test]
    fn while_nothing_is_known_an_answer_that_may_look_like_its_request_is_one() {
        let mut echo = Echo::new(false);
        assert_eq!(passed(&mut echo, b"set", b"set", 3, true), b"set");
        let mut told = Echo::new(true);
        assert_eq!(passed(&mut told, b"set", b"set", 3, true), b"");
    }

    #[test]
    fn an_echo_that_nothing_follows_teaches_nothing_and_half_of_one_is_handed_on() {
        let mut echo = Echo::new(false);
        assert_eq!(passed(&mut echo, b"ask", b"ask", 2, false), b"");
        assert_eq!(echo.known, None);
        assert_eq!(passed(&mut echo, b"ask", b"as", 2, false), b"as");
    }
}
