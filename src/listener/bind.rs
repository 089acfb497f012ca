//! Opens the listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};
use tracing::info;

use crate::lifecycle::SERVICE;

/// Connections that may wait to be accepted. With the standard library's 128, a burst of clients would wait a second
/// for their SYN to be sent again.
const BACKLOG: i32 = 4096;

/// A listener and what sets its address.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    Service(&'static str),
    Admin(&'static str),
}

/// Listens on `address` with a non-blocking socket.
///
/// # Errors
/// The address cannot be bound; the message names it.
pub(crate) fn bind(which: Which, address: SocketAddr) -> io::Result<TcpListener> {
    let (name, set_by) = match which {
        Which::Service(set_by) => ("service", set_by),
        Which::Admin(set_by) => ("admin", set_by),
    };
    let listener = listen(address).map_err(|error| {
        let message = format!("the {name} listener cannot bind {address}: {error}; {set_by}");
        io::Error::new(error.kind(), message)
    })?;
    let address = listener.local_addr()?;
    match which {
        Which::Service(_) => info!(target: SERVICE, listener = name, %address, "Listening."),
        Which::Admin(_) => info!(listener = name, %address, "Listening."),
    }
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
