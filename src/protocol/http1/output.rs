//! Appending many small pieces to a `Vec<u8>`: the room is made once, the pieces are copied into it. Used by the writers of
//! this module.

/// The end of a `Vec<u8>` that is being written to.
pub(super) struct Output<'a> {
    bytes: &'a mut Vec<u8>,
    at: usize,
}

impl<'a> Output<'a> {
    /// `room` is how much will be written, about: more costs another piece of memory, less costs nothing.
    #[inline]
    pub fn new(bytes: &'a mut Vec<u8>, room: usize) -> Output<'a> {
        let at = bytes.len();
        bytes.resize(at + room, 0);
        Output { bytes, at }
    }

    #[inline(always)]
    pub fn put(&mut self, piece: &[u8]) {
        let end = self.at + piece.len();
        match self.bytes.get_mut(self.at..end) {
            Some(place) => place.copy_from_slice(piece),
            None => self.put_beyond(piece),
        }
        self.at = end;
    }

    #[cold]
    fn put_beyond(&mut self, piece: &[u8]) {
        self.bytes.truncate(self.at);
        self.bytes.extend_from_slice(piece);
    }

    /// `name` with its colon and blank.
    #[inline]
    pub fn put_field(&mut self, name: &[u8], value: &[u8]) {
        self.put(name);
        self.put(value);
        self.put(b"\r\n");
    }

    pub fn put_decimal(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.put(&digits[at..]);
    }

    /// Gives back the room that was not used.
    #[inline]
    pub fn finish(self) {
        self.bytes.truncate(self.at);
    }
}
