//! Request paths in one form, so that routes, logs and endpoints see the same. Nothing here knows routes; [`RequestHead`]
//! puts the result in the place of what was received, and whoever reads the path after that reads the result.
//!
//! A path that is written in more than one way is a way around a rule: `/a/../admin`, `/%61dmin`, `//admin` are `/admin` to
//! some readers and not to others. What has one safe reading is rewritten to it (RFC 3986 section 6.2.2); what has none is
//! refused. The query is never touched.
//!
//! [`RequestHead`]: super::RequestHead

use std::fmt;

/// What becomes of a path that is written in an unusual way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PathPolicy {
    /// Nothing: it is matched and passed on as it came.
    Off,
    /// Percent-encoding is written in one way, dot segments are resolved.
    Resolve,
    /// As `Resolve`, and several slashes become one.
    #[default]
    Merge,
    /// Percent-encoding is written in one way. Dot segments, empty segments, encoded slashes and bytes that RFC 3986 does not
    /// allow in a path are refused.
    Strict,
}

/// Why a path was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// A `%` without two hexadecimal digits.
    Encoding,
    /// `%00`.
    Nul,
    /// A character of ASCII in more bytes than one, such as `%C0%AF` for a slash.
    Overlong,
    /// `\`, which some read as a slash.
    Backslash,
    /// More `..` than segments before them.
    AboveRoot,
    /// A dot segment to those alone who decode slashes or cut off parameters: `..%2F`, `..;x`.
    HiddenDots,
    /// Of [`PathPolicy::Strict`]: `.` or `..`.
    DotSegment,
    /// Of [`PathPolicy::Strict`]: `//`.
    EmptySegment,
    /// Of [`PathPolicy::Strict`]: `%2F` or `%5C`.
    EncodedSlash,
    /// Of [`PathPolicy::Strict`]: not allowed in a path, as it is or encoded.
    Byte,
}

impl PathError {
    /// For the log.
    pub const fn name(self) -> &'static str {
        match self {
            PathError::Encoding => "path_encoding",
            PathError::Nul => "path_nul",
            PathError::Overlong => "path_overlong",
            PathError::Backslash => "path_backslash",
            PathError::AboveRoot => "path_above_root",
            PathError::HiddenDots => "path_hidden_dots",
            PathError::DotSegment => "path_dot_segment",
            PathError::EmptySegment => "path_empty_segment",
            PathError::EncodedSlash => "path_encoded_slash",
            PathError::Byte => "path_byte",
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Encoding => "a `%` without two hexadecimal digits",
            PathError::Nul => "an encoded NUL",
            PathError::Overlong => "an ASCII character in an overlong encoding",
            PathError::Backslash => "a backslash",
            PathError::AboveRoot => "`..` above the root",
            PathError::HiddenDots => "a dot segment behind an encoded slash or before a `;`",
            PathError::DotSegment => "a dot segment",
            PathError::EmptySegment => "an empty segment",
            PathError::EncodedSlash => "an encoded slash or backslash",
            PathError::Byte => "a byte that is not allowed in a path",
        })
    }
}

impl std::error::Error for PathError {}

/// Whether `path` is in its form already, as nearly all are. True of no path that [`normalize`] would change or refuse.
#[inline]
pub(in crate::protocol) fn is_normal(path: &[u8], policy: PathPolicy) -> bool {
    if policy == PathPolicy::Off {
        return true;
    }
    let odd = if policy == PathPolicy::Strict { UNLISTED | CODED } else { CODED };
    // Without an early end, so that the compiler looks at many bytes at once.
    let kinds = path.iter().fold(0, |kinds, byte| kinds | KINDS[*byte as usize]);
    let pairs = path.iter().zip(path.get(1..).unwrap_or_default());
    let doubtful =
        pairs.fold(false, |found, (first, second)| found | (*first == b'/' && matches!(second, b'/' | b'.')));
    kinds & odd == 0 && !doubtful
}

/// `%`, `\` and what is not ASCII: looked at one by one.
const CODED: u8 = 1;
/// Not in a path by RFC 3986 section 3.3.
const UNLISTED: u8 = 2;

static KINDS: [u8; 256] = {
    let mut table = [CODED | UNLISTED; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'%' => CODED,
            b'\\' => CODED | UNLISTED,
            byte if is_unreserved(byte) => 0,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' | b'/' => 0,
            _ => UNLISTED,
        };
        byte += 1;
    }
    table
};

