//! How long a connection may be used: until an age that differs from one to the next by up to a tenth, so that connections
//! that began together do not all end together.

use std::time::Duration;

/// Whether a connection of this age has come to its end. `seed` tells it from others, and gives the same answer each time.
pub fn is_old(age: Duration, age_max: Option<Duration>, seed: u64) -> bool {
    let Some(age_max) = age_max else { return false };
    let spread = age_max / 10;
    if age < age_max - spread {
        return false;
    }
    // The upper bits of a product with 2^64 divided by the golden ratio are spread evenly (Knuth, volume 3, section 6.4).
    let part = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
    age >= age_max - spread.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn without_a_limit_nothing_is_old() {
        assert!(!is_old(Duration::MAX, None, 7));
    }

    #[test]
    fn connections_that_began_together_end_apart() {
        let ended = |minutes: u64| {
            (0..1000).filter(|seed| is_old(Duration::from_secs(60 * minutes), Some(HOUR), *seed)).count()
        };
        assert_eq!((ended(53), ended(60)), (0, 1000));
        for (minutes, about) in [(55, 167), (57, 500), (59, 833)] {
            assert!(
                ended(minutes).abs_diff(about) < 60,
                "{} of 1000 have ended after {minutes} minutes",
                ended(minutes)
            );
        }
    }

    proptest! {
        #[test]
        fn old_is_for_good_and_near_the_limit(max_ms in 1u64..1_000_000_000, age_ms in 0u64..2_000_000_000, seed: u64) {
            let (max, age) = (Duration::from_millis(max_ms), Duration::from_millis(age_ms));
            let old = is_old(age, Some(max), seed);
            prop_assert!(!old || age >= max - max / 10);
            prop_assert!(old || age < max);
            prop_assert!(!old || is_old(age + Duration::from_millis(1), Some(max), seed));
        }
    }
}
