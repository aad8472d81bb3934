//! The work on our own engine, on the driver that is asked for.

use crate::framing::{ResponseEnd, request_is_whole};
use crate::{Arguments, Mode};
use ringgate::engine::{
    ConnectOptions, DatagramOptions, DriverChoice, Engine, EngineSettings, ListenOptions, Outgoing, Stream,
};
use std::io;
use std::net::SocketAddr;

pub fn serve(arguments: &Arguments, driver: DriverChoice) -> io::Result<()> {
    let engine = Engine::new(&EngineSettings { driver, ..EngineSettings::default() })?;
    if arguments.mode == Mode::DatagramEcho {
        return engine.run(echo_datagrams(engine.clone(), arguments.listen));
    }
    let listener = engine.listen(&arguments.listen.into(), &ListenOptions::default())?;
    let (mode, origin, handle) = (arguments.mode, arguments.origin, engine.clone());
    engine.run(async move {
        loop {
            let (client, _) = listener.accept().await?;
            let engine = handle.clone();
            handle.spawn(async move {
                // A connection that ends with an error is the load generator's to report.
                let _ = match mode {
                    Mode::Echo => echo(client).await,
                    Mode::Proxy => proxy(&engine, client, origin).await,
                    Mode::Origin | Mode::DatagramEcho => Err(io::ErrorKind::Unsupported.into()),
                };
            });
        }
    })
}

async fn echo_datagrams(engine: Engine, address: SocketAddr) -> io::Result<()> {
    let options = DatagramOptions { queue_bytes: 8 << 20, ..DatagramOptions::default() };
    let socket = engine.bind_datagrams(address, &options)?;
    loop {
        // What cannot be sent back is lost: the load generator's to report.
        socket.receive(|one| _ = socket.send_to(one.bytes, one.segment, one.from, one.to)).await?;
    }
}

async fn echo(client: Stream) -> io::Result<()> {
    let mut outgoing = Outgoing::default();
    loop {
        let chunk = client.receive().await?;
        if chunk.is_empty() {
            return Ok(());
        }
        outgoing.chunk(chunk);
        client.send(&mut outgoing).await?;
    }
}

async fn proxy(engine: &Engine, client: Stream, address: SocketAddr) -> io::Result<()> {
    let mut outgoing = Outgoing::default();
    let mut origin = None;
    loop {
        let request = client.receive().await?;
        if request.is_empty() {
            return Ok(());
        }
        let whole = request_is_whole(&request);
        outgoing.chunk(request);
        if !whole {
            continue;
        }
        let origin = match &mut origin {
            Some(origin) => origin,
            empty => empty.insert(engine.connect(&address.into(), &ConnectOptions::default()).await?),
        };
        origin.send(&mut outgoing).await?;
        let mut end = ResponseEnd::default();
        loop {
            let response = origin.receive().await?;
            if response.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let ended = end.after(&response)?;
            outgoing.chunk(response);
            client.send(&mut outgoing).await?;
            if ended {
                break;
            }
        }
    }
}
