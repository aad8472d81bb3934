//! What endpoints answer to probes.

use ringgate::control::prober::dialogue::{ANSWER_BYTES_MAX, Heard, Step, step};
use ringgate::health::probe::{HttpProbe, ProbeKind, Secret, StatusRange};

/// No answer panics, an end decides, and what passes with part of an answer passes with all of it.
pub fn check(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let bytes = &bytes[..bytes.len().min(ANSWER_BYTES_MAX)];
    let kind = kind(choice % 8);
    for sent in 0..3 {
        let at = |bytes, ended| step(&kind, "127.0.0.1:80", Heard { bytes, sent, ended });
        let whole = at(bytes, false);
        assert_ne!(at(bytes, true), Step::Receive, "an end decides");
        if let Step::Fail(fault) = &whole {
            assert!(!fault.why.is_empty());
        }
        // A body that contains what is looked for is not read on, whatever its framing is worth then.
        for len in [1, bytes.len() / 2].into_iter().filter(|_| choice % 8 != 1) {
            let part = bytes.get(..len).unwrap_or_default();
            if matches!(at(part, false), Step::Pass(_)) {
                assert!(matches!(whole, Step::Pass(_)), "{whole:?} after a pass");
            }
        }
    }
}

fn kind(choice: u8) -> ProbeKind {
    let named = || Some("probe".to_owned());
    let http = |expect: &[u8]| {
        ProbeKind::Http(HttpProbe {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: None,
            headers: Vec::new(),
            statuses: vec![StatusRange { first: 200, last: 399 }],
            expect: expect.to_vec(),
        })
    };
    match choice {
        0 => http(b""),
        1 => http(b"ok"),
        2 => ProbeKind::Redis { user: None, password: None },
        3 => ProbeKind::Redis { user: named(), password: Some(Secret("a".to_owned())) },
        4 => ProbeKind::Mysql { user: None },
        5 => ProbeKind::Mysql { user: named() },
        6 => ProbeKind::Postgres { user: None, database: None },
        _ => ProbeKind::Postgres { user: named(), database: named() },
    }
}
