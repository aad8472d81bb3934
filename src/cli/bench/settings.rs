//! The arguments of a load and what they mean once checked: after [`check`] no value can be wrong.
//!
//! Parsing and name resolution only; nothing is sent from here but the one connection of [`reach`].

use super::exchange::{Expectation, Work};
use crate::engine::DriverChoice;
use crate::protocol::http::Method;
use clap::{Args, ValueEnum};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct LoadArguments {
    /// `http://HOST[:PORT]/PATH`, or `tcp://HOST:PORT` or `udp://HOST:PORT` for a server that echoes
    #[arg(required = true)]
    pub url: Option<String>,
    /// Connections that are held open, over all threads
    #[arg(short, long, default_value_t = 64, value_name = "COUNT")]
    pub connections: usize,
    /// Engines, each on a thread of its own
    #[arg(short, long, default_value_t = 1, value_name = "COUNT")]
    pub threads: usize,
    /// How long to measure, such as 10s or 2m [default: 10s, or until --requests are done]
    #[arg(short, long, value_parser = duration, value_name = "TIME")]
    pub duration: Option<Duration>,
    /// Stop after this many requests
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub requests: Option<u64>,
    /// Load before the measurement, whose latencies are thrown away (errors are not)
    #[arg(long, value_parser = duration, default_value = "0s", value_name = "TIME")]
    pub warm_up: Duration,
    /// Requests a second, at a constant rate, whatever the server does (open loop) [default: as fast as answers come]
    #[arg(short, long, value_name = "COUNT")]
    pub rate: Option<f64>,
    /// With --rate: keep the core busy to send each request within microseconds of its due time, not on the millisecond
    #[arg(long, requires = "rate")]
    pub spin: bool,
    /// A new connection for each request
    #[arg(long)]
    pub new_connection: bool,
    /// An answer that takes longer is an error
    #[arg(long, value_parser = duration, default_value = "10s", value_name = "TIME")]
    pub timeout: Duration,
    /// Put a number below this, by chance, in place of each {} in the URL's path: other requests for other routes
    #[arg(long, value_name = "COUNT")]
    pub vary: Option<usize>,
    /// HTTP method
    #[arg(short = 'X', long, default_value = "GET", value_name = "NAME")]
    pub method: String,
    /// A header to send, "Name: value"; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// Body of each request: text, or @FILE
    #[arg(short, long, value_name = "BODY")]
    pub body: Option<String>,
    /// Bytes of each message to an echo server
    #[arg(long, default_value_t = 128, value_name = "BYTES")]
    pub payload: usize,
    /// With udp: bytes of each datagram that the payload is cut into [default: the whole payload]
    #[arg(long, value_name = "BYTES")]
    pub segment: Option<usize>,
    /// The one right status [default: any from 200 to 299]
    #[arg(long, value_name = "STATUS")]
    pub expect_status: Option<u16>,
    /// The one right body length in bytes [default: that of the first answer]
    #[arg(long, value_name = "BYTES", conflicts_with = "any_length")]
    pub expect_length: Option<u64>,
    /// Accept answers of any length
    #[arg(long)]
    pub any_length: bool,
    /// What drives the load generator's own sockets
    #[arg(long, value_enum, default_value_t = EngineName::Auto)]
    pub engine: EngineName,
    /// Write the results as JSON, for `ringgate bench compare`
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a HdrHistogram interval log (V2), one line a second
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,
    /// Write the percentile curve as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum EngineName {
    Auto,
    Uring,
    Epoll,
}

/// A checked load: what every thread needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub url: String,
    pub address: SocketAddr,
    pub work: Work,
    pub expectation: Expectation,
    /// At least `threads`.
    pub connections: usize,
    pub threads: usize,
    /// `None`: until `requests` are done.
    pub duration: Option<Duration>,
    pub requests: Option<u64>,
    pub warm_up: Duration,
    /// Requests a second over all threads; `None`: closed loop.
    pub rate: Option<f64>,
    pub spin: bool,
    pub new_connection: bool,
    pub timeout: Duration,
    pub driver: DriverChoice,
}

/// The longest datagram: what UDP over IPv4 has room for.
const DATAGRAM_BYTES_MAX: usize = 65_507;
/// How long a run lasts when nothing is said.
const DURATION_DEFAULT: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 1_000_000;
const THREADS_MAX: usize = 256;
const RATE_MAX: f64 = 100_000_000.0;
const VARY_MAX: usize = 1_000_000;
const PAYLOAD_MAX: usize = 64 << 20;
/// How long the first connection may take before the server counts as unreachable.
const REACH_TIMEOUT: Duration = Duration::from_secs(3);

