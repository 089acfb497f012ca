//! Takes the addresses that are listened on.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};
use tracing::info;

/// Connections that may wait to be accepted. The standard library's 128 would let a burst of clients wait
/// a second for their second try.
const BACKLOG: i32 = 4096;

/// Listens on `address`, without blocking; `which` names the listener in the log.
///
/// # Errors
/// The address cannot be taken, which the message names.
pub(crate) fn bind(which: &str, address: SocketAddr) -> io::Result<TcpListener> {
    let bound = listen(address);
    let listener = bound.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("the {which} listener cannot take {address}: {error}"),
        )
    })?;
    info!(listener = which, address = %listener.local_addr()?, "Listening.");
    Ok(listener)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A daemon that crashed on command must be able to come back at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