/// RFC 3986 section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Rewrites `path`, which begins with `/`, in its place. What it returns is the length of the result, which is never longer;
/// what is behind it means nothing. Normalising the result again changes nothing.
///
/// # Errors
/// See [`PathError`]; `path` means nothing after one.
pub fn normalize(path: &mut [u8], policy: PathPolicy) -> Result<usize, PathError> {
    if policy == PathPolicy::Off {
        return Ok(path.len());
    }
    let (mut read, mut written) = (0, 0);
    // One segment a round: `read` is at the slash before it, `written` where it goes.
    while read < path.len() {
        let end = memchr::memchr(b'/', &path[read + 1..]).map_or(path.len(), |at| read + 1 + at);
        let is_last = end == path.len();
        let start = written;
        path[written] = b'/';
        written = write_segment(path, read + 1..end, written + 1, policy)?;
        read = end;
        match kind_of(&path[start + 1..written])? {
            Kind::Plain => {}
            Kind::Empty if is_last => {}
            Kind::Empty => match policy {
                PathPolicy::Strict => return Err(PathError::EmptySegment),
                PathPolicy::Merge => written = start,
                _ => {}
            },
            Kind::Dot | Kind::Dots if policy == PathPolicy::Strict => return Err(PathError::DotSegment),
            Kind::Dot => written = start + usize::from(is_last),
            Kind::Dots => {
                let parent = memchr::memrchr(b'/', &path[..start]).ok_or(PathError::AboveRoot)?;
                written = parent + usize::from(is_last);
            }
        }
    }
    Ok(written)
}

/// Writes the segment at `range` to `at`, which is not behind it, and returns where it ends.
fn write_segment(
    path: &mut [u8],
    range: std::ops::Range<usize>,
    mut at: usize,
    policy: PathPolicy,
) -> Result<usize, PathError> {
    let strict = policy == PathPolicy::Strict;
    let mut read = range.start;
    let mut before = 0;
    while read < range.end {
        let byte = path[read];
        let coded = byte == b'%';
        let decoded = if coded { decode(&path[read + 1..range.end])? } else { byte };
        if is_overlong(before, decoded) {
            return Err(PathError::Overlong);
        }
        before = decoded;
        match decoded {
            0 if coded => return Err(PathError::Nul),
            b'\\' if !coded => return Err(PathError::Backslash),
            b'/' | b'\\' if strict => return Err(PathError::EncodedSlash),
            ..b' ' | 0x7f if strict => return Err(PathError::Byte),
            _ if strict && !coded && KINDS[decoded as usize] & UNLISTED != 0 => return Err(PathError::Byte),
            _ => {}
        }
        if coded && !is_unreserved(decoded) {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            path[at] = b'%';
            path[at + 1] = DIGITS[usize::from(decoded >> 4)];
            path[at + 2] = DIGITS[usize::from(decoded & 15)];
            at += 3;
        } else {
            path[at] = decoded;
            at += 1;
        }
        read += if coded { 3 } else { 1 };
    }
    Ok(at)
}

/// The byte of the two digits that `digits` begins with.
fn decode(digits: &[u8]) -> Result<u8, PathError> {
    let digit = |at: usize| digits.get(at).and_then(|byte| (*byte as char).to_digit(16)).ok_or(PathError::Encoding);
    Ok((digit(0)? << 4 | digit(1)?) as u8)
}

/// Whether these are the first two bytes of a character of UTF-8 that would need fewer (RFC 3629 section 3).
fn is_overlong(first: u8, second: u8) -> bool {
    match first {
        0xc0 | 0xc1 => matches!(second, 0x80..=0xbf),
        0xe0 => matches!(second, 0x80..=0x9f),
        0xf0 => matches!(second, 0x80..=0x8f),
        _ => false,
    }
}

/// What a segment is, in its form.
enum Kind {
    Plain,
    Empty,
    Dot,
    Dots,
}

fn kind_of(segment: &[u8]) -> Result<Kind, PathError> {
    match segment {
        [] => Ok(Kind::Empty),
        b"." => Ok(Kind::Dot),
        b".." => Ok(Kind::Dots),
        _ if hides_dots(segment) => Err(PathError::HiddenDots),
        _ => Ok(Kind::Plain),
    }
}

