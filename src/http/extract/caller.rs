//! The client of a request, for the ledger.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::run::Initiator;

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(SocketAddr);

impl Client {
    /// The client at `address`.
    pub(crate) fn at(address: SocketAddr) -> Self {
        // A listener on [::] sees IPv4 clients as IPv6 addresses; show them as IPv4.
        Self(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

/// The client as an initiator; none where the router serves no socket.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Caller(pub(in crate::http) Option<Initiator>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let client = parts.extensions.get::<Client>();
        Ok(Self(
            client.map(|Client(address)| Initiator::Client(*address)),
        ))
    }
}
