//! Whose turn it is: shares of a whole by weight, in turn and at random. Numbers only; it knows no servers and holds no
//! lock, so that every worker can ask at once.
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// 2^64 divided by the golden ratio: multiples of it, cut to 64 bits, spread as evenly as any number's do.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// How many steps are compared: with 64, nobody was ever more than three turns from a fair share in 2000 random sets of
/// weights; with one, it was eight.
const STEPS_TRIED: usize = 64;

/// Shares of a whole, one for each position. The points of the whole are `0..total`, each belongs to one position, and a
/// position has as many as its weight.
#[derive(Debug)]
pub(super) struct Shares {
    /// Where the points of each position end, rising.
    ends: Box<[u64]>,
    /// All points; zero when there is no position.
    total: u64,
    /// How far one turn goes. It has no divisor in common with `total`, so that `total` turns visit each point once, and it
    /// is near the golden section of `total`, so that the turns of one position lie apart.
    step: u64,
}

impl Shares {
    /// Shares in proportion to the weights; a weight of zero counts as one.
    pub(super) fn new(weights: impl Iterator<Item = u16> + Clone) -> Self {
        let weights = weights.map(|weight| u64::from(weight.max(1)));
        let divisor = weights.clone().fold(0, greatest_common_divisor).max(1);
        let mut total = 0;
        let ends = weights
            .map(|weight| {
                total += weight / divisor;
                total
            })
            .collect();
        Self { ends, total, step: step(total) }
    }

    /// Who comes at this turn. Any `total` turns in a row give each position exactly its weight, the turns of one spread
    /// among those of the others; nothing when there is no position.
    pub(super) fn at_turn(&self, turn: usize) -> Option<usize> {
        let turn = u64::try_from(turn).unwrap_or(u64::MAX).checked_rem(self.total)?;
        // Both are below `total`, which is below 2^32 for as many as 65537 weights, so this does not wrap.
        self.at_point(turn.wrapping_mul(self.step).checked_rem(self.total)?)
    }

    /// Who is hit by a random number; nothing when there is no position.
    pub(super) fn at_random(&self, random: u64) -> Option<usize> {
        self.at_point(below(random, self.total)?)
    }

    fn at_point(&self, point: u64) -> Option<usize> {
        Some(self.ends.partition_point(|end| *end <= point)).filter(|position| *position < self.ends.len())
    }
}

/// The number that a turn advances by; see [`Shares::step`].
///
/// How evenly its multiples spread is told by the continued fraction of `step / total`: the smaller the sum of its terms, the
/// better, and the golden section has the smallest. Of the numbers next to that, the best is taken.
fn step(total: u64) -> u64 {
    let golden = scaled(GOLDEN, total);
    (0..total)
        .flat_map(|distance| [golden.checked_add(distance), golden.checked_sub(distance)])
        .flatten()
        .filter(|step| *step > 0 && greatest_common_divisor(*step, total) == 1)
        .take(STEPS_TRIED)
        .min_by_key(|step| continued_fraction_sum(*step, total))
        .unwrap_or(1)
}

fn continued_fraction_sum(numerator: u64, denominator: u64) -> u64 {
    let (mut numerator, mut denominator, mut sum) = (numerator, denominator, 0_u64);
    while let (Some(term), Some(rest)) = (denominator.checked_div(numerator), denominator.checked_rem(numerator)) {
        sum = sum.saturating_add(term);
        (numerator, denominator) = (rest, numerator);
    }
    sum
}

fn greatest_common_divisor(left: u64, right: u64) -> u64 {
    let (mut left, mut right) = (left, right);
    while let Some(rest) = left.checked_rem(right) {
        (left, right) = (right, rest);
    }
    left
}

/// A number below `bound` from a random one, every number as likely as any other but for one part in 2^64 divided by
/// `bound`; nothing when the bound is zero.
pub(super) fn below(random: u64, bound: u64) -> Option<u64> {
    (bound > 0).then(|| scaled(random, bound))
}

/// `bound` times `part` / 2^64, rounded down.
fn scaled(part: u64, bound: u64) -> u64 {
    u64::try_from((u128::from(part) * u128::from(bound)) >> 64).unwrap_or(u64::MAX)
}

