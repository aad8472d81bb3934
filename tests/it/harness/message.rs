//! HTTP/1.1 messages as scenarios see them: read whole, strictly, from any stream. This is a second implementation on
//! purpose: it shares nothing with the one under test.

use std::io::{self, BufRead};

/// A message head's fields in their order.
pub type Fields = Vec<(String, String)>;

#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub version: String,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// Which connection of the origin brought it, from 0.
    pub connection: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub version: String,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// Written instead of everything above, byte by byte.
    raw: Option<Vec<u8>>,
    chunked: bool,
    close: bool,
}

fn find<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn find_all<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Request {
    /// The first field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        find_all(&self.fields, name)
    }

    /// The next request; `None` at an orderly end.
    pub fn read(from: &mut impl BufRead, between: impl FnOnce(&Request)) -> io::Result<Option<Request>> {
        if from.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let line = read_line(from)?;
        let parts: Vec<&str> = line.split(' ').collect();
        let [method, target, version] = parts[..] else {
            return Err(invalid(format!("request line {line:?}")));
        };
        let mut request = Request {
            method: method.to_string(),
            target: target.to_string(),
            version: version.to_string(),
            fields: read_fields(from)?,
            ..Request::default()
        };
        between(&request);
        let framed = request.field("transfer-encoding").is_some() || request.field("content-length").is_some();
        if framed {
            (request.body, request.trailers) = read_body(from, &request.fields)?;
        }
        Ok(Some(request))
    }
}

impl Response {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Response {
        Response { status, body: body.into(), ..Response::default() }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Response {
        Response::new(200, body)
    }

    /// These bytes and nothing else.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Response {
        Response { raw: Some(bytes.into()), ..Response::default() }
    }

    pub fn with(mut self, name: &str, value: &str) -> Response {
        self.fields.push((name.to_string(), value.to_string()));
        self
    }

    pub fn chunked(mut self) -> Response {
        self.chunked = true;
        self
    }

    pub fn trailer(mut self, name: &str, value: &str) -> Response {
        self.trailers.push((name.to_string(), value.to_string()));
        self
    }

    /// The origin closes the connection after it.
    pub fn close(mut self) -> Response {
        self.close = true;
        self
    }

    pub fn closes(&self) -> bool {
        self.close
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The bytes that an origin sends.
    pub fn bytes(&self, head_only: bool) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let mut out = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.fields {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        let bodiless = self.status < 200 || matches!(self.status, 204 | 304);
        if self.chunked {
            out.push_str("Transfer-Encoding: chunked\r\n");
        } else if !bodiless {
            out.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        if self.close {
            out.push_str("Connection: close\r\n");
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        if !head_only && !bodiless {
            self.write_body(&mut out);
        }
        out
    }

    fn write_body(&self, out: &mut Vec<u8>) {
        if !self.chunked {
            out.extend_from_slice(&self.body);
            return;
        }
        // Uneven chunks, so that no size happens to fit.
        for (index, part) in self.body.chunks(777).enumerate() {
            let extension = if index == 0 { ";first" } else { "" };
            out.extend_from_slice(format!("{:x}{extension}\r\n", part.len()).as_bytes());
            out.extend_from_slice(part);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\n");
        for (name, value) in &self.trailers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The next response to a request with `method`.
    pub fn read(from: &mut impl BufRead, method: &str) -> io::Result<Response> {
        let mut response = Response::read_head(from)?;
        let bodiless = response.status < 200 || matches!(response.status, 204 | 304) || method == "HEAD";
        if !bodiless {
            (response.body, response.trailers) = read_body(from, &response.fields)?;
        }
        Ok(response)
    }

    pub fn read_head(from: &mut impl BufRead) -> io::Result<Response> {
        let line = read_line(from)?;
        let mut parts = line.splitn(3, ' ');
        let (Some(version), Some(status)) = (parts.next(), parts.next()) else {
            return Err(invalid(format!("status line {line:?}")));
        };
        let status = status.parse().map_err(|_| invalid(format!("status line {line:?}")))?;
        Ok(Response { status, version: version.to_string(), fields: read_fields(from)?, ..Response::default() })
    }
}

/// A line that ends in CRLF, without it.
fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed where a line was due"));
    }
    let Some(text) = line.strip_suffix(b"\r\n") else {
        return Err(invalid(format!("a line without CRLF: {:?}", String::from_utf8_lossy(&line))));
    };
    String::from_utf8(text.to_vec()).map_err(|_| invalid("a line that is not UTF-8"))
}

fn read_fields(from: &mut impl BufRead) -> io::Result<Fields> {
    let mut fields = Vec::new();
    loop {
        let line = read_line(from)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err(invalid(format!("field line {line:?}")));
        };
        fields.push((name.to_string(), value.trim().to_string()));
    }
}

/// The body by its framing (RFC 9112 section 6.3), and its trailers.
fn read_body(from: &mut impl BufRead, fields: &Fields) -> io::Result<(Vec<u8>, Fields)> {
    let lengths = find_all(fields, "content-length");
    if let Some(coding) = find(fields, "transfer-encoding") {
        if coding != "chunked" || !lengths.is_empty() {
            return Err(invalid(format!("framing by {coding:?} and {lengths:?}")));
        }
        return read_chunks(from);
    }
    let mut body = Vec::new();
    match lengths[..] {
        [] => {
            from.read_to_end(&mut body)?;
        }
        [length] => {
            body.resize(length.parse().map_err(|_| invalid(format!("length {length:?}")))?, 0);
            from.read_exact(&mut body)?;
        }
        _ => return Err(invalid(format!("lengths {lengths:?}"))),
    }
    Ok((body, Vec::new()))
}

fn read_chunks(from: &mut impl BufRead) -> io::Result<(Vec<u8>, Fields)> {
    let mut body = Vec::new();
    loop {
        let line = read_line(from)?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| invalid(format!("chunk size {line:?}")))?;
        if size == 0 {
            return Ok((body, read_fields(from)?));
        }
        let start = body.len();
        body.resize(start + size, 0);
        from.read_exact(&mut body[start..])?;
        if !read_line(from)?.is_empty() {
            return Err(invalid("a chunk longer than its size"));
        }
    }
}
