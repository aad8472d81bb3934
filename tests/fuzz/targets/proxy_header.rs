//! Headers of the PROXY protocol.

use ringgate::protocol::proxy::{self, Parsed as ProxyParsed, Version::V2 as Version2};

/// A PROXY header is read alike whole and in parts, refused for good once it is refused, and reads the same when it is
/// written again.
pub fn check(bytes: &[u8]) {
    let whole = proxy::read(bytes);
    for cut in 0..bytes.len().min(400) {
        match (proxy::read(&bytes[..cut]), &whole) {
            (Ok(ProxyParsed::Partial), _) => {}
            (Ok(part), whole) => assert_eq!(Ok(&part), whole.as_ref()),
            (Err(_), whole) => assert!(whole.is_err()),
        }
    }
    let Ok(ProxyParsed::Complete { header, len }) = whole else { return };
    assert!(len <= bytes.len() && len <= proxy::HEADER_BYTES_MAX);
    for version in [Version2 { checksum: false }, Version2 { checksum: true }] {
        let mut out = Vec::new();
        proxy::write(&mut out, &header, version);
        let Ok(ProxyParsed::Complete { header: back, len }) = proxy::read(&out) else { panic!("{header:?}") };
        assert_eq!((len, back.extensions), (out.len(), header.extensions));
        let mut again = Vec::new();
        proxy::write(&mut again, &back, version);
        assert_eq!(again, out);
    }
    let mut line = Vec::new();
    proxy::write(&mut line, &header, proxy::Version::V1);
    assert!(line.len() <= proxy::LINE_BYTES_MAX);
    assert!(matches!(proxy::read(&line), Ok(ProxyParsed::Complete { .. })));
}
