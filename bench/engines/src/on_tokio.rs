//! The work on tokio's current_thread runtime (epoll, readiness), and the cheap origin that all proxies share.

use crate::framing::{ResponseEnd, request_is_whole};
use crate::{Arguments, BUFFER_BYTES, Mode};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

pub fn serve(arguments: &Arguments) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // Where it listens on every address, each answer says on which one it was asked.
    let shows_address = arguments.listen.ip().is_unspecified();
    let response = Rc::new(fixed_response(arguments.payload, ""));
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(arguments.listen).await?;
        loop {
            let (client, _) = listener.accept().await?;
            client.set_nodelay(true)?;
            let (mode, origin) = (arguments.mode, arguments.origin);
            let response = match client.local_addr() {
                Ok(address) if shows_address => {
                    Rc::new(fixed_response(arguments.payload, &format!("X-Endpoint: {}\r\n", address.ip())))
                }
                _ => response.clone(),
            };
            tokio::task::spawn_local(async move {
                // A connection that ends with an error is the load generator's to report.
                let _ = match mode {
                    Mode::Echo => echo(client).await,
                    Mode::Proxy => proxy(client, origin).await,
                    Mode::Origin => answer(client, &response).await,
                    Mode::DatagramEcho => Err(io::ErrorKind::Unsupported.into()),
                };
            });
        }
    })
}

async fn echo(mut client: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = client.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..count]).await?;
    }
}

async fn proxy(mut client: TcpStream, address: SocketAddr) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut origin = None;
    loop {
        let mut filled = 0;
        while filled == 0 || !request_is_whole(&buffer[..filled]) {
            match client.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                count => filled += count,
            }
        }
        let origin = match &mut origin {
            Some(origin) => origin,
            empty => {
                let connected = TcpStream::connect(address).await?;
                connected.set_nodelay(true)?;
                empty.insert(connected)
            }
        };
        origin.write_all(&buffer[..filled]).await?;
        let mut end = ResponseEnd::default();
        loop {
            let count = origin.read(&mut buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            client.write_all(&buffer[..count]).await?;
            if end.after(&buffer[..count])? {
                break;
            }
        }
    }
}

async fn answer(mut client: TcpStream, response: &[u8]) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    loop {
        match client.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            count => filled += count,
        }
        if request_is_whole(&buffer[..filled]) {
            filled = 0;
            client.write_all(response).await?;
        }
    }
}

fn fixed_response(payload: usize, fields: &str) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {payload}\r\n\r\n").into_bytes();
    response.resize(response.len() + payload, b'r');
    response
}
