//! The field names that the gateway itself understands, told apart by length and first byte. Not a list of all
//! registered names: whatever is not here passes through as [`Known::Other`]. Called once per parsed field.

/// A field name with a meaning to the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Known {
    #[default]
    Other,
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    KeepAlive,
    ProxyConnection,
    Te,
    Trailer,
    Upgrade,
    Expect,
    Forwarded,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    /// Any other `X-Forwarded-` name, such as `X-Forwarded-Port`, and all of them with `_` for `-`.
    XForwardedOther,
    XRequestId,
    Http2Settings,
    MaxForwards,
    /// `Content_Length`, `Transfer_Encoding`: to endpoints that see fields as environment variables, the framing itself.
    FramingLookalike,
}

impl Known {
    /// The bit of this name in a set of names.
    pub(in crate::protocol) const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// The bits of several names.
    pub(in crate::protocol) const fn set(names: &[Known]) -> u32 {
        let (mut bits, mut at) = (0, 0);
        while at < names.len() {
            bits |= names[at].bit();
            at += 1;
        }
        bits
    }

    /// Tells which name this is, in any letter case. Anything that is not one of the names is `Other`.
    #[inline(always)]
    pub fn classify(name: &[u8]) -> Known {
        let Some(&first) = name.first() else {
            return Known::Other;
        };
        // Most names are settled here, without a call.
        if FIRST_LETTERS[name.len().min(LONG)] & (1 << (first & 31)) == 0 {
            return Known::Other;
        }
        Known::classify_by_letters(name, first)
    }

    #[inline(never)]
    fn classify_by_letters(name: &[u8], first: u8) -> Known {
        #[cfg(test)]
        tests::COMPARED.set(tests::COMPARED.get() + 1);
        match (name.len(), first | 0x20) {
            (2, b't') if token_is(name, b"te") => Known::Te,
            (4, b'h') if token_is(name, b"host") => Known::Host,
            (6, b'e') if token_is(name, b"expect") => Known::Expect,
            (7, b'u') if token_is(name, b"upgrade") => Known::Upgrade,
            (7, b't') if token_is(name, b"trailer") => Known::Trailer,
            (9, b'f') if token_is(name, b"forwarded") => Known::Forwarded,
            (10, b'c') if token_is(name, b"connection") => Known::Connection,
            (10, b'k') if token_is(name, b"keep-alive") => Known::KeepAlive,
            (12, b'x') if token_is(name, b"x-request-id") => Known::XRequestId,
            (14, b'c') if token_is(name, b"content-length") => Known::ContentLength,
            (14, b'h') if token_is(name, b"http2-settings") => Known::Http2Settings,
            (16, b'p') if token_is(name, b"proxy-connection") => Known::ProxyConnection,
            (17, b't') if token_is(name, b"transfer-encoding") => Known::TransferEncoding,
            (12, b'm') if token_is(name, b"max-forwards") => Known::MaxForwards,
            (14, b'c') if token_is(&dashed::<14>(name), b"content-length") => Known::FramingLookalike,
            (17, b't') if token_is(&dashed::<17>(name), b"transfer-encoding") => Known::FramingLookalike,
            (13.., b'x') => classify_forwarded(name),
            _ => Known::Other,
        }
    }
}

/// Names of this length or more begin with `X-Forwarded-`, if they are known at all.
const LONG: usize = 18;

/// For each length, the first letters of the known names, as bits of the letter's place in the alphabet.
static FIRST_LETTERS: [u32; LONG + 1] = {
    const fn letter(letter: u8) -> u32 {
        1 << (letter & 31)
    }
    let mut table = [0; LONG + 1];
    let mut len = 13;
    while len <= LONG {
        table[len] = letter(b'x');
        len += 1;
    }
    table[2] = letter(b't');
    table[4] = letter(b'h');
    table[6] = letter(b'e');
    table[7] = letter(b'u') | letter(b't');
    table[9] = letter(b'f');
    table[10] = letter(b'c') | letter(b'k');
    table[12] = letter(b'x') | letter(b'm');
    table[14] |= letter(b'c') | letter(b'h');
    table[16] |= letter(b'p');
    table[17] |= letter(b't');
    table
};

/// The first bytes of a name with `-` for each `_`.
fn dashed<const N: usize>(name: &[u8]) -> [u8; N] {
    let bytes = name.first_chunk().copied().unwrap_or([0; N]);
    bytes.map(|byte| if byte == b'_' { b'-' } else { byte })
}

fn classify_forwarded(name: &[u8]) -> Known {
    let Some((prefix, rest)) = name.split_first_chunk::<12>() else {
        return Known::Other;
    };
    // To endpoints that hand fields on as environment variables, `X_Forwarded_For` is the same name.
    let dashed = dashed::<12>(prefix);
    if !token_is(&dashed, b"x-forwarded-") {
        return Known::Other;
    }
    if dashed != *prefix {
        return Known::XForwardedOther;
    }
    match rest.len() {
        3 if token_is(rest, b"for") => Known::XForwardedFor,
        4 if token_is(rest, b"host") => Known::XForwardedHost,
        5 if token_is(rest, b"proto") => Known::XForwardedProto,
        _ => Known::XForwardedOther,
    }
}

