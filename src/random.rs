//! The only file that draws random numbers. Whoever decides with chance (jitter) is given a number.

/// A number from 0.0 up to, not including, 1.0; every one as likely.
pub fn fraction() -> f64 {
    rand::random::<f64>()
}

/// A number to tell one thing of a kind from another, such as one queue from its successor of the same name.
pub fn generation() -> u32 {
    rand::random::<u32>()
}

/// A number that nobody else will draw, for names that have to be unique.
pub fn unique() -> u128 {
    rand::random()
}

/// A key that nobody can guess.
pub fn key() -> [u8; 32] {
    rand::random()
}

/// What makes the hashes of equal passwords differ.
pub fn salt() -> [u8; 16] {
    rand::random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_stay_in_range_and_differ() {
        let drawn: Vec<f64> = (0..100).map(|_| fraction()).collect();
        assert!(drawn.iter().all(|x| (0.0..1.0).contains(x)));
        assert!(drawn.iter().any(|x| *x < 0.5) && drawn.iter().any(|x| *x >= 0.5), "{drawn:?}");
    }
}
