//! The values that are written as strings: durations, sizes, addresses, hosts, networks, paths, names. Pure functions
//! from text to value; the error is the sentence that the user reads beside the caret.
//!
//! Nothing here knows of files, keys or tables; `reader` calls it.

use super::keys::NAME_BYTES_MAX;
use crate::balancer::HashKey;
use crate::base::Address;
use crate::base::address::UNIX_NAME_BYTES_MAX;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// `"500ms"`, `"5s"`, `"1m30s"`: whole numbers with a unit each, the largest unit first.
pub fn duration(text: &str) -> Result<Duration, String> {
    let form = || "a duration is a whole number and a unit: \"500ms\", \"5s\", \"1m30s\", \"1h\"".to_owned();
    let (mut rest, mut millis, mut unit_below) = (text, 0u64, u64::MAX);
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(form)?;
        let unit_len = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let Some(&(_, factor)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(unknown_unit(unit, &["ms", "s", "m", "h", "d"], &form()));
        };
        if factor >= unit_below {
            return Err("the larger unit comes first, and each only once: \"1m30s\"".to_owned());
        }
        let part = number.checked_mul(factor).ok_or("this duration is too long to count")?;
        millis = millis.checked_add(part).ok_or("this duration is too long to count")?;
        (rest, unit_below) = (after, factor);
    }
    if text.is_empty() { Err(form()) } else { Ok(Duration::from_millis(millis)) }
}

