//! The work on monoio (io_uring, one-shot operations on owned buffers).

use crate::framing::{ResponseEnd, request_is_whole};
use crate::{Arguments, BUFFER_BYTES, Mode};
use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use std::io;
use std::net::SocketAddr;

pub fn serve(arguments: &Arguments) -> io::Result<()> {
    let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().with_entries(4096).build()?;
    let arguments = arguments.clone();
    runtime.block_on(async move {
        let listener = TcpListener::bind(arguments.listen)?;
        loop {
            let (client, _) = listener.accept().await?;
            client.set_nodelay(true)?;
            let (mode, origin) = (arguments.mode, arguments.origin);
            monoio::spawn(async move {
                // A connection that ends with an error is the load generator's to report.
                let _ = match mode {
                    Mode::Echo => echo(client).await,
                    Mode::Proxy => proxy(client, origin).await,
                    Mode::Origin | Mode::DatagramEcho => Err(io::ErrorKind::Unsupported.into()),
                };
            });
        }
    })
}

async fn echo(mut client: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (result, read) = client.read(buffer).await;
        if result? == 0 {
            return Ok(());
        }
        let (result, written) = client.write_all(read).await;
        result?;
        buffer = written;
        buffer.clear();
    }
}

async fn proxy(mut client: TcpStream, address: SocketAddr) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut origin = None;
    loop {
        buffer.clear();
        while !request_is_whole(&buffer) {
            let filled = buffer.len();
            let (result, read) = client.read(buffer.slice_mut(filled..BUFFER_BYTES)).await;
            buffer = read.into_inner();
            if result? == 0 {
                return Ok(());
            }
        }
        let origin = match &mut origin {
            Some(origin) => origin,
            empty => {
                let connected = TcpStream::connect_addr(address).await?;
                connected.set_nodelay(true)?;
                empty.insert(connected)
            }
        };
        let (result, written) = origin.write_all(buffer).await;
        result?;
        buffer = written;
        let mut end = ResponseEnd::default();
        loop {
            buffer.clear();
            let (result, read) = origin.read(buffer).await;
            if result? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (result, written) = client.write_all(read).await;
            result?;
            buffer = written;
            if end.after(&buffer)? {
                break;
            }
        }
    }
}
