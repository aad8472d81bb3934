//! The first message of a TLS connection, as far as routing needs it: the server name and the protocols that the client asks
//! for (RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 7301 section 3.1). TLS is not ended here: nothing is decrypted or
//! answered, and the bytes go on unchanged. Pure, incremental, bounded.
//!
//! With encrypted ClientHello the message that is read is the outer one: its server name is the public name of the
//! provider, and that is what routes see.

use std::fmt;

#[cfg(test)]
mod tests;

/// Bytes of a ClientHello that are taken. Those of browsers with post-quantum key shares have about 2,000.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;
/// Bytes on the wire up to a ClientHello's end: it may be cut into many records, and each has a header. The bytes are held
/// until they can be sent on.
pub const WIRE_BYTES_MAX: usize = 2 * HELLO_BYTES_MAX;
/// Bytes of a server name, as OpenSSL and DNS have it.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of a record's header, and of a handshake message's.
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
/// Bytes in a record (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const HOST_NAME: u8 = 0;

/// What a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// As received: any bytes, 1 to [`NAME_BYTES_MAX`] of them.
    pub server_name: Option<&'a [u8]>,
    /// Names with a byte of length before each; well-formed and not empty.
    pub protocols: Option<&'a [u8]>,
}

impl<'a> ClientHello<'a> {
    /// The protocol that the client prefers.
    pub fn first_protocol(&self) -> Option<&'a [u8]> {
        let (len, rest) = self.protocols?.split_first()?;
        rest.get(..usize::from(*len))
    }
}

/// Why there is no ClientHello, in words for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// The first bytes are those of no TLS record.
    NotTls,
    Malformed(&'static str),
    /// More than [`HELLO_BYTES_MAX`], or than [`WIRE_BYTES_MAX`] on the wire.
    TooLarge,
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HelloError::NotTls => f.write_str("it does not speak TLS"),
            HelloError::Malformed(why) => write!(f, "its ClientHello is wrong: {why}"),
            HelloError::TooLarge => {
                write!(f, "its ClientHello has more than {HELLO_BYTES_MAX} bytes, or twice that with records")
            }
        }
    }
}

/// Takes bytes as they arrive, in any pieces and cut into records in any way, until the message is complete.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// Of the record at hand, as far as it has arrived.
    header: [u8; RECORD_HEADER],
    header_len: usize,
    /// Bytes of the record that are still to come.
    record_left: usize,
    /// The handshake message so far.
    message: Vec<u8>,
    /// Bytes taken, headers of records included.
    taken: usize,
}

impl HelloReader {
    /// Takes the next bytes. `None`: more are needed. Not to be called again after anything else.
    ///
    /// # Errors
    /// As soon as the bytes can no longer become a ClientHello within the limits.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Option<ClientHello<'_>>, HelloError> {
        while !bytes.is_empty() {
            if self.taken == WIRE_BYTES_MAX {
                return Err(HelloError::TooLarge);
            }
            let room = WIRE_BYTES_MAX - self.taken;
            let count = if self.record_left == 0 {
                self.take_header(bytes[0])?;
                1
            } else {
                let count = bytes.len().min(self.record_left).min(room);
                self.message.extend_from_slice(&bytes[..count]);
                self.record_left -= count;
                count
            };
            self.taken += count;
            bytes = &bytes[count..];
            if let Some(len) = self.message_len()?
                && self.message.len() >= len
            {
                return parse(&self.message[MESSAGE_HEADER..len]).map(Some);
            }
        }
        Ok(None)
    }

    /// One byte of a record's header (RFC 8446 section 5.1), judged at once.
    fn take_header(&mut self, byte: u8) -> Result<(), HelloError> {
        let first = self.message.is_empty();
        match (self.header_len, byte) {
            (0, HANDSHAKE) | (1, 3) | (2.., _) => {}
            _ if first => return Err(HelloError::NotTls),
            (0, _) => return Err(HelloError::Malformed("a record of another kind interrupts it")),
            _ => return Err(HelloError::Malformed("a record is of no version of TLS")),
        }
        self.header[self.header_len] = byte;
        self.header_len += 1;
        if self.header_len == RECORD_HEADER {
            self.header_len = 0;
            self.record_left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
            match self.record_left {
                0 => return Err(HelloError::Malformed("a record is empty")),
                1..=RECORD_BYTES_MAX => {}
                _ => return Err(HelloError::Malformed("a record has more than 16384 bytes")),
            }
        }
        Ok(())
    }

    /// Bytes of the message with its header, once that is known.
    fn message_len(&self) -> Result<Option<usize>, HelloError> {
        if self.message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(HelloError::Malformed("the first message is another"));
        }
        let Some(&[_, high, middle, low]) = self.message.first_chunk::<MESSAGE_HEADER>() else { return Ok(None) };
        let len = MESSAGE_HEADER + u32::from_be_bytes([0, high, middle, low]) as usize;
        if len > HELLO_BYTES_MAX { Err(HelloError::TooLarge) } else { Ok(Some(len)) }
    }
}

