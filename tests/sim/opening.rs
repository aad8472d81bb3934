//! What stands before the protocol itself: PROXY headers and the first message of TLS, as origins take them and clients make
//! them. Simply, and not with the code that is under test.

use crate::wire::Wire;
use std::io;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Who a client of these worlds can be: itself, or who its PROXY header says it is.
const CLIENTS: [[u8; 4]; 2] = [[127, 0, 0, 1], [192, 0, 2, 7]];
/// A fatal alert.
pub const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// Takes a PROXY header, which must name a client of this world, and a ClientHello, if the stream begins with them.
pub async fn take(wire: &Wire) -> io::Result<()> {
    if wire.begins_with(b"PROXY ").await? {
        let line = wire.line().await?;
        let client = line.split(' ').nth(2).and_then(|text| text.parse::<std::net::Ipv4Addr>().ok());
        let known = client.is_some_and(|client| CLIENTS.contains(&client.octets()));
        assert!(known || line == "PROXY UNKNOWN", "{line}");
    } else if wire.begins_with(SIGNATURE).await? {
        let head = wire.exactly(16).await?;
        let rest = wire.exactly(usize::from(u16::from_be_bytes([head[14], head[15]]))).await?;
        let known = rest.first_chunk().is_some_and(|client| CLIENTS.contains(client));
        assert!(head[12] == 0x20 || (head[13] == 0x11 && known), "{head:?} {rest:?}");
    }
    while wire.begins_with(&[22]).await? {
        let head = wire.exactly(5).await?;
        wire.exactly(usize::from(u16::from_be_bytes([head[3], head[4]]))).await?;
    }
    Ok(())
}

/// Bytes with their number before them, in two bytes.
fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// A ClientHello for this server name, in records of so many bytes.
pub fn client_hello(name: &str, record: usize) -> Vec<u8> {
    let server_name = long(&long(&[&[0], &long(name.as_bytes())[..]].concat()));
    let extensions = long(&[&[0, 0], &server_name[..]].concat());
    let body = [&[3, 3], &[7; 32][..], &[0, 0, 2, 0x13, 0x01, 1, 0], &extensions].concat();
    let message = [&[1, 0], &long(&body)[..]].concat();
    message.chunks(record).flat_map(|part| [&[22, 3, 1], &long(part)[..]].concat()).collect()
}
