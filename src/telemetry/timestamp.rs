//! Wall-clock time as RFC 3339 text in UTC, written without allocation. Used by the log and the access log.
//!
//! It converts; it does not decide when to read a clock. Workers never read the wall clock: they add an offset to the
//! engine's clock (see [`crate::telemetry::access_log`]).

use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of `2026-01-31T23:59:59.123456Z`.
pub const TIMESTAMP_LEN: usize = 27;

const MICROS_PER_SECOND: u64 = 1_000_000;
const SECONDS_PER_DAY: u64 = 86_400;
/// 9999-12-31T23:59:59.999999Z: RFC 3339 has four digits for the year; later times are shown as this one.
const MICROS_MAX: u64 = 253_402_300_799_999_999;

/// Microseconds since 1970-01-01T00:00:00Z; 0 if the clock stands before it.
pub fn wall_clock_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// RFC 3339 section 5.6 `date-time` in UTC with microseconds. `micros` counts from 1970-01-01T00:00:00Z.
pub fn rfc3339(micros: u64) -> [u8; TIMESTAMP_LEN] {
    let micros = micros.min(MICROS_MAX);
    let seconds = micros / MICROS_PER_SECOND;
    let (year, month, day) = civil_date(seconds / SECONDS_PER_DAY);
    let of_day = seconds % SECONDS_PER_DAY;
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], of_day / 3600);
    digits(&mut text[14..16], of_day / 60 % 60);
    digits(&mut text[17..19], of_day % 60);
    digits(&mut text[20..26], micros % MICROS_PER_SECOND);
    text
}

/// Year, month and day of a count of days since 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years begin in March here, so that the leap day is the last of its year, and 400-year eras repeat exactly
/// (Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// `value` in decimal, right-aligned over the zeros that are there.
fn digits(text: &mut [u8], mut value: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: u64, expected: &str) {
        let text = rfc3339(seconds * MICROS_PER_SECOND + 42);
        assert_eq!(std::str::from_utf8(&text).unwrap(), format!("{expected}.000042Z"));
    }

    #[test]
    fn known_dates() {
        check(0, "1970-01-01T00:00:00");
        check(951_782_399, "2000-02-28T23:59:59");
        check(951_782_400, "2000-02-29T00:00:00");
        check(951_868_800, "2000-03-01T00:00:00");
        check(1_709_164_800, "2024-02-29T00:00:00");
        check(1_735_689_599, "2024-12-31T23:59:59");
        check(4_107_542_400, "2100-03-01T00:00:00");
        check(4_107_542_399, "2100-02-28T23:59:59");
    }

    #[test]
    fn the_end_of_time_is_held() {
        assert_eq!(&rfc3339(u64::MAX), b"9999-12-31T23:59:59.999999Z");
    }
}
