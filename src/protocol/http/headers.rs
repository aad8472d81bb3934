//! The fields of a head or of trailers, in the order received, as spans into one owned storage. Not a map: lookup walks
//! the few fields there are, and a set of bits tells which of the names in [`Known`] occur at all.
//!
//! A field whose line reads exactly `name: value CRLF` is *regular*: the writers copy runs of such lines at once, and the
//! bytes are the same as if each had been written from its parts.

use super::Known;
use std::fmt;

/// A part of the storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::protocol) struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    #[inline]
    pub fn of(self, storage: &[u8]) -> &[u8] {
        let start = self.start as usize;
        // Spans are only ever made over the storage that they are read from, so the default is never taken.
        storage.get(start..start + self.len as usize).unwrap_or_default()
    }

    pub fn end(self) -> u32 {
        self.start + self.len
    }
}

/// The line is not byte for byte `name: value CRLF`.
pub(in crate::protocol) const IRREGULAR: u8 = 1;
/// A Connection field names this field (RFC 9110 section 7.6.1): it is not passed on.
pub(in crate::protocol) const LISTED: u8 = 2;
/// Of [`Headers::flags`] alone: fields have been removed, so the lines in the storage are not all fields.
pub(in crate::protocol) const GAPS: u8 = 4;

/// One field line.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::protocol) struct Field {
    pub start: u32,
    pub name_len: u16,
    pub known: Known,
    pub flags: u8,
    pub value: Span,
}

impl Field {
    pub fn name(self) -> Span {
        Span { start: self.start, len: u32::from(self.name_len) }
    }
}

/// A name that is not a token, a value with bytes that no field value may have (CR, LF, NUL and other controls), or more
/// than the storage can address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidField;

/// Fields in the order received. Cleared and filled again without allocating once warm.
#[derive(Clone, Default)]
pub struct Headers {
    pub(in crate::protocol) storage: Vec<u8>,
    pub(in crate::protocol) fields: Vec<Field>,
    /// The bits of the known names that occur.
    pub(in crate::protocol) present: u32,
    /// All flags of all fields, ORed.
    pub(in crate::protocol) flags: u8,
}

impl Headers {
    pub fn new() -> Headers {
        Headers::default()
    }

    /// Bytes of memory that it keeps.
    pub fn bytes(&self) -> usize {
        self.storage.capacity() + self.fields.capacity() * size_of::<Field>()
    }

    /// Forgets all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.storage.clear();
        self.fields.clear();
        self.present = 0;
        self.flags = 0;
    }

    pub fn len(&self) -> usize {
        self.fields.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Name and value of each field, in order. Values carry no surrounding whitespace.
    pub fn iter(&self) -> Iter<'_> {
        Iter { storage: &self.storage, fields: self.fields.iter() }
    }

    /// Whether a field of this name occurs.
    pub fn has(&self, known: Known) -> bool {
        self.present & known.bit() != 0
    }

    /// The value of the first field of this name.
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        if !self.has(known) {
            return None;
        }
        self.get_all(known).next()
    }

    /// The values of all fields of this name, in order.
    pub fn get_all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |field| field.known == known).map(|field| field.value.of(&self.storage))
    }

    /// The value of the first field with this name, in any letter case.
    pub fn get_name(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Adds a field at the end.
    ///
    /// # Errors
    /// Where the name or the value could not be written as one field line: nothing is added.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidField> {
        let fits = self.storage.len() + name.len() + value.len() < u32::MAX as usize / 2;
        let name_len = u16::try_from(name.len()).map_err(|_| InvalidField)?;
        if !fits || !is_token(name) || !is_field_value(value) {
            return Err(InvalidField);
        }
        let start = self.storage.len() as u32;
        self.storage.extend_from_slice(name);
        self.storage.extend_from_slice(b": ");
        let value_span = Span { start: self.storage.len() as u32, len: value.len() as u32 };
        self.storage.extend_from_slice(value);
        self.storage.extend_from_slice(b"\r\n");
        let known = Known::classify(name);
        self.present |= known.bit();
        self.fields.push(Field { start, name_len, known, flags: 0, value: value_span });
        Ok(())
    }

    /// Removes every field with this name, in any letter case.
    pub fn remove(&mut self, name: &[u8]) {
        self.retain(|other, _| !other.eq_ignore_ascii_case(name));
    }

    /// Keeps the fields that `keep` says to.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], Known) -> bool) {
        let storage = &self.storage;
        self.fields.retain(|field| keep(field.name().of(storage), field.known));
        self.present = self.fields.iter().fold(0, |bits, field| bits | field.known.bit());
        self.flags |= GAPS;
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        f.debug_map().entries(self.iter().map(|(name, value)| (text(name), text(value)))).finish()
    }
}

/// Name and value of each field. See [`Headers::iter`].
#[derive(Clone)]
pub struct Iter<'a> {
    storage: &'a [u8],
    fields: std::slice::Iter<'a, Field>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.fields.next()?;
        Some((field.name().of(self.storage), field.value.of(self.storage)))
    }
}

/// Whether `name` is a token (RFC 9110 section 5.6.2).
pub(in crate::protocol) fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Whether `value` may stand as a field value (RFC 9110 section 5.5): no control byte but the tab, and no whitespace at
/// its ends.
pub(in crate::protocol) fn is_field_value(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    // Without an early end, so that the compiler looks at many bytes at once.
    let has_control = value.iter().fold(false, |found, &byte| found | (byte < b' ' && byte != b'\t') | (byte == 0x7f));
    !has_control && !blank(value.first()) && !blank(value.last())
}