/// `"16KiB"`, `"512B"`: a whole number and a binary unit.
pub fn size(text: &str) -> Result<u64, String> {
    let form = "a size is a whole number and a unit: \"512B\", \"16KiB\", \"1MiB\", \"2GiB\"";
    let (number, unit) = split_number(text).ok_or(form)?;
    let Some(&(_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(unknown_unit(unit, &["B", "KiB", "MiB", "GiB", "TiB"], form));
    };
    number.checked_mul(factor).ok_or_else(|| "this size is too large to count".to_owned())
}

/// `"50%"`, `"12.5%"`: thousandths.
pub fn percent(text: &str) -> Result<u32, String> {
    const FORM: &str = "a percentage is a number and a percent sign: \"50%\", \"12.5%\"";
    let number = text.strip_suffix('%').ok_or(FORM)?;
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 6 && text.bytes().all(|digit| digit.is_ascii_digit());
    if !digits(whole) || !digits(tenth) || tenth.len() > 1 {
        return Err(FORM.to_owned());
    }
    let parse = |text: &str| text.parse::<u32>().map_err(|_| FORM.to_owned());
    Ok(parse(whole)? * 10 + parse(tenth)?)
}

/// Thousandths as the file would write them.
pub fn percent_text(thousandths: u32) -> String {
    match thousandths % 10 {
        0 => format!("{}%", thousandths / 10),
        tenth => format!("{}.{tenth}%", thousandths / 10),
    }
}

/// `"240B/s"`: a size a second; the word `off` is 0, no rate.
pub fn rate(text: &str) -> Result<u64, String> {
    if text == "off" {
        return Ok(0);
    }
    let form = "a rate is a size a second, \"240B/s\" or \"1KiB/s\", or \"off\"";
    size(text.strip_suffix("/s").ok_or(form)?).map_err(|_| form.to_owned())
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

fn unknown_unit(unit: &str, units: &[&str], form: &str) -> String {
    if unit.is_empty() {
        return format!("the unit is missing; {form}");
    }
    format!("unknown unit `{}`; the units are {}", shown(unit), units.join(", "))
}

/// A duration as the file would write it.
pub fn duration_text(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in DURATION_UNITS {
        if millis >= factor {
            text.push_str(&format!("{}{unit}", millis / factor));
            millis %= factor;
        }
    }
    text
}

/// A size as the file would write it, in the largest unit that leaves a whole number.
pub fn size_text(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes.is_multiple_of(*factor) && bytes >= *factor;
    let (unit, factor) = SIZE_UNITS.iter().rev().find(fits).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// Where to listen: an IP address and a port, never a name; or a Unix socket.
pub fn listener_address(text: &str) -> Result<Address, String> {
    match text.strip_prefix(UNIX) {
        Some(name) => unix_name(name),
        None => socket_address(text).map(Address::Ip),
    }
}

/// An IP address and a port, never a name.
pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = host_and_port(text)?;
    if host.is_empty() {
        return Err(format!(
            "the IP address is missing: \"0.0.0.0:{port}\" is every IPv4 address, \"[::]:{port}\" every one"
        ));
    }
    let name = shown(host);
    Err(format!(
        "`{name}` is not an IP address, and a listener needs one: \"0.0.0.0:{port}\", \"127.0.0.1:{port}\", \"[::1]:{port}\""
    ))
}

/// What the address of a Unix socket begins with.
pub const UNIX: &str = "unix:";

/// What follows `unix:`: a path from the root, or `@` and an abstract name.
fn unix_name(name: &str) -> Result<Address, String> {
    const FORM: &str = "a Unix socket is \"unix:/run/app.sock\", or \"unix:@name\" in the abstract namespace";
    if name.len() > UNIX_NAME_BYTES_MAX {
        return Err(format!(
            "the name of a Unix socket has at most {UNIX_NAME_BYTES_MAX} bytes, and this has {}",
            name.len()
        ));
    }
    if name.chars().any(|c| c.is_control()) {
        return Err(format!("control characters cannot be in the name of a socket; {FORM}"));
    }
    match name.strip_prefix('@') {
        Some("") => Err(format!("the name is missing; {FORM}")),
        Some(_) => Ok(Address::unix(name)),
        None if name.is_empty() => Err(format!("the path is missing; {FORM}")),
        None if !name.starts_with('/') => Err(format!("the path of a Unix socket begins with `/`; {FORM}")),
        None if name.ends_with('/') => Err(format!("this path is a directory; {FORM}")),
        None => Ok(Address::unix(name)),
    }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    Literal(Address),
    /// A host name, to be resolved.
    Named {
        host: String,
        port: u16,
    },
}

/// `host:port`, the host an IP address or a name; port 0 is nowhere. Or a Unix socket.
pub fn endpoint_address(text: &str) -> Result<EndpointAddress, String> {
    if let Some(name) = text.strip_prefix(UNIX) {
        return unix_name(name).map(EndpointAddress::Literal);
    }
    let no_port = || Err("port 0 is nothing that one can connect to".to_owned());
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 { no_port() } else { Ok(EndpointAddress::Literal(address.into())) };
    }
    let (host, port) = host_and_port(text)?;
    if port == 0 {
        return no_port();
    }
    host_name(host).map(|host| EndpointAddress::Named { host, port })
}

fn host_and_port(text: &str) -> Result<(&str, u16), String> {
    let form = "an address is \"host:port\" or \"[v6]:port\"";
    if text.starts_with(UNIX) {
        return Err(format!("a Unix socket cannot be used here; {form}"));
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("an address has no scheme: leave out `{}://`; {form}", shown(scheme)));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("the port is missing; {form}"));
    };
    if host.contains(':') && !host.starts_with('[') {
        return Err(format!("an IPv6 address is written in brackets; {form}"));
    }
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if digits => Ok((host, port)),
        _ if digits => Err("a port is at most 65535".to_owned()),
        _ if port.is_empty() => Err(format!("the port is missing; {form}")),
        _ => Err(format!("`{}` is not a port; {form}", shown(port))),
    }
}

/// A DNS name (RFC 1123 section 2.1, and underscores, which real zones have), in lower case.
pub fn host_name(text: &str) -> Result<String, String> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    if bare.is_empty() {
        return Err("the host is missing".to_owned());
    }
    if bare.len() > 253 {
        return Err("a host name has at most 253 bytes".to_owned());
    }
    for label in bare.split('.') {
        let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if label.is_empty() || label.len() > 63 || !label.bytes().all(fine) {
            return Err(format!(
                "`{}` is not a host name: labels of letters, digits and `-`, with dots between",
                shown(text)
            ));
        }
    }
    Ok(bare.to_ascii_lowercase())
}

/// The host of a route: a name, an IP address, or `*.name`, in lower case.
pub fn route_host(text: &str) -> Result<String, String> {
    if text == "*" {
        return Err("for any host leave `host` out".to_owned());
    }
    if text.contains("://") || text.contains('/') {
        return Err("a host is a name alone, without scheme and path".to_owned());
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let parsed: Result<std::net::Ipv6Addr, _> = inner.parse();
        return parsed.map(|ip| format!("[{ip}]")).map_err(|_| format!("`{}` is not an IPv6 address", shown(inner)));
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(format!("an IPv6 address is written in brackets: \"[{text}]\""));
    }
    if text.contains(':') {
        return Err("a host is matched without its port: leave the port out".to_owned());
    }
    if let Some(rest) = text.strip_prefix("*.") {
        return host_name(rest).map(|name| format!("*.{name}"));
    }
    if text.contains('*') {
        return Err("a wildcard stands for the first labels alone: \"*.example.com\"".to_owned());
    }
    host_name(text)
}

