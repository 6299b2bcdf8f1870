//! How fast counters rise: the mean over the last seconds.

use std::collections::VecDeque;

use crate::model::{Monotonic, Name};

/// Looks at a counter that are kept; there is one a second.
const LOOKS: usize = 11;

/// What was seen of some counters, each known by a name.
#[derive(Debug, Default)]
pub struct Rates(Vec<(Name, VecDeque<(Monotonic, u64)>)>);

impl Rates {
    /// The counters as they are now; one that is not among them any more is forgotten.
    pub fn look<'a>(&mut self, now: Monotonic, counters: impl Iterator<Item = (&'a Name, u64)>) {
        let mut before = std::mem::take(&mut self.0);
        for (name, count) in counters {
            let known = before.iter().position(|(known, _)| known == name);
            let (name, mut looks) = known.map_or_else(|| (name.clone(), VecDeque::new()), |at| before.swap_remove(at));
            if looks.back().is_some_and(|(_, last)| *last > count) {
                // It began anew.
                looks.clear();
            }
            if looks.len() == LOOKS {
                looks.pop_front();
            }
            looks.push_back((now, count));
            self.0.push((name, looks));
        }
    }

    /// By how much it rises in a second; `None` until that is known.
    pub fn of(&self, name: &Name) -> Option<f64> {
        let (_, looks) = self.0.iter().find(|(known, _)| known == name)?;
        let ((from, first), (to, last)) = (looks.front()?, looks.back()?);
        let seconds = to.since(*from).as_secs_f64();
        (seconds > 0.0).then(|| (last - first) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_mean_of_the_last_ten_seconds() {
        let name = Name::new("cloud").unwrap();
        let mut rates = Rates::default();
        let mut look = |second: u64, count| {
            rates.look(Monotonic::from_millis(second * 1000), [(&name, count)].into_iter());
            rates.of(&name)
        };
        assert_eq!(look(0, 5), None);
        assert_eq!(look(1, 105), Some(100.0));
        assert_eq!(look(2, 105), Some(50.0));
        for second in 3..14 {
            look(second, 105);
        }
        assert_eq!(look(14, 105), Some(0.0), "what was before is forgotten");
        assert_eq!(look(15, 3), None, "the counter began anew");
        rates.look(Monotonic::from_millis(16_000), std::iter::empty());
        assert_eq!(rates.of(&name), None);
    }
}
