//! The header of the PROXY protocol at the beginning of a connection: what it says is what a naive reader finds, nothing that
//! follows changes it, and nothing shorter is one.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use portcullis::gate::proxy_protocol::{Client, HEADER_BYTES_MAX, read};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fuzz_target!(|bytes: &[u8]| {
    let longer = [bytes, b"\r\nGET / HTTP/1.1\r\n\r\n"].concat();
    match read(bytes) {
        Ok(None) => assert!(bytes.len() < HEADER_BYTES_MAX),
        Err(fault) => assert_eq!(read(&longer), Err(fault)),
        Ok(Some(header)) => {
            assert!(header.bytes <= bytes.len().min(HEADER_BYTES_MAX));
            assert_eq!(read(&longer), Ok(Some(header)));
            assert_eq!(read(&bytes[..header.bytes - 1]), Ok(None), "a header within a header");
            let own = &bytes[..header.bytes];
            let named = if own.starts_with(SIGNATURE) { of_binary(own) } else { of_line(own) };
            let said = match header.client {
                Client::At(address) => Some(address),
                Client::Peer => {
                    assert_eq!(own[12], 0x20);
                    None
                }
                Client::Unknown => None,
            };
            assert_eq!(said, named);
        }
    }
});

fn of_line(bytes: &[u8]) -> Option<SocketAddr> {
    assert!(bytes.len() <= 107);
    let text = std::str::from_utf8(bytes).unwrap().strip_suffix("\r\n").unwrap();
    let words: Vec<&str> = text.split(' ').collect();
    assert_eq!(words[0], "PROXY");
    if words[1] == "UNKNOWN" {
        return None;
    }
    assert_eq!(words.len(), 6);
    let address: IpAddr = words[2].parse().unwrap();
    assert_eq!(words[1], if address.is_ipv4() { "TCP4" } else { "TCP6" });
    Some(SocketAddr::new(address, words[4].parse().unwrap()))
}

fn of_binary(bytes: &[u8]) -> Option<SocketAddr> {
    assert_eq!(bytes.len(), 16 + usize::from(bytes[14]) * 256 + usize::from(bytes[15]));
    if bytes[12] == 0x20 {
        return None;
    }
    let port = |at: usize| u16::from(bytes[at]) * 256 + u16::from(bytes[at + 1]);
    match bytes[13] {
        0x11 | 0x12 => {
            let octets: [u8; 4] = bytes[16..20].try_into().unwrap();
            Some(SocketAddr::new(IpAddr::from(octets), port(24)))
        }
        0x21 | 0x22 => {
            let octets: [u8; 16] = bytes[16..32].try_into().unwrap();
            Some(SocketAddr::new(IpAddr::from(octets), port(48)))
        }
        _ => None,
    }
}