/// Random numbers good enough to spread load (SplitMix64), not to keep a secret.
#[derive(Debug)]
pub(super) struct Random(AtomicU64);

impl Random {
    /// Begins somewhere else in every process.
    pub(super) fn new() -> Self {
        Self::from_seed(RandomState::new().hash_one(0))
    }

    fn from_seed(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number.
    pub(super) fn draw(&self) -> u64 {
        let mut number = self.0.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^ (number >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::{Random, Shares};

    const ROWS: [&[u16]; 15] = [
        &[1],
        &[7],
        &[1, 1],
        &[1, 1, 1, 1, 1],
        &[50, 50, 100],
        &[5, 1, 1],
        &[3, 2],
        &[100, 1],
        &[3, 1, 11],
        &[9, 79],
        &[14, 80, 88, 3, 2, 2, 15, 42, 57, 95],
        &[1, 2, 3, 4],
        &[10, 20, 70, 1],
        &[65_535, 65_534],
        &[1000, 999, 998, 997, 1],
    ];

    fn total(weights: &[u16]) -> u64 {
        weights.iter().map(|weight| u64::from(*weight)).sum()
    }

    #[test]
    fn a_cycle_of_turns_gives_each_its_weight_exactly_wherever_it_begins() {
        for weights in ROWS {
            let shares = Shares::new(weights.iter().copied());
            for begin in [0, 1, 12_345, usize::MAX / 2] {
                let mut hits = vec![0_u64; weights.len()];
                for turn in begin..begin + usize::try_from(total(weights)).unwrap() {
                    hits[shares.at_turn(turn).unwrap()] += 1;
                }
                let expected: Vec<u64> = weights.iter().map(|weight| u64::from(*weight)).collect();
                assert_eq!(hits, expected, "from {begin}");
            }
        }
    }

    #[test]
    fn turns_are_interleaved_so_that_nobody_is_ever_far_from_a_fair_share() {
        for weights in ROWS {
            let shares = Shares::new(weights.iter().copied());
            let total = total(weights);
            let mut hits = vec![0_u64; weights.len()];
            for turn in 0..total {
                hits[shares.at_turn(usize::try_from(turn).unwrap()).unwrap()] += 1;
                for (hits, weight) in hits.iter().zip(weights) {
                    let fair = (turn + 1) * u64::from(*weight);
                    assert!((hits * total).abs_diff(fair) <= 3 * total, "{weights:?} after turn {turn}: {hits}");
                }
            }
        }
    }

    #[test]
    fn a_weight_of_five_among_ones_does_not_come_five_times_in_a_row() {
        let shares = Shares::new([5, 1, 1].into_iter());
        let turns: Vec<usize> = (0..7).filter_map(|turn| shares.at_turn(turn)).collect();
        assert_eq!(turns, [0, 0, 0, 1, 0, 2, 0]);
    }

    #[test]
    fn random_numbers_spread_evenly_over_their_range_hit_each_by_its_weight_exactly() {
        for weights in ROWS {
            let shares = Shares::new(weights.iter().copied());
            let total = total(weights);
            let width = u64::MAX / total;
            let mut hits = vec![0_u64; weights.len()];
            for point in 0..total {
                hits[shares.at_random(point * width + width / 2).unwrap()] += 1;
            }
            let expected: Vec<u64> = weights.iter().map(|weight| u64::from(*weight)).collect();
            assert_eq!(hits, expected);
        }
    }

    #[test]
    fn drawn_numbers_spread_evenly() {
        let random = Random::from_seed(42);
        let mut hits = [0_u32; 16];
        for _ in 0..16_000 {
            hits[usize::try_from(random.draw() >> 60).unwrap()] += 1;
        }
        // Expectation 1000, standard deviation below 31.
        assert!(hits.iter().all(|hits| (850..1150).contains(hits)), "{hits:?}");
    }

    #[test]
    fn two_generators_begin_differently() {
        assert_ne!(Random::new().draw(), Random::new().draw());
    }

    #[test]
    fn there_is_no_turn_when_there_is_nobody() {
        let shares = Shares::new(std::iter::empty());
        assert_eq!((shares.at_turn(3), shares.at_random(u64::MAX)), (None, None));
    }
}
