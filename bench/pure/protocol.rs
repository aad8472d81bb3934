//! Heads in and out, and chunk framing.

use criterion::{Criterion, Throughput};
use ringgate::protocol::http::{Method, RequestHead, ResponseHead, Version};
use ringgate::protocol::http1::{
    ChunkLimits, ChunkedDecoder, ChunkedEvent, Forwarding, HeadLimits, ResponseOptions, parse_request, parse_response,
    write_chunk_end, write_chunk_start, write_last_chunk, write_request, write_response,
};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

/// A GET as load generators and simple clients send it: 199 bytes, five fields.
pub const GET: &[u8] = b"GET /api/v1/items?id=12345 HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,application/json\r\n\
    Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n";

/// A GET as a browser sends it.
const BROWSER: &[u8] = b"GET /assets/app.js?v=20261122 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n\
    Cache-Control: max-age=0\r\nsec-ch-ua: \"Chromium\";v=\"141\", \"Not?A_Brand\";v=\"8\"\r\nsec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) \
    AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,\
    application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\nReferer: https://www.example.com/start\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=4f2a9c0e8d7b6a5f4e3d2c1b0a998877; theme=dark; consent=all\r\n\r\n";

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 13:00:00 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 128\r\nConnection: keep-alive\r\n\r\n";

pub fn request(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    let forwarding = Forwarding {
        client: Some(IpAddr::V4(Ipv4Addr::new(192, 168, 13, 7))),
        scheme: "http",
        trusted: false,
        request_id: Some(b"0123456789abcdef"),
        expect: true,
        upgrade: true,
        keep_alive: true,
    };
    for (name, bytes) in [("get", GET), ("browser", BROWSER)] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let mut head = RequestHead::new();
        group.bench_function(format!("parse/{name}"), |bencher| {
            bencher.iter(|| parse_request(black_box(bytes), &HeadLimits::default(), &mut head));
        });
        let mut out = Vec::with_capacity(4096);
        group.bench_function(format!("write/{name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                write_request(&mut out, black_box(&head), &forwarding);
            });
        });
    }
    group.finish();
}

pub fn response(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("response");
    group.throughput(Throughput::Bytes(OK.len() as u64));
    let mut head = ResponseHead::new();
    group.bench_function("parse", |bencher| {
        bencher.iter(|| parse_response(black_box(OK), &HeadLimits::default(), Method::Get, &mut head));
    });
    let options = ResponseOptions { version: Version::Http11, keep_alive: true, body: head.body, request_id: None };
    let mut out = Vec::with_capacity(4096);
    group.bench_function("write", |bencher| {
        bencher.iter(|| {
            out.clear();
            write_response(&mut out, black_box(&head), &options);
        });
    });
    group.finish();
}

pub fn chunked(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunked");
    for size in [16, 4096] {
        let mut bytes = Vec::new();
        for _ in 0..65_536 / size {
            write_chunk_start(&mut bytes, size);
            bytes.resize(bytes.len() + size, b'x');
            write_chunk_end(&mut bytes);
        }
        write_last_chunk(&mut bytes, None);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let mut decoder = ChunkedDecoder::new(ChunkLimits::default());
        group.bench_function(format!("64KiB by {size}"), |bencher| {
            bencher.iter(|| {
                decoder.reset();
                let mut rest = black_box(&bytes[..]);
                while let Ok(step) = decoder.next(rest) {
                    rest = &rest[step.consumed..];
                    match step.event {
                        ChunkedEvent::Data { len } => rest = &rest[len..],
                        ChunkedEvent::End | ChunkedEvent::NeedMore => break,
                    }
                }
            });
        });
    }
    group.finish();
}
