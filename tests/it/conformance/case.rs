//! One case: bytes that a client sends, what the origin answers, and what each of them gets. The tables beside this file
//! are made of these; `stage` plays them.

/// What the client gets, and what becomes of its connection.
#[derive(Clone, Debug)]
pub enum Client {
    /// The gateway's own answer with this status; then the connection ends in good order.
    Refused(u16),
    /// The gateway's own answer with this status; the connection goes on.
    Own(u16),
    /// These bytes; the connection goes on.
    Gets(Vec<u8>),
    /// These bytes; then the connection ends in good order.
    GetsAndEnd(Vec<u8>),
    /// These bytes and the end; but the client sends what it must not, which may turn the end into a reset.
    GetsAndAnyEnd(Vec<u8>),
    /// Some of these bytes, which are not a whole response, and the end of the connection; or 502, where none has gone
    /// out when the gateway sees that more will not come.
    GetsBroken(Vec<u8>),
    /// The gateway's own answer with this status; then the connection ends, which was not announced.
    OwnAndEnd(u16),
    /// These bytes; what follows is no whole message, and the connection ends once the client has ended its side.
    Waits(Vec<u8>),
}

/// What the origin gets.
#[derive(Clone, Debug)]
pub enum Origin {
    /// These requests and no other byte. The fields that tell about the client are left out, and chunked bodies stand
    /// decoded between brackets, with their trailers.
    Gets(Vec<u8>),
    /// No whole request.
    NoRequest,
}

/// What the origin does with the first request of the case; every other one is answered by [`OK`].
#[derive(Clone, Debug)]
pub struct Script {
    pub bytes: Vec<u8>,
    /// Answers the head, without reading the body.
    pub early: bool,
    /// Closes after the answer.
    pub close: bool,
    /// It is sent in one piece.
    pub whole: bool,
}

/// What origins answer unless a case says otherwise.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[derive(Clone, Debug)]
pub struct Case {
    /// Number and section of the RFC: `9112 6.3`.
    pub section: &'static str,
    pub name: &'static str,
    pub sent: Vec<u8>,
    pub script: Script,
    pub client: Client,
    pub origin: Origin,
    /// What the RFC asks for or allows.
    pub rfc: &'static str,
    /// Why, or what more there is to say of what the gateway does.
    pub why: &'static str,
}

fn case(section: &'static str, name: &'static str, sent: impl AsRef<[u8]>) -> Case {
    Case {
        section,
        name,
        sent: sent.as_ref().to_vec(),
        script: Script { bytes: OK.into(), early: false, close: false, whole: false },
        client: Client::Waits(Vec::new()),
        origin: Origin::NoRequest,
        rfc: "",
        why: "",
    }
}

/// Answered by the gateway with `status`, nothing at the origin, connection closed.
pub fn refused(status: u16, section: &'static str, name: &'static str, sent: impl AsRef<[u8]>) -> Case {
    Case { client: Client::Refused(status), ..case(section, name, sent) }
}

/// Answered by the gateway with `status`, nothing at the origin; the connection goes on.
pub fn answered(status: u16, section: &'static str, name: &'static str, sent: impl AsRef<[u8]>) -> Case {
    Case { client: Client::Own(status), ..case(section, name, sent) }
}

/// Waits for more, which does not come.
pub fn incomplete(section: &'static str, name: &'static str, sent: impl AsRef<[u8]>) -> Case {
    case(section, name, sent)
}

/// The origin gets the same bytes, and the client its answer.
pub fn passed(section: &'static str, name: &'static str, sent: impl AsRef<[u8]>) -> Case {
    let origin = Origin::Gets(sent.as_ref().to_vec());
    Case { client: Client::Gets(OK.into()), origin, ..case(section, name, sent) }
}

/// The origin gets other bytes than the client sent, and the client its answer.
pub fn changed(section: &'static str, name: &'static str, sent: impl AsRef<[u8]>, gets: impl AsRef<[u8]>) -> Case {
    let origin = Origin::Gets(gets.as_ref().to_vec());
    Case { client: Client::Gets(OK.into()), origin, ..case(section, name, sent) }
}

