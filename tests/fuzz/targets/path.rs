//! Paths in each form.

use ringgate::protocol::http::{PathPolicy, normalize};

const POLICIES: [PathPolicy; 4] = [PathPolicy::Off, PathPolicy::Resolve, PathPolicy::Merge, PathPolicy::Strict];

/// A path's form is no longer than the path, is its own form, and holds nothing of what it was to be rid of.
pub fn check(bytes: &[u8]) {
    let path = [b"/", bytes.strip_prefix(b"/").unwrap_or(bytes)].concat();
    for policy in POLICIES {
        let mut form = path.clone();
        let Ok(len) = normalize(&mut form, policy) else { continue };
        form.truncate(len);
        let mut again = form.clone();
        assert_eq!(normalize(&mut again, policy), Ok(len));
        assert_eq!(again, form);
        let dots = form.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b".."));
        assert!(policy == PathPolicy::Off || (form[0] == b'/' && !dots));
    }
}
