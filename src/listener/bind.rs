//! Opens the listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};
use tracing::info;

/// Connections that may wait to be accepted. With the standard library's 128, a burst of clients would wait a second
/// for their SYN to be sent again.
const BACKLOG: i32 = 4096;

/// Listens on `address` with a non-blocking socket; `which` names the listener in the log, and `set_by` what sets its
/// address.
///
/// # Errors
/// The address cannot be bound; the message names it.
pub(crate) fn bind(which: &str, address: SocketAddr, set_by: &str) -> io::Result<TcpListener> {
    let listener = listen(address).map_err(|error| {
        let message = format!("the {which} listener cannot bind {address}: {error}; {set_by}");
        io::Error::new(error.kind(), message)
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