/// The body of the message (RFC 8446 section 4.1.2).
fn parse(body: &[u8]) -> Result<ClientHello<'_>, HelloError> {
    const CUT: HelloError = HelloError::Malformed("a part of it is longer than the whole");
    let mut rest = Fields(body);
    let mut hello = ClientHello::default();
    let version = rest.take(2).ok_or(CUT)?;
    if version[0] != 3 {
        return Err(HelloError::Malformed("it is of no version of TLS"));
    }
    rest.take(32).ok_or(CUT)?;
    let session = rest.short().ok_or(CUT)?;
    let suites = rest.long().ok_or(CUT)?;
    let compressions = rest.short().ok_or(CUT)?;
    if session.len() > 32 || suites.is_empty() || suites.len() % 2 == 1 || compressions.is_empty() {
        return Err(HelloError::Malformed("a part of it has a length that it cannot have"));
    }
    // A client of TLS 1.2 may have no extensions at all.
    if rest.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Fields(rest.long().ok_or(CUT)?);
    if !rest.0.is_empty() {
        return Err(HelloError::Malformed("something follows its extensions"));
    }
    while !extensions.0.is_empty() {
        let kind = extensions.number().ok_or(CUT)?;
        let value = extensions.long().ok_or(CUT)?;
        let twice = match kind {
            SERVER_NAME => hello.server_name.replace(server_name(value)?).is_some(),
            ALPN => hello.protocols.replace(protocols(value)?).is_some(),
            _ => false,
        };
        // RFC 8446 section 4.2: no extension twice.
        if twice {
            return Err(HelloError::Malformed("an extension is there twice"));
        }
    }
    Ok(hello)
}

/// RFC 6066 section 3. The list has had one entry of one kind for so long that servers take no other.
fn server_name(value: &[u8]) -> Result<&[u8], HelloError> {
    const WRONG: HelloError = HelloError::Malformed("its server name is not one host name");
    let mut outer = Fields(value);
    let mut list = Fields(outer.long().ok_or(WRONG)?);
    let kind = list.take(1).ok_or(WRONG)?;
    let name = list.long().ok_or(WRONG)?;
    let alone = outer.0.is_empty() && list.0.is_empty();
    if kind != [HOST_NAME] || !alone || name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(WRONG);
    }
    Ok(name)
}

/// RFC 7301 section 3.1.
fn protocols(value: &[u8]) -> Result<&[u8], HelloError> {
    const WRONG: HelloError = HelloError::Malformed("its list of protocols is wrong");
    let mut outer = Fields(value);
    let list = outer.long().ok_or(WRONG)?;
    let mut rest = Fields(list);
    while !rest.0.is_empty() {
        if rest.short().ok_or(WRONG)?.is_empty() {
            return Err(WRONG);
        }
    }
    if list.is_empty() || !outer.0.is_empty() { Err(WRONG) } else { Ok(list) }
}

/// What is left of a message; each method takes from its front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Bytes with their number before them in one byte.
    fn short(&mut self) -> Option<&'a [u8]> {
        let len = self.take(1)?[0];
        self.take(usize::from(len))
    }

    /// The same with two bytes.
    fn long(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        self.take(usize::from(len))
    }
}

/// Whether a name can be one of DNS; what cannot is no route's.
pub fn is_host_name(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// Why a connection is closed, for the client (RFC 8446 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alert {
    /// The message cannot be read.
    DecodeError = 50,
    /// A server name is needed and there is none (section 9.2).
    MissingExtension = 109,
    /// No route has this server name (RFC 6066 section 3).
    UnrecognizedName = 112,
}

impl Alert {
    /// A record with this alert, which is fatal and not encrypted.
    pub fn record(self) -> [u8; 7] {
        const ALERT: u8 = 21;
        const FATAL: u8 = 2;
        [ALERT, 3, 3, 0, 2, FATAL, self as u8]
    }
}