/// Whether `token` is `lower` in any letter case. `lower` is in lower case, of letters, digits and `-`.
///
/// Compares whole words with the case bit set. That is exact as long as `token` has no control bytes, which neither
/// field names nor field values have once parsed: the only bytes that gain a letter, digit or `-` from the case bit are
/// upper-case letters and control bytes.
#[inline(always)]
pub(in crate::protocol) fn token_is<const N: usize>(token: &[u8], lower: &[u8; N]) -> bool {
    let Ok(token) = <&[u8; N]>::try_from(token) else {
        return false;
    };
    const CASE: u64 = 0x2020_2020_2020_2020;
    if N >= 8 {
        let mut at = 0;
        while at + 8 < N {
            if word(token, at) | CASE != word(lower, at) {
                return false;
            }
            at += 8;
        }
        return word(token, N - 8) | CASE == word(lower, N - 8);
    }
    if N >= 4 {
        let case = CASE as u32;
        return half(token, 0) | case == half(lower, 0) && half(token, N - 4) | case == half(lower, N - 4);
    }
    token.iter().zip(lower).all(|(byte, lower)| byte | 0x20 == *lower)
}

/// The eight bytes from `at`; zeros where the array ends, which the callers above never reach.
#[inline(always)]
fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[inline(always)]
fn half<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[(&str, Known)] = &[
        ("te", Known::Te),
        ("host", Known::Host),
        ("expect", Known::Expect),
        ("upgrade", Known::Upgrade),
        ("trailer", Known::Trailer),
        ("forwarded", Known::Forwarded),
        ("connection", Known::Connection),
        ("keep-alive", Known::KeepAlive),
        ("x-request-id", Known::XRequestId),
        ("content-length", Known::ContentLength),
        ("http2-settings", Known::Http2Settings),
        ("proxy-connection", Known::ProxyConnection),
        ("transfer-encoding", Known::TransferEncoding),
        ("x-forwarded-for", Known::XForwardedFor),
        ("x-forwarded-host", Known::XForwardedHost),
        ("x-forwarded-proto", Known::XForwardedProto),
        ("x-forwarded-port", Known::XForwardedOther),
        ("x_forwarded_for", Known::XForwardedOther),
        ("x-forwarded_host", Known::XForwardedOther),
        ("max-forwards", Known::MaxForwards),
        ("content_length", Known::FramingLookalike),
        ("transfer_encoding", Known::FramingLookalike),
        ("x-forwarded-", Known::Other),
        ("x-forwarded", Known::Other),
        ("", Known::Other),
        ("accept", Known::Other),
        ("user-agent", Known::Other),
    ];

    #[test]
    fn names_are_known_in_any_case() {
        for (name, known) in NAMES {
            assert_eq!(Known::classify(name.as_bytes()), *known, "{name}");
            assert_eq!(Known::classify(name.to_uppercase().as_bytes()), *known, "{name}");
        }
    }

    thread_local! {
        /// Names that were compared with known ones.
        pub(super) static COMPARED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    /// Fields stand in a list and are in no table: names that collide in whatever hash cost what others cost. The worst that
    /// a name can do is to look like a known one, which costs one comparison.
    #[test]
    fn crafted_names_cost_one_comparison_each_at_most() {
        let count = |names: &[String]| {
            COMPARED.set(0);
            names.iter().for_each(|name| assert_eq!(Known::classify(name.as_bytes()), Known::Other));
            COMPARED.get()
        };
        let number = |at: usize| format!("{at:03}");
        let alike: Vec<_> = (0..256).map(|at| format!("transfer-encod{}", number(at))).collect();
        let same_letters: Vec<_> = (0..256).map(|at| format!("x-forwarded{}", number(at))).collect();
        // `Aa` and `BB` are one to a hash that multiplies by 31.
        let collide: Vec<_> =
            (0..256).map(|at| (0..8).map(|bit| if at >> bit & 1 == 1 { "Aa" } else { "BB" }).collect()).collect();
        let random: Vec<_> =
            (0..256u64).map(|at| format!("h{:016x}", at.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        for names in [&alike, &same_letters] {
            assert_eq!(count(names), names.len());
        }
        assert_eq!((count(&collide), count(&random)), (0, 0));
    }

    #[test]
    fn one_changed_byte_makes_another_name() {
        for (name, known) in NAMES.iter().filter(|(_, known)| !matches!(known, Known::Other | Known::XForwardedOther)) {
            for at in 0..name.len() {
                for byte in 0x21..=0xffu8 {
                    let mut bytes = name.as_bytes().to_vec();
                    if bytes[at].eq_ignore_ascii_case(&byte) {
                        continue;
                    }
                    bytes[at] = byte;
                    assert_ne!(Known::classify(&bytes), *known, "{name} with {byte:#x} at {at}");
                }
            }
        }
    }
}