/// An IP address that connections can come from.
pub fn ip_address(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => {
            Err("this is every address; leave the key out to let the kernel choose one".to_owned())
        }
        Ok(address) => Ok(address),
        Err(_) => Err("must be an IP address without a port, such as \"10.0.0.1\" or \"2001:db8::1\"".to_owned()),
    }
}

/// Permissions of a file as chmod(1) takes them: three octal digits.
pub fn file_mode(text: &str) -> Result<u32, String> {
    let form = "permissions are three octal digits, for the owner, the group and all others: \"660\"";
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(mode),
        _ => Err(form.to_owned()),
    }
}

/// Whom a list of trusted clients names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Network(ipnet::IpNet),
    /// Whoever connects over a Unix socket.
    Unix,
}

/// A network, one address, or `unix:`.
pub fn source(text: &str) -> Result<Source, String> {
    match text.strip_prefix(UNIX) {
        Some("") => Ok(Source::Unix),
        Some(_) => Err("clients of Unix sockets have no names: \"unix:\" stands for all of them".to_owned()),
        None => network(text).map(Source::Network),
    }
}

/// The server name of a route: as a host, but never an address (RFC 6066 section 3: clients send none for one).
pub fn server_name(text: &str) -> Result<String, String> {
    let address = text.trim_matches(['[', ']']);
    if address.parse::<IpAddr>().is_ok() {
        return Err(
            "a client that connects to an address asks for no server name; it goes to the listener's `upstream`"
                .to_owned(),
        );
    }
    if text == "*" {
        return Err("for any server name give the listener an `upstream`".to_owned());
    }
    route_host(text)
}

/// A network `10.0.0.0/8`, or one address.
pub fn network(text: &str) -> Result<ipnet::IpNet, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ipnet::IpNet::from(ip));
    }
    let parsed: ipnet::IpNet = text
        .parse()
        .map_err(|_| "a network is an IP address, or one with a prefix length: \"10.0.0.0/8\"".to_owned())?;
    if parsed.trunc() != parsed {
        return Err(format!("this address is inside the network \"{}\"; write the network itself", parsed.trunc()));
    }
    Ok(parsed)
}

/// A method: a token (RFC 9110 section 9.1), case-sensitive.
pub fn method(text: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || text.len() > 32 || !text.bytes().all(token) {
        return Err("a method is a word such as GET, POST or PURGE".to_owned());
    }
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    if let Some(known) = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(text) && **known != text) {
        return Err(format!("methods are case-sensitive: write \"{known}\""));
    }
    if text == "CONNECT" {
        return Err("CONNECT asks for a forward proxy, which this is not".to_owned());
    }
    Ok(text.to_owned())
}

/// The path of a URL as a route matches it: raw bytes from the first `/`, with no query.
pub fn url_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("a path begins with `/`".to_owned());
    }
    if text.len() > 4_096 {
        return Err("a path has at most 4096 bytes".to_owned());
    }
    if text.contains('*') {
        return Err("a path has no wildcards: `path` is a prefix already, by whole segments".to_owned());
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic() || "?#\"<>\\^`{|}".contains(*c)) {
        return Err(format!("`{}` cannot be in a path; write it percent-encoded", c.escape_debug()));
    }
    let inner = text.strip_suffix('/').unwrap_or(text);
    if inner.split('/').skip(1).any(|segment| segment.is_empty() || segment == "." || segment == "..") {
        return Err("a path has no empty, `.` or `..` segments".to_owned());
    }
    Ok(text.to_owned())
}

/// The path of a URL with its query, as it stands in a request line.
pub fn path_and_query(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("a path begins with `/`".to_owned());
    }
    if text.len() > 4_096 {
        return Err("a path has at most 4096 bytes".to_owned());
    }
    match text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        Some(c) => Err(format!("`{}` cannot be in a request; write it percent-encoded", c.escape_debug())),
        None => Ok(text.to_owned()),
    }
}