/// Whether there is a dot segment in it for those who decode `%2F` and `%5C` or cut off what follows a `;`.
fn hides_dots(segment: &[u8]) -> bool {
    let mut rest = segment;
    loop {
        let end =
            memchr::memchr_iter(b'%', rest).find(|at| matches!(rest[at + 1..], [b'2', b'F', ..] | [b'5', b'C', ..]));
        let piece = &rest[..end.unwrap_or(rest.len())];
        let name = piece.split(|byte| *byte == b';').next().unwrap_or_default();
        if matches!(name, b"." | b"..") {
            return true;
        }
        let Some(end) = end else { return false };
        rest = &rest[end + 3..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(path: &str, policy: PathPolicy) -> Result<String, PathError> {
        let mut bytes = path.as_bytes().to_vec();
        let len = normalize(&mut bytes, policy)?;
        bytes.truncate(len);
        Ok(String::from_utf8(bytes).expect("what came was UTF-8"))
    }

    #[track_caller]
    fn check(path: &str, policy: PathPolicy, expected: Result<&str, PathError>) {
        assert_eq!(normal(path, policy).as_deref(), expected.as_deref(), "{path} {policy:?}");
    }

    use PathError::*;
    use PathPolicy::*;

    /// The same table as in `docs/routing.md`: path, `merge`, `resolve`, `strict`.
    type Row = (
        &'static str,
        Result<&'static str, PathError>,
        Result<&'static str, PathError>,
        Result<&'static str, PathError>,
    );

    const TABLE: &[Row] = &[
        ("/", Ok("/"), Ok("/"), Ok("/")),
        ("/a/b/", Ok("/a/b/"), Ok("/a/b/"), Ok("/a/b/")),
        ("/a/./b", Ok("/a/b"), Ok("/a/b"), Err(DotSegment)),
        ("/a/../b", Ok("/b"), Ok("/b"), Err(DotSegment)),
        ("/a/b/..", Ok("/a/"), Ok("/a/"), Err(DotSegment)),
        ("/a/.", Ok("/a/"), Ok("/a/"), Err(DotSegment)),
        ("/..", Err(AboveRoot), Err(AboveRoot), Err(DotSegment)),
        ("/a/../../b", Err(AboveRoot), Err(AboveRoot), Err(DotSegment)),
        ("/a/%2e%2E/b", Ok("/b"), Ok("/b"), Err(DotSegment)),
        ("/a/.%2e/b", Ok("/b"), Ok("/b"), Err(DotSegment)),
        ("/a/...", Ok("/a/..."), Ok("/a/..."), Ok("/a/...")),
        ("/.well-known/x", Ok("/.well-known/x"), Ok("/.well-known/x"), Ok("/.well-known/x")),
        ("//a", Ok("/a"), Ok("//a"), Err(EmptySegment)),
        ("/a///b//", Ok("/a/b/"), Ok("/a///b//"), Err(EmptySegment)),
        ("/a//../b", Ok("/b"), Ok("/a/b"), Err(EmptySegment)),
        ("/%61%7E%2D", Ok("/a~-"), Ok("/a~-"), Ok("/a~-")),
        ("/caf%c3%a9", Ok("/caf%C3%A9"), Ok("/caf%C3%A9"), Ok("/caf%C3%A9")),
        ("/caf\u{e9}", Ok("/caf\u{e9}"), Ok("/caf\u{e9}"), Err(Byte)),
        ("/a%2fb", Ok("/a%2Fb"), Ok("/a%2Fb"), Err(EncodedSlash)),
        ("/a%5cb", Ok("/a%5Cb"), Ok("/a%5Cb"), Err(EncodedSlash)),
        ("/a/..%2fb", Err(HiddenDots), Err(HiddenDots), Err(EncodedSlash)),
        ("/a%2F%2e%2e%2Fb", Err(HiddenDots), Err(HiddenDots), Err(EncodedSlash)),
        ("/a/..%5Cb", Err(HiddenDots), Err(HiddenDots), Err(EncodedSlash)),
        ("/a/..;x/b", Err(HiddenDots), Err(HiddenDots), Err(HiddenDots)),
        ("/a;v=1/b;w", Ok("/a;v=1/b;w"), Ok("/a;v=1/b;w"), Ok("/a;v=1/b;w")),
        ("/a\\b", Err(Backslash), Err(Backslash), Err(Backslash)),
        ("/%252e%252e/a", Ok("/%252e%252e/a"), Ok("/%252e%252e/a"), Ok("/%252e%252e/a")),
        ("/a%00", Err(Nul), Err(Nul), Err(Nul)),
        ("/a%0d%0ab", Ok("/a%0D%0Ab"), Ok("/a%0D%0Ab"), Err(Byte)),
        ("/%", Err(Encoding), Err(Encoding), Err(Encoding)),
        ("/%zz", Err(Encoding), Err(Encoding), Err(Encoding)),
        ("/%4", Err(Encoding), Err(Encoding), Err(Encoding)),
        ("/%4/a", Err(Encoding), Err(Encoding), Err(Encoding)),
        ("/%u0041", Err(Encoding), Err(Encoding), Err(Encoding)),
        ("/%c0%ae%c0%ae/", Err(Overlong), Err(Overlong), Err(Overlong)),
        ("/%e0%80%af", Err(Overlong), Err(Overlong), Err(Overlong)),
        ("/%f0%80%80%af", Err(Overlong), Err(Overlong), Err(Overlong)),
        ("/a|b", Ok("/a|b"), Ok("/a|b"), Err(Byte)),
        ("/{id}", Ok("/{id}"), Ok("/{id}"), Err(Byte)),
        ("/a:b@c!$&'()*+,;=", Ok("/a:b@c!$&'()*+,;="), Ok("/a:b@c!$&'()*+,;="), Ok("/a:b@c!$&'()*+,;=")),
    ];

    #[test]
    fn the_table_of_the_guide() {
        for (path, merged, resolved, strict) in TABLE {
            check(path, Merge, *merged);
            check(path, Resolve, *resolved);
            check(path, Strict, *strict);
            check(path, Off, Ok(path));
        }
    }

    #[test]
    fn the_guide_has_the_table() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/routing.md");
        let page = std::fs::read_to_string(&file).expect("the guide is there");
        let cell = |result: &Result<&str, PathError>| match result {
            Ok(path) => format!("`{path}`").replace('|', "\\|"),
            Err(error) => format!("400: {error}"),
        };
        let row = |(path, merged, resolved, strict): &Row| {
            let cells = [cell(&Ok(path)), cell(merged), cell(resolved), cell(strict)];
            format!("| {} |\n", cells.join(" | "))
        };
        let table: String = TABLE.iter().map(row).collect();
        let (before, rest) = page.split_once("<!-- paths -->\n").expect("the guide has a place for the table");
        let (_, after) = rest.split_once("<!-- end -->").expect("the place has an end");
        let head = "| path | `merge` | `resolve` | `strict` |\n|---|---|---|---|\n";
        let expected = format!("{before}<!-- paths -->\n{head}{table}<!-- end -->{after}");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, &expected).expect("the guide can be written");
        }
        let found = std::fs::read_to_string(&file).expect("the guide is there");
        assert!(
            found == expected,
            "docs/routing.md has not the table of the code: UPDATE_GOLDEN=1 cargo test writes it"
        );
    }

    fn any_policy() -> impl Strategy<Value = PathPolicy> {
        prop::sample::select(vec![Off, Resolve, Merge, Strict])
    }

    /// Paths of what makes them odd, and of any other bytes that a request line lets through.
    fn any_path() -> impl Strategy<Value = Vec<u8>> {
        let odd = [
            "/", "/", ".", "..", "%2e", "%2F", "%5c", ";", "\\", "%", "%41", "%00", "%c0%ae", "a", "b", "%25", "\u{e9}",
        ];
        let piece = prop_oneof![
            8 => prop::sample::select(odd.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => (0x21u8..=0xff).prop_filter("no path", |byte| !matches!(byte, b'?' | b'#' | 0x7f)).prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| [vec![b'/'], pieces.concat()].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_form_is_reached_at_once(path in any_path(), policy in any_policy()) {
            let mut once = path.clone();
            if let Ok(len) = normalize(&mut once, policy) {
                once.truncate(len);
                let mut twice = once.clone();
                prop_assert_eq!(normalize(&mut twice, policy), Ok(len));
                prop_assert_eq!(twice, once);
            }
        }

        #[test]
        fn what_looks_normal_is_not_changed(path in any_path(), policy in any_policy()) {
            if is_normal(&path, policy) {
                let mut bytes = path.clone();
                prop_assert_eq!(normalize(&mut bytes, policy), Ok(path.len()));
                prop_assert_eq!(bytes, path);
            }
        }

        #[test]
        fn no_form_holds_what_was_to_be_resolved(path in any_path(), policy in any_policy()) {
            let mut bytes = path;
            let Ok(len) = normalize(&mut bytes, policy) else { return Ok(()) };
            if policy == Off {
                return Ok(());
            }
            bytes.truncate(len);
            prop_assert_eq!(bytes.first(), Some(&b'/'));
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let is_dots = |segment: &str| matches!(segment, "." | "..") || segment.starts_with("..;");
            prop_assert!(!text.split('/').any(is_dots), "{}", text);
            // Not even to those who decode once more what this leaves encoded.
            let decoded = text.replace("%2F", "/").replace("%5C", "/");
            prop_assert!(!decoded.split('/').any(is_dots), "{}", text);
            prop_assert!(policy == Resolve || !text.contains("//"), "{}", text);
        }
    }
}