/// `GET / HTTP/1.1` with a Host.
pub const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A response to [`GET`] that reaches the client as it is.
pub fn response(section: &'static str, name: &'static str, answer: impl AsRef<[u8]>) -> Case {
    passed(section, name, GET).answered_by(answer.as_ref()).gets(answer)
}

/// A response to [`GET`] in place of which the client gets 502.
pub fn bad_response(section: &'static str, name: &'static str, answer: impl AsRef<[u8]>) -> Case {
    Case { client: Client::Own(502), ..passed(section, name, GET).answered_by(answer) }
}

/// GET with these fields beside Host.
pub fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// POST with these fields beside Host, and this body.
pub fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

/// A chunked POST of these bytes.
pub fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

impl Case {
    /// The origin answers in one piece, whatever the segments: what follows the response is there with its end.
    pub fn at_once(mut self) -> Case {
        self.script.whole = true;
        self
    }

    pub fn rfc(mut self, text: &'static str) -> Case {
        self.rfc = text;
        self
    }

    pub fn why(mut self, text: &'static str) -> Case {
        self.why = text;
        self
    }

    /// What the origin answers to the first request.
    pub fn answered_by(mut self, bytes: impl AsRef<[u8]>) -> Case {
        self.script.bytes = bytes.as_ref().to_vec();
        self
    }

    /// The origin answers the head and does not read the body.
    pub fn early(mut self) -> Case {
        self.script.early = true;
        self
    }

    /// The origin closes after its answer.
    pub fn closing(mut self) -> Case {
        self.script.close = true;
        self
    }

    pub fn gets(mut self, bytes: impl AsRef<[u8]>) -> Case {
        self.client = Client::Gets(bytes.as_ref().to_vec());
        self
    }

    pub fn gets_and_end(mut self, bytes: impl AsRef<[u8]>) -> Case {
        self.client = Client::GetsAndEnd(bytes.as_ref().to_vec());
        self
    }

    pub fn gets_and_any_end(mut self, bytes: impl AsRef<[u8]>) -> Case {
        self.client = Client::GetsAndAnyEnd(bytes.as_ref().to_vec());
        self
    }

    pub fn gets_broken(mut self, bytes: impl AsRef<[u8]>) -> Case {
        self.client = Client::GetsBroken(bytes.as_ref().to_vec());
        self
    }

    pub fn own(mut self, status: u16) -> Case {
        self.client = Client::Own(status);
        self
    }

    pub fn own_and_end(mut self, status: u16) -> Case {
        self.client = Client::OwnAndEnd(status);
        self
    }

    pub fn waits(mut self, bytes: impl AsRef<[u8]>) -> Case {
        self.client = Client::Waits(bytes.as_ref().to_vec());
        self
    }

    pub fn refused(mut self, status: u16) -> Case {
        self.client = Client::Refused(status);
        self
    }

    pub fn at_origin(mut self, bytes: impl AsRef<[u8]>) -> Case {
        self.origin = Origin::Gets(bytes.as_ref().to_vec());
        self
    }

    /// In words, for the page.
    pub fn outcome(&self) -> String {
        let first = |bytes: &[u8]| {
            let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
            String::from_utf8_lossy(line).split(' ').nth(1).unwrap_or_default().to_owned()
        };
        let client = match &self.client {
            Client::Refused(status) => format!("{status}, closed"),
            Client::Own(status) => format!("{status}, kept open"),
            Client::Gets(bytes) => format!("{}, kept open", first(bytes)),
            Client::GetsAndEnd(bytes) => format!("{}, closed", first(bytes)),
            Client::GetsAndAnyEnd(bytes) => format!("{}, closed", first(bytes)),
            Client::GetsBroken(_) => "502, or cut off once some of it has gone out".to_owned(),
            Client::OwnAndEnd(status) => format!("{status}, closed"),
            Client::Waits(_) => "waits for the rest".to_owned(),
        };
        let origin = match &self.origin {
            Origin::NoRequest => "",
            Origin::Gets(bytes) if *bytes == self.sent => "; passed on as it is",
            Origin::Gets(_) => "; passed on rewritten",
        };
        format!("{client}{origin}")
    }
}