/// The value of a Host field (RFC 9110 section 7.2): a name or an address, with or without a port.
pub fn host_field(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-._~:[]%".contains(c);
    if text.is_empty() || text.len() > 255 || !text.chars().all(fine) {
        return Err("a host is a name or an address, with or without a port".to_owned());
    }
    Ok(text.to_owned())
}

/// `Name: value` (RFC 9110 section 5).
pub fn header_field(text: &str) -> Result<(String, String), String> {
    let form = "a field is \"Name: value\"";
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let (name, value) = text.split_once(':').ok_or(form)?;
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("`{}` is not the name of a field; {form}", shown(name)));
    }
    let value = value.trim();
    if value.bytes().any(|b| b != b'\t' && (b < b' ' || b == 0x7f)) {
        return Err(format!("control characters cannot be in a field; {form}"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A text as it stands, or what follows `hex:` as bytes.
pub fn text_or_hex(text: &str) -> Result<Vec<u8>, String> {
    let Some(digits) = text.strip_prefix("hex:") else {
        return if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.as_bytes().to_vec()) };
    };
    let digits: Vec<u8> = digits.bytes().filter(|b| *b != b' ').collect();
    let pair = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|text| u8::from_str_radix(text, 16).ok());
    let plain = !digits.is_empty() && digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
    bytes
        .filter(|_| plain)
        .ok_or_else(|| "after `hex:` come pairs of hexadecimal digits, such as \"hex:00ff\"".to_owned())
}

/// What of a request is its key.
pub fn hash_key(text: &str) -> Result<HashKey, String> {
    const FORM: &str = "must be \"source\", \"path\", \"header:NAME\", \"cookie:NAME\" or \"query:NAME\"";
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    Ok(match kind {
        "source" | "path" if text != kind => return Err(FORM.to_owned()),
        "source" => HashKey::Source,
        "path" => HashKey::Path,
        "header" => HashKey::Header(token(name)?.into()),
        "cookie" => HashKey::Cookie(token(name)?.into()),
        "query" if !name.is_empty() && !name.contains(['&', '=', '#']) => HashKey::Query(name.into()),
        _ => return Err(FORM.to_owned()),
    })
}

/// A token (RFC 9110 section 5.6.2), as names of fields and cookies are.
pub fn token(text: &str) -> Result<String, String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(fine) {
        return Err(format!("a name here has 1 to {NAME_BYTES_MAX} letters, digits and characters of !#$%&'*+-.^_`|~"));
    }
    Ok(text.to_owned())
}

/// The path of a cookie (RFC 6265 section 4.1.1): of printable characters, and no semicolon.
pub fn cookie_path(text: &str) -> Result<String, String> {
    let fine = |byte: u8| byte.is_ascii_graphic() && byte != b';';
    if !text.starts_with('/') || !text.bytes().all(fine) {
        return Err("a path here begins with a slash and has no spaces and no semicolons".to_owned());
    }
    Ok(text.to_owned())
}

/// The value of a label.
pub fn label(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!("a value has 1 to {NAME_BYTES_MAX} bytes and no control characters"));
    }
    Ok(text.to_owned())
}

/// A name that tables refer to.
pub fn name(text: &str) -> Result<String, String> {
    let fine = |c: char| !c.is_control() && !c.is_whitespace() && !"\"'`\\{}".contains(c);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(fine) {
        return Err(format!("a name has 1 to {NAME_BYTES_MAX} bytes and no spaces, quotes, backslashes or braces"));
    }
    Ok(text.to_owned())
}