/// The settings that `arguments` mean. Errors are one sentence for the user.
pub fn check(arguments: &LoadArguments) -> Result<Settings, String> {
    let url = arguments.url.as_deref().unwrap_or_default();
    within("--threads", arguments.threads, 1, THREADS_MAX)?;
    within("--connections", arguments.connections, arguments.threads, CONNECTIONS_MAX)?;
    within("--payload", arguments.payload, 1, PAYLOAD_MAX)?;
    if let Some(rate) = arguments.rate
        && !(rate > 0.0 && rate <= RATE_MAX)
    {
        return Err(format!("--rate must be above 0 and at most {RATE_MAX}, not {rate}"));
    }
    let (address, work) = destination(url, arguments)?;
    let duration = match (arguments.duration, arguments.requests) {
        (None, None) => Some(DURATION_DEFAULT),
        (duration, _) => duration,
    };
    Ok(Settings {
        url: url.to_owned(),
        address,
        work,
        expectation: Expectation {
            status: arguments.expect_status,
            length: arguments.expect_length,
            any_length: arguments.any_length,
        },
        connections: arguments.connections,
        threads: arguments.threads,
        duration,
        requests: arguments.requests,
        warm_up: arguments.warm_up,
        rate: arguments.rate,
        spin: arguments.spin,
        new_connection: arguments.new_connection,
        timeout: arguments.timeout,
        driver: match arguments.engine {
            EngineName::Auto => DriverChoice::Auto,
            EngineName::Uring => DriverChoice::Uring,
            EngineName::Epoll => DriverChoice::Epoll,
        },
    })
}

/// Connects once, so that an unreachable server is one clear sentence and not a million counted errors.
pub fn reach(settings: &Settings) -> Result<(), String> {
    if let Work::Datagrams { .. } = settings.work {
        // Nobody answers before something is asked.
        return Ok(());
    }
    TcpStream::connect_timeout(&settings.address, REACH_TIMEOUT).map(drop).map_err(|error| {
        format!("cannot connect to {}: {error}\n  is the server running, and is the port right?", settings.address)
    })
}

fn within(name: &str, value: usize, min: usize, max: usize) -> Result<(), String> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(format!("{name} must be from {min} to {max}, not {value}"))
}

fn destination(url: &str, arguments: &LoadArguments) -> Result<(SocketAddr, Work), String> {
    if let Some(authority) = url.strip_prefix("tcp://") {
        let address = resolve(authority.trim_end_matches('/'), None)?;
        return Ok((address, Work::Echo { payload: vec![b'e'; arguments.payload].into() }));
    }
    if let Some(authority) = url.strip_prefix("udp://") {
        let address = resolve(authority.trim_end_matches('/'), None)?;
        let segment = arguments.segment.unwrap_or(arguments.payload);
        within("--segment", segment, 1, DATAGRAM_BYTES_MAX)?;
        return Ok((address, Work::Datagrams { payload: vec![b'e'; arguments.payload].into(), segment }));
    }
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(format!(
            "{url:?} is not a URL that can be loaded: http://HOST[:PORT]/PATH, tcp://HOST:PORT or udp://HOST:PORT"
        ));
    };
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) if rest.as_bytes()[at] == b'/' => (&rest[..at], rest[at..].to_owned()),
        Some(at) => (&rest[..at], format!("/{}", &rest[at..])),
        None => (rest, "/".to_owned()),
    };
    let path = path.split('#').next().unwrap_or("/");
    let requests: Vec<Box<[u8]>> = match arguments.vary {
        None => vec![request(authority, path, arguments)?.into()],
        Some(count) => {
            within("--vary", count, 1, VARY_MAX)?;
            if !path.contains("{}") {
                return Err(format!("--vary needs a {{}} in the path, and {path:?} has none"));
            }
            let one = |number: usize| request(authority, &path.replace("{}", &number.to_string()), arguments);
            (0..count).map(|number| one(number).map(Into::into)).collect::<Result<_, _>>()?
        }
    };
    let method = Method::from_bytes(arguments.method.as_bytes());
    Ok((resolve(authority, Some(80))?, Work::Http { requests: requests.into(), method }))
}

