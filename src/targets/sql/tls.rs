//! What a failed handshake says.

use std::io;

/// Whether the connection failed since the server's certificate was not accepted: the drivers tell it as a failure to
/// read.
pub fn refuses(error: &io::Error) -> bool {
    let told = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(told, Some(rustls::Error::InvalidCertificate(_)))
}
