//! The one failure type: whose fault, in which phase, and is a retry safe. One table maps it to the status that the
//! client sees, the retry rule, the outlier outcome, the log's reason and the metric's label.

/// Why a request or connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Failure {
    ProxyHeaderMalformed,
    ProxyHeaderTimeout,
    NotTls,
    ClientHelloMalformed,
    ClientHelloTooLarge,
    ClientHelloTimeout,
    RequestMalformed,
    RequestPathRefused,
    RequestHeadTimeout,
    RequestHeadTooLarge,
    RequestTargetTooLong,
    RequestBodyTooLarge,
    RequestBodyTimeout,
    RequestBodyTooSlow,
    RequestBodyMalformed,
    ExpectationUnknown,
    TransferCodingUnknown,
    VersionUnsupported,
    ClientClosed,
    ClientStalled,
    ClientTooSlow,
    NoRoute,
    MethodNotAllowed,
    NoEndpoint,
    NoSource,
    FilesFull,
    ConnectRefused,
    ConnectTimeout,
    UpstreamReset,
    UpstreamClosedEarly,
    UpstreamMalformed,
    UpstreamHeadTimeout,
    UpstreamBodyTimeout,
    ListenerFull,
    FlowsFull,
    ClientFlowsFull,
    DatagramTruncated,
    DatagramTooLong,
    DatagramUnsent,
    ClientFull,
    AcceptRate,
    Overloaded,
    MemoryFull,
    Draining,
    EndpointDraining,
    BreakerOpen,
    Internal,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Client,
    Endpoint,
    Gateway,
    Configuration,
}

/// When a failed attempt may be tried again on another endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Never,
    /// Nothing of the request reached the endpoint: always safe.
    Always,
    /// Only where the method is idempotent and the request can be sent again (RFC 9110 section 9.2.2).
    Idempotent,
}

/// One row of the failure table.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// The status that the client sees, if it can still be sent. 0: the connection is closed without one.
    pub status: u16,
    pub fault: Fault,
    pub retry: Retry,
    /// Reason in the access log and label in metrics.
    pub name: &'static str,
    /// What the client reads in the plain body; where it gets none, what the guide says.
    pub text: &'static str,
}

macro_rules! table {
    ($($kind:ident => $status:literal, $fault:ident, $retry:ident, $name:literal, $text:literal;)*) => {
        impl Failure {
            /// Every kind, in the order of its index.
            pub const ALL: &'static [Failure] = &[$(Failure::$kind),*];
            /// The table row of this kind.
            pub const fn verdict(self) -> Verdict {
                match self {
                    $(Failure::$kind => Verdict { status: $status, fault: Fault::$fault, retry: Retry::$retry, name: $name, text: $text },)*
                }
            }
        }
    };
}