/// The last character border of `text` at or before byte `at`.
pub fn border_before(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// User text inside a message: printable, and short.
pub fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut short: String = text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let ok = |text: &str, millis| assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        ok("500ms", 500);
        ok("5s", 5_000);
        ok("1m30s", 90_000);
        ok("1d2h3m4s5ms", 93_784_005);
        ok("0s", 0);
        for bad in
            ["", "5", "s", "5x", "-5s", "5 s", "1s1m", "1s1s", "1.5s", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size("16KiB"), Ok(16_384));
        assert_eq!(size("0B"), Ok(0));
        for bad in ["", "16", "16KB", "KiB", "16 KiB", "16777216TiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(size_text(16_384), "16KiB");
        assert_eq!(size_text(16_385), "16385B");
        assert_eq!(size_text(0), "0B");
    }

    #[test]
    fn rates() {
        assert_eq!(rate("240B/s"), Ok(240));
        assert_eq!(rate("2KiB/s"), Ok(2048));
        assert_eq!(rate("off"), Ok(0));
        for wrong in ["", "240", "240B", "240/s", "240B/m", "240kB/s", "-1B/s"] {
            assert!(rate(wrong).is_err_and(|why| why.contains("240B/s")), "{wrong}");
        }
    }

    #[test]
    fn addresses() {
        assert!(socket_address("127.0.0.1:0").is_ok());
        assert!(socket_address("[::1]:80").is_ok());
        assert_eq!(listener_address("127.0.0.1:80"), socket_address("127.0.0.1:80").map(Address::Ip));
        for bad in [
            ":80",
            "localhost:80",
            "127.0.0.1",
            "::1:80",
            "127.0.0.1:99999",
            "127.0.0.1:",
            "unix:/x",
            "http://1.2.3.4:80",
            "",
        ] {
            assert!(socket_address(bad).is_err(), "{bad}");
        }
        let named = EndpointAddress::Named { host: "a.example".to_owned(), port: 80 };
        assert_eq!(endpoint_address("A.example:80"), Ok(named));
        for bad in ["1.2.3.4:0", "a:0", "a b:80", ":80", "a:+80"] {
            assert!(endpoint_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unix_sockets() {
        for name in ["/run/app.sock", "@app"] {
            let (text, address) = (format!("unix:{name}"), Address::unix(name));
            assert_eq!(listener_address(&text), Ok(address.clone()));
            assert_eq!(endpoint_address(&text), Ok(EndpointAddress::Literal(address)));
        }
        let longest = format!("unix:/{}", "x".repeat(UNIX_NAME_BYTES_MAX - 1));
        assert!(listener_address(&longest).is_ok());
        for bad in
            ["unix:", "unix:@", "unix:a/b", "unix:./a", "unix:/a/", "unix:/a\nb", "Unix:/a", &format!("{longest}x")]
        {
            assert!(listener_address(bad).is_err() && endpoint_address(bad).is_err(), "{bad}");
        }
        assert_eq!((file_mode("660"), file_mode("0600")), (Ok(0o660), Ok(0o600)));
        for bad in ["", "66", "668", "6660", "+60", "rw-rw----"] {
            assert!(file_mode(bad).is_err(), "{bad}");
        }
        assert!(ip_address("10.0.0.1").is_ok() && ip_address("::1").is_ok());
        assert!(ip_address("0.0.0.0").is_err() && ip_address("10.0.0.1:80").is_err() && ip_address("a").is_err());
        assert_eq!(source("unix:"), Ok(Source::Unix));
        assert!(source("unix:/a").is_err() && source("unix").is_err());
    }

    #[test]
    fn hosts_networks_methods_and_paths() {
        assert_eq!(route_host("*.Example.com").as_deref(), Ok("*.example.com"));
        assert_eq!(route_host("[::1]").as_deref(), Ok("[::1]"));
        for bad in ["*", "a.*", "a:80", "http://a", "::1", "", "a..b", "*."] {
            assert!(route_host(bad).is_err(), "{bad}");
        }
        assert!(network("10.0.0.0/8").is_ok() && network("10.0.0.1").is_ok());
        assert!(network("10.0.0.1/8").is_err() && network("10/8").is_err());
        assert!(method("PURGE").is_ok());
        assert!(method("get").is_err() && method("").is_err() && method("A B").is_err() && method("CONNECT").is_err());
        assert!(url_path("/").is_ok() && url_path("/v1/").is_ok());
        for bad in ["", "v1", "/a//b", "/a/../b", "/a?b", "/a b", "/a/*", "//"] {
            assert!(url_path(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_reads_back_as_it_is_shown(millis in 0u64..u64::from(u32::MAX)) {
            let duration_shown = duration_text(Duration::from_millis(millis));
            prop_assert_eq!(duration(&duration_shown), Ok(Duration::from_millis(millis)));
        }

        #[test]
        fn a_size_reads_back_as_it_is_shown(bytes: u64) {
            prop_assert_eq!(size(&size_text(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = (duration(&text), size(&text), socket_address(&text), endpoint_address(&text), route_host(&text));
            let _ = (network(&text), method(&text), url_path(&text), name(&text), shown(&text));
            let _ = (path_and_query(&text), host_field(&text), header_field(&text), text_or_hex(&text), percent(&text));
        }
    }
}