/// The bytes of each request.
fn request(authority: &str, path: &str, arguments: &LoadArguments) -> Result<Vec<u8>, String> {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    if !is_token(&arguments.method) {
        return Err(format!("{:?} is not an HTTP method", arguments.method));
    }
    if path.bytes().any(|byte| byte <= b' ' || byte == 127) {
        return Err(format!("{path:?} has a space or control character: write it percent-encoded"));
    }
    let body = match arguments.body.as_deref() {
        None => Vec::new(),
        Some(text) => match text.strip_prefix('@') {
            Some(path) => std::fs::read(path).map_err(|error| format!("cannot read the body from {path}: {error}"))?,
            None => text.as_bytes().to_vec(),
        },
    };
    let mut head = format!("{} {path} HTTP/1.1\r\n", arguments.method);
    let mut has_host = false;
    for header in &arguments.headers {
        let (name, value) = header
            .split_once(':')
            .filter(|(name, value)| is_token(name) && !value.contains(['\r', '\n', '\0']))
            .ok_or_else(|| format!("{header:?} is not a header: write \"Name: value\""))?;
        has_host |= name.eq_ignore_ascii_case("host");
        head.push_str(&format!("{name}: {}\r\n", value.trim()));
    }
    if !has_host {
        head.push_str(&format!("Host: {authority}\r\n"));
    }
    if arguments.new_connection {
        head.push_str("Connection: close\r\n");
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(&body);
    Ok(request)
}

fn resolve(authority: &str, port_default: Option<u16>) -> Result<SocketAddr, String> {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let with_port = match (has_port, port_default) {
        (true, _) => authority.to_owned(),
        (false, Some(port)) => format!("{authority}:{port}"),
        (false, None) => return Err(format!("{authority:?} has no port: write HOST:PORT")),
    };
    let mut addresses =
        with_port.to_socket_addrs().map_err(|error| format!("cannot resolve {with_port:?}: {error}"))?;
    addresses.next().ok_or_else(|| format!("{with_port:?} has no address"))
}

/// "10s", "500ms", "2m", "1h".
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "write a number and ms, s, m or h, such as 10s".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(3600))),
        _ => Err("the unit is ms, s, m or h, such as 10s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArguments,
    }

    fn checked(line: &[&str]) -> Result<Settings, String> {
        let line = Line::try_parse_from(std::iter::once(&"bench").chain(line)).map_err(|error| error.to_string())?;
        check(&line.load)
    }

    fn request_of(settings: &Settings) -> String {
        match &settings.work {
            Work::Http { requests, .. } => String::from_utf8_lossy(&requests.concat()).into_owned(),
            Work::Echo { .. } | Work::Datagrams { .. } => panic!("not http"),
        }
    }

    #[test]
    fn a_url_becomes_a_request() {
        let settings = checked(&["http://127.0.0.1:8080/a?b=c", "-H", "X-A: b", "-X", "POST", "-b", "hello"]).unwrap();
        assert_eq!(settings.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(
            request_of(&settings),
            "POST /a?b=c HTTP/1.1\r\nX-A: b\r\nHost: 127.0.0.1:8080\r\nContent-Length: 5\r\n\r\nhello"
        );
        assert_eq!(settings.duration, Some(DURATION_DEFAULT));
        assert!(request_of(&checked(&["http://127.0.0.1?q"]).unwrap()).starts_with("GET /?q HTTP/1.1\r\n"));
    }

    #[test]
    fn a_varied_path_is_many_requests() {
        let settings = checked(&["http://127.0.0.1/s-{}/{}", "--vary", "12"]).unwrap();
        let text = request_of(&settings);
        assert!(text.starts_with("GET /s-0/0 HTTP/1.1\r\n") && text.contains("GET /s-11/11 HTTP/1.1\r\n"), "{text}");
    }

    #[test]
    fn what_cannot_be_loaded_is_one_sentence() {
        for (line, says) in [
            (&["ftp://a/"][..], "is not a URL"),
            (&["tcp://127.0.0.1"][..], "has no port"),
            (&["http://127.0.0.1/", "--connections", "0"][..], "--connections must be from 1"),
            (&["http://127.0.0.1/", "--rate", "0"][..], "--rate must be above 0"),
            (&["http://127.0.0.1/", "-H", "nonsense"][..], "is not a header"),
            (&["http://127.0.0.1/a b"][..], "percent-encoded"),
            (&["http://127.0.0.1/", "--vary", "3"][..], "--vary needs a {}"),
            (&["http://127.0.0.1/{}", "--vary", "0"][..], "--vary must be from 1"),
            (&["http://127.0.0.1/", "-d", "10"][..], "the unit is ms, s, m or h"),
        ] {
            let error = checked(line).unwrap_err();
            assert!(error.contains(says), "{error:?} does not say {says:?}");
        }
    }
}