table! {
    ProxyHeaderMalformed  => 0,   Client, Never, "proxy_header_malformed", "A PROXY header was due and did not come, or was wrong.";
    ProxyHeaderTimeout    => 0,   Client, Never, "proxy_header_timeout", "A PROXY header was due and did not come in time.";
    NotTls                => 0,   Client, Never, "not_tls", "The connection does not speak TLS, and its listener sends by server name alone.";
    ClientHelloMalformed  => 0,   Client, Never, "client_hello_malformed", "The TLS ClientHello is not valid.";
    ClientHelloTooLarge   => 0,   Client, Never, "client_hello_too_large", "The TLS ClientHello is larger than this gateway allows.";
    ClientHelloTimeout    => 0,   Client, Never, "client_hello_timeout", "The TLS ClientHello did not arrive in time.";
    RequestMalformed      => 400, Client, Never, "request_malformed", "The request is not valid HTTP.";
    RequestPathRefused    => 400, Client, Never, "request_path_refused", "The request path is not in a form that this gateway forwards.";
    RequestHeadTimeout    => 408, Client, Never, "request_head_timeout", "The request head did not arrive in time.";
    RequestHeadTooLarge   => 431, Client, Never, "request_head_too_large", "The request head is larger than this gateway allows.";
    RequestTargetTooLong  => 414, Client, Never, "request_target_too_long", "The request target is longer than this gateway allows.";
    RequestBodyTooLarge   => 413, Client, Never, "request_body_too_large", "The request body is larger than this gateway allows.";
    RequestBodyTimeout    => 408, Client, Never, "request_body_timeout", "The request body did not arrive in time.";
    RequestBodyTooSlow    => 408, Client, Never, "request_body_too_slow", "The request body arrived too slowly.";
    RequestBodyMalformed  => 400, Client, Never, "request_body_malformed", "The request body is not validly framed.";
    ExpectationUnknown    => 417, Client, Never, "expectation_unknown", "The Expect header asks for something unknown.";
    TransferCodingUnknown => 501, Client, Never, "transfer_coding_unknown", "The transfer coding is not supported.";
    VersionUnsupported    => 505, Client, Never, "version_unsupported", "The HTTP version is not supported.";
    ClientClosed          => 0,   Client, Never, "client_closed", "";
    ClientStalled         => 0,   Client, Never, "client_stalled", "";
    ClientTooSlow         => 0,   Client, Never, "client_too_slow", "";
    NoRoute               => 404, Configuration, Never, "no_route", "No route matches this request.";
    MethodNotAllowed      => 405, Configuration, Never, "method_not_allowed", "The route does not allow this method.";
    NoEndpoint            => 503, Configuration, Never, "no_endpoint", "No endpoint is available for this request.";
    NoSource              => 503, Gateway, Always, "no_source", "The gateway has no address to connect to the endpoint from.";
    FilesFull             => 503, Gateway, Always, "files_full", "The gateway has no file left for a connection to the endpoint.";
    ConnectRefused        => 502, Endpoint, Always, "connect_refused", "The endpoint refused the connection.";
    ConnectTimeout        => 504, Endpoint, Always, "connect_timeout", "The endpoint did not accept the connection in time.";
    UpstreamReset         => 502, Endpoint, Idempotent, "upstream_reset", "The endpoint reset the connection.";
    UpstreamClosedEarly   => 502, Endpoint, Idempotent, "upstream_closed_early", "The endpoint closed the connection before its response was complete.";
    UpstreamMalformed     => 502, Endpoint, Never, "upstream_malformed", "The endpoint's response is not valid HTTP.";
    UpstreamHeadTimeout   => 504, Endpoint, Never, "upstream_head_timeout", "The endpoint did not respond in time.";
    UpstreamBodyTimeout   => 504, Endpoint, Never, "upstream_body_timeout", "The endpoint stopped sending its response.";
    ListenerFull          => 503, Gateway, Never, "listener_full", "The gateway has no room for another connection.";
    FlowsFull             => 0,   Gateway, Never, "flows_full", "The listener holds as many flows as it may; the datagram of a new one is dropped.";
    ClientFlowsFull       => 0,   Client, Never, "client_flows_full", "The client's address holds as many flows as it may; the datagram of a new one is dropped.";
    DatagramTruncated     => 0,   Gateway, Never, "datagram_truncated", "The datagram is longer than a receive buffer, and was dropped rather than sent on in part.";
    DatagramTooLong       => 0,   Gateway, Never, "datagram_too_long", "The datagram does not fit the way to the other side (EMSGSIZE).";
    DatagramUnsent        => 0,   Gateway, Never, "datagram_unsent", "The kernel did not take the datagram: its send buffer was full, or a firewall of this machine forbids it.";
    ClientFull            => 429, Client, Never, "client_full", "Too many connections are open from this address.";
    AcceptRate            => 503, Gateway, Never, "accept_rate", "Connections come faster than this gateway takes them.";
    Overloaded            => 503, Gateway, Never, "overloaded", "The gateway is behind with its work.";
    MemoryFull            => 503, Gateway, Never, "memory_full", "The gateway has no memory left for this.";
    Draining              => 503, Gateway, Never, "draining", "The gateway is shutting down, or no longer listens here.";
    EndpointDraining      => 503, Configuration, Never, "endpoint_draining", "The endpoint has been taken out of service.";
    BreakerOpen           => 503, Gateway, Never, "breaker_open", "Too many requests to this service have failed; it is given a rest.";
    Internal              => 500, Gateway, Never, "internal", "The gateway failed. This is a bug.";
}
